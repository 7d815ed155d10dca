/* A hostile client, who writes any words of the lease's memory between the worker's looks. */
#include "lease.h"

static lease l;

/* Anywhere in the pages of words and the ring, where the two sides speak to each other. */
static void scribble(bytes *b) {
  size_t span = sizeof(rfaas_lease_page) + sizeof(rfaas_channel_page) + SLOTS * sizeof(rfaas_slot);
  uint32_t at = next32(b) % span;
  /* The header is read when the region is mapped, and by no one after that. */
  take(b, (uint8_t *)l.theirs + at, next(b) % 64 < span - at ? next(b) % 64 : span - at);
}

static int32_t turn(rfaas_worker *w, int32_t held, bytes *b) {
  int32_t slot = rfaas_worker_turn(w, held, held >= 0 ? next(b) : 0, 1);
  if (slot >= 0) run_function(w, (uint32_t)slot);
  return slot >= 0 ? slot : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!l.region) l = new_lease(RFAAS_WARM);
  begin_again(&l);
  rfaas_worker *w = (rfaas_worker *)(uintptr_t)rfaas_worker_open(l.region, 0, -1, NULL);
  rfaas_worker_functions(w, 4, 3);
  rfaas_slot *slots = rfaas_slots_of(rfaas_channel_at(l.theirs, 0, SLOTS));
  rfaas_channel_page *page = rfaas_channel_at(l.theirs, 0, SLOTS);
  bytes b = {data, size};
  int32_t held = -1;
  double active[SLOTS];
  for (int ops = 0; b.left > 0 && ops < 200; ops++) {
    uint8_t op = next(&b);
    rfaas_request *line = &slots[op >> 4 & (SLOTS - 1)].request;
    switch (op % 12) {
      case 0:
      case 1: take(&b, line, RFAAS_LINE - sizeof line->word); /* then it looks like the next call: */ /* fall through */
      case 2: line->word = w->expected; break;
      case 3: {
        /* A call as a client of ours makes it. */
        uint32_t length = next(&b) % 96;
        *line = (rfaas_request){.input_offset = next(&b), .input_length = length, .output_offset = 512, .output_capacity = next(&b)};
        line->function = next(&b) % 5 | (length <= RFAAS_INLINE_INPUT ? RFAAS_INPUT_INLINE : 0) |
                         (line->output_capacity <= RFAAS_INLINE_OUTPUT ? RFAAS_OUTPUT_INLINE : 0) | (op & 16 ? RFAAS_TIMED : 0);
        line->deadline_ms = op & 32 ? next32(&b) : 0;
        line->word = w->expected;
        break;
      }
      case 4: scribble(&b); break;
      case 5: page->skipped = next(&b); break;
      case 6: l.theirs->handed_out = next(&b) ? (uint64_t)next32(&b) << (op & 31) : next32(&b); break;
      case 7:
        if (held >= 0) rfaas_worker_defer(w, (uint32_t)held); /* it goes on as a promise */
        held = turn(w, -1, &b);
        break;
      case 8: held = turn(w, held, &b); break;
      case 9: {
        uint32_t slot = next(&b) & (SLOTS - 1);
        if (!w->slot[slot].active) break;
        if (held == (int32_t)slot) held = -1;
        rfaas_worker_remaining(w, slot);
        rfaas_worker_answer(w, slot, -(int32_t)(next(&b) % 8), next32(&b));
        break;
      }
      case 10:
        rfaas_worker_park(w);
        rfaas_worker_unpark(w);
        MUST(rfaas_worker_active(w, active) <= SLOTS);
        break;
      default:
        if (op & 128) rfaas_worker_close(w, -1);
        else rfaas_worker_lose(w, next(&b), op);
    }
  }
  rfaas_worker_abort_calls(w);
  MUST(rfaas_worker_active(w, active) == 0);
  free(w);
  return 0;
}
