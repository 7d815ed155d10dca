/* The client's end: slots as credits, one call as one function. Everything here up to `slow paths` is hot. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../system/barrier.h"
#include "endpoint.h"

/* The answer to an abandoned call has come. */
static void reclaim(rfaas_client *c, rfaas_client_slot *local) {
  local->credit = RFAAS_FREE;
  c->abandoned--;
  c->in_flight--;
}

/* The next slot in order that is free. A busy one is skipped: an asynchronous call may hold it for long. When no caller waits for
 * one it begins again at the first, whose lines both cores had last: a lone call then costs 50 ns less than one that walks the ring. */
static int32_t take_slot(rfaas_client *c) {
  if (c->in_flight == c->abandoned) {
    c->head = 0;
    if (__builtin_expect(c->skipped && c->in_flight == 0, 0)) {
      c->skipped = 0;
      __atomic_store_n(&c->page->skipped, 0, __ATOMIC_RELAXED);
    }
  }
  for (uint32_t tried = 0; tried <= c->mask; tried++) {
    uint32_t slot = (c->head + tried) & c->mask;
    rfaas_client_slot *local = &c->slot[slot];
    if (local->credit == RFAAS_ABANDONED && c->ops->poll(c, slot)) reclaim(c, local);
    if (local->credit == RFAAS_FREE) return (int32_t)slot;
  }
  return -1;
}

/* In milliseconds of the lease. Times are compared by their difference, so one that is too far ahead is kept by us alone. */
static inline uint32_t deadline_of(const rfaas_client *c, uint32_t deadline_ms, uint64_t deadline_ns) {
  if (deadline_ms == 0 || deadline_ms > RFAAS_LONGEST_DEADLINE_MS) return 0;
  uint32_t at = (uint32_t)((deadline_ns - c->epoch_ns) / 1000000u + 1);
  return at ? at : 1;
}

/* Offsets and lengths come from our own views; they are checked again by the worker, who does not trust us. The deadline is
 * `deadline_ms` from now, at `deadline_ns`; 0 for none. Returns the slot or a negative status. */
static int32_t post(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length,
                    uint32_t output_offset, uint32_t output_capacity, uint32_t deadline_ms, uint64_t deadline_ns) {
  int32_t slot = take_slot(c);
  if (slot < 0) return RFAAS_RING_FULL;
  if ((uint64_t)input_offset + input_length > c->arena_bytes || (uint64_t)output_offset + output_capacity > c->arena_bytes)
    return RFAAS_BAD_REQUEST;
  rfaas_client_slot *local = &c->slot[slot];
  if (function & RFAAS_TIMED) local->posting_ticks = rfaas_now_ticks();
  rfaas_request request;
  if (__builtin_expect(function & (RFAAS_INPUT_OWN | RFAAS_OUTPUT_OWN), 0)) {
    if ((function & RFAAS_INPUT_OWN) && !rfaas_registered(c->region, input_offset, input_length)) return RFAAS_BAD_REQUEST;
    const rfaas_registration *output = rfaas_registered(c->region, output_offset, output_capacity);
    if ((function & RFAAS_OUTPUT_OWN) && !(output && output->written)) return RFAAS_BAD_REQUEST;
  }
  if (input_length <= RFAAS_INLINE_INPUT && !(function & (RFAAS_INPUT_OWN | RFAAS_OUTPUT_OWN))) {
    function |= RFAAS_INPUT_INLINE;
    rfaas_copy_payload(request.payload, c->arena + input_offset, input_length, RFAAS_INLINE_INPUT);
  } else memset(request.payload, 0, RFAAS_INLINE_INPUT);
  if (output_capacity <= c->inline_output) function |= RFAAS_OUTPUT_INLINE;
  request.input_offset = input_offset;
  request.input_length = input_length;
  request.output_offset = output_offset;
  request.output_capacity = output_capacity;
  request.function = function;
  request.deadline_ms = deadline_of(c, deadline_ms, deadline_ns);
  request.word = c->sequence++;

  local->sequence = request.word;
  local->credit = RFAAS_IN_FLIGHT;
  local->input_offset = input_offset;
  local->output_offset = output_offset;
  local->output_capacity = output_capacity;
  local->function = function;
  if (__builtin_expect((uint32_t)slot != c->head && !c->skipped, 0)) {
    c->skipped = 1;
    __atomic_store_n(&c->page->skipped, 1, __ATOMIC_SEQ_CST);
  }
  c->head = ((uint32_t)slot + 1) & c->mask;
  c->in_flight++;
  RFAAS_OF_CLIENT(c, post, (uint32_t)slot, &request);
  if (function & RFAAS_TIMED) local->posted_ticks = rfaas_now_ticks();
  return slot;
}

