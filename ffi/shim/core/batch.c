/* Many calls at once: posts a table of calls and gathers the answers that have come, each with one crossing into native code. Hot. */
#include "endpoint.h"

/* Posts the calls of `table` from `first` on, in order, until there are `count` or one cannot be posted. Returns how many were;
 * `slots` gets the slot of each, and behind them, if there are fewer than `count`, why the next was not: RFAAS_RING_FULL or
 * RFAAS_BAD_REQUEST. The deadline is that of all. */
RFAAS_EXPORT int32_t rfaas_post_many(rfaas_client *c, const rfaas_posting *table, uint32_t first, uint32_t count,
                                     uint32_t deadline_ms, int32_t *slots) {
  uint64_t deadline_ns = deadline_ms ? rfaas_now_ns() + (uint64_t)deadline_ms * 1000000u : 0;
  for (uint32_t posted = 0; posted < count; posted++) {
    const rfaas_posting *call = &table[first + posted];
    rfaas_client_look_ahead(c);
    int32_t slot = rfaas_client_post(c, call->function, call->input_offset, call->input_length, call->output_offset,
                                     call->output_capacity, deadline_ms, deadline_ns);
    slots[posted] = slot;
    if (slot < 0) return (int32_t)posted;
  }
  return (int32_t)count;
}

/* The program reads the output next, and most likely writes the input for a further call: the worker, which had both, is done with
 * them. Unless the next call has the same input. */
static inline void look_behind(rfaas_client *c, uint32_t slot) {
  const rfaas_client_slot *local = &c->slot[slot], *next = &c->slot[(slot + 1) & c->mask];
  if (!(local->function & RFAAS_OUTPUT_INLINE)) __builtin_prefetch(c->arena + local->output_offset);
  if (local->input_offset != next->input_offset) rfaas_prefetch_to_write(c->arena + local->input_offset);
}

/* Takes the results of calls in flight that have an answer, in the order of the slots from `from` on: `ended` gets slot and result
 * of each. Returns how many there were. Ends after `misses` calls without an answer: a worker takes calls in order, so those behind
 * have most likely none, and a look takes the line away from the worker that is about to write it. Where no answer will come any
 * more, a call without one ends with RFAAS_WORKER_LOST. */
RFAAS_EXPORT int32_t rfaas_harvest(rfaas_client *c, uint32_t from, uint32_t misses, int32_t *ended) {
  uint32_t found = 0;
  for (uint32_t looked = 0, left = c->in_flight; left > 0 && looked <= c->mask; looked++) {
    uint32_t slot = (from + looked) & c->mask;
    uint32_t credit = c->slot[slot].credit;
    if (credit == RFAAS_FREE) continue;
    left--;
    /* Its answer frees the slot and ends nothing: taken where the slot is needed. */
    if (credit == RFAAS_ABANDONED) continue;
    const rfaas_response *response = RFAAS_OF_CLIENT(c, poll, slot);
    int32_t result;
    if (response) {
      __builtin_prefetch(&c->slots[(slot + RFAAS_AHEAD) & c->mask].response);
      look_behind(c, slot);
      result = rfaas_client_finish(c, slot, response);
    } else if (__builtin_expect(c->broken, 0)) {
      result = RFAAS_WORKER_LOST;
    } else {
      if (--misses == 0) break;
      continue;
    }
    ended[2 * found] = (int32_t)slot;
    ended[2 * found + 1] = result;
    found++;
  }
  return (int32_t)found;
}
