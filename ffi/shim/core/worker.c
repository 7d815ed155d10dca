/* The worker's end: find the next request, check it, answer it, and decide how to wait for another. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../system/barrier.h"
#include "endpoint.h"
#include "../system/touch.h"

enum { IDLE = -1, STOPPED = -2 };

/* Only this worker writes its line of counts, and of the call that runs. `bench/unchecked/unchecked.ts` compiles both out, to tell
 * what they take. */
#ifdef RFAAS_UNCOUNTED
static inline void add(uint64_t *count, uint64_t more) { (void)count, (void)more; }
static inline void begins(rfaas_usage *usage, uint32_t slot, uint64_t sequence) { (void)usage, (void)slot, (void)sequence; }
static inline void ends(rfaas_usage *usage, uint32_t slot) { (void)usage, (void)slot; }
#else
static inline void add(uint64_t *count, uint64_t more) { __atomic_store_n(count, *count + more, __ATOMIC_RELAXED); }
static inline void begins(rfaas_usage *usage, uint32_t slot, uint64_t sequence) {
  __atomic_store_n(&usage->begun, sequence, __ATOMIC_RELAXED);
  __atomic_store_n(&usage->running, slot + 1, __ATOMIC_RELEASE);
}
static inline void ends(rfaas_usage *usage, uint32_t slot) {
  if (usage->running == slot + 1) __atomic_store_n(&usage->running, 0, __ATOMIC_RELEASE);
}
#endif

/* A function that ends after its deadline has missed it, whether it returned or threw: it may have ended because the deadline had
 * passed, and the result must not depend on whether its caller has abandoned the call yet. Returns the status of the call. */
static int32_t answer(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  rfaas_worker_slot *local = &w->slot[slot];
  if (__builtin_expect(local->request.deadline_ms != 0, 0) && (status == RFAAS_OK || status == RFAAS_FUNCTION_ERROR) &&
      w->ops->left_ms(w, &local->request) <= 0) {
    status = RFAAS_DEADLINE;
    length = 0;
  }
  if (local->request.function & RFAAS_TIMED) {
    w->slots[slot].timing.ticks_per_ns = rfaas_ticks_per_ns();
    w->slots[slot].timing.finished_ticks = rfaas_now_ticks();
  }
  __atomic_store_n(&local->active, 0, __ATOMIC_RELAXED);
  /* Before the client can know of it, so that no finished call is missing from the bill of a killed host. And before it stops
   * running: an observer finds one or the other. */
  add(&w->usage->calls, 1);
  ends(w->usage, slot);
  RFAAS_OF_WORKER(w, post, slot, status, length);
  add(&w->usage->bytes, (uint64_t)local->request.input_length + length);
  return status;
}

/* A call that no function is given is on no bill. */
static __attribute__((noinline, cold)) void refuse(rfaas_worker *w, uint32_t slot, int32_t status) {
  if (w->slot[slot].request.function & RFAAS_TIMED) {
    w->slots[slot].timing.ticks_per_ns = rfaas_ticks_per_ns();
    w->slots[slot].timing.finished_ticks = rfaas_now_ticks();
  }
  RFAAS_OF_WORKER(w, post, slot, status, 0);
}

static inline int sound(const rfaas_worker *w, const rfaas_request *r, uint32_t functions) {
  return (uint64_t)r->input_offset + r->input_length <= w->arena_bytes &&
         (uint64_t)r->output_offset + r->output_capacity <= w->arena_bytes && (r->function & RFAAS_FUNCTION_MASK) < functions &&
         (!(r->function & RFAAS_INPUT_INLINE) || r->input_length <= RFAAS_INLINE_INPUT) &&
         (!(r->function & RFAAS_OUTPUT_INLINE) || r->output_capacity <= w->inline_output);
}

/* Where calls begin no more, a function without a name still hands out the results of those that have run. */
static __attribute__((noinline, cold)) int ends_what_began(const rfaas_worker *w, const rfaas_request *r) {
  return __atomic_load_n(&w->closed, __ATOMIC_ACQUIRE) && (r->function & RFAAS_FUNCTION_MASK) >= w->named && sound(w, r, w->functions);
}

