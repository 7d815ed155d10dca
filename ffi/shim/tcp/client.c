/* The client's end of a channel over tcp: a request and its input are one message. Hot, but for what waits and `lost`. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>

#include "link.h"

/* The program's own memory where the call uses it, else the arena. */
static uint8_t *memory_of(const rfaas_client *c, uint32_t own, uint32_t offset, uint32_t bytes) {
  if (__builtin_expect(!own, 1)) return c->arena + offset;
  const rfaas_registration *r = rfaas_registered(c->region, offset, bytes);
  return r ? r->memory + (offset - r->offset) : NULL;
}

static void client_post(rfaas_client *c, uint32_t slot, rfaas_request *request) {
  int in_line = (request->function & RFAAS_INPUT_INLINE) != 0;
  struct {
    rfaas_tcp_frame frame;
    uint8_t input[RFAAS_INLINE_INPUT];
  } head;
  head.frame = (rfaas_tcp_frame){.kind = RFAAS_TCP_REQUEST,
                                 .slot = (uint16_t)slot,
                                 .sequence = request->sequence,
                                 .bytes = request->input_length,
                                 .request = {.input_offset = request->input_offset,
                                             .output_offset = request->output_offset,
                                             .output_capacity = request->output_capacity,
                                             .function = request->function,
                                             .deadline_ms = request->deadline_ms,
                                             .fabric = slot | rfaas_left_to_say(request, c->epoch_ns) << RFAAS_LEFT_SHIFT}};
  if (in_line) {
    memcpy(head.input, request->payload, sizeof head.input);
    rfaas_tcp_send(c->end, &head, (uint32_t)sizeof head.frame + request->input_length, NULL, 0, c->in_flight > 1);
  } else {
    const uint8_t *input = memory_of(c, request->function & RFAAS_INPUT_OWN, request->input_offset, request->input_length);
    rfaas_tcp_send(c->end, &head, sizeof head.frame, input, request->input_length, c->in_flight > 1);
  }
}

__attribute__((cold)) static int hostile(rfaas_client *c) {
  rfaas_tcp_cut_off(c->end);
  c->broken = 1;
  return 0;
}

/* Where the payload of the frame belongs; NULL where no such frame may come. */
static uint8_t *place_of(rfaas_client *c, const rfaas_tcp_frame *frame) {
  uint32_t slot = frame->slot, kind = frame->kind;
  if (kind == RFAAS_TCP_ENDED) return frame->bytes == 0 ? (uint8_t *)c->page : NULL;
  const rfaas_client_slot *local = &c->slot[slot & c->mask];
  if (slot > c->mask || local->credit == RFAAS_FREE || (uint32_t)local->sequence != frame->sequence) return NULL;
  if (kind == RFAAS_TCP_TIMING) return frame->bytes == sizeof(rfaas_timing) ? (uint8_t *)&c->slots[slot].timing : NULL;
  if (kind != RFAAS_TCP_RESPONSE) return NULL;
  if (frame->response.status == RFAAS_OK)
    return frame->bytes <= local->output_capacity
               ? memory_of(c, local->function & RFAAS_OUTPUT_OWN, local->output_offset, local->output_capacity)
               : NULL;
  return frame->bytes <= RFAAS_ERROR_BYTES ? rfaas_errors_of(c->page, c->mask + 1) + slot * RFAAS_ERROR_BYTES : NULL;
}

/* Puts the next response into the response line of this side, where the client looks for it. Returns 0 when there is none. */
static int take_response(rfaas_client *c) {
  rfaas_tcp_end *end = c->end;
  while (rfaas_tcp_begun(end)) {
    const rfaas_tcp_frame *frame = &end->frame;
    if (!end->place && !(end->place = place_of(c, frame))) return hostile(c);
    if (!rfaas_tcp_land(end)) break;
    if (frame->kind == RFAAS_TCP_ENDED) {
      c->page->detail = (int32_t)frame->response.length;
      __atomic_store_n(&c->page->ended, (uint32_t)frame->response.status, __ATOMIC_RELEASE);
    } else if (frame->kind == RFAAS_TCP_RESPONSE) {
      rfaas_response *response = &c->slots[frame->slot].response;
      response->status = frame->response.status;
      response->length = frame->response.length;
      response->sequence = c->slot[frame->slot].sequence;
      return 1;
    }
  }
  if (__builtin_expect(__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE), 0) && !c->broken) {
    /* The link's thread may have seen the end come, and answers before it, after this looked. */
    c->broken = 1;
    return take_response(c);
  }
  return 0;
}

static inline const rfaas_response *client_poll(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = &c->slots[slot].response;
  uint64_t sequence = c->slot[slot].sequence;
  while (response->sequence != sequence)
    if (!take_response(c)) return NULL;
  return response;
}

static const rfaas_response *client_spin(rfaas_client *c, uint32_t slot) {
  for (int spins = 0; spins < RFAAS_TCP_SPINS; spins++) {
    const rfaas_response *response = client_poll(c, slot);
    if (response) return response;
  }
  return NULL;
}

static int client_wait(rfaas_client *c, uint32_t slot, uint64_t ns) {
  return client_poll(c, slot) || c->broken ? 0 : rfaas_tcp_sleep(c->end, ns);
}

static void client_park(rfaas_client *c) { rfaas_tcp_park(c->end); }
static void client_unpark(rfaas_client *c) { (void)c; }

static int client_lost(rfaas_client *c) {
  rfaas_tcp_end *end = c->end, *side = rfaas_tcp_side(end->link);
  while (take_response(c));
  if (!c->broken && c->in_flight) rfaas_tcp_beat(side);
  if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE) || __atomic_load_n(&side->failure, __ATOMIC_ACQUIRE)) c->broken = 1;
  return (int)c->broken;
}

const rfaas_client_ops rfaas_tcp_client_ops = {client_post, client_poll,   client_spin, client_wait,
                                               client_park, client_unpark, client_lost, rfaas_tcp_one_sided};
