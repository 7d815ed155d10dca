/* The C half of rfaas: the layout of a lease's region.
 *
 * Everything that two processes read and write together is declared in this file. `ffi/layout.ts` states the same numbers
 * for TypeScript, and `rfaas_layout` lets the loader compare the two before it trusts either.
 */
#ifndef RFAAS_H
#define RFAAS_H

#include <stddef.h>
#include <stdint.h>

#define RFAAS_EXPORT __attribute__((visibility("default")))
#define RFAAS_MAGIC 0x53416672u /* "rfAS" */
#define RFAAS_LAYOUT_VERSION 6u

#define RFAAS_LINE 64u
#define RFAAS_PAGE 4096u
#define RFAAS_INLINE_INPUT 32u
#define RFAAS_INLINE_OUTPUT 48u
#define RFAAS_ERROR_BYTES 4096u
/* A host gets two descriptors for each worker, all in one message, and the kernel allows 253. */
#define RFAAS_MAX_WORKERS 120u
#define RFAAS_MAX_SLOTS 1024u
/* Slack behind the arena, so that a fixed-size copy of an inline payload may read past a view's end. */
#define RFAAS_ARENA_TAIL RFAAS_LINE

/* The status of a call. Zero or more is the number of bytes written. */
enum rfaas_status {
  RFAAS_OK = 0,
  RFAAS_PENDING = -1,
  RFAAS_FUNCTION_ERROR = -2,
  RFAAS_DEADLINE = -3,
  RFAAS_WORKER_LOST = -4,
  RFAAS_RING_FULL = -5,
  RFAAS_BAD_REQUEST = -6,
  RFAAS_BAD_RESPONSE = -7,
  RFAAS_NOT_BEGUN = -8, /* the lease ends too soon for it */
};

/* Why a lease or one of its workers ended. Written once, by the agent or the host, never by user code's caller. */
enum rfaas_end {
  RFAAS_ALIVE = 0,
  RFAAS_END_RELEASED = 1,
  RFAAS_END_EXITED = 2,
  RFAAS_END_SIGNALLED = 3,
  RFAAS_END_NODE_STOPPED = 4,
  RFAAS_END_WORKER_FAILED = 5,
  RFAAS_END_EXPIRED = 6,
  RFAAS_END_REVOKED = 7,
  RFAAS_END_OVER_BUDGET = 8,
  RFAAS_END_DISCONNECTED = 9,
  RFAAS_END_OVER_LIMIT = 10,
  RFAAS_END_UNRESPONSIVE = 11,
};

enum rfaas_polling { RFAAS_HOT = 0, RFAAS_WARM = 1, RFAAS_ADAPTIVE = 2 };

/* Who must be woken, and how. */
enum rfaas_waiting { RFAAS_AWAKE = 0, RFAAS_PARKED_IN_LOOP = 1, RFAAS_BLOCKED_ON_FUTEX = 2 };

enum rfaas_remote_operation { RFAAS_READ = 0, RFAAS_WRITE = 1, RFAAS_FETCH_ADD = 2, RFAAS_COMPARE_SWAP = 3 };

/* Bits of `rfaas_request.function`; the low 20 hold the index, the next 4 how often the call was tried before. The sign bit stays
 * clear: JavaScript keeps a small integer. */
#define RFAAS_FUNCTION_MASK 0x000fffffu
#define RFAAS_ATTEMPT_SHIFT 20u
#define RFAAS_ATTEMPT_MASK 0x00f00000u
/* The caller wants to hear of the call's progress. */
#define RFAAS_REPORTED 0x01000000u
#define RFAAS_TIMED 0x10000000u
#define RFAAS_INPUT_INLINE 0x40000000u
/* The line in front of the input is no part of any buffer: a fabric may put the header there. */
#define RFAAS_HEADED 0x08000000u
/* Input or output is registered memory of the client's program; its offset is that of its place. */
#define RFAAS_INPUT_OWN 0x04000000u
#define RFAAS_OUTPUT_OWN 0x02000000u
#define RFAAS_OUTPUT_INLINE 0x20000000u

/* One cache line: the whole of a small call. The payload comes first so that it is 64-byte aligned, and bytes of it that the call
 * does not use are zero; the word is last and is stored with release order after everything else. Offsets count bytes from the
 * start of the arena. */
typedef struct __attribute__((aligned(64))) {
  uint8_t payload[RFAAS_INLINE_INPUT];
  uint32_t input_offset;
  uint32_t input_length;
  uint32_t output_offset;
  uint32_t output_capacity;
  uint32_t function;
  uint32_t deadline_ms; /* since the lease's epoch, modulo 2^32, 0 for none */
  union {
    /* Where both sides map it, all of the call's sequence, which never comes again: no slot that was left out for 2^32 calls looks new. */
    uint64_t word;
    struct {
      uint32_t sequence; /* its lower half */
      uint32_t fabric; /* the fabric's own, where it has another way to tell new requests */
    };
  };
} rfaas_request;

/* Written by the worker only when the request asks for it. */
typedef struct __attribute__((aligned(64))) {
  uint64_t found_ticks;
  uint64_t finished_ticks;
  double ticks_per_ns; /* of the worker's machine */
} rfaas_timing;

typedef struct __attribute__((aligned(64))) {
  uint8_t payload[RFAAS_INLINE_OUTPUT];
  int32_t status; /* RFAAS_OK or a negative rfaas_status */
  uint32_t length; /* bytes of output, or of the error record */
  uint64_t sequence;
} rfaas_response;

/* Request and response lie in different 128-byte pairs, so that the adjacent-line prefetcher of one side does not fetch the
 * line the other side is writing. */
