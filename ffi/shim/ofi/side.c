/* The TCP connection of a lease: beats, and the one-sided operations that the provider does not do by itself, which the node's link thread
 * serves, so that no worker takes part. */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_OFI
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#define SLEEP_MS 20

enum { BEAT = 100 }; /* behind enum rfaas_remote_operation */

typedef struct {
  uint32_t operation;
  uint32_t offset;
  uint32_t bytes;
  uint32_t zero;
  uint64_t words[2]; /* operands; of an answer, the first is the result */
} frame;
_Static_assert(sizeof(frame) == 32, "a frame's head is 32 bytes");

/* Whether it does; with `beats` it is tried, which is no good while a frame is being sent. */
static int path_stands(rfaas_ofi_link *link, int beats) {
  enum rfaas_path_state state = rfaas_path_look(&link->path, link->fd);
  if (state == RFAAS_PATH_DEAD) rfaas_ofi_lose(link, RFAAS_OFI_BROKEN, ETIMEDOUT);
  if (state != RFAAS_PATH_BEAT_DUE || !beats) return state != RFAAS_PATH_DEAD;
  frame beat = {.operation = BEAT};
  ssize_t sent = send(link->fd, &beat, sizeof beat, MSG_DONTWAIT | MSG_NOSIGNAL);
  /* A part of a beat is no beat. */
  if (sent > 0 && (size_t)sent < sizeof beat)
    rfaas_ofi_move(link, (uint8_t *)&beat + sent, sizeof beat - (size_t)sent, 1, rfaas_now_ns() + 1000000000u);
  return 1;
}

int rfaas_ofi_move(rfaas_ofi_link *link, void *memory, size_t bytes, int there, uint64_t until_ns) {
  uint8_t *at = memory;
  while (bytes) {
    ssize_t did = there ? send(link->fd, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) : recv(link->fd, at, bytes, MSG_DONTWAIT);
    if (did > 0) {
      at += did;
      bytes -= (size_t)did;
      continue;
    }
    if (did == 0) return ECONNRESET;
    if (errno != EAGAIN && errno != EINTR) return errno;
    if (__atomic_load_n(&link->stop, __ATOMIC_ACQUIRE)) return ECANCELED;
    if (until_ns && rfaas_now_ns() > until_ns) return ETIMEDOUT;
    struct pollfd fd = {.fd = link->fd, .events = there ? POLLOUT : POLLIN};
    poll(&fd, 1, SLEEP_MS);
    if (!link->listens && link->ready && !path_stands(link, !there)) return ETIMEDOUT;
  }
  return 0;
}

void rfaas_ofi_beat(rfaas_ofi_link *link) { path_stands(link, 1); }

/* By the provider itself, over the channel. */
static int32_t by_provider(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes, uint64_t *words) {
  rfaas_ofi_end *end = c->end;
  int atomic = operation >= RFAAS_FETCH_ADD;
  /* The result of an atomic operation lands in registered memory: what the worker's page leaves free. */
  uint64_t *scratch = (uint64_t *)c->page->pad;
  uint8_t *local = atomic ? (uint8_t *)scratch : c->arena + local_offset;
  uint64_t there = rfaas_ofi_remote(end, c->arena + remote_offset);
  memcpy(scratch + 1, words, 2 * sizeof *words);
  rfaas_ofi_work *work;
  while (!(work = end->sends))
    if (c->ops->lost(c)) return RFAAS_WORKER_LOST;
  end->sends = work->next;
  work->kind = RFAAS_OFI_WORK_ONE_SIDED;
  ssize_t failed;
  do {
    if (operation == RFAAS_READ)
      failed = fi_read(end->ep, local, bytes, end->description, end->peer, there, end->remote_key, &work->context);
    else if (operation == RFAAS_WRITE)
      failed = fi_write(end->ep, local, bytes, end->description, end->peer, there, end->remote_key, &work->context);
    else if (operation == RFAAS_FETCH_ADD)
      failed = fi_fetch_atomic(end->ep, scratch + 1, 1, end->description, scratch, end->description, end->peer, there, end->remote_key, FI_UINT64,
                               FI_SUM, &work->context);
    else
      failed = fi_compare_atomic(end->ep, scratch + 2, 1, end->description, scratch + 1, end->description, scratch, end->description, end->peer,
                                 there, end->remote_key, FI_UINT64, FI_CSWAP, &work->context);
  } while (failed == -FI_EAGAIN && !c->ops->lost(c));
  if (failed) {
    rfaas_ofi_fail(end, RFAAS_OFI_BROKEN, (int32_t)-failed, RFAAS_OFI_WORK_ONE_SIDED);
    c->broken = 1;
    return RFAAS_WORKER_LOST;
  }
  end->one_sided_under_way++;
  while (end->one_sided_under_way) {
    if (c->ops->lost(c)) return RFAAS_WORKER_LOST;
    sched_yield();
  }
  if (atomic) words[2] = scratch[0];
  return RFAAS_OK;
}