static int may_answer(int32_t status) {
  return status == RFAAS_FUNCTION_ERROR || status == RFAAS_DEADLINE || status == RFAAS_WORKER_LOST || status == RFAAS_BAD_REQUEST ||
         status == RFAAS_NOT_BEGUN;
}

/* Takes the result out of a response and gives the slot back. */
static int32_t finish(rfaas_client *c, uint32_t slot, const rfaas_response *response) {
  rfaas_client_slot *local = &c->slot[slot];
  /* Once each: a hostile worker can go on writing them. */
  int32_t status = __atomic_load_n(&response->status, __ATOMIC_RELAXED);
  uint32_t length = __atomic_load_n(&response->length, __ATOMIC_RELAXED);
  if (local->function & RFAAS_TIMED) local->returned_ticks = rfaas_now_ticks();
  local->credit = RFAAS_FREE;
  c->in_flight--;
  c->last_slot = (int32_t)slot;
  if (status != RFAAS_OK) return may_answer(status) ? status : RFAAS_BAD_RESPONSE;
  if (length > local->output_capacity || length > INT32_MAX) return RFAAS_BAD_RESPONSE;
  if (local->function & RFAAS_OUTPUT_INLINE) {
    uint8_t *output = c->arena + local->output_offset;
    if (length == 8) memcpy(output, response->payload, 8);
    else memcpy(output, response->payload, length);
  }
  return (int32_t)length;
}

static int32_t await_slowly(rfaas_client *c, uint32_t slot, uint64_t deadline_ns);

static inline int32_t await_slot(rfaas_client *c, uint32_t slot, uint64_t deadline_ns) {
  const rfaas_response *response = RFAAS_OF_CLIENT(c, spin, slot);
  if (response) return finish(c, slot, response);
  return await_slowly(c, slot, deadline_ns);
}

/* One synchronous call. Returns the bytes written or a negative status; `rfaas_last_slot` tells where its error lies. */
RFAAS_EXPORT int32_t rfaas_call(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length,
                                uint32_t output_offset, uint32_t output_capacity, uint32_t deadline_ms) {
  uint64_t deadline_ns = deadline_ms ? rfaas_now_ns() + (uint64_t)deadline_ms * 1000000u : 0;
  int32_t slot = post(c, function, input_offset, input_length, output_offset, output_capacity, deadline_ms, deadline_ns);
  if (slot < 0) return slot;
  return await_slot(c, (uint32_t)slot, deadline_ns);
}

RFAAS_EXPORT int32_t rfaas_post(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length,
                                uint32_t output_offset, uint32_t output_capacity, uint32_t deadline_ms) {
  uint64_t deadline_ns = deadline_ms ? rfaas_now_ns() + (uint64_t)deadline_ms * 1000000u : 0;
  rfaas_client_look_ahead(c);
  return post(c, function, input_offset, input_length, output_offset, output_capacity, deadline_ms, deadline_ns);
}

/* The result of a posted call, or RFAAS_PENDING. */
RFAAS_EXPORT int32_t rfaas_test(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = RFAAS_OF_CLIENT(c, poll, slot);
  if (response) return finish(c, slot, response);
  return __builtin_expect(c->broken, 0) ? RFAAS_WORKER_LOST : RFAAS_PENDING;
}

int32_t rfaas_client_post(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length,
                          uint32_t output_offset, uint32_t output_capacity, uint32_t deadline_ms, uint64_t deadline_ns) {
  return post(c, function, input_offset, input_length, output_offset, output_capacity, deadline_ms, deadline_ns);
}
int32_t rfaas_client_finish(rfaas_client *c, uint32_t slot, const rfaas_response *response) { return finish(c, slot, response); }

/* ---- slow paths ---- */

/* Whether the worker can still answer. Who asks has a call that waits, of which the agent hears so. */
static int lost(rfaas_client *c) {
  __atomic_fetch_add(&c->lease->waits, 1, __ATOMIC_RELAXED);
  return __atomic_load_n(&c->page->ended, __ATOMIC_ACQUIRE) || __atomic_load_n(&c->lease->ended, __ATOMIC_ACQUIRE) ||
         c->ops->lost(c);
}

/* Where messages overtake each other, the last answers of a worker may come after the word that it has ended. */
static const rfaas_response *look_once_more(rfaas_client *c, uint32_t slot) {
  uint64_t until = c->fabric->ordered ? 0 : rfaas_now_ns() + RFAAS_OVERTAKEN_NS;
  const rfaas_response *response = c->ops->poll(c, slot);
  while (!response && rfaas_now_ns() < until) response = c->ops->spin(c, slot);
  return response;
}

