/* The two ends of an endpoint, and the seam between fabrics.
 *
 * `client.c` and `worker.c` know about slots, credits, sequences, bounds, deadlines and when to spin; a fabric knows how bytes
 * and wake-ups travel. A new fabric fills in the two tables of operations and changes nothing else.
 */
#ifndef RFAAS_ENDPOINT_H
#define RFAAS_ENDPOINT_H

#include <string.h>

#include "clock.h"
#include "rfaas.h"

/* Looks between two looks at the clock: about 2 us. */
#define RFAAS_SPINS_PER_CHECK 128
/* A spinner offers its core this often, so that two of them on one core both get on. */
#define RFAAS_YIELD_NS 50000u
/* No wait in native code lasts longer: a stop, a lost peer and the event loop's own timers are looked at in between. */
#define RFAAS_BLOCK_NS 250000000u
#define RFAAS_CLIENT_CHECK_NS 20000000u
/* A worker looks into its event loop this often, however busy it is; while it sleeps, every RFAAS_BLOCK_NS. */
#define RFAAS_LOOP_TURN_NS 10000000u
/* Calls that follow each other at once between two looks at the clock. */
#define RFAAS_TURNS_PER_CHECK 16u
/* With asynchronous functions in flight a worker that may spin does so only this long between turns of its event loop. */
#define RFAAS_BUSY_TURN_NS 10000u
/* Twelve days: far less than half of what 32 bits of milliseconds can tell apart. */
#define RFAAS_LONGEST_DEADLINE_MS (1u << 30)
/* Adaptive: gaps between calls up to this are worth spinning through; one wake-up costs 20-35 us on both sides. */
#define RFAAS_ADAPTIVE_GAP_NS 250000u

typedef struct rfaas_client rfaas_client;
typedef struct rfaas_worker rfaas_worker;
typedef struct rfaas_verbs_end rfaas_verbs_end;
typedef struct rfaas_link rfaas_link;

typedef struct {
  /* Hands the request to the worker and wakes it if it sleeps. */
  void (*post)(rfaas_client *, uint32_t slot, const rfaas_request *);
  /* The response of the slot's current call, or NULL. */
  const rfaas_response *(*poll)(rfaas_client *, uint32_t slot);
  /* The same, after looking for about as long as a call takes. */
  const rfaas_response *(*spin)(rfaas_client *, uint32_t slot);
  /* Blocks until the slot may have a response, at most `ns`. Returns whether the time ran out. */
  int (*wait)(rfaas_client *, uint32_t slot, uint64_t ns);
  /* From now on a response writes to the client's notify descriptor; returns 0 when one may already be there. */
  void (*park)(rfaas_client *);
  void (*unpark)(rfaas_client *);
  /* Whether the worker can no longer answer, as far as the fabric can tell. Not hot: called every RFAAS_CLIENT_CHECK_NS. */
  int (*lost)(rfaas_client *);
  /* A one-sided operation within bounds, to its end; see `rfaas_remote`. */
  int32_t (*remote)(rfaas_client *, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                    uint64_t *words);
} rfaas_client_ops;

/* Where client and worker share memory, the node's copy is ours. */
int32_t rfaas_remote_in_place(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset,
                              uint32_t bytes, uint64_t *words);

typedef struct {
  /* The slot that holds the expected request, or -1. Points `incoming` at the request; says the same until it is accepted. */
  int32_t (*poll)(rfaas_worker *);
  /* The same, after looking for some microseconds. */
  int32_t (*spin)(rfaas_worker *);
  /* Publishes the response and wakes the client if it sleeps. */
  void (*post)(rfaas_worker *, uint32_t slot, int32_t status, uint32_t length);
  int (*wait)(rfaas_worker *, uint64_t ns);
  void (*park)(rfaas_worker *);
  void (*unpark)(rfaas_worker *);
  /* Milliseconds until the request's deadline by the client's clock, as far as it is known; 0 or less when it has passed. */
  int32_t (*left_ms)(rfaas_worker *, const rfaas_request *);
  /* The worker's page says why it has ended: lets the client see it. */
  void (*publish_end)(rfaas_worker *);
  /* Ends the worker's sleep, from another thread. */
  void (*rouse)(rfaas_worker *, int32_t loop_fd);
} rfaas_worker_ops;

