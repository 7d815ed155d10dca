/* The client's end of a channel over ofi: a request and a small input are one message, a larger input is written apart. Hot, but for what
 * waits and `lost`. */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_OFI
#include <string.h>

__attribute__((noinline)) static const uint8_t *use_own_input(rfaas_client *c, const rfaas_request *request, void **description) {
  const rfaas_registration *r = rfaas_registered(c->region, request->input_offset, request->input_length);
  *description = rfaas_ofi_own_description(c->end, r->read);
  return r->memory + (request->input_offset - r->offset);
}

__attribute__((noinline)) static void say_own_output(rfaas_client *c, const rfaas_request *request, rfaas_ofi_outgoing *out) {
  const rfaas_registration *r = rfaas_registered(c->region, request->output_offset, request->output_capacity);
  rfaas_ofi_place place = rfaas_ofi_own_place(c->end, r, request->output_offset - r->offset);
  memcpy(out->said + out->said_bytes, &place, sizeof place);
  out->said_bytes += (uint32_t)sizeof place;
}

static void client_post(rfaas_client *c, uint32_t slot, rfaas_request *request) {
  rfaas_ofi_end *end = c->end;
  rfaas_ofi_outgoing out;
  out.head = (rfaas_ofi_head){.kind = RFAAS_OFI_REQUEST,
                              .slot = (uint16_t)slot,
                              .sequence = request->sequence,
                              .request = {.input_offset = request->input_offset,
                                          .output_offset = request->output_offset,
                                          .output_capacity = request->output_capacity,
                                          .function = request->function,
                                          .deadline_ms = request->deadline_ms,
                                          .fabric = slot | rfaas_left_to_say(request, c->epoch_ns) << RFAAS_LEFT_SHIFT}};
  out.said_bytes = sizeof out.head;
  end->owner = c;
  end->arrival[slot].headed = 0;
  end->arrival[slot].written = 0;
  const uint8_t *input = request->function & RFAAS_INPUT_INLINE ? request->payload : c->arena + request->input_offset;
  void *description = end->description;
  if (__builtin_expect(request->function & (RFAAS_INPUT_OWN | RFAAS_OUTPUT_OWN), 0)) {
    if (request->function & RFAAS_INPUT_OWN) input = use_own_input(c, request, &description);
    if (request->function & RFAAS_OUTPUT_OWN) say_own_output(c, request, &out);
  }
  rfaas_ofi_place to = {.address = rfaas_ofi_remote(end, c->arena + request->input_offset), .key = end->remote_key};
  rfaas_ofi_send_payload(end, &out, input, request->input_length, description, to);
}

__attribute__((cold)) static int hostile(rfaas_client *c) {
  rfaas_ofi_fail(c->end, RFAAS_OFI_PROTOCOL, 0, 0);
  c->broken = 1;
  return 0;
}

/* Where the payload of a response belongs, NULL where it may not be so long. */
static uint8_t *place_of(rfaas_client *c, const rfaas_ofi_head *head) {
  const rfaas_client_slot *local = &c->slot[head->slot];
  if (head->response.status != RFAAS_OK)
    return head->bytes <= RFAAS_ERROR_BYTES ? rfaas_errors_of(c->page, c->mask + 1) + head->slot * RFAAS_ERROR_BYTES : NULL;
  if (head->bytes > local->output_capacity) return NULL;
  if (__builtin_expect(!(local->function & RFAAS_OUTPUT_OWN), 1)) return c->arena + local->output_offset;
  const rfaas_registration *r = rfaas_registered(c->region, local->output_offset, local->output_capacity);
  return r ? r->memory + (local->output_offset - r->offset) : NULL;
}

/* The whole response is there: the client finds it in the response line of this side. */
static inline void complete(rfaas_client *c, uint32_t slot) {
  rfaas_ofi_arrival *arrival = &((rfaas_ofi_end *)c->end)->arrival[slot];
  arrival->headed = 0;
  c->slots[slot].response.sequence = c->slot[slot].sequence;
}