/* Copies the request, then checks the copy: the peer can go on writing the original. Returns 0 when it was refused. */
static int accept_request(rfaas_worker *w, uint32_t slot) {
  rfaas_worker_slot *local = &w->slot[slot];
  const rfaas_request *shared = w->incoming;
  rfaas_request *r = &local->request;
  rfaas_snapshot(&r->input_offset, &shared->input_offset, sizeof *r - offsetof(rfaas_request, input_offset));
  if (r->function & (RFAAS_INPUT_INLINE | RFAAS_OUTPUT_OWN)) rfaas_snapshot(r->payload, shared->payload, RFAAS_INLINE_INPUT);
  uint64_t sequence = w->expected++;
  __atomic_store_n(&local->sequence, sequence, __ATOMIC_RELAXED);
  r->sequence = (uint32_t)sequence;
  w->hint = (slot + 1) & w->mask;
  if (r->function & RFAAS_TIMED) w->slots[slot].timing.found_ticks = rfaas_now_ticks();
  if (__builtin_expect(!sound(w, r, __atomic_load_n(&w->function_count, __ATOMIC_RELAXED)), 0) && !ends_what_began(w, r)) {
    refuse(w, slot, __atomic_load_n(&w->closed, __ATOMIC_ACQUIRE) ? RFAAS_NOT_BEGUN : RFAAS_BAD_REQUEST);
    return 0;
  }
  if (__builtin_expect(r->deadline_ms != 0, 0) && w->ops->left_ms(w, r) <= 0) {
    refuse(w, slot, RFAAS_DEADLINE);
    return 0;
  }
  /* After the sequence: another thread that sees it active knows which call that is. */
  __atomic_store_n(&local->active, 1, __ATOMIC_RELEASE);
  begins(w->usage, slot, sequence);
  return 1;
}

static inline int32_t take(rfaas_worker *w) {
  int32_t slot;
  while ((slot = RFAAS_OF_WORKER(w, poll)) >= 0)
    if (accept_request(w, (uint32_t)slot)) return slot;
  return IDLE;
}

/* A wait that ended before the clock was read a second time. Reading it costs a tenth of a hot call, so one such wait of some stands for
 * all of them; one in which the thread did not run for itself alone. */
static inline void count_short_wait(rfaas_worker *w, uint64_t start, uint64_t longest) {
  if (__builtin_expect(w->turns % RFAAS_TURNS_PER_SAMPLE != 0, 1)) return;
  uint64_t waited = rfaas_now_ticks() - start;
  add(&w->usage->polled_ticks, waited <= longest ? waited * RFAAS_TURNS_PER_SAMPLE : waited);
}

static int32_t spin(rfaas_worker *w, uint64_t ticks) {
  uint64_t start = rfaas_now_ticks(), now = start;
  uint64_t yield_ticks = (uint64_t)(RFAAS_YIELD_NS * rfaas_ticks_per_ns()), yield_at = start + yield_ticks;
  do {
    int32_t slot = RFAAS_OF_WORKER(w, spin);
    if (slot >= 0) {
      if (now != start) add(&w->usage->polled_ticks, now - start);
      else count_short_wait(w, start, yield_ticks);
      if (accept_request(w, (uint32_t)slot)) return slot;
      start = now;
    }
    if (__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) return STOPPED;
    if (__builtin_expect(rfaas_untouched(w->region), 0)) rfaas_touch_piece(w->region);
    now = rfaas_now_ticks();
    if (now >= yield_at) {
      sched_yield();
      yield_at = now + yield_ticks;
    }
  } while (now - start < ticks && now < w->loop_turn_at);
  add(&w->usage->polled_ticks, now - start);
  return IDLE;
}

