/* Calls over shared memory between threads of one process, for a race detector: a client, a worker, and a host that looks at what the
 * worker does. What one of them reads must come after what another has written by the order that the shim itself makes. Built with
 * the shim's own sources. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/endpoint.h"

/* Exported functions that no header declares, as `ffi/symbols.ts` does. */
int32_t rfaas_region_create(uint32_t workers, uint32_t slots, double arena_bytes, uint32_t polling, uint32_t spin_ns);
double rfaas_region_map(int32_t fd, uint32_t workers, uint32_t slots);
double rfaas_client_open(rfaas_region *region, uint32_t worker, int32_t host_pidfd, int32_t notify_fd, rfaas_link *link);
double rfaas_worker_open(rfaas_region *region, uint32_t worker, int32_t notify_fd, rfaas_link *link);
void rfaas_worker_functions(rfaas_worker *w, uint32_t count, uint32_t named);
int32_t rfaas_worker_turn(rfaas_worker *w, int32_t slot, uint32_t length, uint32_t async_calls);
int32_t rfaas_worker_begun(rfaas_worker *w, uint32_t slot, double sequence);
int32_t rfaas_worker_runs(rfaas_worker *w, uint32_t slot, double sequence);
void rfaas_worker_stop(rfaas_worker *w, int32_t loop_fd);
void rfaas_lease_usage(const rfaas_lease_page *page, uint32_t workers, double *out);
int32_t rfaas_call(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length, uint32_t output_offset,
                   uint32_t output_capacity, uint32_t deadline_ms);
int32_t rfaas_post(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length, uint32_t output_offset,
                   uint32_t output_capacity, uint32_t deadline_ms);
int32_t rfaas_wait(rfaas_client *c, uint32_t slot, uint32_t timeout_ms);
void rfaas_timings(rfaas_client *c, uint32_t slot, double *out);
int32_t rfaas_last_slot(rfaas_client *c);
int32_t rfaas_test(rfaas_client *c, uint32_t slot);
int32_t rfaas_held(rfaas_client *c, uint32_t slot, double sequence);
double rfaas_slot_sequence(rfaas_client *c, uint32_t slot);
void rfaas_client_park(rfaas_client *c);
void rfaas_client_unpark(rfaas_client *c);
int32_t rfaas_worker_park(rfaas_worker *w);
void rfaas_worker_unpark(rfaas_worker *w);
void rfaas_worker_lose(rfaas_worker *w, uint32_t reason, int32_t detail);
int32_t rfaas_worker_end_detail(rfaas_client *c);
uint32_t rfaas_client_sleeps(rfaas_client *c, uint32_t late);
uint32_t rfaas_worker_sleeps(rfaas_worker *w, uint32_t late);
int32_t rfaas_notify_pair(int32_t *out);

enum { SLOTS = 8, CALLS = 3000, ROUNDS = 200, ARENA = 1 << 20, OUTPUT_AT = 1 << 19, STOPPED = -2 };
enum { LATE_CALLS = 20, PARKED_CALLS = 200, DETAIL = 77, FAR_MS = 10000 };
/* What the worker can do: answer; answer once it may; die. */
enum { ECHO, LATE, DIES, FUNCTIONS };

static rfaas_region *region;
static rfaas_client *client;
static rfaas_worker *worker;
static uint32_t over, parks, may_answer;
/* Whose event loops they reach, and by which end they are woken. */
static int32_t of_client[2], of_worker[2];

static void expect(int truth, const char *what) {
  if (truth) return;
  fprintf(stderr, "not so: %s\n", what);
  exit(1);
}

/* A turn of an event loop: ends when a byte comes. A wake-up that does not come in so long is lost. */
static void await_byte(int32_t fd) {
  struct pollfd byte = {.fd = fd, .events = POLLIN};
  char bytes[64];
  expect(poll(&byte, 1, FAR_MS) == 1, "one that is parked is woken");
  (void)!read(fd, bytes, sizeof bytes);
}

/* An echo. */
static void *serve(void *ignored) {
  (void)ignored;
  uint32_t length = 0;
  for (int32_t slot = -1; (slot = rfaas_worker_turn(worker, slot, length, 0)) != STOPPED;) {
    if (slot < 0) {
      if (!__atomic_load_n(&parks, __ATOMIC_RELAXED)) continue;
      if (!rfaas_worker_park(worker)) await_byte(of_worker[0]);
      rfaas_worker_unpark(worker);
      continue;
    }
    rfaas_worker_slot *local = &worker->slot[slot];
    const rfaas_request *r = &local->request;
    const uint8_t *input = r->function & RFAAS_INPUT_INLINE ? r->payload : worker->arena + r->input_offset;
    length = r->input_length;
    uint32_t function = r->function & RFAAS_FUNCTION_MASK;
    while (function == LATE && !__atomic_load_n(&may_answer, __ATOMIC_RELAXED)) usleep(100);
    if (function == DIES) {
      rfaas_worker_lose(worker, RFAAS_END_WORKER_FAILED, DETAIL);
      return NULL;
    }
    memcpy(r->function & RFAAS_OUTPUT_INLINE ? local->output : worker->arena + r->output_offset, input, length);
  }
  return NULL;
}

