/* What the verbs fabric's files share: the libraries, opened at run time, and one end of a connection.
 *
 * Compiled only where the headers of libibverbs and librdmacm are (RFAAS_WITH_VERBS); elsewhere the executable has shared memory
 * alone and `rfaas doctor` says so.
 */
#ifndef RFAAS_VERBS_H
#define RFAAS_VERBS_H

#include "../core/endpoint.h"
#include "../core/far-clock.h"

extern const rfaas_fabric rfaas_verbs_fabric;

#if __has_include(<infiniband/verbs.h>) && __has_include(<rdma/rdma_cma.h>)
#define RFAAS_WITH_VERBS 1
#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#undef ibv_reg_mr /* a macro over two functions; the plain one is all we need */

#define RFAAS_VERBS_SYMBOLS(X) \
  X(ibv_get_device_list) \
  X(ibv_free_device_list) \
  X(ibv_get_device_name) \
  X(ibv_open_device) \
  X(ibv_close_device) \
  X(ibv_query_device) \
  X(ibv_alloc_pd) \
  X(ibv_dealloc_pd) \
  X(ibv_reg_mr) \
  X(ibv_dereg_mr) \
  X(ibv_create_comp_channel) \
  X(ibv_destroy_comp_channel) \
  X(ibv_create_cq) \
  X(ibv_destroy_cq) \
  X(ibv_get_cq_event) \
  X(ibv_ack_cq_events) \
  X(ibv_create_qp) \
  X(ibv_destroy_qp) \
  X(ibv_modify_qp)
#define RFAAS_RDMACM_SYMBOLS(X) \
  X(rdma_create_event_channel) \
  X(rdma_destroy_event_channel) \
  X(rdma_create_id) \
  X(rdma_destroy_id) \
  X(rdma_bind_addr) \
  X(rdma_resolve_addr) \
  X(rdma_resolve_route) \
  X(rdma_create_qp) \
  X(rdma_destroy_qp) \
  X(rdma_connect) \
  X(rdma_listen) \
  X(rdma_accept) \
  X(rdma_reject) \
  X(rdma_disconnect) \
  X(rdma_get_cm_event) \
  X(rdma_ack_cm_event) \
  X(rdma_set_option) \
  X(rdma_get_src_port)

typedef struct {
#define RFAAS_FIELD(name) __typeof__(&name) name;
  RFAAS_VERBS_SYMBOLS(RFAAS_FIELD)
  RFAAS_RDMACM_SYMBOLS(RFAAS_FIELD)
#undef RFAAS_FIELD
} rfaas_verbs_calls;

/* NULL when a library is missing. Opened once, never closed. */
const rfaas_verbs_calls *rfaas_verbs(void);

/* Receives are posted again in lots, and every so many sends one is signalled. */
#define RFAAS_RECEIVE_LOT 16u
#define RFAAS_SIGNAL_EVERY 16u
/* A call takes at most this many work requests, or one more for each further chunk. */
#define RFAAS_SENDS_PER_CALL 3u
#define RFAAS_DEFAULT_INLINE 256u
/* While an answer is awaited the path is tried this often. */
#define RFAAS_PROBE_NS 200000000u
/* 4.096 us * 2^16: a packet is taken for lost after 0.27 s, and after 6 repetitions the path: about 2 s. Not 7: some devices take
 * the largest value for "without end". */
#define RFAAS_ACK_TIMEOUT 16u
#define RFAAS_SEND_RETRIES 6u
/* Code 1 is 0.01 ms. Receives are always there, so no sender should ever wait for this timer; code 0 would be 655 ms. */
#define RFAAS_RNR_TIMER 1u
#define RFAAS_RNR_RETRIES 7u

/* Looks before the slow path: the round trip of a network card, a few times over. */
#define RFAAS_VERBS_SPINS 512

/* What an immediate says. Of a request: the slot whose line holds it, or with RFAAS_IMM_ROOM where in the arena its line lies, in
 * lines. Of a response: slot, negative status, whether the length is in the response line, low bits of the sequence. */
#define RFAAS_IMM_ROOM 0x80000000u
#define RFAAS_IMM_SLOT 0x3ffu
#define RFAAS_IMM_STATUS_SHIFT 10u
#define RFAAS_IMM_STATUS 0xfu
#define RFAAS_IMM_LONG (1u << 14)
#define RFAAS_IMM_SEQUENCE_SHIFT 15u

/* Why a link, or one end of it, does not work. Mirrored in `ffi/verbs/verbs.ts`. */
enum rfaas_verbs_failure {
  RFAAS_LINK_SOUND = 0,
  RFAAS_LINK_COMPLETION = 1, /* detail: status, of: enum rfaas_verbs_work, or -1 for a receive */
  RFAAS_LINK_DISCONNECTED = 2,
  RFAAS_LINK_DEVICE_REMOVED = 3,
  RFAAS_LINK_PROTOCOL = 4, /* the peer wrote what no peer may */
  RFAAS_LINK_SETUP = 5, /* detail: errno, of: stage */
  RFAAS_LINK_REJECTED = 6, /* detail: reason */
  RFAAS_LINK_TIMED_OUT = 7, /* of: stage */
  RFAAS_LINK_POST = 8, /* detail: errno of a work request that the provider refused */
};

