/* The manager's counters: memory that nodes raise by remote atomics, while the manager's processor has no part in it.
 *
 * Each node has memory, key and protection domain of its own, so that it reaches no other's, and shows the nonce that it was
 * given over its control connection. One thread a port accepts connections and takes them down.
 */
#define _GNU_SOURCE
#include "counters.h"

#include <errno.h>

#ifdef RFAAS_WITH_VERBS
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BACKLOG = 128 };

/* Mirrored in `ffi/verbs/counters.ts`. */
enum counters_state { AWAITED = 0, CONNECTED = 1, LOST = 2 };

struct rfaas_counters {
  rfaas_counters *next;
  rfaas_counter_port *port;
  uint8_t nonce[16];
  uint64_t *memory;
  size_t bytes;
  uint32_t rows;
  struct ibv_pd *pd;
  struct ibv_mr *region;
  struct rdma_cm_id *id; /* the thread's, as soon as a node has shown the nonce */
  uint32_t state; /* enum counters_state */
  uint32_t closing;
};

struct rfaas_counter_port {
  rfaas_cm cm;
  struct rdma_cm_id *listener;
  struct ibv_cq *completions; /* queue pairs must have one; nothing is ever posted */
  pthread_mutex_t lock; /* of the list */
  rfaas_counters *first;
};

static void take_down(rfaas_counters *counters) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (counters->id) {
    verbs->rdma_disconnect(counters->id);
    verbs->rdma_destroy_qp(counters->id);
    verbs->rdma_destroy_id(counters->id);
  }
  if (counters->region) verbs->ibv_dereg_mr(counters->region);
  if (counters->pd) verbs->ibv_dealloc_pd(counters->pd);
  munmap(counters->memory, counters->bytes);
  free(counters);
}

/* ---- the thread ---- */

static rfaas_counters *with_nonce(rfaas_counter_port *port, const uint8_t *nonce) {
  pthread_mutex_lock(&port->lock);
  rfaas_counters *found = port->first;
  while (found && (found->closing || memcmp(found->nonce, nonce, sizeof found->nonce) != 0)) found = found->next;
  pthread_mutex_unlock(&port->lock);
  return found;
}

static uint8_t accept_adder(rfaas_counter_port *port, const struct rdma_cm_event *event) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  struct rdma_cm_id *id = event->id;
  rfaas_counters_greeting said;
  if (event->param.conn.private_data_len < sizeof said) return RFAAS_WRONG_VERSION;
  memcpy(&said, event->param.conn.private_data, sizeof said);
  if (said.magic != RFAAS_COUNTERS_MAGIC || said.version != RFAAS_COUNTERS_VERSION) return RFAAS_WRONG_VERSION;
  rfaas_counters *counters = with_nonce(port, said.nonce);
  if (!counters || counters->id) return RFAAS_WRONG_NONCE;
  struct ibv_qp_init_attr pair = {.send_cq = port->completions,
                                  .recv_cq = port->completions,
                                  .qp_type = IBV_QPT_RC,
                                  .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};
  if (id->verbs != port->listener->verbs || verbs->rdma_create_qp(id, counters->pd, &pair) != 0) return RFAAS_NO_RESOURCES;
  rfaas_cm_set_timers(id);
  rfaas_counters_greeting reply = {.magic = RFAAS_COUNTERS_MAGIC,
                                   .version = RFAAS_COUNTERS_VERSION,
                                   .base = (uintptr_t)counters->memory,
                                   .key = counters->region->rkey,
                                   .rows = counters->rows};
  uint8_t reads = rfaas_cm_reads(id->verbs), asked = event->param.conn.responder_resources;
  struct rdma_conn_param with = rfaas_cm_parameters(&reply, sizeof reply, asked < reads ? asked : reads, 0);
  if (verbs->rdma_accept(id, &with) != 0) {
    verbs->rdma_destroy_qp(id);
    return RFAAS_NO_RESOURCES;
  }
  id->context = counters;
  counters->id = id;
  return 0;
}