/* Before a wait that does not look at the clock. */
static int32_t touch_until_request(rfaas_worker *w) {
  int32_t slot = IDLE;
  while (slot == IDLE && rfaas_untouched(w->region) && rfaas_now_ticks() < w->loop_turn_at &&
         !__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE))
    slot = rfaas_touch_piece(w->region) ? take(w) : IDLE;
  return slot;
}

static int32_t sleep_until_request(rfaas_worker *w) {
  int32_t slot = touch_until_request(w);
  if (slot != IDLE || rfaas_untouched(w->region)) return slot;
  int timed_out = w->ops->wait(w, RFAAS_BLOCK_NS);
  slot = take(w);
  w->sleeps.count++;
  if (timed_out && slot >= 0) w->sleeps.late++;
  return slot;
}

/* Spin through short gaps, sleep through long ones. The gap is learned from the calls themselves (an exponential mean over
 * about eight), so a steady 10,000 calls a second stays hot and 100 a second costs next to nothing. */
static int32_t wait_adaptively(rfaas_worker *w) {
  uint64_t start = rfaas_now_ticks();
  uint64_t budget = w->gap_ticks < w->gap_limit_ticks ? 2 * w->gap_ticks + w->spin_ticks : w->spin_ticks;
  int32_t slot = spin(w, budget);
  if (slot == IDLE && rfaas_now_ticks() < w->loop_turn_at) slot = sleep_until_request(w);
  if (slot >= 0) {
    uint64_t gap = rfaas_now_ticks() - start, limit = 4 * w->gap_limit_ticks;
    if (gap > limit) gap = limit;
    w->gap_ticks += ((int64_t)gap - (int64_t)w->gap_ticks) / 8;
  }
  return slot;
}

/* Without a request: waits as the lease says, for a bounded time. */
static int32_t wait_for_request(rfaas_worker *w, uint32_t async_calls) {
  uint64_t ticks_per_us = (uint64_t)(1000 * rfaas_ticks_per_ns());
  if (async_calls) return w->polling == RFAAS_WARM ? touch_until_request(w) : spin(w, RFAAS_BUSY_TURN_NS / 1000 * ticks_per_us);
  switch (w->polling) {
    case RFAAS_HOT: return spin(w, RFAAS_LOOP_TURN_NS / 1000 * ticks_per_us);
    case RFAAS_ADAPTIVE: return wait_adaptively(w);
    default: return sleep_until_request(w);
  }
}

static int32_t turn_slowly(rfaas_worker *w, uint32_t async_calls) {
  int32_t slot = IDLE;
  if (__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) return STOPPED;
  if (rfaas_now_ticks() < w->loop_turn_at) {
    slot = take(w);
    if (slot == IDLE) slot = wait_for_request(w, async_calls);
    if (slot != IDLE) return slot;
  }
  w->loop_turn_at = rfaas_now_ticks() + (uint64_t)(RFAAS_LOOP_TURN_NS * rfaas_ticks_per_ns());
  return IDLE;
}

/* Answers `slot` (if it is one) with `length` bytes, then finds the next request. `async_calls` says that promises are
 * outstanding, so the thread must soon be back in its event loop. Returns a slot, or -1 when it is time for a turn of the event
 * loop (after a bounded wait, or in the middle of a steady stream of calls), or -2 when the worker is to stop. */
RFAAS_EXPORT int32_t rfaas_worker_turn(rfaas_worker *w, int32_t slot, uint32_t length, uint32_t async_calls) {
  if (slot >= 0) answer(w, (uint32_t)slot, RFAAS_OK, length);
  if (++w->turns % RFAAS_TURNS_PER_CHECK != 0) {
    slot = take(w);
    if (slot >= 0) return slot;
  }
  return turn_slowly(w, async_calls);
}

/* Answers one slot out of turn: an error, or the end of an asynchronous call. */
RFAAS_EXPORT int32_t rfaas_worker_answer(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  return answer(w, slot, status, length);
}

/* The call goes on as a promise: it runs no more. */
RFAAS_EXPORT void rfaas_worker_defer(rfaas_worker *w, uint32_t slot) {
  ends(w->usage, slot);
}