static void *look(void *ignored) {
  (void)ignored;
  double usage[4];
  for (double sequence = 1; !__atomic_load_n(&over, __ATOMIC_RELAXED); sequence++) {
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
      rfaas_worker_begun(worker, slot, sequence);
      rfaas_worker_runs(worker, slot, sequence);
    }
    rfaas_lease_usage(region->page, 1, usage);
  }
  return NULL;
}

static void call_one_by_one(void) {
  static const uint32_t lengths[] = {8, 32, 33, 48, 64, 4096};
  double times[4];
  for (uint32_t i = 1; i <= CALLS; i++) {
    uint32_t length = lengths[i % (sizeof lengths / sizeof *lengths)];
    uint8_t *input = client->arena, *output = client->arena + OUTPUT_AT;
    memset(input, (int)(i & 0xff), length);
    uint32_t timed = i % 3 == 0 ? RFAAS_TIMED : 0;
    expect(rfaas_call(client, timed, 0, length, OUTPUT_AT, length, 0) == (int32_t)length, "a call is answered");
    expect(output[0] == (i & 0xff) && output[length - 1] == (i & 0xff), "an answer is whole");
    if (timed) rfaas_timings(client, (uint32_t)rfaas_last_slot(client), times);
  }
}

static void call_all_at_once(void) {
  for (uint32_t round = 0; round < ROUNDS; round++) {
    int32_t slot[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) {
      memset(client->arena + i * 128, (int)(round + i), 80);
      slot[i] = rfaas_post(client, 0, i * 128, 80, OUTPUT_AT + i * 128, 80, 0);
      expect(slot[i] >= 0, "there is a slot");
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
      expect(rfaas_wait(client, (uint32_t)slot[i], 0) == 80, "a call in flight is answered");
      expect(client->arena[OUTPUT_AT + i * 128 + 79] == (uint8_t)(round + i), "an answer is that of its call");
    }
  }
}

/* Calls that miss their deadline: what they have of the memory is the client's again once they are answered. */
static void abandon_calls(void) {
  for (uint32_t i = 0; i < LATE_CALLS; i++) {
    __atomic_store_n(&may_answer, 0, __ATOMIC_RELAXED);
    memset(client->arena, (int)i, 80);
    expect(rfaas_call(client, LATE, 0, 80, OUTPUT_AT, 80, 1) == RFAAS_DEADLINE, "a late call ends at its deadline");
    uint32_t slot = (uint32_t)rfaas_last_slot(client);
    double sequence = rfaas_slot_sequence(client, slot);
    __atomic_store_n(&may_answer, 1, __ATOMIC_RELAXED);
    while (rfaas_held(client, slot, sequence)) usleep(100);
    memset(client->arena + OUTPUT_AT, 0, 80);
  }
}

/* Both sides wait in their event loops. */
static void park_for_calls(void) {
  __atomic_store_n(&parks, 1, __ATOMIC_RELAXED);
  for (uint32_t i = 0; i < PARKED_CALLS; i++) {
    memset(client->arena, (int)i, 80);
    int32_t slot = rfaas_post(client, ECHO, 0, 80, OUTPUT_AT, 80, 0), result;
    while ((result = rfaas_test(client, (uint32_t)slot)) == RFAAS_PENDING) {
      rfaas_client_park(client);
      if ((result = rfaas_test(client, (uint32_t)slot)) != RFAAS_PENDING) break;
      await_byte(of_client[0]);
    }
    rfaas_client_unpark(client);
    expect(result == 80 && client->arena[OUTPUT_AT + 79] == (uint8_t)i, "a call of one that parks is answered");
  }
  __atomic_store_n(&parks, 0, __ATOMIC_RELAXED);
}

static void lose_the_worker(void) {
  expect(rfaas_call(client, DIES, 0, 80, OUTPUT_AT, 80, 0) == RFAAS_WORKER_LOST, "the death of the worker ends a call");
  expect(rfaas_worker_end_detail(client) == DETAIL, "and says why");
}

int main(void) {
  for (uint32_t polling = RFAAS_HOT; polling <= RFAAS_ADAPTIVE; polling++) {
    int32_t fd = rfaas_region_create(1, SLOTS, ARENA, polling, 5000);
    expect(fd >= 0, "a region is made");
    /* Once: the detector knows memory by its address. */
    region = (rfaas_region *)(uintptr_t)rfaas_region_map(fd, 1, SLOTS);
    close(fd);
    expect(rfaas_notify_pair(of_client) == 0 && rfaas_notify_pair(of_worker) == 0, "there are descriptors");
    client = (rfaas_client *)(uintptr_t)rfaas_client_open(region, 0, -1, of_worker[1], NULL);
    worker = (rfaas_worker *)(uintptr_t)rfaas_worker_open(region, 0, of_client[1], NULL);
    rfaas_worker_functions(worker, FUNCTIONS, FUNCTIONS);
    over = 0;
    pthread_t server, observer;
    pthread_create(&server, NULL, serve, NULL);
    pthread_create(&observer, NULL, look, NULL);
    call_one_by_one();
    call_all_at_once();
    abandon_calls();
    /* A side that is hot tells no one that it has posted. */
    if (polling != RFAAS_HOT) park_for_calls();
    lose_the_worker();
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    pthread_join(observer, NULL);
    pthread_join(server, NULL);
    expect(rfaas_client_sleeps(client, 1) == 0 && rfaas_worker_sleeps(worker, 1) == 0, "no wake-up is lost");
  }
  return 0;
}
