/* Whether a host is there at all: the agent asks in the lease's page while calls are in flight, and a thread of the host that does nothing
 * else answers. It sleeps until it is asked, so idle hosts do not wake, and no call knows of it. A function that computes without end keeps
 * its own thread busy, and not this one: only a host that is stopped, frozen or without any processor leaves a question open.
 *
 * Agent and host are of one version; of these words a client knows `waits` alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/endpoint.h"

#define STACK_BYTES (64u << 10)

/* Lives as long as its process. What it answers for is changed while its thread is away. */
typedef struct {
  rfaas_region *region; /* NULL before the first lease */
  rfaas_worker *worker[RFAAS_MAX_WORKERS];
  uint32_t workers;
  uint32_t paused;
  uint32_t away; /* the thread looks at no page */
} rfaas_beat;

static void sleep_on(uint32_t *word, uint32_t value, int operation) {
  syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void wake_on(uint32_t *word, int operation) { syscall(SYS_futex, word, operation, INT_MAX, NULL, NULL, 0); }

/* Calls that have begun and are not answered, promises among them. */
static uint32_t active(const rfaas_beat *beat) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < beat->workers; i++)
    for (uint32_t slot = 0; slot <= beat->worker[i]->mask; slot++)
      count += __atomic_load_n(&beat->worker[i]->slot[slot].active, __ATOMIC_ACQUIRE) != 0;
  return count;
}

static void *answer_questions(void *given) {
  rfaas_beat *beat = given;
  prctl(PR_SET_NAME, "rfaas-beat");
  for (;;) {
    while (__atomic_load_n(&beat->paused, __ATOMIC_ACQUIRE)) {
      __atomic_store_n(&beat->away, 1, __ATOMIC_RELEASE);
      sleep_on(&beat->paused, 1, FUTEX_WAIT_PRIVATE);
    }
    __atomic_store_n(&beat->away, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&beat->paused, __ATOMIC_SEQ_CST)) continue; /* who has paused it meanwhile may have seen it away */
    rfaas_lease_page *page = beat->region->page;
    uint32_t asked = __atomic_load_n(&page->asked, __ATOMIC_ACQUIRE);
    __atomic_store_n(&page->active, active(beat), __ATOMIC_RELAXED);
    __atomic_store_n(&page->answered, asked, __ATOMIC_RELEASE);
    __atomic_store_n(&page->beats, 1, __ATOMIC_RELEASE);
    sleep_on(&page->asked, asked, FUTEX_WAIT);
  }
  return NULL;
}

/* Starts the thread, which answers for no lease yet. Returns a handle, or -errno. */
RFAAS_EXPORT double rfaas_beat_start(void) {
  rfaas_beat *beat = calloc(1, sizeof *beat);
  if (!beat) return -ENOMEM;
  beat->paused = 1;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for other threads: the new one has them blocked */
  pthread_t thread;
  int failed = pthread_create(&thread, &attributes, answer_questions, beat);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (!failed) pthread_detach(thread);
  if (!failed) return (double)(uintptr_t)beat;
  free(beat);
  return -failed;
}

/* Returns when the thread looks at no page any more. */
RFAAS_EXPORT void rfaas_beat_pause(rfaas_beat *beat) {
  __atomic_store_n(&beat->paused, 1, __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&beat->away, __ATOMIC_SEQ_CST)) {
    if (beat->region) {
      __atomic_add_fetch(&beat->region->page->asked, 1, __ATOMIC_SEQ_CST);
      wake_on(&beat->region->page->asked, FUTEX_WAKE);
    }
    sched_yield();
  }
}

/* The thread is away: answers for these workers from now on. A region that was refilled meanwhile has the same ones. */
RFAAS_EXPORT void rfaas_beat_answer_for(rfaas_beat *beat, rfaas_region *region, const double *workers, uint32_t count) {
  for (beat->workers = 0; beat->workers < count && beat->workers < RFAAS_MAX_WORKERS; beat->workers++)
    beat->worker[beat->workers] = (rfaas_worker *)(uintptr_t)workers[beat->workers];
  beat->region = region;
  __atomic_store_n(&beat->paused, 0, __ATOMIC_SEQ_CST);
  wake_on(&beat->paused, FUTEX_WAKE_PRIVATE);
}

/* As the agent. `out` has: what is asked, what is answered, whether there is a thread that answers, the calls that it has seen in flight;
 * a number that changes when calls begin, end or wait for long, and the workers in user code now. With `ask` there is one question more. */
RFAAS_EXPORT void rfaas_lease_beat(rfaas_lease_page *page, uint32_t workers, uint32_t ask, double *out) {
  if (ask) {
    __atomic_add_fetch(&page->asked, 1, __ATOMIC_SEQ_CST);
    wake_on(&page->asked, FUTEX_WAKE);
  }
  out[0] = __atomic_load_n(&page->asked, __ATOMIC_ACQUIRE);
  out[1] = __atomic_load_n(&page->answered, __ATOMIC_ACQUIRE);
  out[2] = __atomic_load_n(&page->beats, __ATOMIC_ACQUIRE);
  out[3] = __atomic_load_n(&page->active, __ATOMIC_RELAXED);
  out[4] = __atomic_load_n(&page->waits, __ATOMIC_RELAXED);
  out[5] = 0;
  for (uint32_t worker = 0; worker < workers && worker < RFAAS_MAX_WORKERS; worker++) {
    const rfaas_usage *usage = &page->usage[worker];
    out[4] += (double)__atomic_load_n(&usage->begun, __ATOMIC_RELAXED) + (double)__atomic_load_n(&usage->calls, __ATOMIC_RELAXED);
    out[5] += __atomic_load_n(&usage->running, __ATOMIC_RELAXED) != 0;
  }
}
