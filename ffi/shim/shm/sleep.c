/* The slow half of falling asleep and waking: futexes, and the change between posts with a fence and without. */
#define _GNU_SOURCE
#include "sleep.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Not FUTEX_PRIVATE: the word is shared between processes. */
int rfaas_sleep(uint32_t *word, uint32_t value, uint64_t ns) {
  struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) != 0 && errno == ETIMEDOUT;
}

/* The waker clears the word, so one sleep is woken once and a word that is already clear is never slept on. */
void rfaas_wake(uint32_t *word, int32_t notify_fd) {
  switch (__atomic_exchange_n(word, RFAAS_AWAKE, __ATOMIC_SEQ_CST)) {
    case RFAAS_BLOCKED_ON_FUTEX: syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); break;
    case RFAAS_PARKED_IN_LOOP: rfaas_notify(notify_fd); break;
  }
}

void rfaas_post_unfenced(rfaas_sleeper *peer, rfaas_poster *own) {
  own->unwoken = 0;
  if (!__atomic_load_n(&peer->barriers, __ATOMIC_ACQUIRE) || !rfaas_barriers_reach()) return;
  __atomic_fetch_add(&peer->unfenced, 1, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  own->unfenced = 1;
  own->declared++;
}

void rfaas_post_fenced(rfaas_sleeper *peer, rfaas_poster *own) {
  own->unwoken = 0;
  if (!own->unfenced) return;
  own->unfenced = 0;
  /* With release order: a sleeper that reads it sees all that was posted without a fence. */
  __atomic_fetch_sub(&peer->unfenced, 1, __ATOMIC_RELEASE);
}
