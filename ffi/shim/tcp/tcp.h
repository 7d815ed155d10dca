/* What the files of the tcp fabric share: what travels, and one end of a connection.
 *
 * A channel is one connection. Both sides have a region of their own with the same layout, and what arrives is put where the other
 * side says, within bounds. A lease has one connection more, the side way, which the node's link thread serves whatever its workers do: one-sided
 * operations, and beats that show whether the path still stands. All numbers on the wire are little-endian, as both architectures have them.
 */
#ifndef RFAAS_TCP_H
#define RFAAS_TCP_H

#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../core/endpoint.h"
#include "../core/far-clock.h"
#include "../core/path.h"

extern const rfaas_fabric rfaas_tcp_fabric;

enum rfaas_tcp_kind {
  RFAAS_TCP_REQUEST = 1, /* and its input */
  RFAAS_TCP_RESPONSE = 2, /* and its output, or error record */
  RFAAS_TCP_TIMING = 3, /* of the response that follows */
  RFAAS_TCP_ENDED = 4, /* why the worker has ended */
  RFAAS_TCP_READ = 5,
  RFAAS_TCP_WRITE = 6,
  RFAAS_TCP_FETCH_ADD = 7,
  RFAAS_TCP_COMPARE_SWAP = 8,
  RFAAS_TCP_DONE = 9, /* a one-sided operation, with what a read has read */
  RFAAS_TCP_BEAT = 10,
};

/* In front of everything that travels. */
typedef struct {
  uint16_t kind;
  uint16_t slot;
  uint32_t sequence; /* of the call, the lower half */
  uint32_t bytes; /* that follow */
  uint32_t unused; /* 0 */
  union {
    struct {
      uint32_t input_offset;
      uint32_t output_offset;
      uint32_t output_capacity;
      uint32_t function;
      uint32_t deadline_ms;
      uint32_t fabric; /* as that of the request line */
    } request;
    struct {
      int32_t status;
      uint32_t length; /* what the worker said, be it more than there is room for */
    } response;
    struct {
      uint32_t offset;
      uint32_t length; /* of a read */
      uint64_t words[2]; /* operands; of DONE, the first is the result */
    } one_sided;
  };
} rfaas_tcp_frame;
_Static_assert(sizeof(rfaas_tcp_frame) == 40 && offsetof(rfaas_tcp_frame, request) == 16, "a frame's head is 40 bytes");

/* Looks before the slow path: each is a system call. */
#define RFAAS_TCP_SPINS 16
/* What one look takes in at most, but for a payload that is put in its place. */
#define RFAAS_TCP_BUFFER (16u * 1024u)
/* Messages that follow each other so closely travel together: what was posted goes out before this side next asks the kernel for what
 * has come, when so many or so much wait, or, if nothing of that happens, after so long. */
#define RFAAS_TCP_BURST_NS 10000u
#define RFAAS_TCP_HELD 16u
#define RFAAS_TCP_HELD_BYTES 2048u
#define RFAAS_TCP_HOLD_NS 500000
#define RFAAS_TCP_CONNECT_NS 10000000000u
#define RFAAS_TCP_GREETING_NS 3000000000u

/* Why a link, or one end of it, does not work. Mirrored in `ffi/tcp/tcp.ts`. */
enum rfaas_tcp_failure {
  RFAAS_TCP_SOUND = 0,
  RFAAS_TCP_CLOSED = 1, /* the other side has closed it */
  RFAAS_TCP_BROKEN = 2, /* detail: errno */
  RFAAS_TCP_PROTOCOL = 3, /* the other side sent what no side may */
  RFAAS_TCP_SETUP = 4, /* detail: errno, of: stage */
  RFAAS_TCP_REJECTED = 5, /* detail: enum rfaas_tcp_rejection */
  RFAAS_TCP_TIMED_OUT = 6,
  RFAAS_TCP_NO_KEY = 7, /* the other side has not shown that it knows the lease's secret */
};
enum rfaas_tcp_stage { RFAAS_TCP_RESOURCES = 0, RFAAS_TCP_ADDRESS = 1, RFAAS_TCP_LISTEN = 2, RFAAS_TCP_CONNECT = 3 };
enum rfaas_tcp_rejection { RFAAS_TCP_VERSION = 1, RFAAS_TCP_SECRET = 2, RFAAS_TCP_CHANNEL = 3, RFAAS_TCP_MEMORY = 4, RFAAS_TCP_ENCRYPTION = 5 };
/* How a connection is encrypted. Mirrored in `ffi/tcp/tcp.ts`. */
enum rfaas_tcp_encryption { RFAAS_TCP_CLEAR = 0, RFAAS_TCP_LIBSSL = 1, RFAAS_TCP_KERNEL = 2 };

typedef struct rfaas_tcp_link rfaas_tcp_link;
typedef struct rfaas_tcp_tls rfaas_tcp_tls;

/* What is to be sent and was not yet: a head that was copied, with a small payload, and a larger one that stays where it is until its call
 * has ended. */
