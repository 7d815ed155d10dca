/* The connections of one lease: one queue pair for each channel, set up and watched by a thread of their own, so that no event loop
 * and no hot loop ever waits for the connection manager. */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_VERBS
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static inline rfaas_verbs_link *of(rfaas_link *link) { return (rfaas_verbs_link *)link; }

void rfaas_verbs_changed(rfaas_verbs_link *link) { rfaas_notify(link->cm.notify_fd); }

int rfaas_verbs_open_device(rfaas_verbs_link *link, struct ibv_context *context) {
  link->context = context;
  link->pd = rfaas_verbs()->ibv_alloc_pd(context);
  return link->pd ? 0 : errno;
}

/* ---- the thread ---- */

/* Here, since registering memory takes long. */
static void listen_for_client(rfaas_cm *cm) {
  rfaas_verbs_link *link = (rfaas_verbs_link *)((uint8_t *)cm - offsetof(rfaas_verbs_link, cm));
  int failed = rfaas_verbs_register_memory(link);
  if (failed) return rfaas_cm_fail(cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_REGISTER);
  if (rfaas_verbs()->rdma_listen(link->listener, (int)link->channels) != 0)
    return rfaas_cm_fail(cm, RFAAS_LINK_SETUP, errno, RFAAS_STAGE_LISTEN);
  __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
  rfaas_verbs_changed(link);
}

static void wake_parked(rfaas_cm *cm) {
  struct epoll_event seen[16];
  int count = epoll_wait(cm->watched_fd, seen, 16, 0);
  for (int i = 0; i < count; i++) rfaas_notify(((rfaas_verbs_end *)seen[i].data.ptr)->notify_fd);
}

void rfaas_verbs_ring(rfaas_verbs_end *end) {
  if (!end->channel) return;
  rfaas_verbs_take_events(end);
  rfaas_verbs_arm(end);
  struct epoll_event once = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = end};
  if (epoll_ctl(end->link->epoll_fd, EPOLL_CTL_MOD, end->channel->fd, &once) != 0 && errno == ENOENT)
    epoll_ctl(end->link->epoll_fd, EPOLL_CTL_ADD, end->channel->fd, &once);
}

/* ---- memory of the program's own ---- */

static int register_input(rfaas_link *link, rfaas_registration *registration) {
  struct ibv_mr *memory = rfaas_verbs()->ibv_reg_mr(of(link)->pd, registration->memory, registration->bytes, 0);
  if (!memory) return errno;
  registration->read = memory;
  registration->read_key = memory->lkey;
  return 0;
}

static int register_output(rfaas_link *link, rfaas_registration *registration) {
  struct ibv_mr *memory = rfaas_verbs()->ibv_reg_mr(of(link)->pd, registration->memory, registration->bytes,
                                                    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  if (!memory) return errno;
  registration->written = memory;
  registration->written_key = memory->rkey;
  return 0;
}

static void unregister(rfaas_link *link, rfaas_registration *registration) {
  (void)link;
  if (registration->written) rfaas_verbs()->ibv_dereg_mr(registration->written);
  rfaas_verbs()->ibv_dereg_mr(registration->read);
}

/* ---- the program's threads ---- */

static rfaas_verbs_link *new_link(rfaas_region *region, const rfaas_link_options *options) {
  rfaas_verbs_link *link = calloc(1, sizeof *link + region->workers * sizeof(rfaas_verbs_end));
  if (!link) return NULL;
  link->base = (rfaas_link){.fabric = &rfaas_verbs_fabric, .region = region};
  link->channels = region->workers;
  link->inline_wanted = options->inline_bytes;
  memcpy(link->nonce, options->nonce, sizeof link->nonce);
  for (uint32_t i = 0; i < link->channels; i++)
    link->end[i] = (rfaas_verbs_end){
        .link = link, .index = i, .slots = region->slots, .wake_fd = -1, .notify_fd = options->notify_fd};
  link->cm.heard = rfaas_verbs_heard;
  link->cm.readable = wake_parked;
  link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  int failed = link->epoll_fd < 0 ? errno : 0;
  int opened = rfaas_cm_open(&link->cm, options->notify_fd, link->epoll_fd);
  if (!failed) failed = opened;
  if (failed) rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_RESOURCES);
  return link;
}

static void start_thread(rfaas_verbs_link *link) {
  int failed = rfaas_cm_run(&link->cm);
  if (failed) rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_RESOURCES);
}

