/* The connections of one lease: one queue pair for each worker, set up and watched by a thread of their own, so that no event
 * loop and no hot loop ever waits for the connection manager.
 *
 * The node listens for each lease at a port of its own and knows the lease's client by a nonce. What a peer may reach is one
 * memory region: the lease's.
 */
#define _GNU_SOURCE
#include "verbs.h"

#include <errno.h>

#ifdef RFAAS_WITH_VERBS
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

struct rfaas_link {
  rfaas_region *region;
  struct rdma_event_channel *events;
  struct rdma_cm_id *listener;
  struct ibv_context *context;
  struct ibv_pd *pd;
  struct ibv_mr *memory;
  pthread_t thread;
  int has_thread;
  int epoll_fd;
  int stop_fd;
  int32_t notify_fd;
  uint32_t inline_wanted;
  uint32_t workers;
  uint32_t connected;
  uint32_t ready; /* listening, or all connected */
  uint64_t deadline_ns; /* of the set-up, 0 for none */
  uint8_t nonce[16];
  uint8_t *rooms;
  uint32_t failing, failure;
  int32_t detail, of;
  rfaas_verbs_end end[];
};

static void fail_link(rfaas_link *link, uint32_t failure, int32_t detail, int32_t of) {
  if (__atomic_exchange_n(&link->failing, 1, __ATOMIC_SEQ_CST)) return;
  link->detail = detail;
  link->of = of;
  __atomic_store_n(&link->failure, failure, __ATOMIC_RELEASE);
  rfaas_notify(link->notify_fd);
}

void rfaas_link_failed(rfaas_link *link) { rfaas_notify(link->notify_fd); }

/* The device is known: everything of it that the lease needs but queue pairs. Returns 0 or a positive errno; `stage` says of what. */
static int open_device(rfaas_link *link, struct ibv_context *context, int *stage) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  link->context = context;
  *stage = RFAAS_STAGE_RESOURCES;
  if (!(link->pd = verbs->ibv_alloc_pd(context))) return errno;
  return 0;
}

/* The node is read, written and changed atomically by the client; the client only ever gets answers written. */
static int register_memory(rfaas_link *link) {
  int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  if (link->listener) access |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
  link->memory = rfaas_verbs()->ibv_reg_mr(link->pd, link->region->page, link->region->mapped_bytes, access);
  return link->memory ? 0 : errno;
}

static void describe_memory(rfaas_link *link, rfaas_verbs_end *end, uint8_t port) {
  end->base = (uint8_t *)link->region->page;
  end->rooms = link->rooms;
  end->local_key = link->memory->lkey;
  end->chunk_bytes = rfaas_verbs_longest_message(link->context, port);
}

static greeting greet(const rfaas_link *link, uint32_t worker) {
  greeting g = {.magic = GREETING_MAGIC,
                .version = GREETING_VERSION,
                .worker = (uint16_t)worker,
                .base = (uintptr_t)link->region->page,
                .total_bytes = link->region->mapped_bytes,
                .clock_ms = (rfaas_now_ns() - link->region->epoch_ns) / 1000000u,
                .key = link->memory->rkey,
                .slots = link->region->slots};
  memcpy(g.nonce, link->nonce, sizeof g.nonce);
  return g;
}

static void established(rfaas_link *link, rfaas_verbs_end *end) {
  struct ibv_qp_attr attributes = {.min_rnr_timer = RFAAS_RNR_TIMER};
  rfaas_verbs()->ibv_modify_qp(end->qp, &attributes, IBV_QP_MIN_RNR_TIMER);
  __atomic_store_n(&end->connected, 1, __ATOMIC_RELEASE);
  if (++link->connected < link->workers) return;
  link->deadline_ns = 0;
  if (!link->listener) __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
  rfaas_notify(link->notify_fd);
}

/* ---- the client's side ---- */

static void resolved(rfaas_link *link, struct rdma_cm_id *id) {
  int stage, failed = 0;
  if (!link->pd) {
    failed = open_device(link, id->verbs, &stage);
    if (!failed) {
      stage = RFAAS_STAGE_REGISTER;
      failed = register_memory(link);
    }
    if (failed) return fail_link(link, RFAAS_LINK_SETUP, failed, stage);
  }
  if (id->verbs != link->context) return fail_link(link, RFAAS_LINK_SETUP, EXDEV, RFAAS_STAGE_ADDRESS);
  rfaas_cm_set_timers(id);
  if (rfaas_verbs()->rdma_resolve_route(id, RFAAS_RESOLVE_TIMEOUT_MS) != 0)
    fail_link(link, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_ROUTE);
}