/* Milliseconds until the deadline of the call that `slot` holds, as far as the client's clock is known; -1 without one. */
RFAAS_EXPORT int32_t rfaas_worker_remaining(rfaas_worker *w, uint32_t slot) {
  const rfaas_request *request = &w->slot[slot & w->mask].request;
  if (request->deadline_ms == 0) return -1;
  int32_t left_ms = w->ops->left_ms(w, request);
  return left_ms > 0 ? left_ms : 0;
}

/* Before the thread goes to its event loop: from now on a request writes to its notify descriptor. Returns 1, and does not
 * park, when one is already there, or memory that is still to be mapped. */
RFAAS_EXPORT int32_t rfaas_worker_park(rfaas_worker *w) {
  w->ops->park(w);
  if (w->ops->poll(w) < 0 && !rfaas_untouched(w->region) && !__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) return 0;
  w->ops->unpark(w);
  return 1;
}
RFAAS_EXPORT void rfaas_worker_unpark(rfaas_worker *w) { w->ops->unpark(w); }

/* Sleeps, or with `late` those among them that should have been woken. */
RFAAS_EXPORT uint32_t rfaas_worker_sleeps(rfaas_worker *w, uint32_t late) { return late ? w->sleeps.late : w->sleeps.count; }

/* ---- control, called from the host's main thread ---- */

/* `notify_fd` reaches the client's event loop, with a `link` the worker's own. */
RFAAS_EXPORT double rfaas_worker_open(rfaas_region *region, uint32_t worker, int32_t notify_fd, rfaas_link *link) {
  if (worker >= region->workers) return 0;
  uint32_t slots = region->slots;
  rfaas_worker *w = aligned_alloc(RFAAS_LINE, (sizeof *w + slots * sizeof(rfaas_worker_slot) + 63) & ~(size_t)63);
  if (!w) return 0;
  memset(w, 0, sizeof *w + slots * sizeof(rfaas_worker_slot));
  const rfaas_fabric *fabric = rfaas_fabric_of(link);
  w->ops = fabric->worker;
  w->end = link ? fabric->link->end(link, worker, notify_fd) : NULL;
  w->inline_output = fabric->inline_output;
  w->arena = (uint8_t *)region->page + region->arena_offset;
  w->client = &region->page->client;
  w->page = rfaas_channel_at(region->page, worker, slots);
  __atomic_store_n(&w->page->worker.barriers, (uint32_t)rfaas_can_make_barriers(), __ATOMIC_RELEASE);
  w->slots = rfaas_slots_of(w->page);
  w->usage = &region->page->usage[worker];
  w->region = region;
  w->arena_bytes = region->arena_bytes;
  w->epoch_ns = region->epoch_ns;
  w->mask = slots - 1;
  w->expected = 1;
  w->polling = region->polling;
  w->notify_fd = notify_fd;
  w->spin_ticks = (uint64_t)(region->spin_ns * rfaas_ticks_per_ns());
  w->gap_limit_ticks = (uint64_t)(RFAAS_ADAPTIVE_GAP_NS * rfaas_ticks_per_ns());
  w->gap_ticks = w->gap_limit_ticks;
  w->poster.patience = RFAAS_POSTS_BEFORE_UNFENCED;
  return (double)(uintptr_t)w;
}

/* The endpoint of a worker whose thread is at rest begins anew, with a region that was refilled. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_worker_renew(rfaas_worker *w, rfaas_region *region, uint32_t worker, int32_t notify_fd) {
  double opened = rfaas_worker_open(region, worker, notify_fd, NULL);
  if (opened == 0) return -ENOMEM;
  rfaas_worker *fresh = (rfaas_worker *)(uintptr_t)opened;
  fresh->function_count = fresh->functions = w->functions;
  fresh->named = w->named;
  memcpy(w, fresh, sizeof *w + region->slots * sizeof(rfaas_worker_slot));
  free(fresh);
  return 0;
}

/* For tests of what happens where counts wrap: the sequence of the first call. */
RFAAS_EXPORT void rfaas_worker_begin_at(rfaas_worker *w, double sequence) { w->expected = (uint64_t)sequence; }