static void abandon(rfaas_client *c, uint32_t slot) {
  c->slot[slot].credit = RFAAS_ABANDONED;
  c->abandoned++;
}

static int32_t await_slowly(rfaas_client *c, uint32_t slot, uint64_t deadline_ns) {
  const rfaas_response *response;
  uint64_t started_ticks = rfaas_now_ticks();
  uint64_t yield_ticks = (uint64_t)(RFAAS_YIELD_NS * rfaas_ticks_per_ns()), yield_at = started_ticks + yield_ticks;
  uint64_t check_at = rfaas_now_ns() + RFAAS_CLIENT_CHECK_NS;
  for (;;) {
    if ((response = c->ops->spin(c, slot))) return finish(c, slot, response);
    uint64_t ticks = rfaas_now_ticks();
    if (c->polling != RFAAS_HOT && ticks - started_ticks >= c->spin_ticks) {
      uint64_t block = RFAAS_CLIENT_CHECK_NS;
      if (deadline_ns) {
        uint64_t now = rfaas_now_ns();
        block = deadline_ns <= now ? 0 : deadline_ns - now < block ? deadline_ns - now : block;
      }
      if (block) {
        int timed_out = c->ops->wait(c, slot, block);
        c->sleeps.count++;
        if (timed_out && c->ops->poll(c, slot)) c->sleeps.late++;
      }
    } else if (ticks >= yield_at) {
      sched_yield();
      yield_at = ticks + yield_ticks;
    }
    uint64_t now = rfaas_now_ns();
    if (deadline_ns && now >= deadline_ns) {
      if ((response = c->ops->poll(c, slot))) return finish(c, slot, response);
      abandon(c, slot);
      c->last_slot = (int32_t)slot;
      return RFAAS_DEADLINE;
    }
    if (now >= check_at || c->broken) {
      if (lost(c)) {
        if ((response = look_once_more(c, slot))) return finish(c, slot, response);
        c->last_slot = (int32_t)slot;
        return RFAAS_WORKER_LOST;
      }
      check_at = now + RFAAS_CLIENT_CHECK_NS;
    }
  }
}

/* Waits for one posted call, at most `timeout_ms` (0: until it ends). Unlike a deadline, running out of time here leaves the
 * call in flight and returns RFAAS_PENDING. */
RFAAS_EXPORT int32_t rfaas_wait(rfaas_client *c, uint32_t slot, uint32_t timeout_ms) {
  int32_t result = await_slot(c, slot, timeout_ms ? rfaas_now_ns() + (uint64_t)timeout_ms * 1000000u : 0);
  if (result != RFAAS_DEADLINE || c->slot[slot].credit != RFAAS_ABANDONED) return result;
  c->slot[slot].credit = RFAAS_IN_FLIGHT;
  c->abandoned--;
  return RFAAS_PENDING;
}

/* The caller abandons the call; the slot comes back when the worker answers. */
RFAAS_EXPORT void rfaas_abandon(rfaas_client *c, uint32_t slot) {
  if (c->slot[slot].credit == RFAAS_IN_FLIGHT) abandon(c, slot);
}

/* Sleeps, or with `late` those among them that should have been woken. */
RFAAS_EXPORT uint32_t rfaas_client_sleeps(rfaas_client *c, uint32_t late) { return late ? c->sleeps.late : c->sleeps.count; }

RFAAS_EXPORT int32_t rfaas_lost(rfaas_client *c) { return lost(c); }
RFAAS_EXPORT int32_t rfaas_last_slot(rfaas_client *c) { return c->last_slot; }
/* Exact up to 2^53, like the other sequences that leave the shim. */
RFAAS_EXPORT double rfaas_slot_sequence(rfaas_client *c, uint32_t slot) { return (double)c->slot[slot & c->mask].sequence; }
/* Whether the worker may still write the output of an abandoned call. Takes its answer, if there is one. */
RFAAS_EXPORT int32_t rfaas_held(rfaas_client *c, uint32_t slot, double sequence) {
  rfaas_client_slot *local = &c->slot[slot & c->mask];
  if (local->sequence != (uint64_t)sequence || local->credit != RFAAS_ABANDONED) return 0;
  if (!c->ops->poll(c, slot & c->mask)) return 1;
  reclaim(c, local);
  return 0;
}
RFAAS_EXPORT uint32_t rfaas_worker_end(rfaas_client *c) { return __atomic_load_n(&c->page->ended, __ATOMIC_ACQUIRE); }
RFAAS_EXPORT int32_t rfaas_worker_end_detail(rfaas_client *c) { return __atomic_load_n(&c->page->detail, __ATOMIC_RELAXED); }

