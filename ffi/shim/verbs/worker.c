/* The worker's end of a channel over verbs: a response is one write with immediate into the client's copy of the region. Hot, but for
 * what waits and what ends. */
#define _GNU_SOURCE
#include "write.h"

#ifdef RFAAS_WITH_VERBS
#include <string.h>
#include <unistd.h>

__attribute__((cold)) static int32_t hostile(rfaas_verbs_end *end) {
  rfaas_verbs_cut_off(end);
  return -1;
}

/* The line that an immediate names, or NULL when it is none. */
static inline const rfaas_request *line_at(const rfaas_worker *w, uint32_t immediate) {
  if (!(immediate & RFAAS_IMM_ROOM)) return immediate <= w->mask ? &w->slots[immediate].request : NULL;
  uint64_t at = (uint64_t)(immediate & ~RFAAS_IMM_ROOM) * RFAAS_LINE;
  return at + RFAAS_LINE <= w->arena_bytes ? (const rfaas_request *)(w->arena + at) : NULL;
}

static inline int32_t found(rfaas_worker *w, uint32_t slot, const rfaas_request *line) {
  rfaas_verbs_end *end = w->end;
  w->incoming = line;
  end->found_slot = slot;
  end->found_at = w->expected;
  return (int32_t)slot;
}

/* A request that came before its turn waits in its line, which its slot remembers; now it may be its turn. */
__attribute__((noinline)) static int32_t early_one(rfaas_worker *w) {
  rfaas_verbs_end *end = w->end;
  for (uint32_t slot = 0; slot <= w->mask; slot++) {
    if (!w->slot[slot].own) continue;
    const rfaas_request *line = line_at(w, w->slot[slot].own - 1);
    if (__atomic_load_n(&line->sequence, __ATOMIC_RELAXED) != (uint32_t)w->expected) continue;
    w->slot[slot].own = 0;
    end->early--;
    return found(w, slot, line);
  }
  return -1;
}

static inline int32_t worker_poll(rfaas_worker *w) {
  rfaas_verbs_end *end = w->end;
  if (end->found_at == w->expected) return (int32_t)end->found_slot;
  if (__builtin_expect(end->early, 0)) {
    int32_t slot = early_one(w);
    if (slot >= 0) return slot;
  }
  uint32_t immediate, bytes;
  while (receive(end, &immediate, &bytes)) {
    const rfaas_request *line = line_at(w, immediate);
    if (!line) return hostile(end);
    uint32_t slot = __atomic_load_n(&line->fabric, __ATOMIC_RELAXED) & RFAAS_IMM_SLOT;
    uint32_t ahead = __atomic_load_n(&line->sequence, __ATOMIC_RELAXED) - (uint32_t)w->expected;
    /* As many calls as there are slots may be in flight, each in a slot of its own. */
    if (slot > w->mask || ahead > w->mask || w->slot[slot].active || w->slot[slot].own) return hostile(end);
    if (__builtin_expect(ahead == 0, 1)) return found(w, slot, line);
    w->slot[slot].own = immediate + 1;
    end->early++;
  }
  return -1;
}

static int32_t worker_spin(rfaas_worker *w) {
  for (int spins = 0; spins < RFAAS_VERBS_SPINS; spins++) {
    int32_t slot = worker_poll(w);
    if (slot >= 0) return slot;
  }
  return -1;
}

/* An answer that is more than the output of a call in the arena, or none: an error, a late or refused call, memory of the client's own,
 * time stamps, more bytes than a message takes or than the client has room for. */
