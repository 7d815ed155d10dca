/* The shared-memory fabric: a slot is a few cache lines that both processes map, a wake-up is a futex or one byte on a
 * socket. Nothing but an inline payload is ever copied. */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "sleep.h"

static void client_post(rfaas_client *c, uint32_t slot, rfaas_request *request) {
  rfaas_request *shared = &c->slots[slot].request;
  memcpy(shared, request, offsetof(rfaas_request, word));
  if (c->polling == RFAAS_HOT) __atomic_store_n(&shared->word, request->word, __ATOMIC_RELEASE);
  else publish(&shared->word, request->word, &c->page->worker, &c->poster, c->notify_fd);
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
  fall_asleep(c->sleeper, RFAAS_BLOCKED_ON_FUTEX);
  if (!client_poll(c, slot)) timed_out = sleep_at_most(c->sleeper, ns);
  __atomic_store_n(&c->sleeper->waiting, RFAAS_AWAKE, __ATOMIC_RELAXED);
  return timed_out;
}

static void client_park(rfaas_client *c) { fall_asleep(c->sleeper, RFAAS_PARKED_IN_LOOP); }
static void client_unpark(rfaas_client *c) { __atomic_store_n(&c->sleeper->waiting, RFAAS_AWAKE, __ATOMIC_SEQ_CST); }

static int client_lost(rfaas_client *c) {
  struct pollfd host = {.fd = c->host_pidfd, .events = POLLIN};
  if (poll(&host, 1, 0) != 1) return 0;
  /* The process has exited; its agent needs a moment to learn why and to write it into the region. */
  uint64_t until = rfaas_now_ns() + 100000000u;
  while (!__atomic_load_n(&c->lease->ended, __ATOMIC_ACQUIRE) && rfaas_now_ns() < until) usleep(200);
  return 1;
}

/* Lets a worker that sleeps look around. Returns whether it slept. */
RFAAS_EXPORT int32_t rfaas_rouse(rfaas_client *c) {
  if (__atomic_load_n(&c->page->worker.waiting, __ATOMIC_SEQ_CST) == RFAAS_AWAKE) return 0;
  wake(&c->page->worker, c->notify_fd);
  return 1;
}

/* The sequence of the last call that the worker has begun, once it begins no more: its thread is gone or, for which this waits, its process.
 * -1 where that is not known. */
RFAAS_EXPORT double rfaas_begun(rfaas_client *c, uint32_t limit_ms) {
  struct pollfd host = {.fd = c->host_pidfd, .events = POLLIN};
  if (host.fd < 0) return -1;
  if (!__atomic_load_n(&c->page->ended, __ATOMIC_ACQUIRE) && poll(&host, 1, (int)limit_ms) != 1) return -1;
  return (double)__atomic_load_n(&c->usage->begun, __ATOMIC_ACQUIRE);
}

const rfaas_client_ops rfaas_shm_client_ops = {client_post, client_poll,   client_spin, client_wait,
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
  publish(&response->sequence, local->sequence, w->client, &w->poster, w->notify_fd);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  int timed_out = 0;
  fall_asleep(&w->page->worker, RFAAS_BLOCKED_ON_FUTEX);
  if (worker_poll(w) < 0 && !__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST))
    timed_out = sleep_at_most(&w->page->worker, ns);
  __atomic_store_n(&w->page->worker.waiting, RFAAS_AWAKE, __ATOMIC_RELAXED);
  return timed_out;
}

static void worker_park(rfaas_worker *w) { fall_asleep(&w->page->worker, RFAAS_PARKED_IN_LOOP); }
static void worker_unpark(rfaas_worker *w) { __atomic_store_n(&w->page->worker.waiting, RFAAS_AWAKE, __ATOMIC_SEQ_CST); }

static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  return (int32_t)(request->deadline_ms - (uint32_t)((rfaas_now_ns() - w->epoch_ns) / 1000000u));
}

static void worker_publish_end(rfaas_worker *w) { (void)w; }
static void worker_rouse(rfaas_worker *w, int32_t loop_fd) { wake(&w->page->worker, loop_fd); }

const rfaas_worker_ops rfaas_shm_worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, worker_publish_end, worker_rouse};

extern const rfaas_fabric rfaas_shm_fabric;
const rfaas_fabric rfaas_shm_fabric = {.name = "shm",
                                       .inline_output = RFAAS_INLINE_OUTPUT,
                                       .shared_clock = 1,
                                       .copies_own_memory = 1,
                                       .ordered = 1,
                                       .client = &rfaas_shm_client_ops,
                                       .worker = &rfaas_shm_worker_ops};
