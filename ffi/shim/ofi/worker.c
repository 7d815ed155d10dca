/* The worker's end of a channel over ofi: a response and a small output are one message, a larger output is written apart. Hot, but for
 * what waits and what ends. */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_OFI
#include <string.h>
#include <unistd.h>

__attribute__((cold)) static void hostile(rfaas_worker *w) { rfaas_ofi_fail(w->end, RFAAS_OFI_PROTOCOL, 0, 0); }

static inline int32_t found(rfaas_worker *w, uint32_t slot) {
  rfaas_ofi_end *end = w->end;
  w->incoming = &w->slots[slot].request;
  end->arrival[slot].headed = end->arrival[slot].ready = 0;
  end->found_slot = slot;
  end->found_at = w->expected;
  return (int32_t)slot;
}

/* The whole request is there. One that came before its turn waits. */
static inline void complete(rfaas_worker *w, uint32_t slot) {
  rfaas_ofi_end *end = w->end;
  if (__builtin_expect(end->arrival[slot].sequence == (uint32_t)w->expected, 1)) {
    found(w, slot);
    return;
  }
  end->arrival[slot].ready = 1;
  end->early++;
}

__attribute__((noinline)) static int32_t early_one(rfaas_worker *w) {
  rfaas_ofi_end *end = w->end;
  for (uint32_t slot = 0; slot <= w->mask; slot++) {
    if (!end->arrival[slot].ready || end->arrival[slot].sequence != (uint32_t)w->expected) continue;
    end->early--;
    return found(w, slot);
  }
  return -1;
}

/* Fills the slot's line by the head of its first message. */
static void begin(rfaas_worker *w, const rfaas_ofi_head *head, rfaas_ofi_arrival *arrival) {
  rfaas_request *line = &w->slots[head->slot].request;
  line->input_offset = head->request.input_offset;
  line->input_length = head->bytes;
  line->output_offset = head->request.output_offset;
  line->output_capacity = head->request.output_capacity;
  line->function = head->request.function;
  line->deadline_ms = head->request.deadline_ms;
  line->sequence = head->sequence;
  line->fabric = head->request.fabric;
  memset(line->payload, 0, sizeof line->payload);
  arrival->headed = 1;
  arrival->sequence = head->sequence;
  arrival->landed = 0;
}

static void take_request(rfaas_worker *w, const uint8_t *message, uint32_t bytes) {
  rfaas_ofi_end *end = w->end;
  rfaas_ofi_head head;
  if (bytes < sizeof head) return;
  memcpy(&head, message, sizeof head);
  if (head.token != end->token || head.kind == RFAAS_OFI_HELLO) return;
  uint32_t slot = head.slot, said = sizeof head + (head.request.function & RFAAS_OUTPUT_OWN ? sizeof(rfaas_ofi_place) : 0);
  /* As many calls as there are slots may be in flight, each in a slot of its own. */
  if (head.kind != RFAAS_OFI_REQUEST || slot > w->mask || bytes < said || head.sequence - (uint32_t)w->expected > w->mask ||
      w->slot[slot].active || end->arrival[slot].ready || (end->found_at == w->expected && end->found_slot == slot))
    return hostile(w);
  rfaas_ofi_arrival *arrival = &end->arrival[slot];
  if (!arrival->headed) begin(w, &head, arrival);
  /* By the head alone: the client may write to the slot's line whenever it likes. */
  int in_line = (head.request.function & RFAAS_INPUT_INLINE) != 0;
  uint32_t part = bytes - said;
  if (head.sequence != arrival->sequence || (uint64_t)head.at + part > head.bytes ||
      (in_line ? head.bytes > RFAAS_INLINE_INPUT : (uint64_t)head.request.input_offset + head.bytes > w->arena_bytes))
    return hostile(w);
  if (head.request.function & RFAAS_OUTPUT_OWN) memcpy(&arrival->place, message + sizeof head, sizeof arrival->place);
  uint8_t *place = in_line ? w->slots[slot].request.payload : w->arena + head.request.input_offset;
  if (part == 8) memcpy(place + head.at, message + said, 8);
  else memcpy(place + head.at, message + said, part);
  arrival->landed += part;
  if (head.flags & RFAAS_OFI_WRITTEN ? rfaas_ofi_is_written(arrival, slot) : arrival->landed >= head.bytes) complete(w, slot);
}

