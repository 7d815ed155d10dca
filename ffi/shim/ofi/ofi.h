/* What the ofi fabric's files share: libfabric, opened at run time, what travels, and one end of a channel.
 *
 * An endpoint of libfabric is a reliable datagram endpoint: it has no connection, and its messages may come in any order. So a message is
 * a head that tells all of its call, with a part of the payload, and a payload that is written apart is known to be there by the number
 * that its completion brings. A call is found when both have come. Each channel has a domain of its own, which one thread uses at a time.
 *
 * Compiled only where the headers of libfabric are (RFAAS_WITH_OFI).
 */
#ifndef RFAAS_OFI_H
#define RFAAS_OFI_H

#include "../core/endpoint.h"
#include "../core/far-clock.h"
#include "../core/path.h"

extern const rfaas_fabric rfaas_ofi_fabric;

/* Why a link, or one end of it, does not work. Mirrored in `ffi/ofi/ofi.ts`. */
enum rfaas_ofi_failure {
  RFAAS_OFI_SOUND = 0,
  RFAAS_OFI_CLOSED = 1, /* the other side has gone */
  RFAAS_OFI_BROKEN = 2, /* detail: errno, or one of libfabric's */
  RFAAS_OFI_PROTOCOL = 3, /* the other side sent what no side may */
  RFAAS_OFI_SETUP = 4, /* detail: the same, of: stage */
  RFAAS_OFI_REJECTED = 5, /* detail: enum rfaas_ofi_rejection */
  RFAAS_OFI_TIMED_OUT = 6, /* of: stage */
};
enum rfaas_ofi_stage {
  RFAAS_OFI_RESOURCES = 0,
  RFAAS_OFI_ADDRESS = 1,
  RFAAS_OFI_LISTEN = 2,
  RFAAS_OFI_CONNECT = 3,
  RFAAS_OFI_PROVIDER = 4,
  RFAAS_OFI_REGISTER = 5,
  RFAAS_OFI_ENDPOINT = 6,
  RFAAS_OFI_REACH = 7,
};
enum rfaas_ofi_rejection { RFAAS_OFI_VERSION = 1, RFAAS_OFI_SECRET = 2, RFAAS_OFI_MEMORY = 4, RFAAS_OFI_RESOURCE = 5 };

#if __has_include(<rdma/fabric.h>)
#define RFAAS_WITH_OFI 1
#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <sys/socket.h>

/* The oldest interface that has all of what is used here. */
#define RFAAS_OFI_API FI_VERSION(1, 14)
#define RFAAS_OFI_SYMBOLS(X) X(fi_getinfo) X(fi_freeinfo) X(fi_dupinfo) X(fi_fabric) X(fi_strerror) X(fi_version)

typedef struct {
#define RFAAS_FIELD(name) __typeof__(&name) name;
  RFAAS_OFI_SYMBOLS(RFAAS_FIELD)
#undef RFAAS_FIELD
} rfaas_ofi_calls;

/* NULL when the library is missing. Opened once, never closed. */
const rfaas_ofi_calls *rfaas_ofi(void);
/* Providers set handlers of signals for the whole process, which are the program's. Between the two calls one thread opens things. */
typedef struct rfaas_ofi_handlers rfaas_ofi_handlers;
rfaas_ofi_handlers *rfaas_ofi_keep_handlers(void);
void rfaas_ofi_restore_handlers(rfaas_ofi_handlers *);

/* How a program names what it wants: the provider, and, "" for any, the domain, the authentication key in hexadecimal, and letters: `m` to
 * send all payloads in messages, `r` and `a` where the provider reads and writes, and changes words, without the other side's processor. One
 * text, with a line for each. */
typedef struct {
  char text[1024];
  const char *provider;
  const char *domain;
  const char *key;
  const char *letters;
} rfaas_ofi_device;
/* Returns 0, or EINVAL. */
int rfaas_ofi_read_device(rfaas_ofi_device *device, const char *text);
/* What libfabric has of it, at the local address where the provider's addresses are those of IP. Returns 0, or a positive errno. */
int rfaas_ofi_find(const rfaas_ofi_device *device, const struct sockaddr *at, struct fi_info **found);

enum rfaas_ofi_kind {
  RFAAS_OFI_REQUEST = 1,
  RFAAS_OFI_RESPONSE = 2,
  RFAAS_OFI_ENDED = 3, /* why the worker has ended */
  RFAAS_OFI_HELLO = 4, /* while the two come together */
};
/* The payload is written apart. */
#define RFAAS_OFI_WRITTEN 1u
/* Time stamps are between head and payload. */
#define RFAAS_OFI_TIMES 2u