typedef struct {
  rfaas_request request;
  rfaas_timing timing;
  rfaas_response response;
  uint8_t spare[64];
} rfaas_slot;

/* How one side sleeps, and who posts to it. `sleep.h` has the protocol. */
typedef struct __attribute__((aligned(64))) {
  uint32_t waiting; /* enum rfaas_waiting, set by the sleeper, cleared by who wakes it */
  uint32_t barriers; /* the sleeper can make a barrier for those who post to it */
  uint32_t unfenced; /* how many of those rely on that */
} rfaas_sleeper;

/* A channel is what one caller and one worker share: this page, then a ring of slots, then an error record for each. The caller's
 * own wait word is elsewhere, since a client waits for the answers of all its workers at once. */
typedef struct {
  rfaas_sleeper worker;
  struct __attribute__((aligned(64))) {
    uint32_t ended; /* enum rfaas_end */
    int32_t detail;
    uint32_t skipped; /* set by the client while slots in flight may not follow each other */
  };
  uint8_t pad[RFAAS_PAGE - 2 * RFAAS_LINE];
} rfaas_channel_page;

/* The counts that a worker reports, one line for each worker. The agent shows them, and bills by its own measurements. */
typedef struct __attribute__((aligned(64))) {
  uint64_t calls;
  uint64_t bytes; /* of inputs and outputs */
  uint64_t polled_ticks; /* in waits: those that are too short to look twice at the clock by samples */
  uint32_t running; /* slot + 1 of the call now in user code */
  uint64_t begun; /* the sequence of the last call that user code was given: calls begin in their order */
} rfaas_usage;

/* The first pages of a lease's region; behind them lie its channels, one for each worker, and the arena. Their offsets follow from
 * `workers` and `slots`. */
typedef struct {
  struct __attribute__((aligned(64))) {
    uint32_t magic;
    uint32_t version;
    uint32_t workers;
    uint32_t slots;
    uint32_t polling;
    uint32_t spin_ns;
    uint64_t epoch_ns; /* CLOCK_MONOTONIC when the lease was granted */
    uint64_t arena_offset;
    uint64_t arena_bytes;
    uint64_t total_bytes;
  };
  struct __attribute__((aligned(64))) {
    uint32_t ended; /* enum rfaas_end */
    int32_t detail; /* exit code or signal number */
    uint64_t handed_out; /* set by the client, where both sides map the arena: so much of it, from its start, has memory */
  };
  rfaas_sleeper client;
  rfaas_usage usage[RFAAS_MAX_WORKERS];
  /* The agent asks the host whether it is there: `system/beat.c`. */
  struct __attribute__((aligned(64))) {
    uint32_t asked;
    uint32_t answered;
    uint32_t beats; /* the host has a thread that answers */
    uint32_t active; /* calls that had begun and were not answered, when it answered last */
    uint32_t waits; /* the client adds to it while a call waits for long, begun or not */
  };
  uint8_t pad[2 * RFAAS_PAGE - (4 + RFAAS_MAX_WORKERS) * RFAAS_LINE];
} rfaas_lease_page;

_Static_assert(sizeof(rfaas_request) == RFAAS_LINE, "a request is one line");
_Static_assert(sizeof(rfaas_response) == RFAAS_LINE, "a response is one line");
_Static_assert(sizeof(rfaas_slot) == 4 * RFAAS_LINE, "a slot is four lines");
_Static_assert(sizeof(rfaas_channel_page) == RFAAS_PAGE, "a channel's words fill a page");
_Static_assert(sizeof(rfaas_lease_page) == 2 * RFAAS_PAGE, "a lease's words fill two pages");

/* A piece of the client program's own memory, and its place in the arena. The peer may write it from its first use as an output
 * on, and until it is unregistered. */
typedef struct {
  uint32_t offset;
  uint32_t bytes;
  uint8_t *memory;
  void *read; /* the fabric's handles; `written` is NULL as long as the peer may not */
  void *written;
  uint32_t read_key;
  uint32_t written_key;
} rfaas_registration;
#define RFAAS_MAX_REGISTRATIONS 64u
#define RFAAS_PIECE_PAGES 128u

/* A mapped region: what its header said when it was mapped, checked, and kept where no other process can change it. */
typedef struct {
  rfaas_lease_page *page;
  size_t mapped_bytes;
  uint32_t workers;
  uint32_t slots;
  uint32_t polling;
  uint32_t spin_ns;
  uint64_t epoch_ns;
  uint64_t arena_offset;
  uint64_t arena_bytes;
  uint64_t touched; /* so much of the arena, from its start, this process has mapped, or has begun to */
  uint32_t piece_pages; /* to map at a time, up to RFAAS_PIECE_PAGES */
  uint32_t registrations;
  rfaas_registration registration[RFAAS_MAX_REGISTRATIONS];
} rfaas_region;

static inline size_t rfaas_channel_bytes(uint32_t slots) {
  size_t bytes = sizeof(rfaas_channel_page) + slots * (sizeof(rfaas_slot) + RFAAS_ERROR_BYTES);
  return (bytes + RFAAS_PAGE - 1) & ~(size_t)(RFAAS_PAGE - 1);
}
static inline rfaas_channel_page *rfaas_channel_at(rfaas_lease_page *lease, uint32_t channel, uint32_t slots) {
  return (rfaas_channel_page *)((uint8_t *)(lease + 1) + channel * rfaas_channel_bytes(slots));
}
static inline rfaas_slot *rfaas_slots_of(rfaas_channel_page *page) { return (rfaas_slot *)(page + 1); }
static inline uint8_t *rfaas_errors_of(rfaas_channel_page *page, uint32_t slots) {
  return (uint8_t *)(rfaas_slots_of(page) + slots);
}

#endif