static void connect_end(rfaas_link *link, rfaas_verbs_end *end, struct rdma_cm_id *id) {
  describe_memory(link, end, id->port_num);
  int failed = rfaas_verbs_open_queues(end, link->context, (int)end->index);
  if (!failed) failed = rfaas_verbs_open_pair(end, id, link->pd, link->inline_wanted);
  if (failed) return fail_link(link, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_QUEUES);
  greeting g = greet(link, end->index);
  struct rdma_conn_param with = rfaas_cm_parameters(&g, sizeof g, 0, rfaas_cm_reads(link->context));
  if (rfaas_verbs()->rdma_connect(id, &with) != 0) fail_link(link, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_CONNECT);
}

static void answered(rfaas_link *link, rfaas_verbs_end *end, const struct rdma_conn_param *said) {
  greeting g;
  if (said->private_data_len < sizeof g) return fail_link(link, RFAAS_LINK_REJECTED, RFAAS_WRONG_VERSION, 0);
  memcpy(&g, said->private_data, sizeof g);
  if (g.magic != GREETING_MAGIC || g.version != GREETING_VERSION || g.total_bytes != link->region->mapped_bytes)
    return fail_link(link, RFAAS_LINK_REJECTED, RFAAS_WRONG_VERSION, 0);
  end->remote_base = g.base;
  end->remote_key = g.key;
  established(link, end);
}

/* ---- the node's side ---- */

static int reason_to_reject(rfaas_link *link, const struct rdma_cm_event *event, greeting *g) {
  if (event->param.conn.private_data_len < sizeof *g) return RFAAS_WRONG_VERSION;
  memcpy(g, event->param.conn.private_data, sizeof *g);
  if (g->magic != GREETING_MAGIC || g->version != GREETING_VERSION) return RFAAS_WRONG_VERSION;
  if (memcmp(g->nonce, link->nonce, sizeof g->nonce) != 0) return RFAAS_WRONG_NONCE;
  if (g->worker >= link->workers || link->end[g->worker].id) return RFAAS_WRONG_WORKER;
  if (g->total_bytes != link->region->mapped_bytes || g->slots != link->region->slots) return RFAAS_WRONG_MEMORY;
  if (event->id->verbs != link->context) return RFAAS_NO_RESOURCES;
  return 0;
}