static int take_response(rfaas_client *c, const uint8_t *message, uint32_t bytes) {
  rfaas_ofi_end *end = c->end;
  rfaas_ofi_head head;
  if (bytes < sizeof head) return 1;
  memcpy(&head, message, sizeof head);
  if (head.token != end->token) return 1;
  if (head.kind == RFAAS_OFI_ENDED) {
    c->page->detail = (int32_t)head.response.length;
    __atomic_store_n(&c->page->ended, (uint32_t)head.response.status, __ATOMIC_RELEASE);
    return 1;
  }
  if (head.kind == RFAAS_OFI_HELLO) return 1;
  uint32_t slot = head.slot, said = sizeof head + (head.flags & RFAAS_OFI_TIMES ? sizeof(rfaas_timing) : 0);
  if (head.kind != RFAAS_OFI_RESPONSE || slot > c->mask || bytes < said || c->slot[slot].credit == RFAAS_FREE ||
      (uint32_t)c->slot[slot].sequence != head.sequence || c->slots[slot].response.sequence == c->slot[slot].sequence)
    return hostile(c);
  uint8_t *place = place_of(c, &head);
  uint32_t part = bytes - said;
  if (!place || (uint64_t)head.at + part > head.bytes) return hostile(c);
  if (head.flags & RFAAS_OFI_TIMES) memcpy(&c->slots[slot].timing, message + sizeof head, sizeof(rfaas_timing));
  if (part == 8) memcpy(place + head.at, message + said, 8);
  else memcpy(place + head.at, message + said, part);
  rfaas_ofi_arrival *arrival = &end->arrival[slot];
  if (!arrival->headed) {
    arrival->headed = 1;
    arrival->sequence = head.sequence;
    arrival->landed = 0;
    c->slots[slot].response.status = head.response.status;
    c->slots[slot].response.length = head.response.length;
  }
  arrival->landed += part;
  if (head.flags & RFAAS_OFI_WRITTEN ? rfaas_ofi_is_written(arrival, slot) : arrival->landed >= head.bytes) complete(c, slot);
  return 1;
}

/* Takes the next message, or the next completed write. Returns 0 when there is none. */
static inline int take_next(rfaas_client *c) {
  rfaas_ofi_end *end = c->end;
  rfaas_ofi_seen seen;
  if (!rfaas_ofi_next(end, &seen)) {
    if (__builtin_expect(__atomic_load_n(&end->failure, __ATOMIC_RELAXED), 0)) c->broken = 1;
    return 0;
  }
  if (seen.work) {
    int sound = take_response(c, seen.work->memory, seen.bytes);
    rfaas_ofi_receive_again(end, seen.work);
    return sound;
  }
  uint32_t slot = seen.data & RFAAS_OFI_SLOT;
  if (slot > c->mask) return hostile(c);
  rfaas_ofi_arrival *arrival = &end->arrival[slot];
  arrival->written = RFAAS_OFI_HAS_COME | seen.data;
  if (arrival->headed && rfaas_ofi_is_written(arrival, slot)) complete(c, slot);
  return 1;
}

void rfaas_ofi_client_look(rfaas_ofi_end *end) {
  while (take_next(end->owner));
}

static inline const rfaas_response *client_poll(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = &c->slots[slot].response;
  uint64_t sequence = c->slot[slot].sequence;
  while (__atomic_load_n(&response->sequence, __ATOMIC_RELAXED) != sequence)
    if (!take_next(c)) return NULL;
  __asm__ volatile("" ::: "memory"); /* the provider may have written the payload */
  return response;
}

static const rfaas_response *client_spin(rfaas_client *c, uint32_t slot) {
  for (int spins = 0; spins < RFAAS_OFI_SPINS; spins++) {
    const rfaas_response *response = client_poll(c, slot);
    if (response) return response;
  }
  return NULL;
}

static int client_wait(rfaas_client *c, uint32_t slot, uint64_t ns) {
  return client_poll(c, slot) || c->broken ? 0 : rfaas_ofi_sleep(c->end, ns);
}

static void client_park(rfaas_client *c) { rfaas_ofi_park(c->end); }
static void client_unpark(rfaas_client *c) { rfaas_ofi_unpark(c->end); }

static int client_lost(rfaas_client *c) {
  rfaas_ofi_end *end = c->end;
  while (take_next(c));
  if (!c->broken && c->in_flight) rfaas_ofi_beat(end->link);
  if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) c->broken = 1;
  return (int)c->broken;
}

const rfaas_client_ops rfaas_ofi_client_ops = {client_post, client_poll,   client_spin, client_wait,
                                               client_park, client_unpark, client_lost, rfaas_ofi_one_sided};

#endif
