/* How client and worker come together: what happens on the link's thread when the connection manager tells something.
 *
 * The node listens for each lease at a port of its own and knows the lease's client by a nonce. What a peer may reach is one
 * memory region: the lease's.
 */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_VERBS
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define GREETING_MAGIC 0x72664c4bu /* "rfLK" */
#define GREETING_VERSION 2u

/* Private data of a connection's request and reply. The kernel leaves 56 bytes for it in a request. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t worker;
  uint8_t nonce[16];
  uint64_t base;
  uint64_t total_bytes;
  uint64_t clock_ms; /* since the lease's epoch, on the sender's clock */
  uint32_t key;
  uint32_t slots;
} greeting;
_Static_assert(sizeof(greeting) <= 56, "fits the private data of a request");

/* The node is read, written and changed atomically by the client; the client only ever gets answers written. */
int rfaas_verbs_register_memory(rfaas_verbs_link *link) {
  int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  if (link->listener) access |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
  link->memory = rfaas_verbs()->ibv_reg_mr(link->pd, link->base.region->page, link->base.region->mapped_bytes, access);
  return link->memory ? 0 : errno;
}

static void describe_memory(rfaas_verbs_link *link, rfaas_verbs_end *end, uint8_t port) {
  end->base = (uint8_t *)link->base.region->page;
  end->rooms = link->rooms;
  end->local_key = link->memory->lkey;
  end->chunk_bytes = rfaas_verbs_longest_message(link->context, port);
}

static greeting greet(const rfaas_verbs_link *link, uint32_t worker) {
  greeting g = {.magic = GREETING_MAGIC,
                .version = GREETING_VERSION,
                .worker = (uint16_t)worker,
                .base = (uintptr_t)link->base.region->page,
                .total_bytes = link->base.region->mapped_bytes,
                .clock_ms = (rfaas_now_ns() - link->base.region->epoch_ns) / 1000000u,
                .key = link->memory->rkey,
                .slots = link->base.region->slots};
  memcpy(g.nonce, link->nonce, sizeof g.nonce);
  return g;
}

static void established(rfaas_verbs_link *link, rfaas_verbs_end *end) {
  struct ibv_qp_attr attributes = {.min_rnr_timer = RFAAS_RNR_TIMER};
  rfaas_verbs()->ibv_modify_qp(end->qp, &attributes, IBV_QP_MIN_RNR_TIMER);
  __atomic_store_n(&end->connected, 1, __ATOMIC_RELEASE);
  if (++link->connected < link->channels) return;
  link->cm.deadline_ns = 0;
  if (!link->listener) __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
  rfaas_notify(link->cm.notify_fd);
}

/* ---- the client's side ---- */

static void resolved(rfaas_verbs_link *link, struct rdma_cm_id *id) {
  if (!link->pd) {
    int failed = rfaas_verbs_open_device(link, id->verbs);
    if (failed) return rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_RESOURCES);
    failed = rfaas_verbs_register_memory(link);
    if (failed) return rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_REGISTER);
  }
  if (id->verbs != link->context) return rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, EXDEV, RFAAS_STAGE_ADDRESS);
  rfaas_cm_set_timers(id);
  if (rfaas_verbs()->rdma_resolve_route(id, RFAAS_RESOLVE_TIMEOUT_MS) != 0)
    rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_ROUTE);
}

static void connect_end(rfaas_verbs_link *link, rfaas_verbs_end *end, struct rdma_cm_id *id) {
  describe_memory(link, end, id->port_num);
  int failed = rfaas_verbs_open_queues(end, link->context, (int)end->index);
  if (!failed) failed = rfaas_verbs_open_pair(end, id, link->pd, link->inline_wanted);
  if (failed) return rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_QUEUES);
  greeting g = greet(link, end->index);
  struct rdma_conn_param with = rfaas_cm_parameters(&g, sizeof g, 0, rfaas_cm_reads(link->context));
  if (rfaas_verbs()->rdma_connect(id, &with) != 0) rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_CONNECT);
}

static void answered(rfaas_verbs_link *link, rfaas_verbs_end *end, const struct rdma_conn_param *said) {
  greeting g;
  if (said->private_data_len < sizeof g) return rfaas_cm_fail(&link->cm, RFAAS_LINK_REJECTED, RFAAS_WRONG_VERSION, 0);
  memcpy(&g, said->private_data, sizeof g);
  if (g.magic != GREETING_MAGIC || g.version != GREETING_VERSION || g.total_bytes != link->base.region->mapped_bytes)
    return rfaas_cm_fail(&link->cm, RFAAS_LINK_REJECTED, RFAAS_WRONG_VERSION, 0);
  end->remote_base = g.base;
  end->remote_key = g.key;
  established(link, end);
}