/* Bytes of the error record that the slot's last response carries, bounded by the record's size. */
RFAAS_EXPORT uint32_t rfaas_error_length(rfaas_client *c, uint32_t slot) {
  uint32_t length = __atomic_load_n(&c->slots[slot & c->mask].response.length, __ATOMIC_RELAXED);
  return length > RFAAS_ERROR_BYTES ? RFAAS_ERROR_BYTES : length;
}

/* Nanoseconds of the slot's last timed call: moved, found, ran, returned. They add up to no more than the call took: a client that
 * was interrupted while it posted is not counted for what the worker did meanwhile. Of a hostile worker they may be any numbers. */
RFAAS_EXPORT void rfaas_timings(rfaas_client *c, uint32_t slot, double *out) {
  rfaas_client_slot *local = &c->slot[slot & c->mask];
  rfaas_timing shared;
  rfaas_snapshot(&shared, &c->slots[slot & c->mask].timing, sizeof shared);
  double rate = rfaas_ticks_per_ns();
  double moved = (double)(int64_t)(local->posted_ticks - local->posting_ticks) / rate;
  double ran = (double)(int64_t)(shared.finished_ticks - shared.found_ticks) / shared.ticks_per_ns;
  double found, returned;
  if (!c->fabric->shared_clock) {
    /* The rest of the time is the way there and the way back, in equal parts. */
    double travelled = (double)(int64_t)(local->returned_ticks - local->posted_ticks) / rate - ran;
    if (travelled < 0) moved += travelled;
    found = returned = travelled > 0 ? travelled / 2 : 0;
  } else {
    found = (double)(int64_t)(shared.found_ticks - local->posted_ticks) / rate;
    returned = (double)(int64_t)(local->returned_ticks - shared.finished_ticks) / rate;
    if (found < 0) moved += found;
  }
  out[0] = moved > 0 ? moved : 0;
  out[1] = found > 0 ? found : 0;
  out[2] = ran;
  out[3] = returned;
}

RFAAS_EXPORT void rfaas_client_park(rfaas_client *c) { c->ops->park(c); }
RFAAS_EXPORT void rfaas_client_unpark(rfaas_client *c) { c->ops->unpark(c); }

/* Without a `link` `notify_fd` reaches the worker's event loop and `host_pidfd` the process it lives in; both stay the caller's to
 * close. With one both are -1. Returns the handle as a number, 0 without memory. */
RFAAS_EXPORT double rfaas_client_open(rfaas_region *region, uint32_t worker, int32_t host_pidfd, int32_t notify_fd,
                                      rfaas_link *link) {
  if (worker >= region->workers) return 0;
  uint32_t slots = region->slots;
  rfaas_client *c = calloc(1, sizeof *c + slots * sizeof(rfaas_client_slot));
  if (!c) return 0;
  c->fabric = rfaas_fabric_of(link);
  c->ops = c->fabric->client;
  c->end = link ? c->fabric->link->end(link, worker, -1) : NULL;
  c->inline_output = c->fabric->inline_output;
  c->region = region;
  c->lease = region->page;
  c->page = rfaas_channel_at(region->page, worker, slots);
  c->usage = &region->page->usage[worker];
  c->slots = rfaas_slots_of(c->page);
  c->sleeper = &region->page->client;
  __atomic_store_n(&c->sleeper->barriers, (uint32_t)rfaas_can_make_barriers(), __ATOMIC_RELEASE);
  c->arena = (uint8_t *)region->page + region->arena_offset;
  c->arena_bytes = region->arena_bytes;
  c->mask = slots - 1;
  c->sequence = 1;
  c->polling = region->polling;
  c->host_pidfd = host_pidfd;
  c->notify_fd = notify_fd;
  c->epoch_ns = region->epoch_ns;
  c->last_slot = -1;
  c->spin_ticks = (uint64_t)(region->spin_ns * rfaas_ticks_per_ns());
  c->poster.patience = RFAAS_POSTS_BEFORE_UNFENCED;
  return (double)(uintptr_t)c;
}

/* For tests of what happens where counts wrap: the next call's sequence, before any call. */
RFAAS_EXPORT void rfaas_client_begin_at(rfaas_client *c, double sequence) { c->sequence = (uint64_t)sequence; }

/* For tests of posts without a fence: after how many the client gives it up, and how often it has. */
RFAAS_EXPORT void rfaas_client_patience(rfaas_client *c, uint32_t posts) { c->poster.patience = posts; }
RFAAS_EXPORT uint32_t rfaas_client_declared(rfaas_client *c) { return c->poster.declared; }

RFAAS_EXPORT void rfaas_client_close(rfaas_client *c) {
  free(c);
}