static int heard(rfaas_cm *cm, const struct rdma_cm_event *event) {
  rfaas_counter_port *port = (rfaas_counter_port *)cm;
  if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
    /* A new id begins with the listener's context. */
    event->id->context = NULL;
    uint8_t reason = accept_adder(port, event);
    if (reason) rfaas_cm_reject(event->id, reason);
    return reason != 0;
  }
  rfaas_counters *counters = event->id->context;
  if (event->event == RDMA_CM_EVENT_DEVICE_REMOVAL) rfaas_cm_fail(cm, RFAAS_LINK_DEVICE_REMOVED, 0, 0);
  if (!counters || event->event == RDMA_CM_EVENT_TIMEWAIT_EXIT) return 0;
  if (event->event == RDMA_CM_EVENT_ESTABLISHED) __atomic_store_n(&counters->state, CONNECTED, __ATOMIC_RELEASE);
  else __atomic_store_n(&counters->state, LOST, __ATOMIC_RELEASE);
  return 0;
}

/* Closing counters is left to the thread: an id must not go while an event of it is being heard. */
static void woken(rfaas_cm *cm) {
  rfaas_counter_port *port = (rfaas_counter_port *)cm;
  rfaas_counters *closing = NULL;
  pthread_mutex_lock(&port->lock);
  for (rfaas_counters **at = &port->first; *at;) {
    rfaas_counters *counters = *at;
    if (!counters->closing) {
      at = &counters->next;
      continue;
    }
    *at = counters->next;
    counters->next = closing;
    closing = counters;
  }
  pthread_mutex_unlock(&port->lock);
  while (closing) {
    rfaas_counters *next = closing->next;
    take_down(closing);
    closing = next;
  }
}

/* ---- the manager ---- */

/* Gives everything back. Counters that are open are closed, too. */
RFAAS_EXPORT void rfaas_counter_port_close(rfaas_counter_port *port) {
  rfaas_cm_join(&port->cm);
  for (rfaas_counters *counters = port->first; counters; counters = counters->next) counters->closing = 1;
  woken(&port->cm);
  if (port->listener) rfaas_verbs()->rdma_destroy_id(port->listener);
  if (port->completions) rfaas_verbs()->ibv_destroy_cq(port->completions);
  rfaas_cm_close(&port->cm);
  pthread_mutex_destroy(&port->lock);
  free(port);
}

/* Listens on the device that has `address`, at a port of the kernel's choice. Returns the handle or -errno. */
RFAAS_EXPORT double rfaas_counter_port_open(const char *address) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (!verbs) return -ENOSYS;
  rfaas_counter_port *port = calloc(1, sizeof *port);
  if (!port) return -ENOMEM;
  pthread_mutex_init(&port->lock, NULL);
  port->cm.heard = heard;
  port->cm.woken = woken;
  struct sockaddr_storage at;
  struct ibv_device_attr attributes;
  int failed = rfaas_cm_open(&port->cm, -1, -1);
  if (!failed) failed = rfaas_read_address(address, 0, &at);
  if (!failed && verbs->rdma_create_id(port->cm.events, &port->listener, NULL, RDMA_PS_TCP) != 0) failed = errno;
  if (!failed && verbs->rdma_bind_addr(port->listener, (struct sockaddr *)&at) != 0) failed = errno;
  if (!failed && !(port->cm.released = port->listener->verbs)) failed = ENODEV;
  if (!failed) failed = verbs->ibv_query_device(port->listener->verbs, &attributes);
  if (!failed && attributes.atomic_cap == IBV_ATOMIC_NONE) failed = EOPNOTSUPP;
  if (!failed && !(port->completions = verbs->ibv_create_cq(port->listener->verbs, 1, NULL, NULL, 0))) failed = errno;
  if (!failed && verbs->rdma_listen(port->listener, BACKLOG) != 0) failed = errno;
  if (!failed) failed = rfaas_cm_run(&port->cm);
  if (!failed) return (double)(uintptr_t)port;
  rfaas_counter_port_close(port);
  return -failed;
}

RFAAS_EXPORT uint32_t rfaas_counter_port_number(rfaas_counter_port *port) {
  return ntohs(rfaas_verbs()->rdma_get_src_port(port->listener));
}

/* Writes failure, detail, of. */
RFAAS_EXPORT void rfaas_counter_port_state(rfaas_counter_port *port, int32_t *out) { rfaas_cm_state(&port->cm, out); }