enum rfaas_verbs_stage {
  RFAAS_STAGE_RESOURCES = 0,
  RFAAS_STAGE_ADDRESS = 1,
  RFAAS_STAGE_ROUTE = 2,
  RFAAS_STAGE_REGISTER = 3,
  RFAAS_STAGE_QUEUES = 4,
  RFAAS_STAGE_CONNECT = 5,
  RFAAS_STAGE_LISTEN = 6,
};

/* The kinds of signalled work, in the upper half of `wr_id`; the lower half counts the sends that a completion retires. */
enum rfaas_verbs_work { RFAAS_WORK_CALL = 0, RFAAS_WORK_PROBE = 1, RFAAS_WORK_ONE_SIDED = 2 };

typedef struct rfaas_verbs_link rfaas_verbs_link;

/* The end of a channel: one queue pair and all that the data path needs of it. The link's thread sets it up and watches it; from
 * then on one thread posts and polls. */
typedef struct {
  struct ibv_qp *qp;
  struct ibv_cq *receives;
  struct ibv_cq *sends;
  uint8_t *base; /* the lease's region, ours */
  uint8_t *rooms; /* of a client's lease: a bit for each line of the arena that holds a header in flight */
  uint64_t remote_base; /* and the peer's, at its address */
  uint32_t local_key;
  uint32_t remote_key;
  uint32_t inline_bytes;
  uint32_t chunk_bytes; /* the longest message of the port */
  uint32_t send_depth;
  uint32_t sends_free;
  uint32_t unsignalled;
  uint32_t receives_due; /* taken and not yet posted again, at most RFAAS_RECEIVE_LOT */
  uint32_t receive_depth;
  uint32_t slots;
  /* A request that was found and not yet accepted, valid while `found_at` is the next sequence. */
  uint64_t found_at;
  uint32_t found_slot;
  uint32_t early; /* requests that have come before their turn */
  uint32_t probing;
  uint32_t one_sided_under_way; /* messages of one-sided operations that have not completed */
  uint32_t unacknowledged; /* completion events */
  uint64_t probed_at_ns;
  rfaas_far_clock clock;
  struct ibv_comp_channel *channel;
  struct rdma_cm_id *id;
  rfaas_verbs_link *link;
  int32_t wake_fd;
  int32_t notify_fd;
  uint32_t index;
  uint32_t connected;
  /* First failure wins; `failure` is stored last. */
  uint32_t failing;
  uint32_t failure; /* enum rfaas_verbs_failure */
  int32_t detail;
  int32_t of;
  /* The work request of a call, ready but for what differs from one call to the next. */
  struct ibv_send_wr call;
  struct ibv_sge pieces[2];
  struct ibv_recv_wr lot[RFAAS_RECEIVE_LOT];
} rfaas_verbs_end;

/* The longest message that a port takes. */
uint32_t rfaas_verbs_longest_message(struct ibv_context *context, uint8_t port);
/* Creates the completion queues of an end. Returns 0 or a positive errno. */
int rfaas_verbs_open_queues(rfaas_verbs_end *end, struct ibv_context *context, int vector);
/* Creates its queue pair on `id` and posts every receive, so that the peer may write as soon as it can. */
int rfaas_verbs_open_pair(rfaas_verbs_end *end, struct rdma_cm_id *id, struct ibv_pd *pd, uint32_t inline_wanted);
void rfaas_verbs_close_end(rfaas_verbs_end *end);
__attribute__((cold)) void rfaas_verbs_fail(rfaas_verbs_end *end, uint32_t failure, int32_t detail, int32_t of);
/* The peer broke the protocol: its queue pair goes to the error state, without other effects. */
__attribute__((cold)) void rfaas_verbs_cut_off(rfaas_verbs_end *end);

/* ---- data path ---- */

/* Room for `n` more sends, waiting for completions if need be. Returns 0 when the end has failed. */
int rfaas_verbs_reserve(rfaas_verbs_end *end, uint32_t n);
/* Looks at completed sends. */
void rfaas_verbs_retire(rfaas_verbs_end *end);
/* Posts `n` chained sends, for which there is room. The last is signalled when it is time, or always for other work than calls. */
void rfaas_verbs_send(rfaas_verbs_end *end, struct ibv_send_wr *first, struct ibv_send_wr *last, uint32_t n,
                      enum rfaas_verbs_work work);