/* ---- the node's side ---- */

static int reason_to_reject(rfaas_verbs_link *link, const struct rdma_cm_event *event, greeting *g) {
  if (event->param.conn.private_data_len < sizeof *g) return RFAAS_WRONG_VERSION;
  memcpy(g, event->param.conn.private_data, sizeof *g);
  if (g->magic != GREETING_MAGIC || g->version != GREETING_VERSION) return RFAAS_WRONG_VERSION;
  if (memcmp(g->nonce, link->nonce, sizeof g->nonce) != 0) return RFAAS_WRONG_NONCE;
  if (g->worker >= link->channels || link->end[g->worker].id) return RFAAS_WRONG_WORKER;
  if (g->total_bytes != link->base.region->mapped_bytes || g->slots != link->base.region->slots) return RFAAS_WRONG_MEMORY;
  if (event->id->verbs != link->context) return RFAAS_NO_RESOURCES;
  return 0;
}

static void requested(rfaas_verbs_link *link, const struct rdma_cm_event *event) {
  struct rdma_cm_id *id = event->id;
  greeting g;
  uint8_t reason = (uint8_t)reason_to_reject(link, event, &g);
  if (reason == 0) {
    rfaas_verbs_end *end = &link->end[g.worker];
    end->remote_base = g.base;
    end->remote_key = g.key;
    rfaas_far_clock_begin(&end->clock, g.clock_ms);
    describe_memory(link, end, id->port_num);
    rfaas_cm_set_timers(id);
    id->context = end;
    if (rfaas_verbs_open_pair(end, id, link->pd, link->inline_wanted) == 0) {
      greeting reply = greet(link, g.worker);
      memset(reply.nonce, 0, sizeof reply.nonce);
      uint8_t reads = rfaas_cm_reads(link->context), asked = event->param.conn.responder_resources;
      struct rdma_conn_param with = rfaas_cm_parameters(&reply, sizeof reply, asked < reads ? asked : reads, 0);
      if (rfaas_verbs()->rdma_accept(id, &with) != 0) rfaas_verbs_fail(end, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_CONNECT);
      return;
    }
    reason = RFAAS_NO_RESOURCES;
  }
  rfaas_cm_reject(id, reason);
  id->context = NULL;
}

/* ---- both ---- */

static void ended(rfaas_verbs_link *link, struct rdma_cm_id *id, uint32_t failure) {
  rfaas_verbs_end *end = id->context;
  if (end && end->id == id) {
    rfaas_verbs_fail(end, failure, 0, 0);
    /* Flushes what is posted, so that a thread that polls or sleeps learns of it. */
    rfaas_verbs()->rdma_disconnect(id);
    rfaas_notify(end->notify_fd);
  } else if (id == link->listener || failure == RFAAS_LINK_DEVICE_REMOVED) rfaas_cm_fail(&link->cm, failure, 0, 0);
}

int rfaas_verbs_heard(rfaas_cm *cm, const struct rdma_cm_event *event) {
  rfaas_verbs_link *link = (rfaas_verbs_link *)((uint8_t *)cm - offsetof(rfaas_verbs_link, cm));
  struct rdma_cm_id *id = event->id;
  rfaas_verbs_end *end = id->context;
  switch (event->event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED: resolved(link, id); break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED: connect_end(link, end, id); break;
    case RDMA_CM_EVENT_CONNECT_REQUEST: requested(link, event); return event->id->context == NULL;
    case RDMA_CM_EVENT_ESTABLISHED:
      if (link->listener) established(link, end);
      else answered(link, end, &event->param.conn);
      break;
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
      if (end && link->listener) rfaas_verbs_fail(end, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_CONNECT);
      else rfaas_cm_heard_failure(cm, event);
      break;
    case RDMA_CM_EVENT_DISCONNECTED: ended(link, id, RFAAS_LINK_DISCONNECTED); break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL: ended(link, id, RFAAS_LINK_DEVICE_REMOVED); break;
    default: rfaas_cm_heard_failure(cm, event);
  }
  return 0;
}

#endif