/* Sets aside `rows` of zeros for the one node that knows the 16-byte `nonce`. Returns the handle or -errno. */
RFAAS_EXPORT double rfaas_counters_open(rfaas_counter_port *port, const uint8_t *nonce, uint32_t rows) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  rfaas_counters *counters = calloc(1, sizeof *counters);
  if (!counters) return -ENOMEM;
  counters->port = port;
  counters->rows = rows;
  counters->bytes = (rows * RFAAS_LINE + RFAAS_PAGE - 1) & ~(size_t)(RFAAS_PAGE - 1);
  memcpy(counters->nonce, nonce, sizeof counters->nonce);
  /* Shared, so that a fork of this process takes no page away from the device. */
  counters->memory = mmap(NULL, counters->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (counters->memory == MAP_FAILED) {
    free(counters);
    return -ENOMEM;
  }
  if (!(counters->pd = verbs->ibv_alloc_pd(port->listener->verbs)) ||
      !(counters->region = verbs->ibv_reg_mr(counters->pd, counters->memory, counters->bytes,
                                             IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC))) {
    int failed = errno;
    take_down(counters);
    return -failed;
  }
  pthread_mutex_lock(&port->lock);
  counters->next = port->first;
  port->first = counters;
  pthread_mutex_unlock(&port->lock);
  return (double)(uintptr_t)counters;
}

/* enum counters_state */
RFAAS_EXPORT int32_t rfaas_counters_state(rfaas_counters *counters) {
  return (int32_t)__atomic_load_n(&counters->state, __ATOMIC_ACQUIRE);
}

static uint64_t *row_of(rfaas_counters *counters, uint32_t row) {
  return counters->memory + (size_t)row * (RFAAS_LINE / sizeof(uint64_t));
}

/* Writes the counters of a row. */
RFAAS_EXPORT int32_t rfaas_counters_read(rfaas_counters *counters, uint32_t row, double *out) {
  if (row >= counters->rows) return -EINVAL;
  for (uint32_t i = 0; i < RFAAS_COUNTERS_PER_ROW; i++)
    out[i] = (double)__atomic_load_n(row_of(counters, row) + i, __ATOMIC_RELAXED);
  return 0;
}

/* The node must have no add to the row under way. */
RFAAS_EXPORT int32_t rfaas_counters_clear(rfaas_counters *counters, uint32_t row) {
  if (row >= counters->rows) return -EINVAL;
  for (uint32_t i = 0; i < RFAAS_COUNTERS_PER_ROW; i++) __atomic_store_n(row_of(counters, row) + i, 0, __ATOMIC_SEQ_CST);
  return 0;
}

/* Disconnects the node and frees its memory, soon. The handle is no good from now on. */
RFAAS_EXPORT void rfaas_counters_close(rfaas_counters *counters) {
  rfaas_counter_port *port = counters->port;
  pthread_mutex_lock(&port->lock);
  counters->closing = 1;
  pthread_mutex_unlock(&port->lock);
  rfaas_cm_wake(&port->cm);
}

#else

RFAAS_EXPORT double rfaas_counter_port_open(const char *address) {
  (void)address;
  return -ENOSYS;
}
RFAAS_EXPORT void rfaas_counter_port_close(rfaas_counter_port *port) { (void)port; }
RFAAS_EXPORT uint32_t rfaas_counter_port_number(rfaas_counter_port *port) {
  (void)port;
  return 0;
}
RFAAS_EXPORT void rfaas_counter_port_state(rfaas_counter_port *port, int32_t *out) { (void)port, (void)out; }
RFAAS_EXPORT double rfaas_counters_open(rfaas_counter_port *port, const uint8_t *nonce, uint32_t rows) {
  (void)port, (void)nonce, (void)rows;
  return -ENOSYS;
}
RFAAS_EXPORT int32_t rfaas_counters_state(rfaas_counters *counters) {
  (void)counters;
  return 0;
}
RFAAS_EXPORT int32_t rfaas_counters_read(rfaas_counters *counters, uint32_t row, double *out) {
  (void)counters, (void)row, (void)out;
  return -ENOSYS;
}
RFAAS_EXPORT int32_t rfaas_counters_clear(rfaas_counters *counters, uint32_t row) {
  (void)counters, (void)row;
  return -ENOSYS;
}
RFAAS_EXPORT void rfaas_counters_close(rfaas_counters *counters) { (void)counters; }

#endif