__attribute__((noinline)) static void post_specially(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length, uint32_t immediate) {
  rfaas_verbs_end *end = w->end;
  const rfaas_request *request = &w->slot[slot].request;
  const uint8_t *from = w->arena + request->output_offset;
  uint32_t bytes = length;
  if (status == RFAAS_FUNCTION_ERROR) {
    from = rfaas_errors_of(w->page, w->mask + 1) + slot * RFAAS_ERROR_BYTES;
    if (bytes > RFAAS_ERROR_BYTES) bytes = RFAAS_ERROR_BYTES;
  } else if (status != RFAAS_OK) bytes = 0;
  own_output at = {.address = remote(end, from), .key = end->remote_key};
  if (status == RFAAS_OK && (request->function & RFAAS_OUTPUT_OWN)) memcpy(&at, request->payload, sizeof at);

  struct ibv_sge *of = &end->pieces[0];
  *of = piece(end, from, bytes);
  if (bytes > end->chunk_bytes || (status == RFAAS_OK && bytes > request->output_capacity)) {
    /* Only the last message has a length of its own: the response line says it for all. Too long an answer is not written. */
    if (bytes <= request->output_capacity) write_ahead(end, of, &at.address, at.key, 0);
    rfaas_response *line = &w->slots[slot].response;
    line->length = length;
    bytes = sizeof line->length;
    *of = piece(end, &line->length, bytes);
    at = (own_output){.address = remote(end, &line->length), .key = end->remote_key};
    immediate |= RFAAS_IMM_LONG;
  }
  ready_call(end, 1, bytes, at.address, at.key, immediate);
  if (request->function & RFAAS_TIMED) {
    struct ibv_sge timing_of = piece(end, &w->slots[slot].timing, sizeof(rfaas_timing));
    struct ibv_send_wr timing = write_of(end, &timing_of, 1, sizeof(rfaas_timing), remote(end, &w->slots[slot].timing));
    timing.next = &end->call;
    if (reserve(end, 2)) send_works(end, &timing, &end->call, 2, RFAAS_WORK_CALL);
  } else send_call(end);
}

static void worker_post(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  rfaas_verbs_end *end = w->end;
  const rfaas_request *request = &w->slot[slot].request;
  uint32_t code = status <= 0 && status > -(int32_t)RFAAS_IMM_STATUS ? (uint32_t)-status : RFAAS_IMM_STATUS;
  uint32_t immediate = slot | code << RFAAS_IMM_STATUS_SHIFT | request->sequence << RFAAS_IMM_SEQUENCE_SHIFT;
  if (__builtin_expect(status != RFAAS_OK || (request->function & (RFAAS_OUTPUT_OWN | RFAAS_TIMED)) ||
                           length > request->output_capacity || length > end->chunk_bytes,
                       0))
    return post_specially(w, slot, status, length, immediate);
  const uint8_t *from = w->arena + request->output_offset;
  end->pieces[0].addr = (uintptr_t)from;
  end->pieces[0].length = length;
  ready_call(end, 1, length, remote(end, from), end->remote_key, immediate);
  send_call(end);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  rfaas_verbs_arm(w->end);
  if (worker_poll(w) >= 0 || __atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) return 0;
  return rfaas_verbs_sleep(w->end, ns);
}

static void worker_park(rfaas_worker *w) { rfaas_verbs_ring(w->end); }
static void worker_unpark(rfaas_worker *w) { (void)w; }

static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  return rfaas_far_clock_left(&((rfaas_verbs_end *)w->end)->clock, request);
}

/* Writes why the worker ended into the client's copy of its page. */
static void worker_publish_end(rfaas_worker *w) {
  rfaas_verbs_end *end = w->end;
  if (!__atomic_load_n(&end->connected, __ATOMIC_ACQUIRE) || !rfaas_verbs_reserve(end, 1)) return;
  uint32_t bytes = sizeof w->page->ended + sizeof w->page->detail;
  struct ibv_sge of = piece(end, &w->page->ended, bytes);
  struct ibv_send_wr work = write_of(end, &of, 1, bytes, remote(end, &w->page->ended));
  rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_CALL);
}

static void worker_rouse(rfaas_worker *w, int32_t loop_fd) {
  const rfaas_verbs_end *end = w->end;
  uint64_t one = 1;
  (void)!write(end->wake_fd, &one, sizeof one);
  rfaas_notify(loop_fd);
}

const rfaas_worker_ops rfaas_verbs_worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, worker_publish_end, worker_rouse};

#endif
