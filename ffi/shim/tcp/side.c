/* The side way of a lease: one-sided operations and beats, which the node's link thread serves, so that no worker takes part. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "link.h"

/* Looks before the thread sleeps: about as long as a small operation takes. */
enum { LOOKS = 256 };
#define SLEEP_NS 20000000u

rfaas_tcp_end *rfaas_tcp_side(rfaas_tcp_link *link) { return &link->end[link->channels]; }

void rfaas_tcp_beat(rfaas_tcp_end *side) {
  enum rfaas_path_state state = rfaas_path_look(&side->path, side->fd);
  if (state == RFAAS_PATH_DEAD) return rfaas_tcp_fail(side, RFAAS_TCP_BROKEN, ETIMEDOUT);
  if (state == RFAAS_PATH_STANDS || side->waiting) return;
  rfaas_tcp_frame frame = {.kind = RFAAS_TCP_BEAT};
  rfaas_tcp_send(side, &frame, sizeof frame, NULL, 0, 0);
}

/* Waits for the end of the operation that was asked for, and puts what it read at `place`. */
static int32_t await_done(rfaas_tcp_end *side, uint8_t *place, uint32_t bytes, uint64_t *result) {
  for (uint32_t looks = 1;; looks++) {
    if (rfaas_tcp_begun(side)) {
      if (!side->place) {
        if (side->frame.kind != RFAAS_TCP_DONE || side->frame.bytes != bytes) break;
        side->place = place;
      }
      if (rfaas_tcp_land(side)) {
        *result = side->frame.one_sided.words[0];
        return RFAAS_OK;
      }
    }
    if (__atomic_load_n(&side->failure, __ATOMIC_ACQUIRE)) return RFAAS_WORKER_LOST;
    if (looks % LOOKS == 0) {
      rfaas_tcp_sleep(side, SLEEP_NS);
      rfaas_tcp_beat(side);
    }
  }
  rfaas_tcp_cut_off(side);
  return RFAAS_WORKER_LOST;
}

int32_t rfaas_tcp_one_sided(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                            uint64_t *words) {
  static const uint16_t kinds[] = {[RFAAS_READ] = RFAAS_TCP_READ,
                                   [RFAAS_WRITE] = RFAAS_TCP_WRITE,
                                   [RFAAS_FETCH_ADD] = RFAAS_TCP_FETCH_ADD,
                                   [RFAAS_COMPARE_SWAP] = RFAAS_TCP_COMPARE_SWAP};
  rfaas_tcp_end *side = rfaas_tcp_side(((rfaas_tcp_end *)c->end)->link);
  int reads = operation == RFAAS_READ, writes = operation == RFAAS_WRITE;
  uint8_t *local = reads || writes ? c->arena + local_offset : (uint8_t *)c->page;
  uint32_t there = writes ? bytes : 0, back = reads ? bytes : 0;
  rfaas_tcp_frame frame = {.kind = kinds[operation], .bytes = there, .one_sided = {.offset = remote_offset, .length = back}};
  if (!reads && !writes) memcpy(frame.one_sided.words, words, sizeof frame.one_sided.words);
  rfaas_tcp_send(side, &frame, sizeof frame, local, there, 0);
  uint64_t result = 0;
  int32_t status = await_done(side, local, back, &result);
  if (status != RFAAS_OK) c->broken = 1;
  else if (!reads && !writes) words[2] = result;
  return status;
}

/* ---- the node's side ---- */

/* Where what follows the head belongs; NULL where the client may not ask that. */
static uint8_t *place_of(const rfaas_tcp_frame *frame, uint8_t *arena, uint64_t arena_bytes) {
  uint64_t offset = frame->one_sided.offset;
  switch (frame->kind) {
    case RFAAS_TCP_WRITE: return offset + frame->bytes <= arena_bytes ? arena + offset : NULL;
    case RFAAS_TCP_READ: return frame->bytes == 0 && offset + frame->one_sided.length <= arena_bytes ? arena : NULL;
    case RFAAS_TCP_FETCH_ADD:
    case RFAAS_TCP_COMPARE_SWAP:
      return frame->bytes == 0 && offset % sizeof(uint64_t) == 0 && offset + sizeof(uint64_t) <= arena_bytes ? arena : NULL;
    case RFAAS_TCP_BEAT: return frame->bytes == 0 ? arena : NULL;
    default: return NULL;
  }
}

static void execute(rfaas_tcp_end *side, uint8_t *arena) {
  const rfaas_tcp_frame *asked = &side->frame;
  uint8_t *at = arena + asked->one_sided.offset;
  rfaas_tcp_frame done = {.kind = RFAAS_TCP_DONE};
  uint64_t before = asked->one_sided.words[0];
  switch (asked->kind) {
    case RFAAS_TCP_BEAT: return;
    case RFAAS_TCP_READ: done.bytes = asked->one_sided.length; break;
    case RFAAS_TCP_FETCH_ADD: before = __atomic_fetch_add((uint64_t *)at, before, __ATOMIC_SEQ_CST); break;
    case RFAAS_TCP_COMPARE_SWAP:
      __atomic_compare_exchange_n((uint64_t *)at, &before, asked->one_sided.words[1], 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
      break;
    default: break;
  }
  done.one_sided.words[0] = before;
  rfaas_tcp_send(side, &done, sizeof done, at, done.bytes, 0);
}

void rfaas_tcp_serve(rfaas_tcp_end *side, rfaas_region *region) {
  uint8_t *arena = (uint8_t *)region->page + region->arena_offset;
  /* A client that takes no answers is asked for nothing more, and one that never stops asking keeps no link from being closed. */
  while (!__atomic_load_n(&side->link->stop, __ATOMIC_ACQUIRE) && side->waiting < side->capacity && rfaas_tcp_begun(side)) {
    if (!side->place && !(side->place = place_of(&side->frame, arena, region->arena_bytes))) return rfaas_tcp_cut_off(side);
    if (!rfaas_tcp_land(side)) return;
    execute(side, arena);
  }
}