static rfaas_link *connect_link(rfaas_region *region, const rfaas_link_options *options) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  rfaas_verbs_link *link = verbs ? new_link(region, options) : NULL;
  if (!link) return NULL;
  if (link->cm.failing) return &link->base;
  struct sockaddr_storage from, to;
  /* Zero pages until they are needed. */
  link->rooms = calloc(region->arena_bytes / RFAAS_LINE / 8 + 1, 1);
  int failed = link->rooms ? rfaas_read_address(options->address, options->port, &to) : ENOMEM;
  if (!failed && options->source[0]) failed = rfaas_read_address(options->source, 0, &from);
  for (uint32_t i = 0; !failed && i < link->channels; i++) {
    struct rdma_cm_id *id;
    if (verbs->rdma_create_id(link->cm.events, &id, &link->end[i], RDMA_PS_TCP) != 0) failed = errno;
    else {
      link->end[i].id = id;
      struct sockaddr *bound = options->source[0] ? (struct sockaddr *)&from : NULL;
      if (verbs->rdma_resolve_addr(id, bound, (struct sockaddr *)&to, RFAAS_RESOLVE_TIMEOUT_MS) != 0) failed = errno;
    }
  }
  if (failed) rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, RFAAS_STAGE_ADDRESS);
  else {
    link->cm.deadline_ns = rfaas_now_ns() + RFAAS_CONNECT_TIMEOUT_NS;
    start_thread(link);
  }
  return &link->base;
}

static rfaas_link *listen_at(rfaas_region *region, const rfaas_link_options *options) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  rfaas_verbs_link *link = verbs ? new_link(region, options) : NULL;
  if (!link) return NULL;
  if (link->cm.failing) return &link->base;
  struct sockaddr_storage at;
  int stage = RFAAS_STAGE_LISTEN;
  int failed = rfaas_read_address(options->address, 0, &at);
  if (!failed && verbs->rdma_create_id(link->cm.events, &link->listener, NULL, RDMA_PS_TCP) != 0) failed = errno;
  if (!failed && verbs->rdma_bind_addr(link->listener, (struct sockaddr *)&at) != 0) failed = errno;
  if (!failed && !link->listener->verbs) failed = ENODEV;
  if (!failed) {
    stage = RFAAS_STAGE_RESOURCES;
    failed = rfaas_verbs_open_device(link, link->listener->verbs);
  }
  for (uint32_t i = 0; !failed && i < link->channels; i++) {
    stage = RFAAS_STAGE_QUEUES;
    failed = rfaas_verbs_open_queues(&link->end[i], link->context, (int)i);
  }
  link->cm.begun = listen_for_client;
  if (failed) rfaas_cm_fail(&link->cm, RFAAS_LINK_SETUP, failed, stage);
  else start_thread(link);
  return &link->base;
}

static uint32_t port_of(rfaas_link *link) {
  struct rdma_cm_id *listener = of(link)->listener;
  return listener ? ntohs(rfaas_verbs()->rdma_get_src_port(listener)) : 0;
}

rfaas_verbs_end *rfaas_verbs_end_of(rfaas_link *link, uint32_t channel) {
  return channel < of(link)->channels ? &of(link)->end[channel] : NULL;
}

static void *end_for(rfaas_link *link, uint32_t channel, int32_t notify_fd) {
  rfaas_verbs_end *end = rfaas_verbs_end_of(link, channel);
  if (end && notify_fd >= 0) end->notify_fd = notify_fd;
  return end;
}

static void state_of(rfaas_link *base, int32_t channel, rfaas_link_status *out) {
  rfaas_verbs_link *link = of(base);
  const rfaas_verbs_end *end = channel < 0 ? NULL : rfaas_verbs_end_of(base, (uint32_t)channel);
  out->ready = (int32_t)__atomic_load_n(&link->ready, __ATOMIC_ACQUIRE);
  out->failure = (int32_t)__atomic_load_n(end ? &end->failure : &link->cm.failure, __ATOMIC_ACQUIRE);
  out->detail = end ? end->detail : link->cm.detail;
  out->of = end ? end->of : link->cm.of;
  out->inline_bytes = end ? (int32_t)end->inline_bytes : 0;
}

static void close_link(rfaas_link *base) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  rfaas_verbs_link *link = of(base);
  rfaas_cm_join(&link->cm);
  for (uint32_t i = 0; i < link->channels; i++)
    if (link->end[i].connected) verbs->rdma_disconnect(link->end[i].id);
  for (uint32_t i = 0; i < link->channels; i++) rfaas_verbs_close_end(&link->end[i]);
  if (link->listener) verbs->rdma_destroy_id(link->listener);
  rfaas_unregister_all(base);
  if (link->memory) verbs->ibv_dereg_mr(link->memory);
  if (link->pd) verbs->ibv_dealloc_pd(link->pd);
  rfaas_cm_close(&link->cm);
  if (link->epoll_fd >= 0) close(link->epoll_fd);
  free(link->rooms);
  free(link);
}

static const rfaas_link_ops link_ops = {.connect = connect_link,
                                        .listen = listen_at,
                                        .port = port_of,
                                        .state = state_of,
                                        .end = end_for,
                                        .close = close_link,
                                        .register_input = register_input,
                                        .register_output = register_output,
                                        .unregister = unregister};

const rfaas_fabric rfaas_verbs_fabric = {.name = "verbs",
                                         .ordered = 1,
                                         .client = &rfaas_verbs_client_ops,
                                         .worker = &rfaas_verbs_worker_ops,
                                         .link = &link_ops};

#else

const rfaas_fabric rfaas_verbs_fabric = {.name = "verbs"};

#endif