static int32_t worker_poll(rfaas_worker *w) {
  rfaas_ofi_end *end = w->end;
  if (end->found_at == w->expected) return (int32_t)end->found_slot;
  if (!__atomic_load_n(&end->connected, __ATOMIC_ACQUIRE)) return -1;
  if (__builtin_expect(end->early, 0)) {
    int32_t slot = early_one(w);
    if (slot >= 0) return slot;
  }
  rfaas_ofi_seen seen;
  while (rfaas_ofi_next(end, &seen)) {
    if (seen.work) {
      take_request(w, seen.work->memory, seen.bytes);
      rfaas_ofi_receive_again(end, seen.work);
    } else {
      uint32_t slot = seen.data & RFAAS_OFI_SLOT;
      if (slot > w->mask) {
        hostile(w);
        return -1;
      }
      rfaas_ofi_arrival *arrival = &end->arrival[slot];
      arrival->written = RFAAS_OFI_HAS_COME | seen.data;
      if (arrival->headed && !arrival->ready && rfaas_ofi_is_written(arrival, slot)) complete(w, slot);
    }
    if (end->found_at == w->expected) return (int32_t)end->found_slot;
  }
  return -1;
}

static int32_t worker_spin(rfaas_worker *w) {
  for (int spins = 0; spins < RFAAS_OFI_SPINS; spins++) {
    int32_t slot = worker_poll(w);
    if (slot >= 0) return slot;
  }
  return -1;
}

static void worker_post(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  const rfaas_request *request = &w->slot[slot].request;
  rfaas_ofi_end *end = w->end;
  rfaas_ofi_outgoing out;
  out.head = (rfaas_ofi_head){.kind = RFAAS_OFI_RESPONSE,
                              .slot = (uint16_t)slot,
                              .sequence = request->sequence,
                              .response = {.status = status, .length = length}};
  out.said_bytes = sizeof out.head;
  const uint8_t *from = w->arena + request->output_offset;
  end->arrival[slot].written = 0;
  uint32_t bytes = 0;
  /* Too long an answer is not sent: the client sees by its length that it is none. */
  if (status == RFAAS_OK) bytes = length <= request->output_capacity ? length : 0;
  else if (status == RFAAS_FUNCTION_ERROR) {
    from = rfaas_errors_of(w->page, w->mask + 1) + slot * RFAAS_ERROR_BYTES;
    bytes = length < RFAAS_ERROR_BYTES ? length : RFAAS_ERROR_BYTES;
  }
  rfaas_ofi_place to = {.address = rfaas_ofi_remote(end, from), .key = end->remote_key};
  if (__builtin_expect(status == RFAAS_OK && (request->function & RFAAS_OUTPUT_OWN), 0)) to = end->arrival[slot].place;
  if (__builtin_expect(request->function & RFAAS_TIMED, 0)) {
    out.head.flags = RFAAS_OFI_TIMES;
    memcpy(out.said + out.said_bytes, &w->slots[slot].timing, sizeof(rfaas_timing));
    out.said_bytes += (uint32_t)sizeof(rfaas_timing);
  }
  rfaas_ofi_send_payload(end, &out, from, bytes, end->description, to);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  if (worker_poll(w) >= 0 || __atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) return 0;
  return rfaas_ofi_sleep(w->end, ns);
}

static void worker_park(rfaas_worker *w) { rfaas_ofi_park(w->end); }
static void worker_unpark(rfaas_worker *w) { rfaas_ofi_unpark(w->end); }

static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  return rfaas_far_clock_left(&((rfaas_ofi_end *)w->end)->clock, request);
}

static void worker_publish_end(rfaas_worker *w) {
  rfaas_ofi_end *end = w->end;
  if (!__atomic_load_n(&end->connected, __ATOMIC_ACQUIRE)) return;
  rfaas_ofi_outgoing out = {.head = {.kind = RFAAS_OFI_ENDED,
                                     .response = {.status = (int32_t)w->page->ended, .length = (uint32_t)w->page->detail}},
                            .said_bytes = sizeof(rfaas_ofi_head)};
  rfaas_ofi_send(end, &out);
}

static void worker_rouse(rfaas_worker *w, int32_t loop_fd) {
  const rfaas_ofi_end *end = w->end;
  uint64_t one = 1;
  (void)!write(end->wake_fd, &one, sizeof one);
  rfaas_notify(loop_fd);
}

const rfaas_worker_ops rfaas_ofi_worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, worker_publish_end, worker_rouse};

#endif
