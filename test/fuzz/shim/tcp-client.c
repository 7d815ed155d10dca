/* A hostile node, over tcp: its welcome, and what it answers on a channel and on the side way. */
#include "connection.h"

static lease l;
static rfaas_tcp_link *lane;

static void welcomed(bytes *b, int encrypts) {
  int32_t own;
  int peer = connect_pair(&own);
  lane->encrypts = (uint32_t)(encrypts && rfaas_tls_identify(lane->nonce, lane->id) == 0);
  lane->newcomer[0] = (rfaas_tcp_newcomer){.fd = own, .deadline_ns = 1};
  for (int i = 0; i < 16; i++) {
    if (lane->newcomer[0].fd >= 0) rfaas_tcp_hear_newcomer(lane, &lane->newcomer[0]);
    if (i == 0 && next(b) & 1) {
      rfaas_tcp_welcome welcome = {.magic = RFAAS_TCP_MAGIC, .version = RFAAS_TCP_WIRE_VERSION};
      (void)!send(peer, &welcome, sizeof welcome, MSG_NOSIGNAL);
    }
    if (b->left == 0) break;
    say(peer, b, next(b));
  }
  close(peer);
  if (lane->newcomer[0].fd >= 0) rfaas_tcp_hear_newcomer(lane, &lane->newcomer[0]);
  MUST(lane->connected <= 1);
}

static void frame(int peer, bytes *b, rfaas_tcp_frame sound) {
  uint32_t at = next(b) % sizeof sound, words = next(b) % 12;
  take(b, (uint8_t *)&sound + at, words < sizeof sound - at ? words : sizeof sound - at);
  (void)!send(peer, &sound, sizeof sound, MSG_NOSIGNAL);
}

static void answered(bytes *b) {
  int peer = connect_pair(&lane->end[0].fd), aside = connect_pair(&lane->end[1].fd);
  rfaas_client *c = (rfaas_client *)(uintptr_t)rfaas_client_open(l.region, 0, -1, -1, &lane->base);
  for (int ops = 0; b->left > 0 && ops < 64; ops++) {
    uint8_t op = next(b);
    uint32_t slot = op >> 4 & (SLOTS - 1), length = next(b) % 100;
    int32_t ended[2 * SLOTS];
    switch (op % 8) {
      case 0:
      case 1: rfaas_post(c, op & 128 ? RFAAS_TIMED : 0, next(b), length, 512 + next(b), next(b), 0); break;
      case 2:
      case 3:
        frame(peer, b,
              (rfaas_tcp_frame){.kind = op & 128 ? RFAAS_TCP_TIMING : RFAAS_TCP_RESPONSE,
                                .slot = (uint16_t)slot,
                                .sequence = (uint32_t)c->slot[slot].sequence,
                                .bytes = op & 128 ? sizeof(rfaas_timing) : length,
                                .response = {.status = op & 8 ? RFAAS_FUNCTION_ERROR : RFAAS_OK, .length = length}});
        say(peer, b, op & 128 ? sizeof(rfaas_timing) : length);
        break;
      case 4: say(peer, b, length); break;
      case 5:
        if (c->slot[slot].credit == RFAAS_IN_FLIGHT) {
          uint32_t capacity = c->slot[slot].output_capacity;
          int32_t result = rfaas_test(c, slot);
          MUST(result <= (int32_t)capacity && result >= RFAAS_NOT_BEGUN);
        }
        break;
      case 6:
        MUST(rfaas_harvest(c, slot, 4, ended) <= SLOTS);
        break;
      default:
        rfaas_abandon(c, slot);
        rfaas_held(c, slot, rfaas_slot_sequence(c, slot));
        rfaas_client_park(c);
        frame(peer, b, (rfaas_tcp_frame){.kind = RFAAS_TCP_ENDED, .response = {.status = next(b), .length = 9}});
    }
    MUST(c->in_flight <= SLOTS && c->abandoned <= c->in_flight);
  }
  close(peer);
  close(aside);
  rfaas_client_close(c);
}

static void answered_aside(bytes *b) {
  int peer = connect_pair(&lane->end[0].fd), aside = connect_pair(&lane->end[1].fd);
  rfaas_client *c = (rfaas_client *)(uintptr_t)rfaas_client_open(l.region, 0, -1, -1, &lane->base);
  uint32_t operation = next(b) % 4, length = operation < 2 ? next(b) : 8;
  uint64_t words[3] = {1, 2, 3};
  frame(aside, b, (rfaas_tcp_frame){.kind = RFAAS_TCP_DONE, .bytes = operation == RFAAS_READ ? length : 0});
  say(aside, b, 256);
  /* It says no more, so that the client need not wait. */
  shutdown(aside, SHUT_WR);
  int32_t status = rfaas_remote(c, operation, next(b) * 8u % ARENA, next(b) * 8u % ARENA, length, words);
  MUST(status == RFAAS_OK || status == RFAAS_WORKER_LOST || status == RFAAS_BAD_REQUEST);
  close(peer);
  close(aside);
  rfaas_client_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!lane) {
    l = new_lease(RFAAS_WARM);
    lane = new_link(l.region, 0);
  }
  begin_again(&l);
  reset_link(lane);
  bytes b = {data, size};
  switch (next(&b) % 4) {
    case 0: welcomed(&b, 0); break;
    case 1: welcomed(&b, 1); break;
    case 2: answered(&b); break;
    default: answered_aside(&b);
  }
  return 0;
}
