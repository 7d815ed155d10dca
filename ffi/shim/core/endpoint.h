/* The two ends of a channel: the client's and the worker's. */
#ifndef RFAAS_ENDPOINT_H
#define RFAAS_ENDPOINT_H

#include <string.h>

#include "clock.h"
#include "fabric.h"

/* An operation of the end's fabric. A file that compiles both ends together with the operations of one fabric names that fabric
 * (RFAAS_COMPILED_WITH, in the `calls.c` of its folder): the compiler then sees all of such a call. Every other fabric is reached by its table. */
#ifdef RFAAS_COMPILED_WITH
#define RFAAS_OPERATION(end, table, operation, ...) \
  (__builtin_expect((end)->ops == &RFAAS_COMPILED_WITH(table), 1) ? RFAAS_COMPILED_WITH(table).operation(end, ##__VA_ARGS__) \
                                                                  : (end)->ops->operation(end, ##__VA_ARGS__))
#else
#define RFAAS_OPERATION(end, table, operation, ...) ((end)->ops->operation(end, ##__VA_ARGS__))
#endif
#define RFAAS_OF_CLIENT(end, operation, ...) RFAAS_OPERATION(end, client_ops, operation, ##__VA_ARGS__)
#define RFAAS_OF_WORKER(end, operation, ...) RFAAS_OPERATION(end, worker_ops, operation, ##__VA_ARGS__)

/* Looks between two looks at the clock: about 2 us. */
#define RFAAS_SPINS_PER_CHECK 128
/* A spinner offers its core this often, so that two of them on one core both get on. */
#define RFAAS_YIELD_NS 50000u
/* No wait in native code lasts longer: in between, the thread checks for a stop, a lost peer and timers of its event loop. */
#define RFAAS_BLOCK_NS 250000000u
#define RFAAS_CLIENT_CHECK_NS 20000000u
/* How long one message may overtake another on a network that does not keep their order. */
#define RFAAS_OVERTAKEN_NS 100000000u
/* A worker looks into its event loop this often, however busy it is; while it sleeps, every RFAAS_BLOCK_NS. */
#define RFAAS_LOOP_TURN_NS 10000000u
/* Calls that follow each other at once between two looks at the clock. */
#define RFAAS_TURNS_PER_CHECK 16u
/* Of so many calls, the wait before one is measured however short. It divides no number of
 * calls that go out together. */
#define RFAAS_TURNS_PER_SAMPLE 17u
/* With asynchronous functions in flight a worker that may spin does so only this long between turns of its event loop. */
#define RFAAS_BUSY_TURN_NS 10000u
/* Twelve days: far less than half of what 32 bits of milliseconds can tell apart. */
#define RFAAS_LONGEST_DEADLINE_MS (1u << 30)
/* Adaptive: gaps between calls up to this are worth spinning through; one wake-up costs 20-35 us on both sides. */
#define RFAAS_ADAPTIVE_GAP_NS 250000u

/* Posts that need no wake-up before a poster gives up its fence: a barrier costs a sleeper as much as some hundred of them. */
#define RFAAS_POSTS_BEFORE_UNFENCED 1024u

/* A sleep that timed out although a wake-up was due is a lost wake-up: tests look for it. */
typedef struct {
  uint32_t count;
  uint32_t late;
} rfaas_sleeps;

/* What one side knows of its posts to the other; see `sleep.h`. */
typedef struct {
  uint32_t unfenced;
  uint32_t unwoken; /* posts since one that woke */
  uint32_t patience; /* after so many of those it gives up its fence */
  uint32_t declared; /* how often it has */
} rfaas_poster;

enum rfaas_credit { RFAAS_FREE = 0, RFAAS_IN_FLIGHT = 1, RFAAS_ABANDONED = 2 };

typedef struct {
  uint64_t sequence;
  uint32_t credit; /* enum rfaas_credit */
  uint32_t input_offset;
  uint32_t output_offset;
  uint32_t output_capacity;
  uint32_t function;
  uint32_t own; /* the fabric's, 0 at first */
  uint64_t posting_ticks;
  uint64_t posted_ticks;
  uint64_t returned_ticks;
} rfaas_client_slot;

struct rfaas_client {
  const rfaas_client_ops *ops;
  const rfaas_region *region;
  rfaas_lease_page *lease;
  rfaas_channel_page *page;
  rfaas_slot *slots;
  uint8_t *arena;
  uint64_t arena_bytes;
  uint64_t sequence; /* of the next call */
  uint32_t mask;
  uint32_t head;
  uint32_t in_flight; /* the abandoned included */
  uint32_t abandoned;
  uint32_t skipped; /* what the channel's page says */
  uint32_t polling;
  int32_t last_slot;
  int32_t host_pidfd;
  int32_t notify_fd;
  uint32_t inline_output; /* outputs up to this long travel in the response line */
  uint32_t broken; /* the fabric has failed: no answer will come any more */
  uint64_t epoch_ns;
  uint64_t spin_ticks;
  rfaas_sleeps sleeps;
  const rfaas_fabric *fabric;
  void *end; /* the fabric's */
  rfaas_sleeper *sleeper; /* where the client says that it sleeps */
  rfaas_poster poster;
  const rfaas_usage *usage; /* of the worker */
  rfaas_client_slot slot[];
};

/* A call as a table has it. */
typedef struct {
  uint32_t function;
  uint32_t input_offset;
  uint32_t input_length;
  uint32_t output_offset;
  uint32_t output_capacity;
} rfaas_posting;

/* One call, and the result of one, for `batch.c`: see `post` and `finish` in `client.c`. */
int32_t rfaas_client_post(rfaas_client *c, uint32_t function, uint32_t input_offset, uint32_t input_length,
                          uint32_t output_offset, uint32_t output_capacity, uint32_t deadline_ms, uint64_t deadline_ns);
int32_t rfaas_client_finish(rfaas_client *c, uint32_t slot, const rfaas_response *response);

typedef struct {
  rfaas_request request; /* private copy: what was checked is what is used */
  uint8_t output[RFAAS_LINE];
  uint64_t sequence;
  uint32_t active;
  uint32_t own; /* the fabric's, 0 at first */
  uint8_t pad[RFAAS_LINE - sizeof(uint64_t) - 2 * sizeof(uint32_t)];
} rfaas_worker_slot;

struct rfaas_worker {
  const rfaas_worker_ops *ops;
  rfaas_sleeper *client; /* where the client says that it sleeps */
  rfaas_poster poster;
  rfaas_channel_page *page;
  rfaas_slot *slots;
  const rfaas_request *incoming;
  void *end; /* the fabric's */
  uint8_t *arena;
  uint64_t arena_bytes;
  uint64_t epoch_ns;
  uint64_t expected; /* the sequence of the next call */
  uint32_t inline_output;
  uint32_t mask;
  uint32_t hint;
  uint32_t function_count; /* of those that calls may begin */
  uint32_t polling;
  uint32_t stop;
  uint32_t turns;
  int32_t notify_fd;
  uint64_t loop_turn_at;
  uint64_t spin_ticks;
  uint64_t gap_ticks;
  uint64_t gap_limit_ticks;
  rfaas_usage *usage;
  rfaas_region *region;
  rfaas_sleeps sleeps;
  uint32_t functions, named; /* all of them, and those of the module */
  uint32_t closed; /* calls begin no more */
  rfaas_worker_slot slot[] __attribute__((aligned(64)));
};

/* So many slots ahead of the one that is written or read, in a row of them: about as many lines as arrive while the core works on one. */
#define RFAAS_AHEAD 4u

/* Asks for a line that will be written soon: a store to it, and all stores that follow, would wait for the other core to give up its
 * copy. Without an option for the processor, `__builtin_prefetch` asks for a line to read. Processors without the instruction skip it. */
static inline void rfaas_prefetch_to_write(const void *line) {
#if defined(__x86_64__)
  __asm__ volatile("prefetchw %0" ::"m"(*(const uint8_t *)line));
#else
  __builtin_prefetch(line, 1);
#endif
}

/* Before a call that others may follow: their lines are on their way meanwhile. */
static inline void rfaas_client_look_ahead(rfaas_client *c) {
  uint32_t ahead = (c->head + RFAAS_AHEAD) & c->mask;
  if (c->slot[ahead].credit == RFAAS_FREE) rfaas_prefetch_to_write(&c->slots[ahead].request);
}

/* Copies a line of at most 64 bytes that the peer may be writing: the caller checks and uses the copy, and never the line. */
static inline void rfaas_snapshot(void *copy, const void *shared, size_t bytes) {
  memcpy(copy, shared, bytes);
  __asm__ volatile("" ::: "memory");
}

/* Copies `length` bytes and fills the rest of `room`, a multiple of 16, with zeros: what lies behind a payload is not the peer's to
 * see. Reads `room` bytes. */
static inline void rfaas_copy_payload(uint8_t *to, const uint8_t *from, uint32_t length, uint32_t room) {
  static const uint8_t mask[2 * RFAAS_LINE] = {
#define RFAAS_ONES 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255
      RFAAS_ONES, RFAAS_ONES, RFAAS_ONES, RFAAS_ONES};
#undef RFAAS_ONES
  const uint8_t *keep = mask + RFAAS_LINE - length;
  for (uint32_t at = 0; at < room; at += sizeof(uint64_t)) {
    uint64_t word, bits;
    memcpy(&word, from + at, sizeof word);
    memcpy(&bits, keep + at, sizeof bits);
    word &= bits;
    memcpy(to + at, &word, sizeof word);
  }
}

#endif