static void requested(rfaas_link *link, const struct rdma_cm_event *event) {
  struct rdma_cm_id *id = event->id;
  greeting g;
  uint8_t reason = (uint8_t)reason_to_reject(link, event, &g);
  if (reason == 0) {
    rfaas_verbs_end *end = &link->end[g.worker];
    end->remote_base = g.base;
    end->remote_key = g.key;
    end->clock_known_at_ns = rfaas_now_ns();
    end->clock_offset_ms = (uint32_t)(end->clock_known_at_ns / 1000000u) - (uint32_t)g.clock_ms;
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

static void *listen_for_client(rfaas_link *link) {
  int failed = register_memory(link);
  if (failed) fail_link(link, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_REGISTER);
  else if (rfaas_verbs()->rdma_listen(link->listener, (int)link->workers) != 0)
    fail_link(link, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_LISTEN);
  else {
    __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
    rfaas_notify(link->notify_fd);
  }
  return NULL;
}

/* ---- both ---- */

static void ended(rfaas_link *link, struct rdma_cm_id *id, uint32_t failure) {
  rfaas_verbs_end *end = id->context;
  if (end && end->id == id) {
    rfaas_verbs_fail(end, failure, 0, 0);
    /* Flushes what is posted, so that whoever polls or sleeps learns of it. */
    rfaas_verbs()->rdma_disconnect(id);
    rfaas_notify(end->notify_fd);
  } else if (id == link->listener || failure == RFAAS_LINK_DEVICE_REMOVED) fail_link(link, failure, 0, 0);
}

/* Returns whether the event's id is to be destroyed, once the event is acknowledged. */
static int heard(rfaas_link *link, const struct rdma_cm_event *event) {
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
    case RDMA_CM_EVENT_ADDR_ERROR: fail_link(link, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_ADDRESS); break;
    case RDMA_CM_EVENT_ROUTE_ERROR: fail_link(link, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_ROUTE); break;
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
      if (end && link->listener) rfaas_verbs_fail(end, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_CONNECT);
      else fail_link(link, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_CONNECT);
      break;
    case RDMA_CM_EVENT_REJECTED: fail_link(link, RFAAS_LINK_REJECTED, rfaas_cm_reason(event), event->status); break;
    case RDMA_CM_EVENT_DISCONNECTED: ended(link, id, RFAAS_LINK_DISCONNECTED); break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL: ended(link, id, RFAAS_LINK_DEVICE_REMOVED); break;
    default: break;
  }
  return 0;
}

static void hear(rfaas_link *link) {
  struct rdma_cm_event *event;
  while (rfaas_verbs()->rdma_get_cm_event(link->events, &event) == 0) {
    struct rdma_cm_id *id = event->id;
    int unwanted = heard(link, event);
    rfaas_verbs()->rdma_ack_cm_event(event);
    if (unwanted) rfaas_verbs()->rdma_destroy_id(id);
  }
}

static int wait_ms(const rfaas_link *link) {
  if (!link->deadline_ns) return -1;
  uint64_t now = rfaas_now_ns();
  return now >= link->deadline_ns ? 0 : (int)((link->deadline_ns - now) / 1000000u) + 1;
}

static void *watch(void *argument) {
  rfaas_link *link = argument;
  if (link->listener) listen_for_client(link);
  for (;;) {
    struct epoll_event seen[16];
    int count = epoll_wait(link->epoll_fd, seen, 16, wait_ms(link));
    for (int i = 0; i < count; i++) {
      if (seen[i].data.ptr == &link->stop_fd) return NULL;
      if (seen[i].data.ptr == link) hear(link);
      else rfaas_notify(((rfaas_verbs_end *)seen[i].data.ptr)->notify_fd);
    }
    if (link->deadline_ns && rfaas_now_ns() >= link->deadline_ns) {
      link->deadline_ns = 0;
      fail_link(link, RFAAS_LINK_TIMED_OUT, 0, RFAAS_STAGE_CONNECT);
    }
  }
}

void rfaas_link_ring(rfaas_verbs_end *end) {
  if (!end->channel) return;
  rfaas_verbs_take_events(end);
  rfaas_verbs_arm(end);
  struct epoll_event once = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = end};
  if (epoll_ctl(end->link->epoll_fd, EPOLL_CTL_MOD, end->channel->fd, &once) != 0 && errno == ENOENT)
    epoll_ctl(end->link->epoll_fd, EPOLL_CTL_ADD, end->channel->fd, &once);
}

int rfaas_link_register(rfaas_link *link, rfaas_registration *registration) {
  struct ibv_mr *memory = rfaas_verbs()->ibv_reg_mr(link->pd, registration->memory, registration->bytes, 0);
  if (!memory) return errno;
  registration->read = memory;
  registration->read_key = memory->lkey;
  return 0;
}

int rfaas_link_register_output(rfaas_link *link, rfaas_registration *registration) {
  struct ibv_mr *memory = rfaas_verbs()->ibv_reg_mr(link->pd, registration->memory, registration->bytes,
                                                    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  if (!memory) return errno;
  registration->written = memory;
  registration->written_key = memory->rkey;
  return 0;
}

void rfaas_link_unregister(rfaas_link *link, rfaas_registration *registration) {
  (void)link;
  if (registration->written) rfaas_verbs()->ibv_dereg_mr(registration->written);
  rfaas_verbs()->ibv_dereg_mr(registration->read);
}

rfaas_verbs_end *rfaas_link_end(rfaas_link *link, uint32_t worker) {
  return link && worker < link->workers ? &link->end[worker] : NULL;
}

void rfaas_verbs_end_notify(rfaas_verbs_end *end, int32_t notify_fd) { end->notify_fd = notify_fd; }

static int watch_descriptor(rfaas_link *link, int fd, void *as) {
  struct epoll_event readable = {.events = EPOLLIN, .data.ptr = as};
  return epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &readable) == 0 ? 0 : errno;
}

