/* A lease's memory, mapped twice: as a side of ours has it, and as a hostile peer does, who writes what it likes. */
#ifndef FUZZ_LEASE_H
#define FUZZ_LEASE_H

#define _GNU_SOURCE
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../ffi/shim/core/endpoint.h"

enum { SLOTS = 8, ARENA = 1024 };

/* Exported by the shim, declared to TypeScript alone. */
int32_t rfaas_region_create(uint32_t workers, uint32_t slots, double arena_bytes, uint32_t polling, uint32_t spin_ns);
double rfaas_region_map(int32_t fd, uint32_t workers, uint32_t slots);
void rfaas_region_unmap(rfaas_region *region, uint32_t keep_addresses);
int32_t rfaas_region_refill(rfaas_region *region, int32_t fd);
double rfaas_worker_open(rfaas_region *region, uint32_t worker, int32_t notify_fd, rfaas_link *link);
void rfaas_worker_functions(rfaas_worker *w, uint32_t count, uint32_t named);
int32_t rfaas_worker_turn(rfaas_worker *w, int32_t slot, uint32_t length, uint32_t async_calls);
int32_t rfaas_worker_answer(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length);
int32_t rfaas_worker_park(rfaas_worker *w);
void rfaas_worker_unpark(rfaas_worker *w);
int32_t rfaas_worker_remaining(rfaas_worker *w, uint32_t slot);
int32_t rfaas_worker_active(rfaas_worker *w, double *out);
void rfaas_worker_close(rfaas_worker *w, int32_t loop_fd);
void rfaas_worker_defer(rfaas_worker *w, uint32_t slot);
void rfaas_worker_abort_calls(rfaas_worker *w);
void rfaas_worker_lose(rfaas_worker *w, uint32_t reason, int32_t detail);
double rfaas_client_open(rfaas_region *region, uint32_t worker, int32_t host_pidfd, int32_t notify_fd, rfaas_link *link);
void rfaas_client_close(rfaas_client *c);
int32_t rfaas_post(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length, uint32_t output_offset,
                   uint32_t output_capacity, uint32_t deadline_ms);
int32_t rfaas_test(rfaas_client *c, uint32_t slot);
int32_t rfaas_post_many(rfaas_client *c, const rfaas_posting *table, uint32_t first, uint32_t count, uint32_t deadline_ms, int32_t *slots);
int32_t rfaas_harvest(rfaas_client *c, uint32_t from, uint32_t misses, int32_t *ended);
void rfaas_abandon(rfaas_client *c, uint32_t slot);
int32_t rfaas_held(rfaas_client *c, uint32_t slot, double sequence);
double rfaas_slot_sequence(rfaas_client *c, uint32_t slot);
uint32_t rfaas_error_length(rfaas_client *c, uint32_t slot);
void rfaas_timings(rfaas_client *c, uint32_t slot, double *out);
int32_t rfaas_remote(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes, uint64_t *words);
int32_t rfaas_rouse(rfaas_client *c);
void rfaas_client_park(rfaas_client *c);
void rfaas_client_unpark(rfaas_client *c);

#define MUST(so) \
  do \
    if (!(so)) { \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #so); \
      abort(); \
    } \
  while (0)

typedef struct {
  rfaas_region *region;
  rfaas_lease_page *theirs; /* the same pages, as the peer has them */
} lease;

/* What lies behind the arena and its tail belongs to no one. */
static inline void guard(const rfaas_region *region, int closed) {
  uint8_t *from = (uint8_t *)region->page + region->arena_offset + region->arena_bytes + RFAAS_ARENA_TAIL;
  size_t bytes = region->mapped_bytes - (size_t)(from - (uint8_t *)region->page);
  if (closed) __asan_poison_memory_region(from, bytes);
  else __asan_unpoison_memory_region(from, bytes);
}

static inline lease new_lease(uint32_t polling) {
  int fd = rfaas_region_create(1, SLOTS, ARENA, polling, 0);
  MUST(fd >= 0);
  double mapped = rfaas_region_map(fd, 1, SLOTS);
  MUST(mapped > 0);
  lease made = {.region = (rfaas_region *)(uintptr_t)mapped};
  made.theirs = mmap(NULL, made.region->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  MUST(made.theirs != MAP_FAILED);
  close(fd);
  guard(made.region, 1);
  return made;
}

/* As it was in the beginning, but for its header. */
static inline void begin_again(lease *l) {
  uint8_t *from = (uint8_t *)l->theirs + RFAAS_LINE;
  memset(from, 0, (size_t)((uint8_t *)l->theirs + l->region->arena_offset + l->region->arena_bytes + RFAAS_ARENA_TAIL - from));
  l->region->touched = 0;
}

/* What is left of an input. */
typedef struct {
  const uint8_t *at;
  size_t left;
} bytes;

static inline uint8_t next(bytes *b) {
  if (b->left == 0) return 0;
  b->left--;
  return *b->at++;
}
static inline uint32_t next32(bytes *b) {
  uint32_t value = next(b);
  value |= (uint32_t)next(b) << 8;
  value |= (uint32_t)next(b) << 16;
  return value | (uint32_t)next(b) << 24;
}
static inline void take(bytes *b, void *to, size_t size) {
  size_t part = size < b->left ? size : b->left;
  memcpy(to, b->at, part);
  b->at += part;
  b->left -= part;
}

/* What a function does with its call: reads all of the input, writes all of the output. The worker's copy says where they are. */
static inline uint32_t run_function(rfaas_worker *w, uint32_t slot) {
  static uint32_t sum;
  MUST(slot <= w->mask);
  rfaas_worker_slot *local = &w->slot[slot];
  const rfaas_request *r = &local->request;
  MUST(local->active);
  MUST((r->function & RFAAS_FUNCTION_MASK) < w->functions);
  MUST((uint64_t)r->input_offset + r->input_length <= w->arena_bytes);
  MUST((uint64_t)r->output_offset + r->output_capacity <= w->arena_bytes);
  const uint8_t *input = w->arena + r->input_offset;
  if (r->function & RFAAS_INPUT_INLINE) {
    MUST(r->input_length <= RFAAS_INLINE_INPUT);
    input = r->payload;
  }
  for (uint32_t i = 0; i < r->input_length; i++) sum += input[i];
  uint8_t *output = w->arena + r->output_offset;
  if (r->function & RFAAS_OUTPUT_INLINE) {
    MUST(r->output_capacity <= w->inline_output);
    output = local->output;
  }
  memset(output, (int)sum, r->output_capacity);
  return r->output_capacity;
}

#endif
