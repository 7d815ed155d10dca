/* The node's way to its counters in the manager's memory. A thread connects; adding posts and polls, and never waits. */
#define _GNU_SOURCE
#include "counters.h"

#include <errno.h>

#ifdef RFAAS_WITH_VERBS
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Adds that may be under way, where the device can. */
#define ADDS_IN_FLIGHT 1024
#define MOST_IN_AN_ADD 9007199254740992.0 /* 2^53: what a double holds exactly */
enum { COMPLETIONS_AT_ONCE = 16 };

struct rfaas_adder {
  rfaas_cm cm;
  struct rdma_cm_id *id;
  struct ibv_pd *pd;
  struct ibv_cq *completions;
  struct ibv_mr *region;
  uint64_t *results; /* what was there before an add; never read */
  uint8_t nonce[16];
  uint64_t base;
  uint32_t key;
  uint32_t rows;
  uint32_t room; /* adds that may be posted */
  uint32_t ready;
  uint64_t completed;
};

/* ---- the thread ---- */

static int open_pair(rfaas_adder *adder, struct rdma_cm_id *id) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  struct ibv_device_attr attributes;
  int failed = verbs->ibv_query_device(id->verbs, &attributes);
  if (failed) return failed;
  if (attributes.atomic_cap == IBV_ATOMIC_NONE) return EOPNOTSUPP;
  adder->room = attributes.max_qp_wr < ADDS_IN_FLIGHT ? (uint32_t)attributes.max_qp_wr : ADDS_IN_FLIGHT;
  if (!(adder->pd = verbs->ibv_alloc_pd(id->verbs))) return errno;
  if (!(adder->region = verbs->ibv_reg_mr(adder->pd, adder->results, RFAAS_PAGE, IBV_ACCESS_LOCAL_WRITE))) return errno;
  if (!(adder->completions = verbs->ibv_create_cq(id->verbs, (int)adder->room, NULL, NULL, 0))) return errno;
  struct ibv_qp_init_attr pair = {.send_cq = adder->completions,
                                  .recv_cq = adder->completions,
                                  .qp_type = IBV_QPT_RC,
                                  .cap = {.max_send_wr = adder->room, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};
  return verbs->rdma_create_qp(id, adder->pd, &pair) == 0 ? 0 : errno;
}

static void connect_adder(rfaas_adder *adder, struct rdma_cm_id *id) {
  int failed = open_pair(adder, id);
  if (failed) return rfaas_cm_fail(&adder->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_QUEUES);
  rfaas_counters_greeting greeting = {.magic = RFAAS_COUNTERS_MAGIC, .version = RFAAS_COUNTERS_VERSION};
  memcpy(greeting.nonce, adder->nonce, sizeof greeting.nonce);
  struct rdma_conn_param with = rfaas_cm_parameters(&greeting, sizeof greeting, 0, rfaas_cm_reads(id->verbs));
  if (rfaas_verbs()->rdma_connect(id, &with) != 0) rfaas_cm_fail(&adder->cm, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_CONNECT);
}

static void answered(rfaas_adder *adder, const struct rdma_conn_param *said) {
  rfaas_counters_greeting reply = {0};
  if (said->private_data_len >= sizeof reply) memcpy(&reply, said->private_data, sizeof reply);
  if (reply.magic != RFAAS_COUNTERS_MAGIC || reply.version != RFAAS_COUNTERS_VERSION)
    return rfaas_cm_fail(&adder->cm, RFAAS_LINK_REJECTED, RFAAS_WRONG_VERSION, 0);
  adder->base = reply.base;
  adder->key = reply.key;
  adder->rows = reply.rows;
  adder->cm.deadline_ns = 0;
  __atomic_store_n(&adder->ready, 1, __ATOMIC_RELEASE);
}

static int heard(rfaas_cm *cm, const struct rdma_cm_event *event) {
  rfaas_adder *adder = (rfaas_adder *)cm;
  struct rdma_cm_id *id = event->id;
  switch (event->event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      cm->released = id->verbs;
      rfaas_cm_set_timers(id);
      if (rfaas_verbs()->rdma_resolve_route(id, RFAAS_RESOLVE_TIMEOUT_MS) != 0)
        rfaas_cm_fail(cm, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_ROUTE);
      break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED: connect_adder(adder, id); break;
    case RDMA_CM_EVENT_ESTABLISHED: answered(adder, &event->param.conn); break;
    default: rfaas_cm_heard_failure(cm, event);
  }
  return 0;
}

/* ---- the node ---- */

/* Disconnects and gives everything back. */
RFAAS_EXPORT void rfaas_adder_close(rfaas_adder *adder) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  rfaas_cm_join(&adder->cm);
  if (adder->ready) verbs->rdma_disconnect(adder->id);
  if (adder->id && adder->id->qp) verbs->rdma_destroy_qp(adder->id);
  if (adder->id) verbs->rdma_destroy_id(adder->id);
  if (adder->completions) verbs->ibv_destroy_cq(adder->completions);
  if (adder->region) verbs->ibv_dereg_mr(adder->region);
  if (adder->pd) verbs->ibv_dealloc_pd(adder->pd);
  if (adder->results) munmap(adder->results, RFAAS_PAGE);
  rfaas_cm_close(&adder->cm);
  free(adder);
}

/* Begins to connect to the manager's `address` (a number, not a name) and `port`; `rfaas_adder_state` tells what becomes of it.
 * Returns the handle or -errno. */