typedef struct {
  uint8_t head[2 * sizeof(rfaas_tcp_frame) + 2 * RFAAS_LINE];
  uint32_t head_bytes;
  uint32_t bytes;
  const uint8_t *payload;
} rfaas_tcp_outgoing;

/* One end of a connection. One thread posts and polls; the link's thread sets it up, watches it, and goes on with what the kernel had
 * no room for. */
typedef struct {
  rfaas_tcp_link *link;
  uint32_t index; /* the channel; behind the last one, the side way */
  int32_t fd; /* -1 until it is connected */
  int32_t wake_fd; /* ends a worker's sleep */
  int32_t notify_fd;
  uint32_t encryption; /* enum rfaas_tcp_encryption */
  rfaas_tcp_tls *tls; /* where libssl encrypts; used with the lock */
  rfaas_far_clock clock;

  /* What has arrived and was not taken yet, and the frame that is being taken. */
  uint32_t taken;
  uint32_t filled;
  uint32_t in_frame;
  uint32_t landed; /* bytes of its payload */
  uint8_t *place; /* where they go */
  rfaas_tcp_frame frame;
  uint64_t found_at; /* a request that was found and not yet accepted, while this is the next sequence */
  uint32_t found_slot;
  rfaas_path path; /* of a client's side way */
  uint64_t posted_ticks; /* when the last message was posted */
  uint64_t burst_ticks; /* RFAAS_TCP_BURST_NS */

  /* Guarded by `lock`: a ring of what is to be sent, and what the link's thread watches for. */
  pthread_mutex_t lock;
  rfaas_tcp_outgoing *queue;
  uint32_t capacity;
  uint32_t first;
  uint32_t waiting; /* how many are in it; also read without the lock */
  uint32_t sent; /* bytes of the first */
  uint32_t blocked; /* the kernel has no room: the link's thread goes on */
  uint32_t parked; /* a byte goes to `notify_fd` when something arrives */

  /* First failure wins; `failure` is stored last. */
  uint32_t failing;
  uint32_t failure; /* enum rfaas_tcp_failure */
  int32_t detail;
  int32_t of;
  uint8_t buffer[RFAAS_TCP_BUFFER];
} rfaas_tcp_end;

__attribute__((cold)) void rfaas_tcp_fail(rfaas_tcp_end *end, uint32_t failure, int32_t detail);
/* The connection has ended with this errno; EBADMSG: by what the other side sent. */
__attribute__((cold)) void rfaas_tcp_broken(rfaas_tcp_end *end, int why);
/* The other side broke the protocol: it gets nothing more. */
__attribute__((cold)) void rfaas_tcp_cut_off(rfaas_tcp_end *end);

/* Sends, or keeps what the kernel has no room for: never waits. Heads are copied; the payload must stay. With `held` a small message
 * waits for others to go with, if the last was posted a moment ago. */
void rfaas_tcp_send(rfaas_tcp_end *end, const void *head, uint32_t head_bytes, const uint8_t *payload, uint32_t bytes, int held);
/* What is held goes out. */
void rfaas_tcp_let_go(rfaas_tcp_end *end);
/* Goes on with what was kept; with the lock. Returns whether some is left. */
int rfaas_tcp_flush(rfaas_tcp_end *end);
/* Whether `end->frame` is a frame whose payload has not been taken in whole. Takes what has arrived. */
int rfaas_tcp_begun(rfaas_tcp_end *end);
/* Puts the payload of the frame at `end->place`. Returns whether it is there in whole: the frame is then over. */
int rfaas_tcp_land(rfaas_tcp_end *end);
/* The program takes its memory back: an end that goes on reading or writing it, because the other side has answered a call before it had
 * its input or after it had ended, is cut off. */
void rfaas_tcp_forget(rfaas_tcp_end *end, const uint8_t *memory, uint64_t bytes);
/* Blocks until something may have arrived. Returns whether the time ran out. */
int rfaas_tcp_sleep(rfaas_tcp_end *end, uint64_t ns);
/* The link's thread writes to `notify_fd` when something arrives, once. */
void rfaas_tcp_park(rfaas_tcp_end *end);

/* ---- the side way ---- */

rfaas_tcp_end *rfaas_tcp_side(rfaas_tcp_link *link);
/* Shows whether the path stands, if it was not tried of late; the side way breaks where it does not. For a client that awaits an answer. */
void rfaas_tcp_beat(rfaas_tcp_end *side);
/* On a node: does what has been asked, as far as it has arrived and there is room for the answers. */
void rfaas_tcp_serve(rfaas_tcp_end *side, rfaas_region *region);
int32_t rfaas_tcp_one_sided(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                            uint64_t *words);

/* ---- connecting ---- */

/* What every connection of a lease is set to. */
void rfaas_tcp_tune(int fd);

extern const rfaas_client_ops rfaas_tcp_client_ops;
extern const rfaas_worker_ops rfaas_tcp_worker_ops;

#endif