/* For tests of posts without a fence: after how many the worker gives it up, and how often it has. */
RFAAS_EXPORT void rfaas_worker_patience(rfaas_worker *w, uint32_t posts) { w->poster.patience = posts; }
RFAAS_EXPORT uint32_t rfaas_worker_declared(rfaas_worker *w) { return w->poster.declared; }

/* `named` of them are the module's; what lies behind these is ours. */
RFAAS_EXPORT void rfaas_worker_functions(rfaas_worker *w, uint32_t count, uint32_t named) {
  w->functions = count;
  w->named = named;
  if (!w->closed) w->function_count = count;
}
RFAAS_EXPORT double rfaas_worker_slots(rfaas_worker *w) { return (double)(uintptr_t)w->slot; }
RFAAS_EXPORT uint32_t rfaas_worker_slot_stride(void) { return sizeof(rfaas_worker_slot); }

/* Asks the worker's thread to come back from native code, now. `loop_fd` reaches its event loop. */
RFAAS_EXPORT void rfaas_worker_stop(rfaas_worker *w, int32_t loop_fd) {
  __atomic_store_n(&w->stop, 1, __ATOMIC_SEQ_CST);
  w->ops->rouse(w, loop_fd);
}

/* From now on no call of the module's functions begins: those that wait, and come, are answered as such. Without a function that may be called,
 * none is sound. */
RFAAS_EXPORT void rfaas_worker_close(rfaas_worker *w, int32_t loop_fd) {
  __atomic_store_n(&w->closed, 1, __ATOMIC_RELEASE);
  __atomic_store_n(&w->function_count, 0, __ATOMIC_RELEASE);
  w->ops->rouse(w, loop_fd);
}

/* The sequences of the calls that have begun and are not answered, for `out` with a place for each slot. Returns how many. */
RFAAS_EXPORT int32_t rfaas_worker_active(rfaas_worker *w, double *out) {
  int32_t count = 0;
  for (uint32_t slot = 0; slot <= w->mask; slot++)
    if (__atomic_load_n(&w->slot[slot].active, __ATOMIC_ACQUIRE))
      out[count++] = (double)__atomic_load_n(&w->slot[slot].sequence, __ATOMIC_RELAXED);
  return count;
}

static int begun(rfaas_worker *w, uint32_t slot, double sequence) {
  const rfaas_worker_slot *local = &w->slot[slot & w->mask];
  return __atomic_load_n(&local->active, __ATOMIC_ACQUIRE) &&
         __atomic_load_n(&local->sequence, __ATOMIC_RELAXED) == (uint64_t)sequence;
}

/* Whether this very call has begun and not been answered: it may still write its output. */
RFAAS_EXPORT int32_t rfaas_worker_begun(rfaas_worker *w, uint32_t slot, double sequence) { return begun(w, slot, sequence); }

/* Whether user code runs this very call now, and not as a promise that waits. */
RFAAS_EXPORT int32_t rfaas_worker_runs(rfaas_worker *w, uint32_t slot, double sequence) {
  return __atomic_load_n(&w->usage->running, __ATOMIC_ACQUIRE) == slot + 1 && begun(w, slot, sequence);
}

/* The thread is gone: calls that it had begun end as lost, so that another thread can go on with the queue. */
RFAAS_EXPORT void rfaas_worker_abort_calls(rfaas_worker *w) {
  for (uint32_t slot = 0; slot <= w->mask; slot++)
    if (w->slot[slot].active) answer(w, slot, RFAAS_WORKER_LOST, 0);
  w->stop = 0;
}

/* No thread will come back: callers that wait learn it from this word. */
RFAAS_EXPORT void rfaas_worker_lose(rfaas_worker *w, uint32_t reason, int32_t detail) {
  w->page->detail = detail;
  __atomic_store_n(&w->page->ended, reason, __ATOMIC_RELEASE);
  w->ops->publish_end(w);
}