RFAAS_EXPORT double rfaas_adder_open(const char *address, uint32_t port, const uint8_t *nonce) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (!verbs) return -ENOSYS;
  rfaas_adder *adder = calloc(1, sizeof *adder);
  if (!adder) return -ENOMEM;
  adder->cm.heard = heard;
  memcpy(adder->nonce, nonce, sizeof adder->nonce);
  struct sockaddr_storage to;
  void *page = mmap(NULL, RFAAS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  adder->results = page == MAP_FAILED ? NULL : page;
  int failed = rfaas_cm_open(&adder->cm, -1, -1);
  if (!failed && !adder->results) failed = ENOMEM;
  if (!failed) failed = rfaas_read_address(address, (uint16_t)port, &to);
  if (!failed && verbs->rdma_create_id(adder->cm.events, &adder->id, NULL, RDMA_PS_TCP) != 0) failed = errno;
  if (!failed && verbs->rdma_resolve_addr(adder->id, NULL, (struct sockaddr *)&to, RFAAS_RESOLVE_TIMEOUT_MS) != 0) failed = errno;
  adder->cm.deadline_ns = rfaas_now_ns() + RFAAS_CONNECT_TIMEOUT_NS;
  if (!failed) failed = rfaas_cm_run(&adder->cm);
  if (!failed) return (double)(uintptr_t)adder;
  rfaas_adder_close(adder);
  return -failed;
}

/* Writes failure, detail, of, whether it is connected, and how many rows there are. */
RFAAS_EXPORT void rfaas_adder_state(rfaas_adder *adder, int32_t *out) {
  rfaas_cm_state(&adder->cm, out);
  out[3] = (int32_t)__atomic_load_n(&adder->ready, __ATOMIC_ACQUIRE);
  out[4] = out[3] ? (int32_t)adder->rows : 0;
}

/* Begins to add `deltas`, whole numbers, to the counters of a row. Those that are 0 cost nothing. Returns how many adds were
 * posted, -EAGAIN while there is no room for more, -ENOTCONN when there is no connection. */
RFAAS_EXPORT int32_t rfaas_adder_add(rfaas_adder *adder, uint32_t row, const double *deltas) {
  if (!__atomic_load_n(&adder->ready, __ATOMIC_ACQUIRE) || __atomic_load_n(&adder->cm.failure, __ATOMIC_ACQUIRE))
    return -ENOTCONN;
  struct ibv_sge result = {.addr = (uintptr_t)adder->results, .length = sizeof(uint64_t), .lkey = adder->region->lkey};
  struct ibv_send_wr work[RFAAS_COUNTERS_PER_ROW], *refused;
  uint32_t count = 0;
  for (uint32_t i = 0; i < RFAAS_COUNTERS_PER_ROW; i++) {
    if (!(deltas[i] >= 0 && deltas[i] <= MOST_IN_AN_ADD)) return -EINVAL;
    if (deltas[i] == 0) continue;
    work[count] = (struct ibv_send_wr){
        .sg_list = &result,
        .num_sge = 1,
        .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
        .wr.atomic = {.remote_addr = adder->base + (uint64_t)row * RFAAS_LINE + i * sizeof(uint64_t),
                      .rkey = adder->key,
                      .compare_add = (uint64_t)deltas[i]}};
    if (count > 0) work[count - 1].next = &work[count];
    count++;
  }
  if (count == 0) return 0;
  if (count > adder->room) return -EAGAIN;
  work[count - 1].send_flags = IBV_SEND_SIGNALED;
  /* A failed one completes whether signalled or not; the last says for all. */
  work[count - 1].wr_id = count;
  int failed = ibv_post_send(adder->id->qp, work, &refused);
  if (failed) {
    rfaas_cm_fail(&adder->cm, RFAAS_LINK_POST, failed, RFAAS_WORK_ONE_SIDED);
    return -ENOTCONN;
  }
  adder->room -= count;
  return (int32_t)count;
}

/* How many adds have been done. They complete in the order in which they were posted. */
RFAAS_EXPORT double rfaas_adder_completed(rfaas_adder *adder) {
  if (!__atomic_load_n(&adder->ready, __ATOMIC_ACQUIRE)) return 0;
  struct ibv_wc done[COMPLETIONS_AT_ONCE];
  int count;
  while ((count = ibv_poll_cq(adder->completions, COMPLETIONS_AT_ONCE, done)) > 0)
    for (int i = 0; i < count; i++) {
      if (done[i].status == IBV_WC_SUCCESS) {
        adder->completed += done[i].wr_id;
        adder->room += (uint32_t)done[i].wr_id;
      } else if (done[i].status == IBV_WC_WR_FLUSH_ERR) rfaas_cm_fail(&adder->cm, RFAAS_LINK_DISCONNECTED, 0, 0);
      else rfaas_cm_fail(&adder->cm, RFAAS_LINK_COMPLETION, done[i].status, RFAAS_WORK_ONE_SIDED);
    }
  return (double)adder->completed;
}

#else

RFAAS_EXPORT double rfaas_adder_open(const char *address, uint32_t port, const uint8_t *nonce) {
  (void)address, (void)port, (void)nonce;
  return -ENOSYS;
}
RFAAS_EXPORT void rfaas_adder_state(rfaas_adder *adder, int32_t *out) { (void)adder, (void)out; }
RFAAS_EXPORT int32_t rfaas_adder_add(rfaas_adder *adder, uint32_t row, const double *deltas) {
  (void)adder, (void)row, (void)deltas;
  return -ENOSYS;
}
RFAAS_EXPORT double rfaas_adder_completed(rfaas_adder *adder) {
  (void)adder;
  return 0;
}
RFAAS_EXPORT void rfaas_adder_close(rfaas_adder *adder) { (void)adder; }

#endif
