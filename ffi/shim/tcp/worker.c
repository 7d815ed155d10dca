/* The worker's end of a channel over tcp: a response and its output are one message. Hot, but for what waits and what ends. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "link.h"

/* Where the input belongs; NULL for what is no request, not in its turn, or beyond the arena. Fills the slot's line. */
static uint8_t *place_of(rfaas_worker *w, const rfaas_tcp_frame *frame) {
  uint32_t slot = frame->slot;
  if (frame->kind != RFAAS_TCP_REQUEST || slot > w->mask || frame->sequence != (uint32_t)w->expected || w->slot[slot].active) return NULL;
  rfaas_request *line = &w->slots[slot].request;
  line->input_offset = frame->request.input_offset;
  line->input_length = frame->bytes;
  line->output_offset = frame->request.output_offset;
  line->output_capacity = frame->request.output_capacity;
  line->function = frame->request.function;
  line->deadline_ms = frame->request.deadline_ms;
  line->sequence = frame->sequence;
  line->fabric = frame->request.fabric;
  if (line->function & RFAAS_INPUT_INLINE) {
    memset(line->payload, 0, sizeof line->payload);
    return frame->bytes <= RFAAS_INLINE_INPUT ? line->payload : NULL;
  }
  return (uint64_t)line->input_offset + frame->bytes <= w->arena_bytes ? w->arena + line->input_offset : NULL;
}

static int32_t worker_poll(rfaas_worker *w) {
  rfaas_tcp_end *end = w->end;
  if (end->found_at == w->expected) return (int32_t)end->found_slot;
  if (!rfaas_tcp_begun(end)) return -1;
  if (!end->place && !(end->place = place_of(w, &end->frame))) {
    rfaas_tcp_cut_off(end);
    return -1;
  }
  if (!rfaas_tcp_land(end)) return -1;
  w->incoming = &w->slots[end->frame.slot].request;
  end->found_slot = end->frame.slot;
  end->found_at = w->expected;
  return (int32_t)end->found_slot;
}

static int32_t worker_spin(rfaas_worker *w) {
  for (int spins = 0; spins < RFAAS_TCP_SPINS; spins++) {
    int32_t slot = worker_poll(w);
    if (slot >= 0) return slot;
  }
  return -1;
}

static void worker_post(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  const rfaas_request *request = &w->slot[slot].request;
  rfaas_tcp_end *end = w->end;
  /* The next request is here: its answer can travel with this one, if calls are as short as they have been. */
  int more = end->filled - end->taken >= sizeof(rfaas_tcp_frame) || end->waiting;
  struct {
    rfaas_tcp_frame timing;
    rfaas_timing time;
    rfaas_tcp_frame frame;
  } head;
  head.frame = (rfaas_tcp_frame){.kind = RFAAS_TCP_RESPONSE,
                                 .slot = (uint16_t)slot,
                                 .sequence = request->sequence,
                                 .response = {.status = status, .length = length}};
  const uint8_t *from = w->arena + request->output_offset;
  /* Too long an answer is not sent: the client sees by its length that it is none. */
  if (status == RFAAS_OK) head.frame.bytes = length <= request->output_capacity ? length : 0;
  else if (status == RFAAS_FUNCTION_ERROR) {
    from = rfaas_errors_of(w->page, w->mask + 1) + slot * RFAAS_ERROR_BYTES;
    head.frame.bytes = length < RFAAS_ERROR_BYTES ? length : RFAAS_ERROR_BYTES;
  }
  if (__builtin_expect(!(request->function & RFAAS_TIMED), 1))
    return rfaas_tcp_send(end, &head.frame, sizeof head.frame, from, head.frame.bytes, more);
  head.timing = (rfaas_tcp_frame){
      .kind = RFAAS_TCP_TIMING, .slot = (uint16_t)slot, .sequence = request->sequence, .bytes = sizeof head.time};
  head.time = w->slots[slot].timing;
  uint8_t packed[2 * sizeof(rfaas_tcp_frame) + sizeof(rfaas_timing)];
  memcpy(packed, &head.timing, sizeof head.timing);
  memcpy(packed + sizeof head.timing, &head.time, sizeof head.time);
  memcpy(packed + sizeof head.timing + sizeof head.time, &head.frame, sizeof head.frame);
  rfaas_tcp_send(end, packed, sizeof packed, from, head.frame.bytes, 0);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  if (worker_poll(w) >= 0 || __atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) return 0;
  return rfaas_tcp_sleep(w->end, ns);
}

static void worker_park(rfaas_worker *w) { rfaas_tcp_park(w->end); }
static void worker_unpark(rfaas_worker *w) { (void)w; }

static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  return rfaas_far_clock_left(&((rfaas_tcp_end *)w->end)->clock, request);
}

static void worker_publish_end(rfaas_worker *w) {
  rfaas_tcp_end *end = w->end;
  if (__atomic_load_n(&end->fd, __ATOMIC_ACQUIRE) < 0) return;
  rfaas_tcp_frame frame = {.kind = RFAAS_TCP_ENDED,
                           .response = {.status = (int32_t)w->page->ended, .length = (uint32_t)w->page->detail}};
  rfaas_tcp_send(end, &frame, sizeof frame, NULL, 0, 0);
}

static void worker_rouse(rfaas_worker *w, int32_t loop_fd) {
  const rfaas_tcp_end *end = w->end;
  uint64_t one = 1;
  (void)!write(end->wake_fd, &one, sizeof one);
  rfaas_notify(loop_fd);
}

const rfaas_worker_ops rfaas_tcp_worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, worker_publish_end, worker_rouse};
