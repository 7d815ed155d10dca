/* How one side falls asleep and the other wakes it, so that neither misses the other: each stores, then looks at what the other
 * stores, and at least one of them sees.
 *
 * A processor may look before others can see its store, so between the two belongs a fence, on both sides. It costs a poster as
 * much as a short call: after many posts that needed no wake-up it declares, in the sleeper's line, that it posts without. A sleeper that
 * reads this makes the barrier for both: a system call that has every processor run one that runs a process which has asked for it.
 * The declaration comes before a fence of the poster, and is read after one of the sleeper: either the sleeper reads it, or the
 * poster, from then on, sees that it sleeps. `test/model` proves both ways, and the change between them.
 */
#ifndef RFAAS_SHM_SLEEP_H
#define RFAAS_SHM_SLEEP_H

#include "../system/barrier.h"
#include "../core/endpoint.h"

/* Returns whether the time ran out. */
int rfaas_sleep(uint32_t *word, uint32_t value, uint64_t ns);
void rfaas_wake(uint32_t *word, int32_t notify_fd);

/* From now on a post either wakes this side or is seen by the look that follows. */
static inline void fall_asleep(rfaas_sleeper *own, uint32_t how) {
  __atomic_store_n(&own->waiting, how, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (__atomic_load_n(&own->unfenced, __ATOMIC_ACQUIRE)) rfaas_make_barrier();
}

static inline int sleep_at_most(rfaas_sleeper *own, uint64_t ns) {
  return rfaas_sleep(&own->waiting, RFAAS_BLOCKED_ON_FUTEX, ns);
}

void rfaas_post_unfenced(rfaas_sleeper *peer, rfaas_poster *own);
void rfaas_post_fenced(rfaas_sleeper *peer, rfaas_poster *own);

static inline void wake(rfaas_sleeper *peer, int32_t notify_fd) { rfaas_wake(&peer->waiting, notify_fd); }

/* Stores the word that makes a request or a response one, and wakes the other side if it sleeps. */
static inline void publish(uint64_t *word, uint64_t value, rfaas_sleeper *peer, rfaas_poster *own, int32_t notify_fd) {
  if (own->unfenced) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
  } else {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    if (__builtin_expect(++own->unwoken >= own->patience, 0)) rfaas_post_unfenced(peer, own);
  }
  if (__builtin_expect(__atomic_load_n(&peer->waiting, __ATOMIC_SEQ_CST) != RFAAS_AWAKE, 0)) {
    rfaas_post_fenced(peer, own);
    wake(peer, notify_fd);
  }
}

#endif
