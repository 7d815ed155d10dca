/* A hostile worker, who writes any words of the lease's memory between the client's looks. */
#include "lease.h"

static lease l;

static void sound(int32_t result, uint32_t capacity) {
  MUST(result <= (int32_t)capacity);
  MUST(result >= RFAAS_NOT_BEGUN);
}

static void must_count(const rfaas_client *c) {
  uint32_t busy = 0, abandoned = 0;
  for (uint32_t i = 0; i < SLOTS; i++) {
    busy += c->slot[i].credit != RFAAS_FREE;
    abandoned += c->slot[i].credit == RFAAS_ABANDONED;
  }
  MUST(busy == c->in_flight && abandoned == c->abandoned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!l.region) l = new_lease(RFAAS_WARM);
  begin_again(&l);
  rfaas_client *c = (rfaas_client *)(uintptr_t)rfaas_client_open(l.region, 0, -1, -1, NULL);
  rfaas_slot *slots = rfaas_slots_of(rfaas_channel_at(l.theirs, 0, SLOTS));
  bytes b = {data, size};
  for (int ops = 0; b.left > 0 && ops < 200; ops++) {
    uint8_t op = next(&b);
    uint32_t slot = op >> 4 & (SLOTS - 1);
    rfaas_response *line = &slots[slot].response;
    double times[4];
    uint64_t words[3] = {1, 2, 3};
    switch (op % 12) {
      case 0: /* fall through */
      case 1: {
        uint32_t input = next32(&b) % (2 * ARENA), length = next(&b), output = next(&b) * 4u, capacity = next(&b);
        int32_t posted = rfaas_post(c, op & 16 ? RFAAS_TIMED : 0, input, length, output, capacity, op & 32 ? next(&b) : 0);
        MUST(posted < SLOTS);
        break;
      }
      case 2: take(&b, line, RFAAS_LINE - sizeof line->sequence); /* fall through */
      case 3: line->sequence = c->slot[slot].sequence; break;
      case 4: line->sequence = next32(&b); break;
      case 5: {
        size_t span = sizeof(rfaas_lease_page) + sizeof(rfaas_channel_page) + SLOTS * sizeof(rfaas_slot);
        uint32_t at = next32(&b) % (uint32_t)(span - 64);
        take(&b, (uint8_t *)l.theirs + at, next(&b) % 64);
        break;
      }
      case 6:
        if (c->slot[slot].credit == RFAAS_IN_FLIGHT) {
          uint32_t capacity = c->slot[slot].output_capacity;
          sound(rfaas_test(c, slot), capacity);
          MUST(rfaas_error_length(c, slot) <= RFAAS_ERROR_BYTES);
        }
        break;
      case 7: {
        int32_t ended[2 * SLOTS];
        int32_t count = rfaas_harvest(c, slot, 1 + next(&b) % SLOTS, ended);
        MUST(count <= SLOTS);
        for (int32_t i = 0; i < count; i++) sound(ended[2 * i + 1], c->slot[ended[2 * i]].output_capacity);
        break;
      }
      case 8: rfaas_abandon(c, slot); break;
      case 9: rfaas_held(c, slot, rfaas_slot_sequence(c, slot)); break;
      case 10: {
        rfaas_posting table[3];
        int32_t posted[3];
        for (int i = 0; i < 3; i++) table[i] = (rfaas_posting){next(&b), next(&b) * 4u, next(&b), next(&b) * 4u, next(&b)};
        MUST(rfaas_post_many(c, table, 0, 3, 0, posted) <= 3);
        break;
      }
      default:
        rfaas_timings(c, slot, times);
        rfaas_remote(c, next(&b) % 5, next32(&b) % (2 * ARENA), next32(&b) % (2 * ARENA), op & 16 ? 8 : next(&b), words);
        rfaas_rouse(c);
        rfaas_client_park(c);
        rfaas_client_unpark(c);
    }
    must_count(c);
  }
  rfaas_client_close(c);
  return 0;
}