static rfaas_link *new_link(rfaas_region *region, const uint8_t *nonce, int32_t notify_fd, uint32_t inline_wanted) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (!verbs) return NULL;
  rfaas_link *link = calloc(1, sizeof *link + region->workers * sizeof(rfaas_verbs_end));
  if (!link) return NULL;
  link->region = region;
  link->workers = region->workers;
  link->notify_fd = notify_fd;
  link->inline_wanted = inline_wanted;
  memcpy(link->nonce, nonce, sizeof link->nonce);
  for (uint32_t i = 0; i < link->workers; i++)
    link->end[i] = (rfaas_verbs_end){.link = link, .index = i, .slots = region->slots, .wake_fd = -1, .notify_fd = notify_fd};
  link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  link->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  link->events = verbs->rdma_create_event_channel();
  int failed = link->epoll_fd < 0 || link->stop_fd < 0 || !link->events ? errno : 0;
  if (!failed && fcntl(link->events->fd, F_SETFL, fcntl(link->events->fd, F_GETFL) | O_NONBLOCK) != 0) failed = errno;
  if (!failed) failed = watch_descriptor(link, link->events->fd, link);
  if (!failed) failed = watch_descriptor(link, link->stop_fd, &link->stop_fd);
  if (failed) fail_link(link, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_RESOURCES);
  return link;
}

static void start_thread(rfaas_link *link) {
  int failed = rfaas_cm_start(&link->thread, watch, link);
  if (failed) fail_link(link, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_RESOURCES);
  else link->has_thread = 1;
}

/* Begins to connect every worker's end to the node's `address` (a number, not a name) and `port`; `source` ("" for any) chooses
 * the device on this side. `notify_fd` gets a byte when `rfaas_link_state` has changed. Returns the handle, 0 without memory or
 * libraries; any other failure is told by the state. */
RFAAS_EXPORT double rfaas_link_connect(rfaas_region *region, const char *source, const char *address, uint32_t port,
                                       const uint8_t *nonce, int32_t notify_fd, uint32_t inline_wanted) {
  rfaas_link *link = new_link(region, nonce, notify_fd, inline_wanted);
  if (!link || link->failing) return (double)(uintptr_t)link;
  struct sockaddr_storage from, to;
  /* Zero pages until they are needed. */
  link->rooms = calloc(region->arena_bytes / RFAAS_LINE / 8 + 1, 1);
  int failed = link->rooms ? rfaas_cm_address(address, (uint16_t)port, &to) : ENOMEM;
  if (!failed && source[0]) failed = rfaas_cm_address(source, 0, &from);
  for (uint32_t i = 0; !failed && i < link->workers; i++) {
    struct rdma_cm_id *id;
    if (rfaas_verbs()->rdma_create_id(link->events, &id, &link->end[i], RDMA_PS_TCP) != 0) failed = errno;
    else {
      link->end[i].id = id;
      struct sockaddr *bound = source[0] ? (struct sockaddr *)&from : NULL;
      if (rfaas_verbs()->rdma_resolve_addr(id, bound, (struct sockaddr *)&to, RFAAS_RESOLVE_TIMEOUT_MS) != 0) failed = errno;
    }
  }
  if (failed) fail_link(link, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_ADDRESS);
  else {
    link->deadline_ns = rfaas_now_ns() + RFAAS_CONNECT_TIMEOUT_NS;
    start_thread(link);
  }
  return (double)(uintptr_t)link;
}

/* Opens the device that has `address` and begins to listen there, at a port of the kernel's choice, for the client that knows
 * `nonce`. Otherwise as `rfaas_link_connect`. Workers may be opened at once. */
RFAAS_EXPORT double rfaas_link_listen(rfaas_region *region, const char *address, const uint8_t *nonce, int32_t notify_fd,
                                      uint32_t inline_wanted) {
  rfaas_link *link = new_link(region, nonce, notify_fd, inline_wanted);
  if (!link || link->failing) return (double)(uintptr_t)link;
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  struct sockaddr_storage at;
  int stage = RFAAS_STAGE_LISTEN;
  int failed = rfaas_cm_address(address, 0, &at);
  if (!failed && verbs->rdma_create_id(link->events, &link->listener, NULL, RDMA_PS_TCP) != 0) failed = errno;
  if (!failed && verbs->rdma_bind_addr(link->listener, (struct sockaddr *)&at) != 0) failed = errno;
  if (!failed && !link->listener->verbs) failed = ENODEV;
  if (!failed) failed = open_device(link, link->listener->verbs, &stage);
  for (uint32_t i = 0; !failed && i < link->workers; i++) {
    stage = RFAAS_STAGE_QUEUES;
    failed = rfaas_verbs_open_queues(&link->end[i], link->context, (int)i);
  }
  if (failed) fail_link(link, RFAAS_LINK_SETUP, failed, stage);
  else start_thread(link);
  return (double)(uintptr_t)link;
}

