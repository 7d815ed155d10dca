/* The shared-memory fabric: a slot is a few cache lines that both processes map, a wake-up is a futex or one byte on a
 * socket. Nothing but an inline payload is ever copied. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../core/endpoint.h"

/* Returns whether the time ran out. Not FUTEX_PRIVATE: the word is shared between processes. */
static int futex_wait(uint32_t *word, uint32_t value, uint64_t ns) {
  struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) != 0 && errno == ETIMEDOUT;
}

/* The waker clears the word, so one sleep is woken once and a word that is already clear is never slept on. */
static void wake(uint32_t *word, int32_t notify_fd) {
  switch (__atomic_exchange_n(word, RFAAS_AWAKE, __ATOMIC_SEQ_CST)) {
    case RFAAS_BLOCKED_ON_FUTEX: syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); break;
    case RFAAS_PARKED_IN_LOOP: rfaas_notify(notify_fd); break;
  }
}

/* The word is stored before the sleeper looks for work once more: looking is an acquire load, which alone could come first. */
static void fall_asleep(uint32_t *word, uint32_t how) {
  __atomic_store_n(word, how, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void client_post(rfaas_client *c, uint32_t slot, const rfaas_request *request) {
  rfaas_request *shared = &c->slots[slot].request;
  memcpy(shared, request, offsetof(rfaas_request, word));
  if (c->polling == RFAAS_HOT) {
    __atomic_store_n(&shared->word, request->word, __ATOMIC_RELEASE);
    return;
  }
  /* Store, then look whether the worker sleeps; it says that it will sleep, then looks for the store. One of us sees. */
  __atomic_store_n(&shared->word, request->word, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&c->page->waiting, __ATOMIC_SEQ_CST) != RFAAS_AWAKE) wake(&c->page->waiting, c->notify_fd);
}

static const rfaas_response *client_poll(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = &c->slots[slot].response;
  return __atomic_load_n(&response->sequence, __ATOMIC_ACQUIRE) == c->slot[slot].sequence ? response : NULL;
}

static const rfaas_response *client_spin(rfaas_client *c, uint32_t slot) {
  for (int spins = 0; spins < RFAAS_SPINS_PER_CHECK; spins++) {
    const rfaas_response *response = client_poll(c, slot);
    if (response) return response;
    rfaas_relax();
  }
  return NULL;
}

static int client_wait(rfaas_client *c, uint32_t slot, uint64_t ns) {
  int timed_out = 0;
  fall_asleep(c->client_waiting, RFAAS_BLOCKED_ON_FUTEX);
  if (!client_poll(c, slot)) timed_out = futex_wait(c->client_waiting, RFAAS_BLOCKED_ON_FUTEX, ns);
  __atomic_store_n(c->client_waiting, RFAAS_AWAKE, __ATOMIC_RELAXED);
  return timed_out;
}

static void client_park(rfaas_client *c) {
  fall_asleep(c->client_waiting, RFAAS_PARKED_IN_LOOP);
}
static void client_unpark(rfaas_client *c) {
  __atomic_store_n(c->client_waiting, RFAAS_AWAKE, __ATOMIC_SEQ_CST);
}

static int client_lost(rfaas_client *c) {
  struct pollfd host = {.fd = c->host_pidfd, .events = POLLIN};
  if (poll(&host, 1, 0) != 1) return 0;
  /* The process has exited; its agent needs a moment to learn why and to write it into the region. */
  uint64_t until = rfaas_now_ns() + 100000000u;
  while (!__atomic_load_n(&c->lease->ended, __ATOMIC_ACQUIRE) && rfaas_now_ns() < until) usleep(200);
  return 1;
}

static const rfaas_client_ops client_ops = {client_post, client_poll,   client_spin, client_wait,
                                               client_park, client_unpark, client_lost, rfaas_remote_in_place};

static inline int holds_expected(rfaas_worker *w, uint32_t slot) {
  return __atomic_load_n(&w->slots[slot].request.word, __ATOMIC_ACQUIRE) == w->expected && !w->slot[slot].active;
}

static inline int32_t found(rfaas_worker *w, uint32_t slot) {
  w->incoming = &w->slots[slot].request;
  return (int32_t)slot;
}

static int32_t worker_poll(rfaas_worker *w) {
  /* The client begins at the first slot when nothing is in flight, else takes the next in order. */
  if (holds_expected(w, 0)) return found(w, 0);
  if (holds_expected(w, w->hint)) return found(w, w->hint);
  /* It skips those still busy, and says so once it has. */
  if (__atomic_load_n(&w->page->skipped, __ATOMIC_SEQ_CST))
    for (uint32_t ahead = 1; ahead <= w->mask; ahead++) {
      uint32_t slot = (w->hint + ahead) & w->mask;
      if (holds_expected(w, slot)) return found(w, slot);
    }
  return -1;
}

static int32_t worker_spin(rfaas_worker *w) {
  for (int spins = 0; spins < RFAAS_SPINS_PER_CHECK; spins++) {
    int32_t slot = worker_poll(w);
    if (slot >= 0) return slot;
    rfaas_relax();
  }
  return -1;
}

static void worker_post(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  rfaas_response *response = &w->slots[slot].response;
  const rfaas_worker_slot *local = &w->slot[slot];
  if (local->request.function & RFAAS_OUTPUT_INLINE) 
    rfaas_copy_payload(response->payload, local->output, length < RFAAS_INLINE_OUTPUT ? length : RFAAS_INLINE_OUTPUT,
                       RFAAS_INLINE_OUTPUT);
  response->status = status;
  response->length = length;
  __atomic_store_n(&response->sequence, local->sequence, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(w->client_waiting, __ATOMIC_SEQ_CST) != RFAAS_AWAKE)
    wake(w->client_waiting, w->notify_fd);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  int timed_out = 0;
  fall_asleep(&w->page->waiting, RFAAS_BLOCKED_ON_FUTEX);
  if (worker_poll(w) < 0 && !__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST))
    timed_out = futex_wait(&w->page->waiting, RFAAS_BLOCKED_ON_FUTEX, ns);
  __atomic_store_n(&w->page->waiting, RFAAS_AWAKE, __ATOMIC_RELAXED);
  return timed_out;
}

static void worker_park(rfaas_worker *w) {
  fall_asleep(&w->page->waiting, RFAAS_PARKED_IN_LOOP);
}
static void worker_unpark(rfaas_worker *w) { __atomic_store_n(&w->page->waiting, RFAAS_AWAKE, __ATOMIC_SEQ_CST); }

static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  return (int32_t)(request->deadline_ms - (uint32_t)((rfaas_now_ns() - w->epoch_ns) / 1000000u));
}

static void worker_publish_end(rfaas_worker *w) { (void)w; }
static void worker_rouse(rfaas_worker *w, int32_t loop_fd) { wake(&w->page->waiting, loop_fd); }

static const rfaas_worker_ops worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, worker_publish_end, worker_rouse};

extern const rfaas_fabric rfaas_shm_fabric;
const rfaas_fabric rfaas_shm_fabric = {.name = "shm",
                                       .inline_output = RFAAS_INLINE_OUTPUT,
                                       .shared_clock = 1,
                                       .copies_own_memory = 1,
                                       .ordered = 1,
                                       .client = &client_ops,
                                       .worker = &worker_ops};