/* In front of every message. */
typedef struct {
  uint8_t kind;
  uint8_t flags;
  uint16_t slot;
  uint32_t sequence; /* of the call, the lower half */
  uint64_t token; /* of the lease: anyone may send to an endpoint */
  uint32_t bytes; /* of the payload, in all */
  uint32_t at; /* where the part that follows belongs in it */
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
  };
} rfaas_ofi_head;
_Static_assert(sizeof(rfaas_ofi_head) == 48, "with 8 bytes of payload a head fits what any provider injects");

/* Where a response goes that is for the program's own memory: between head and payload of such a request. */
typedef struct {
  uint64_t address;
  uint64_t key;
} rfaas_ofi_place;

/* Payloads up to so many bytes travel in the message. */
#define RFAAS_OFI_EAGER 1024u
/* Where all of them do, parts are larger. */
#define RFAAS_OFI_PART 8192u
#define RFAAS_OFI_SAID (sizeof(rfaas_ofi_head) + sizeof(rfaas_timing))
/* What the completion of a write brings: the slot, and above it the sequence as far as there is room. */
#define RFAAS_OFI_SLOT 0x3ffu
#define RFAAS_OFI_SEQUENCE_SHIFT 10u
#define RFAAS_OFI_HAS_COME (1ull << 32)

/* Looks before the slow path. */
#define RFAAS_OFI_SPINS 64
#define RFAAS_OFI_CONNECT_NS 10000000000u
#define RFAAS_OFI_GREETING_NS 3000000000u
/* Where the provider has nothing to wait for, a sleeper looks this often, and an event loop is woken this often. */
#define RFAAS_OFI_NAP_NS 50000u
#define RFAAS_OFI_TICK_MS 1

typedef struct rfaas_ofi_link rfaas_ofi_link;

enum rfaas_ofi_work_kind { RFAAS_OFI_WORK_RECEIVE = 0, RFAAS_OFI_WORK_SEND = 1, RFAAS_OFI_WORK_WRITE = 2, RFAAS_OFI_WORK_ONE_SIDED = 3 };

/* What a provider has in hand, and the memory of a message. */
typedef struct rfaas_ofi_work {
  struct fi_context2 context; /* the provider's */
  struct rfaas_ofi_work *next; /* of those that are free */
  uint8_t *memory; /* of one message */
  const uint8_t *written; /* what a write under way has still to read, else NULL */
  uint32_t kind; /* enum rfaas_ofi_work_kind */
} rfaas_ofi_work;

enum rfaas_ofi_way { RFAAS_OFI_MESSAGE_WAY = 0, RFAAS_OFI_WRITE_WAY = 1, RFAAS_OFI_PARTS_WAY = 2 };

/* What is to be sent. Payloads stay where they are until their call has ended. */
typedef struct {
  uint32_t way; /* enum rfaas_ofi_way */
  uint32_t said_bytes;
  uint32_t bytes;
  uint32_t data; /* of a write */
  const uint8_t *payload;
  void *description;
  rfaas_ofi_place to;
  union {
    rfaas_ofi_head head;
    uint8_t said[RFAAS_OFI_SAID + RFAAS_INLINE_INPUT];
  };
} rfaas_ofi_outgoing;

/* How far the request or response of a slot has come. */
typedef struct {
  uint32_t sequence;
  uint32_t landed; /* bytes of the payload */
  uint64_t written; /* what the completed write to it brought, and RFAAS_OFI_HAS_COME; 0 for none */
  uint8_t headed;
  uint8_t ready;
  rfaas_ofi_place place; /* of a request: where its output goes */
} rfaas_ofi_arrival;

/* What wakes a parked end: its queue, or the next tick. */
enum rfaas_ofi_parked { RFAAS_OFI_PARKED = 1, RFAAS_OFI_PARKED_FOR_TICK = 2 };