/* Takes one received immediate. Returns 1, or 0 when there is none. */
int rfaas_verbs_receive(rfaas_verbs_end *end, uint32_t *immediate, uint32_t *bytes);
/* What is not hot of sending and receiving: a full send queue, a refused send, a lot of receives, a receive that is none. */
__attribute__((cold)) int rfaas_verbs_await_room(rfaas_verbs_end *end, uint32_t n);
__attribute__((cold)) void rfaas_verbs_refused(rfaas_verbs_end *end, int failed, enum rfaas_verbs_work work);
__attribute__((noinline)) void rfaas_verbs_post_receives(rfaas_verbs_end *end);
__attribute__((cold)) void rfaas_verbs_received_badly(rfaas_verbs_end *end, int count, const struct ibv_wc *done);
/* Takes the completion events that have come. */
void rfaas_verbs_take_events(rfaas_verbs_end *end);
/* The next completion makes the channel readable. */
void rfaas_verbs_arm(rfaas_verbs_end *end);
/* Blocks until the channel or `wake_fd` is readable. Returns whether the time ran out. */
int rfaas_verbs_sleep(rfaas_verbs_end *end, uint64_t ns);
/* As arm, and the link's thread writes to `notify_fd` when it is. */
void rfaas_verbs_ring(rfaas_verbs_end *end);
/* Tells the program that the link's state has changed. */
void rfaas_verbs_changed(rfaas_verbs_link *link);
/* The link's end for one channel, or NULL. */
rfaas_verbs_end *rfaas_verbs_end_of(rfaas_link *link, uint32_t channel);

extern const rfaas_client_ops rfaas_verbs_client_ops;
extern const rfaas_worker_ops rfaas_verbs_worker_ops;

/* ---- connecting ---- */

#define RFAAS_RESOLVE_TIMEOUT_MS 2000
#define RFAAS_CONNECT_TIMEOUT_NS 10000000000u

/* Why a request to connect is rejected. Said in one byte. */
enum rfaas_rejection {
  RFAAS_WRONG_VERSION = 1,
  RFAAS_WRONG_NONCE = 2,
  RFAAS_WRONG_WORKER = 3,
  RFAAS_WRONG_MEMORY = 4,
  RFAAS_NO_RESOURCES = 5,
};

/* Reads and atomic operations that a queue pair of the device may have in flight, at most what we ask for. */
uint8_t rfaas_cm_reads(struct ibv_context *context);
/* What both sides say when they connect; `data` must live until they have. */
struct rdma_conn_param rfaas_cm_parameters(const void *data, size_t bytes, uint8_t reads_served, uint8_t reads_asked);
void rfaas_cm_set_timers(struct rdma_cm_id *id);
/* Rejects a request to connect, for an enum rfaas_rejection. */
void rfaas_cm_reject(struct rdma_cm_id *id, uint8_t reason);
/* The reason that our peer rejected us for, 0 for none of ours. */
int rfaas_cm_reason(const struct rdma_cm_event *event);
/* A thread that hears an event channel: sets connections up, watches them, and takes them down. */
typedef struct rfaas_cm rfaas_cm;
struct rfaas_cm {
  struct rdma_event_channel *events;
  pthread_t thread;
  int has_thread;
  int wake_fd;
  int32_t notify_fd; /* gets a byte when it fails */
  int watched_fd; /* another descriptor to wait for */
  uint32_t stop;
  uint64_t deadline_ns; /* of the set-up, 0 for none */
  struct ibv_context *released; /* of the device, if it is to be let go once it is removed */
  /* First failure wins, but for the removal of the device; `failure` is stored last. */
  uint32_t failing;
  uint32_t failure; /* enum rfaas_verbs_failure */
  int32_t detail;
  int32_t of;
  /* Returns whether the event's id is to be destroyed, once the event is acknowledged. */
  int (*heard)(rfaas_cm *, const struct rdma_cm_event *);
  /* On the thread, before everything else; may be NULL, as those that follow. */
  void (*begun)(rfaas_cm *);
  /* Between events, when it was woken. */
  void (*woken)(rfaas_cm *);
  /* Between events, when `watched_fd` is readable. */
  void (*readable)(rfaas_cm *);
};

void rfaas_cm_fail(rfaas_cm *cm, uint32_t failure, int32_t detail, int32_t of);
/* Takes an event that tells that the set-up has failed, or the connection is gone. */
void rfaas_cm_heard_failure(rfaas_cm *cm, const struct rdma_cm_event *event);
/* Either descriptor may be -1. Returns 0 or a positive errno. */
int rfaas_cm_open(rfaas_cm *cm, int32_t notify_fd, int watched_fd);
/* Starts the thread. Returns 0 or a positive errno. */
int rfaas_cm_run(rfaas_cm *cm);
void rfaas_cm_wake(rfaas_cm *cm);
/* Ends the thread: from now on only the caller uses the connections that it has set up. */
void rfaas_cm_join(rfaas_cm *cm);
/* Everything that was made of its events must be destroyed before. */
void rfaas_cm_close(rfaas_cm *cm);
/* Writes failure, detail, of. */
void rfaas_cm_state(const rfaas_cm *cm, int32_t *out);

#endif
#endif