extern const rfaas_client_ops rfaas_shm_client_ops;
extern const rfaas_worker_ops rfaas_shm_worker_ops;
extern const rfaas_client_ops rfaas_verbs_client_ops;
extern const rfaas_worker_ops rfaas_verbs_worker_ops;
/* The registration that holds these bytes of the arena, or NULL. */
const rfaas_registration *rfaas_registered(const rfaas_region *region, uint32_t offset, uint32_t bytes);
int32_t rfaas_unregister(rfaas_region *region, rfaas_link *link, uint32_t offset);
/* Makes memory known to the link's device, and to the peer. Return 0 or a positive errno. */
int rfaas_link_register(rfaas_link *link, rfaas_registration *registration);
int rfaas_link_register_output(rfaas_link *link, rfaas_registration *registration);
void rfaas_link_unregister(rfaas_link *link, rfaas_registration *registration);
/* The link's end for one worker, or NULL. */
rfaas_verbs_end *rfaas_link_end(rfaas_link *link, uint32_t worker);
/* Wake-ups of a worker's end go to this socket from now on. */
void rfaas_verbs_end_notify(rfaas_verbs_end *end, int32_t notify_fd);

/* A sleep that ran out of time although there was something to wake for would be a lost wake-up: tests look for it. */
typedef struct {
  uint32_t count;
  uint32_t late;
} rfaas_sleeps;

enum rfaas_credit { RFAAS_FREE = 0, RFAAS_IN_FLIGHT = 1, RFAAS_ABANDONED = 2 };

typedef struct {
  uint64_t sequence;
  uint32_t credit; /* enum rfaas_credit */
  uint32_t output_offset;
  uint32_t output_capacity;
  uint32_t function;
  uint32_t room; /* verbs: the arena's line that holds the call's header, plus 1; 0 for none */
  uint64_t posting_ticks;
  uint64_t posted_ticks;
  uint64_t returned_ticks;
} rfaas_client_slot;

struct rfaas_client {
  const rfaas_client_ops *ops;
  const rfaas_region *region;
  rfaas_lease_page *lease;
  rfaas_worker_page *page;
  rfaas_slot *slots;
  uint8_t *arena;
  uint64_t arena_bytes;
  uint64_t sequence; /* of the next call */
  uint32_t mask;
  uint32_t head;
  uint32_t in_flight;
  uint32_t skipped; /* what the worker's page says */
  uint32_t polling;
  int32_t last_slot;
  int32_t host_pidfd;
  int32_t notify_fd;
  uint32_t inline_output; /* outputs up to this long travel in the response line */
  uint32_t broken; /* the fabric has failed: no answer will come any more */
  uint64_t epoch_ns;
  uint64_t spin_ticks;
  rfaas_sleeps sleeps;
  rfaas_verbs_end *verbs;
  rfaas_client_slot slot[];
};

typedef struct {
  rfaas_request request; /* private copy: what was checked is what is used */
  uint8_t output[RFAAS_LINE];
  uint64_t sequence;
  uint32_t active;
  uint8_t pad[RFAAS_LINE - sizeof(uint64_t) - sizeof(uint32_t)];
} rfaas_worker_slot;

struct rfaas_worker {
  const rfaas_worker_ops *ops;
  rfaas_lease_page *lease;
  rfaas_worker_page *page;
  rfaas_slot *slots;
  const rfaas_request *incoming;
  rfaas_verbs_end *verbs;
  uint8_t *arena;
  uint64_t arena_bytes;
  uint64_t epoch_ns;
  uint64_t expected; /* the sequence of the next call */
  uint32_t inline_output;
  uint32_t mask;
  uint32_t hint;
  uint32_t function_count;
  uint32_t polling;
  uint32_t stop;
  uint32_t turns;
  int32_t notify_fd;
  uint64_t loop_turn_at;
  uint64_t spin_ticks;
  uint64_t gap_ticks;
  uint64_t gap_limit_ticks;
  rfaas_usage *usage;
  rfaas_sleeps sleeps;
  rfaas_worker_slot slot[] __attribute__((aligned(64)));
};

/* Copies a line of at most 64 bytes that the peer may be writing: what is looked at afterwards is the copy, not the line again. */
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

/* One byte to a parked peer's event loop. A full or closed socket needs none. */
void rfaas_notify(int32_t fd);

#endif