RFAAS_EXPORT uint32_t rfaas_link_port(rfaas_link *link) {
  return link->listener ? ntohs(rfaas_verbs()->rdma_get_src_port(link->listener)) : 0;
}

/* Whether the link is listening or connected, and what became of it or of one worker's end. Writes ready, failure, detail, of,
 * inline bytes. */
RFAAS_EXPORT void rfaas_link_state(rfaas_link *link, int32_t worker, int32_t *out) {
  out[0] = (int32_t)__atomic_load_n(&link->ready, __ATOMIC_ACQUIRE);
  rfaas_verbs_end *end = worker < 0 ? NULL : rfaas_link_end(link, (uint32_t)worker);
  out[1] = (int32_t)__atomic_load_n(end ? &end->failure : &link->failure, __ATOMIC_ACQUIRE);
  out[2] = end ? end->detail : link->detail;
  out[3] = end ? end->of : link->of;
  out[4] = end ? (int32_t)end->inline_bytes : 0;
}

/* Disconnects and gives everything back. No endpoint may be in use, and the region must still be mapped. */
RFAAS_EXPORT void rfaas_link_close(rfaas_link *link) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (link->has_thread) {
    uint64_t one = 1;
    (void)!write(link->stop_fd, &one, sizeof one);
    pthread_join(link->thread, NULL);
  }
  for (uint32_t i = 0; i < link->workers; i++)
    if (link->end[i].connected) verbs->rdma_disconnect(link->end[i].id);
  for (uint32_t i = 0; i < link->workers; i++) rfaas_verbs_close_end(&link->end[i]);
  if (link->listener) verbs->rdma_destroy_id(link->listener);
  while (link->region->registrations) rfaas_unregister(link->region, link, link->region->registration[0].offset);
  if (link->memory) verbs->ibv_dereg_mr(link->memory);
  if (link->pd) verbs->ibv_dealloc_pd(link->pd);
  if (link->events) verbs->rdma_destroy_event_channel(link->events);
  if (link->epoll_fd >= 0) close(link->epoll_fd);
  if (link->stop_fd >= 0) close(link->stop_fd);
  free(link->rooms);
  free(link);
}

#else

rfaas_verbs_end *rfaas_link_end(rfaas_link *link, uint32_t worker) {
  (void)link;
  (void)worker;
  return NULL;
}
int rfaas_link_register(rfaas_link *link, rfaas_registration *registration) {
  (void)link, (void)registration;
  return ENOSYS;
}
int rfaas_link_register_output(rfaas_link *link, rfaas_registration *registration) {
  (void)link, (void)registration;
  return ENOSYS;
}
void rfaas_link_unregister(rfaas_link *link, rfaas_registration *registration) { (void)link, (void)registration; }
void rfaas_verbs_end_notify(rfaas_verbs_end *end, int32_t notify_fd) {
  (void)end;
  (void)notify_fd;
}
RFAAS_EXPORT double rfaas_link_connect(rfaas_region *region, const char *source, const char *address, uint32_t port,
                                       const uint8_t *nonce, int32_t notify_fd, uint32_t inline_wanted) {
  (void)region, (void)source, (void)address, (void)port, (void)nonce, (void)notify_fd, (void)inline_wanted;
  return 0;
}
RFAAS_EXPORT double rfaas_link_listen(rfaas_region *region, const char *address, const uint8_t *nonce, int32_t notify_fd,
                                      uint32_t inline_wanted) {
  (void)region, (void)address, (void)nonce, (void)notify_fd, (void)inline_wanted;
  return 0;
}
RFAAS_EXPORT uint32_t rfaas_link_port(rfaas_link *link) {
  (void)link;
  return 0;
}
RFAAS_EXPORT void rfaas_link_state(rfaas_link *link, int32_t worker, int32_t *out) {
  (void)link, (void)worker, (void)out;
}
RFAAS_EXPORT void rfaas_link_close(rfaas_link *link) { (void)link; }

#endif
