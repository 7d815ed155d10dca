/* Calls over shared memory between threads of one process, for a race detector: a client, a worker, and a host that looks at what the
 * worker does. What one of them reads must come after what another has written by the order that the shim itself makes. Built with
 * the shim's own sources. */
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

enum { SLOTS = 8, CALLS = 3000, ROUNDS = 200, ARENA = 1 << 20, OUTPUT_AT = 1 << 19, STOPPED = -2 };

static rfaas_region *region;
static rfaas_client *client;
static rfaas_worker *worker;
static uint32_t over;

static void expect(int truth, const char *what) {
  if (truth) return;
  fprintf(stderr, "not so: %s\n", what);
  exit(1);
}

/* An echo. */
static void *serve(void *ignored) {
  (void)ignored;
  uint32_t length = 0;
  for (int32_t slot = -1; (slot = rfaas_worker_turn(worker, slot, length, 0)) != STOPPED;) {
    if (slot < 0) continue;
    rfaas_worker_slot *local = &worker->slot[slot];
    const rfaas_request *r = &local->request;
    const uint8_t *input = r->function & RFAAS_INPUT_INLINE ? r->payload : worker->arena + r->input_offset;
    length = r->input_length;
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

int main(void) {
  for (uint32_t polling = RFAAS_HOT; polling <= RFAAS_ADAPTIVE; polling++) {
    int32_t fd = rfaas_region_create(1, SLOTS, ARENA, polling, 5000);
    expect(fd >= 0, "a region is made");
    /* Once: the detector knows memory by its address. */
    region = (rfaas_region *)(uintptr_t)rfaas_region_map(fd, 1, SLOTS);
    close(fd);
    client = (rfaas_client *)(uintptr_t)rfaas_client_open(region, 0, -1, -1, NULL);
    worker = (rfaas_worker *)(uintptr_t)rfaas_worker_open(region, 0, -1, NULL);
    rfaas_worker_functions(worker, 1, 1);
    over = 0;
    pthread_t server, observer;
    pthread_create(&server, NULL, serve, NULL);
    pthread_create(&observer, NULL, look, NULL);
    call_one_by_one();
    call_all_at_once();
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    pthread_join(observer, NULL);
    rfaas_worker_stop(worker, -1);
    pthread_join(server, NULL);
  }
  return 0;
}