typedef struct {
  rfaas_ofi_link *link;
  rfaas_client *owner; /* on a client */
  uint32_t index;
  struct fid_domain *domain;
  struct fid_ep *ep;
  struct fid_cq *queue;
  struct fid_av *addresses;
  struct fid_mr *memory; /* of the lease's region */
  struct fid_mr *slab; /* of messages, where the provider needs it */
  void *description;
  void *slab_description;
  uint8_t *messages;
  size_t message_bytes;
  rfaas_ofi_work *works;
  uint32_t work_count;
  rfaas_ofi_work *receives; /* those not posted */
  rfaas_ofi_work *sends; /* those that are free */
  fi_addr_t peer;
  uint8_t *base;
  uint64_t remote_base;
  uint64_t remote_key;
  uint64_t token;
  uint64_t longest; /* message of the provider */
  uint32_t inject_bytes;
  uint32_t writes; /* payloads are written apart; else all travel in messages */
  uint32_t part_bytes; /* of a payload, that fit a message of this end */
  uint32_t their_part_bytes;
  uint32_t one_sided; /* the provider reads and writes by itself */
  uint32_t atomic; /* and changes words */
  uint32_t sends_at_looks; /* what was handed over waits for a look at the queue */
  uint32_t connected;
  uint32_t one_sided_under_way;
  int32_t queue_fd; /* readable when there is something to do; -1 where the provider has none */
  int32_t wake_fd;
  int32_t notify_fd;
  uint32_t parked; /* 0 or enum rfaas_ofi_parked */
  uint32_t greeted; /* HELLO has come */
  rfaas_far_clock clock;
  rfaas_ofi_arrival *arrival; /* by slot */
  uint64_t found_at; /* a request that was found and not yet accepted, while this is the next sequence */
  uint32_t found_slot;
  uint32_t early;
  /* A ring of what the provider had no room for. */
  rfaas_ofi_outgoing *kept;
  uint32_t capacity;
  uint32_t first;
  uint32_t waiting;
  /* First failure wins; `failure` is stored last. */
  uint32_t failing;
  uint32_t failure; /* enum rfaas_ofi_failure */
  int32_t detail;
  int32_t of;
} rfaas_ofi_end;

__attribute__((cold)) void rfaas_ofi_fail(rfaas_ofi_end *end, uint32_t failure, int32_t detail, int32_t of);

/* Opens domain, queue and endpoint, registers the region, and posts every receive. Returns 0 or a positive errno, and the stage. */
int rfaas_ofi_open_end(rfaas_ofi_end *end, struct fid_fabric *fabric, struct fi_info *info, int32_t *stage);
void rfaas_ofi_close_end(rfaas_ofi_end *end);
/* Memory of this process, for one end. Returns 0 or a positive errno. */
int rfaas_ofi_register(rfaas_ofi_end *end, void *memory, size_t bytes, uint64_t access, struct fid_mr **out);

/* ---- data path ---- */

/* A message that has come; `memory` of `work` has it until the work is posted again. */
typedef struct {
  rfaas_ofi_work *work;
  uint32_t bytes;
  uint32_t data; /* without a work: what the completion of a write brought */
} rfaas_ofi_seen;
/* Takes the next message, or completed write of the peer. Returns 0 when there is none. Goes on with what was kept. */
int rfaas_ofi_next(rfaas_ofi_end *end, rfaas_ofi_seen *seen);
/* The message of the work has been used. */
void rfaas_ofi_receive_again(rfaas_ofi_end *end, rfaas_ofi_work *work);
/* Sends, or keeps what the provider has no room for: never waits. */
void rfaas_ofi_send(rfaas_ofi_end *end, rfaas_ofi_outgoing *out);
/* Sends head and payload in the way that is best: in one message, written apart, or in parts. */
void rfaas_ofi_send_payload(rfaas_ofi_end *end, rfaas_ofi_outgoing *out, const uint8_t *payload, uint32_t bytes, void *description,
                            rfaas_ofi_place to);
/* Blocks until something may have come. Returns whether the time ran out. */
int rfaas_ofi_sleep(rfaas_ofi_end *end, uint64_t ns);
/* The link's thread writes to `notify_fd` when something may have come, once. */
void rfaas_ofi_park(rfaas_ofi_end *end);
void rfaas_ofi_unpark(rfaas_ofi_end *end);

static inline int rfaas_ofi_is_written(const rfaas_ofi_arrival *arrival, uint32_t slot) {
  return arrival->written == (RFAAS_OFI_HAS_COME | slot | (uint32_t)(arrival->sequence << RFAAS_OFI_SEQUENCE_SHIFT));
}

static inline uint64_t rfaas_ofi_remote(const rfaas_ofi_end *end, const void *local) {
  return end->remote_base + (uint64_t)((const uint8_t *)local - end->base);
}

/* Takes what has come for the client of the end. */
void rfaas_ofi_client_look(rfaas_ofi_end *end);

extern const rfaas_client_ops rfaas_ofi_client_ops;
extern const rfaas_worker_ops rfaas_ofi_worker_ops;

#endif
#endif
