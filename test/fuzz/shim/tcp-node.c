/* A hostile client of a node, over tcp: what it says at the door, in the handshake of TLS, on a channel and on the side way. */
#include "connection.h"

static lease l;
static rfaas_tcp_link *lane;

static void at_the_door(bytes *b, int encrypts) {
  int32_t own;
  int peer = connect_pair(&own);
  rfaas_tcp_greeting greeting = {.magic = RFAAS_TCP_MAGIC,
                                 .version = RFAAS_TCP_WIRE_VERSION,
                                 .channel = next(b) % 4,
                                 .total_bytes = l.region->mapped_bytes,
                                 .slots = SLOTS,
                                 .encrypted = (uint8_t)(encrypts ^ (next(b) == 255))};
  lane->encrypts = (uint32_t)encrypts;
  if (encrypts && rfaas_tls_identify(lane->nonce, lane->id) != 0) lane->encrypts = 0;
  memcpy(greeting.nonce, encrypts ? lane->id : lane->nonce, sizeof greeting.nonce);
  /* The client's own words over a greeting that would be taken. */
  uint32_t at = next(b) % (sizeof greeting + 1), words = next(b) % 24;
  take(b, (uint8_t *)&greeting + at, words < sizeof greeting - at ? words : sizeof greeting - at);
  uint32_t said = next(b) % (sizeof greeting + 1);
  rfaas_tcp_let_in(lane, own, (const uint8_t *)&greeting, said);
  (void)!send(peer, (uint8_t *)&greeting + said, sizeof greeting - said, MSG_NOSIGNAL);
  for (int i = 0; i < 16; i++) {
    for (uint32_t n = 0; n < NEWCOMERS; n++)
      if (lane->newcomer[n].deadline_ns) rfaas_tcp_hear_newcomer(lane, &lane->newcomer[n]);
    if (b->left == 0) break;
    say(peer, b, next(b));
  }
  close(peer);
  for (uint32_t n = 0; n < NEWCOMERS; n++)
    if (lane->newcomer[n].deadline_ns) rfaas_tcp_hear_newcomer(lane, &lane->newcomer[n]);
  MUST(lane->connected <= 2);
}

/* A frame that would be taken, with the client's own words over it. */
static void frame(int peer, bytes *b, rfaas_tcp_frame sound) {
  uint32_t at = next(b) % sizeof sound, words = next(b) % 12;
  take(b, (uint8_t *)&sound + at, words < sizeof sound - at ? words : sizeof sound - at);
  (void)!send(peer, &sound, sizeof sound, MSG_NOSIGNAL);
}

static void on_a_channel(bytes *b) {
  int peer = connect_pair(&lane->end[0].fd);
  rfaas_worker *w = (rfaas_worker *)(uintptr_t)rfaas_worker_open(l.region, 0, -1, &lane->base);
  rfaas_worker_functions(w, 4, 3);
  int32_t held = -1;
  for (int ops = 0; b->left > 0 && ops < 64; ops++) {
    uint8_t op = next(b);
    switch (op % 6) {
      case 0:
      case 1: {
        uint32_t length = next(b) % 100, slot = op >> 4 & (SLOTS - 1);
        frame(peer, b,
              (rfaas_tcp_frame){.kind = RFAAS_TCP_REQUEST,
                                .slot = (uint16_t)slot,
                                .sequence = (uint32_t)w->expected,
                                .bytes = length,
                                .request = {.input_offset = next(b),
                                            .output_offset = 512,
                                            .output_capacity = next(b),
                                            .function = next(b) % 5 | (op & 8 ? RFAAS_INPUT_INLINE : 0) | (op & 128 ? RFAAS_TIMED : 0),
                                            .deadline_ms = op & 64 ? next32(b) : 0,
                                            .fabric = slot | (uint32_t)next(b) << RFAAS_LEFT_SHIFT}});
        say(peer, b, length);
        break;
      }
      case 2: say(peer, b, next(b)); break;
      case 3:
        held = rfaas_worker_turn(w, held, held >= 0 ? next(b) : 0, 1);
        if (held >= 0) run_function(w, (uint32_t)held);
        break;
      case 4:
        if (held >= 0) rfaas_worker_answer(w, (uint32_t)held, -(int32_t)(op % 5), next32(b));
        held = -1;
        break;
      default:
        if (held >= 0) rfaas_worker_defer(w, (uint32_t)held);
        held = -1;
        rfaas_worker_park(w);
        rfaas_tcp_let_go(&lane->end[0]);
    }
  }
  rfaas_worker_lose(w, 3, 11);
  close(peer);
  rfaas_worker_turn(w, -1, 0, 1);
  free(w);
}

static void on_the_side_way(bytes *b) {
  int peer = connect_pair(&lane->end[1].fd);
  for (int ops = 0; b->left > 0 && ops < 64; ops++) {
    uint8_t op = next(b);
    if (op & 1) {
      uint32_t kind = RFAAS_TCP_READ + (op >> 1) % 6, length = next(b);
      frame(peer, b,
            (rfaas_tcp_frame){.kind = (uint16_t)kind,
                              .bytes = kind == RFAAS_TCP_WRITE ? length : 0,
                              .one_sided = {.offset = next(b) * 8u, .length = kind == RFAAS_TCP_READ ? length : 0}});
      if (kind == RFAAS_TCP_WRITE) say(peer, b, length);
    } else say(peer, b, next(b));
    rfaas_tcp_serve(&lane->end[1], l.region);
  }
  close(peer);
  rfaas_tcp_serve(&lane->end[1], l.region);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!lane) {
    l = new_lease(RFAAS_WARM);
    lane = new_link(l.region, 1);
  }
  begin_again(&l);
  reset_link(lane);
  bytes b = {data, size};
  switch (next(&b) % 4) {
    case 0: at_the_door(&b, 0); break;
    case 1: at_the_door(&b, 1); break;
    case 2: on_a_channel(&b); break;
    default: on_the_side_way(&b);
  }
  return 0;
}