int32_t rfaas_ofi_one_sided(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                            uint64_t *words) {
  rfaas_ofi_end *end = c->end;
  rfaas_ofi_link *link = end->link;
  if (operation >= RFAAS_FETCH_ADD ? end->atomic : end->one_sided) return by_provider(c, operation, local_offset, remote_offset, bytes, words);
  int reads = operation == RFAAS_READ, writes = operation == RFAAS_WRITE;
  frame asked = {.operation = operation, .offset = remote_offset, .bytes = bytes}, answer;
  if (!reads && !writes) memcpy(asked.words, words, sizeof asked.words);
  int failed = rfaas_ofi_move(link, &asked, sizeof asked, 1, 0);
  if (!failed && writes) failed = rfaas_ofi_move(link, c->arena + local_offset, bytes, 1, 0);
  if (!failed) failed = rfaas_ofi_move(link, &answer, sizeof answer, 0, 0);
  if (!failed && (answer.operation != operation || answer.bytes != (reads ? bytes : 0))) failed = EPROTO;
  if (!failed && reads) failed = rfaas_ofi_move(link, c->arena + local_offset, bytes, 0, 0);
  if (failed) {
    rfaas_ofi_fail(end, failed == EPROTO ? RFAAS_OFI_PROTOCOL : RFAAS_OFI_BROKEN, failed, RFAAS_OFI_WORK_ONE_SIDED);
    c->broken = 1;
    return RFAAS_WORKER_LOST;
  }
  if (!reads && !writes) words[2] = answer.words[0];
  return RFAAS_OK;
}

/* ---- the node's side ---- */

int rfaas_ofi_serve(rfaas_ofi_link *link) {
  const rfaas_region *region = link->base.region;
  uint8_t *arena = (uint8_t *)region->page + region->arena_offset;
  frame asked;
  int failed = rfaas_ofi_move(link, &asked, sizeof asked, 0, 0);
  if (failed || asked.operation == BEAT) return failed;
  int atomic = asked.operation == RFAAS_FETCH_ADD || asked.operation == RFAAS_COMPARE_SWAP;
  if (asked.operation > RFAAS_COMPARE_SWAP || (uint64_t)asked.offset + asked.bytes > region->arena_bytes ||
      (atomic && (asked.bytes != sizeof(uint64_t) || asked.offset % sizeof(uint64_t))))
    return EPROTO;
  frame answer = {.operation = asked.operation};
  uint8_t *at = arena + asked.offset;
  uint64_t before = asked.words[0];
  if (asked.operation == RFAAS_WRITE) failed = rfaas_ofi_move(link, at, asked.bytes, 0, 0);
  if (asked.operation == RFAAS_READ) answer.bytes = asked.bytes;
  if (asked.operation == RFAAS_FETCH_ADD) before = __atomic_fetch_add((uint64_t *)at, before, __ATOMIC_SEQ_CST);
  if (asked.operation == RFAAS_COMPARE_SWAP)
    __atomic_compare_exchange_n((uint64_t *)at, &before, asked.words[1], 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  answer.words[0] = before;
  if (!failed) failed = rfaas_ofi_move(link, &answer, sizeof answer, 1, 0);
  if (!failed && answer.bytes) failed = rfaas_ofi_move(link, at, answer.bytes, 1, 0);
  return failed;
}

#endif
