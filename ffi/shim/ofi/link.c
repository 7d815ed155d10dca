/* The ends of one lease, set up and watched by a thread of their own, so that no event loop ever waits for the network. */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_OFI
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a provider may take to be done with memory that the program takes back. */
#define FORGET_NS 100000000u

static inline rfaas_ofi_link *of(rfaas_link *link) { return (rfaas_ofi_link *)link; }

/* What an event is about; below these, an end. */
enum { ABOUT_WAKE = 1 << 20, ABOUT_CONNECTION = 1 << 21 };

void rfaas_ofi_changed(rfaas_ofi_link *link) { rfaas_notify(link->notify_fd); }

void rfaas_ofi_link_fail(rfaas_ofi_link *link, uint32_t failure, int32_t detail, int32_t stage) {
  if (__atomic_exchange_n(&link->failing, 1, __ATOMIC_SEQ_CST)) return;
  link->detail = detail;
  link->of = stage;
  __atomic_store_n(&link->failure, failure, __ATOMIC_RELEASE);
  rfaas_ofi_changed(link);
}

/* ---- the thread ---- */

static int watch(rfaas_ofi_link *link, int fd, uint32_t events, uint32_t about) {
  struct epoll_event event = {.events = events, .data.u32 = about};
  if (epoll_ctl(link->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  if (errno != ENOENT) return errno;
  return epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void rfaas_ofi_watch(rfaas_ofi_end *end) { watch(end->link, end->queue_fd, EPOLLIN | EPOLLONESHOT, end->index); }

static void wake_thread(rfaas_ofi_link *link) {
  uint64_t one = 1;
  (void)!write(link->wake_fd, &one, sizeof one);
}

void rfaas_ofi_tick(rfaas_ofi_link *link) {
  if (!__atomic_exchange_n(&link->ticking, 1, __ATOMIC_SEQ_CST)) wake_thread(link);
}

static void wake_end(rfaas_ofi_end *end) {
  if (__atomic_exchange_n(&end->parked, 0, __ATOMIC_SEQ_CST)) rfaas_notify(end->notify_fd);
}

void rfaas_ofi_lose(rfaas_ofi_link *link, uint32_t failure, int32_t detail) {
  for (uint32_t i = 0; i < link->channels; i++) {
    rfaas_ofi_fail(&link->end[i], failure, detail, 0);
    wake_end(&link->end[i]);
    uint64_t one = 1;
    if (link->end[i].wake_fd >= 0) (void)!write(link->end[i].wake_fd, &one, sizeof one);
  }
}

/* Why the connection is over. */
static void ended(rfaas_ofi_link *link, int why) {
  socklen_t size = sizeof why;
  if (!why) getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &why, &size);
  if (why == EPROTO) rfaas_ofi_lose(link, RFAAS_OFI_PROTOCOL, 0);
  else if (why && why != ECONNRESET) rfaas_ofi_lose(link, RFAAS_OFI_BROKEN, why);
  else rfaas_ofi_lose(link, RFAAS_OFI_CLOSED, 0);
}

/* The client's own thread reads its connection; the node's is read here. */
static void look_at_connection(rfaas_ofi_link *link, uint32_t events) {
  int failed = 0;
  if (link->listens && (events & EPOLLIN)) failed = rfaas_ofi_serve(link);
  if (failed == ECANCELED) return;
  if (failed || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
    ended(link, failed);
    epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
  }
}

static void *attend(void *argument) {
  rfaas_ofi_link *link = argument;
  if (!(link->listens ? rfaas_ofi_admit(link) : rfaas_ofi_connect(link))) {
    if (link->fd >= 0) shutdown(link->fd, SHUT_RDWR);
    if (__atomic_load_n(&link->failure, __ATOMIC_ACQUIRE)) rfaas_ofi_lose(link, RFAAS_OFI_CLOSED, 0);
    return NULL;
  }
  watch(link, link->fd, EPOLLRDHUP | (link->listens ? EPOLLIN : 0u), ABOUT_CONNECTION);
  while (!__atomic_load_n(&link->stop, __ATOMIC_ACQUIRE)) {
    struct epoll_event seen[16];
    int ticks = (int)__atomic_exchange_n(&link->ticking, 0, __ATOMIC_SEQ_CST);
    int count = epoll_wait(link->epoll_fd, seen, 16, ticks ? RFAAS_OFI_TICK_MS : -1);
    for (int i = 0; i < count; i++) {
      if (seen[i].data.u32 == ABOUT_CONNECTION) look_at_connection(link, seen[i].events);
      else if (seen[i].data.u32 == ABOUT_WAKE) (void)!read(link->wake_fd, &(uint64_t){0}, sizeof(uint64_t));
      else wake_end(&link->end[seen[i].data.u32]);
    }
    for (uint32_t i = 0; ticks && i < link->channels; i++)
      if (__atomic_load_n(&link->end[i].parked, __ATOMIC_SEQ_CST) == RFAAS_OFI_PARKED_FOR_TICK) wake_end(&link->end[i]);
  }
  return NULL;
}

/* ---- memory of the program's own ---- */

static void close_own(rfaas_ofi_own *own) {
  for (uint32_t i = 0; own && i < RFAAS_MAX_WORKERS; i++)
    if (own->of[i]) fi_close(&own->of[i]->fid);
  free(own);
}

static int open_own(rfaas_ofi_link *link, const rfaas_registration *r, uint64_t access, void **out) {
  rfaas_ofi_own *own = calloc(1, sizeof *own);
  if (!own) return ENOMEM;
  for (uint32_t i = 0; i < link->channels && link->end[i].writes; i++) {
    int failed = rfaas_ofi_register(&link->end[i], r->memory, r->bytes, access, &own->of[i]);
    if (!failed) continue;
    close_own(own);
    return failed;
  }
  *out = own;
  return 0;
}

static int register_input(rfaas_link *link, rfaas_registration *r) {
  return open_own(of(link), r, FI_READ | FI_WRITE | FI_SEND | FI_RECV, &r->read);
}

static int register_output(rfaas_link *link, rfaas_registration *r) {
  return open_own(of(link), r, FI_READ | FI_WRITE | FI_REMOTE_WRITE, &r->written);
}

void *rfaas_ofi_own_description(const rfaas_ofi_end *end, const void *own) {
  struct fid_mr *mr = ((const rfaas_ofi_own *)own)->of[end->index];
  return mr ? fi_mr_desc(mr) : NULL;
}

rfaas_ofi_place rfaas_ofi_own_place(const rfaas_ofi_end *end, const rfaas_registration *r, uint32_t offset) {
  struct fid_mr *mr = ((const rfaas_ofi_own *)r->written)->of[end->index];
  if (!mr) return (rfaas_ofi_place){0};
  uint64_t base = end->link->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)r->memory : 0;
  return (rfaas_ofi_place){.address = base + offset, .key = fi_mr_key(mr)};
}

/* Whether a call has yet to send what is in it. */
static int is_used(const rfaas_ofi_end *end, const rfaas_registration *r) {
  for (uint32_t i = 0; i < end->waiting; i++) {
    const rfaas_ofi_outgoing *next = &end->kept[(end->first + i) % end->capacity];
    if (next->bytes && (uint64_t)(next->payload - r->memory) < r->bytes) return 1;
  }
  for (uint32_t i = 0; i < end->work_count; i++) {
    const uint8_t *written = end->works[i].written;
    if (written && (uint64_t)(written - r->memory) < r->bytes) return 1;
  }
  return 0;
}

/* An end whose provider goes on with the memory, because the node has answered a call before it had its input, is cut off. */
static void forget(rfaas_ofi_end *end, const rfaas_registration *r) {
  if (!end->owner || !end->ep) return;
  uint64_t until = rfaas_now_ns() + FORGET_NS;
  rfaas_ofi_client_look(end);
  while (is_used(end, r)) {
    if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE) || rfaas_now_ns() > until) break;
    rfaas_ofi_client_look(end);
  }
  if (!is_used(end, r)) return;
  rfaas_ofi_fail(end, RFAAS_OFI_PROTOCOL, 0, 0);
  end->owner->broken = 1;
  fi_close(&end->ep->fid);
  end->ep = NULL;
}

static void unregister(rfaas_link *base, rfaas_registration *r) {
  rfaas_ofi_link *link = of(base);
  for (uint32_t i = 0; i < link->channels; i++) forget(&link->end[i], r);
  close_own(r->read);
  close_own(r->written);
}

/* ---- the program's threads ---- */

static rfaas_ofi_link *new_link(rfaas_region *region, const rfaas_link_options *options, int listens) {
  rfaas_ofi_link *link = calloc(1, sizeof *link + region->workers * sizeof(rfaas_ofi_end));
  if (!link) return NULL;
  link->base = (rfaas_link){.fabric = &rfaas_ofi_fabric, .region = region};
  link->channels = region->workers;
  link->listens = listens;
  link->notify_fd = options->notify_fd;
  link->listener_fd = link->fd = -1;
  pthread_mutex_init(&link->door, NULL);
  memcpy(link->nonce, options->nonce, sizeof link->nonce);
  for (uint32_t i = 0; i < RFAAS_OFI_NEWCOMERS; i++) link->newcomer[i].fd = -1;
  link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int failed = link->epoll_fd < 0 || link->wake_fd < 0 ? errno : watch(link, link->wake_fd, EPOLLIN, ABOUT_WAKE);
  for (uint32_t i = 0; i < link->channels; i++) {
    rfaas_ofi_end *end = &link->end[i];
    end->link = link;
    end->index = i;
    end->notify_fd = options->notify_fd;
    end->queue_fd = -1;
    end->wake_fd = listens ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (listens && end->wake_fd < 0) failed = errno;
  }
  if (!failed && !rfaas_ofi()) failed = ENOSYS;
  if (!failed) failed = rfaas_ofi_read_device(&link->device, options->device);
  if (failed) rfaas_ofi_link_fail(link, RFAAS_OFI_SETUP, failed, RFAAS_OFI_RESOURCES);
  return link;
}

static rfaas_link *connect_link(rfaas_region *region, const rfaas_link_options *options) {
  rfaas_ofi_link *link = new_link(region, options, 0);
  if (!link || link->failing) return (rfaas_link *)link;
  int stage = RFAAS_OFI_ADDRESS;
  int failed = rfaas_read_address(options->address, options->port, &link->to);
  if (!failed && options->source[0]) failed = rfaas_read_address(options->source, 0, &link->from);
  if (!failed) {
    stage = RFAAS_OFI_RESOURCES;
    failed = rfaas_start_thread(&link->thread, attend, link);
    link->has_thread = !failed;
  }
  if (failed) rfaas_ofi_link_fail(link, RFAAS_OFI_SETUP, failed, stage);
  return &link->base;
}

static rfaas_link *listen_at(rfaas_region *region, const rfaas_link_options *options) {
  rfaas_ofi_link *link = new_link(region, options, 1);
  if (!link || link->failing) return (rfaas_link *)link;
  struct sockaddr_storage at;
  int stage = RFAAS_OFI_LISTEN;
  /* Without an address clients come through another port, and are brought here. */
  int failed = options->address[0] ? rfaas_read_address(options->address, 0, &at) : 0;
  if (!failed && options->address[0]) failed = rfaas_ofi_begin_to_listen(link, &at);
  if (!failed) {
    __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
    stage = RFAAS_OFI_RESOURCES;
    failed = rfaas_start_thread(&link->thread, attend, link);
    link->has_thread = !failed;
  }
  if (failed) rfaas_ofi_link_fail(link, RFAAS_OFI_SETUP, failed, stage);
  return &link->base;
}

static void adopt(rfaas_link *base, int32_t fd, const uint8_t *said, uint32_t bytes) {
  rfaas_ofi_link *link = of(base);
  pthread_mutex_lock(&link->door);
  if (link->listens && link->fd < 0) rfaas_ofi_let_in(link, fd, said, bytes);
  else close(fd);
  pthread_mutex_unlock(&link->door);
  wake_thread(link);
}

static uint32_t port_of(rfaas_link *link) { return of(link)->port; }

static rfaas_ofi_end *end_of(rfaas_link *link, uint32_t channel) {
  return channel < of(link)->channels ? &of(link)->end[channel] : NULL;
}

static void *end_for(rfaas_link *link, uint32_t channel, int32_t notify_fd) {
  rfaas_ofi_end *end = end_of(link, channel);
  if (end && notify_fd >= 0) end->notify_fd = notify_fd;
  return end;
}

static void state_of(rfaas_link *base, int32_t channel, rfaas_link_status *out) {
  rfaas_ofi_link *link = of(base);
  const rfaas_ofi_end *end = channel < 0 ? NULL : end_of(base, (uint32_t)channel);
  out->ready = (int32_t)__atomic_load_n(&link->ready, __ATOMIC_ACQUIRE);
  out->failure = (int32_t)__atomic_load_n(end ? &end->failure : &link->failure, __ATOMIC_ACQUIRE);
  out->detail = end ? end->detail : link->detail;
  out->of = end ? end->of : link->of;
  out->inline_bytes = 0;
}

static void close_link(rfaas_link *base) {
  rfaas_ofi_link *link = of(base);
  if (link->has_thread) {
    __atomic_store_n(&link->stop, 1, __ATOMIC_RELEASE);
    wake_thread(link);
    pthread_join(link->thread, NULL);
  }
  for (uint32_t i = 0; i < RFAAS_OFI_NEWCOMERS; i++)
    if (link->newcomer[i].fd >= 0) close(link->newcomer[i].fd);
  /* The clients are closed. */
  for (uint32_t i = 0; i < link->channels; i++) link->end[i].owner = NULL;
  rfaas_unregister_all(base);
  for (uint32_t i = 0; i < link->channels; i++) rfaas_ofi_close_end(&link->end[i]);
  if (link->fd >= 0) close(link->fd);
  if (link->fabric) fi_close(&link->fabric->fid);
  if (link->found) rfaas_ofi()->fi_freeinfo(link->found);
  if (link->listener_fd >= 0) close(link->listener_fd);
  if (link->epoll_fd >= 0) close(link->epoll_fd);
  if (link->wake_fd >= 0) close(link->wake_fd);
  pthread_mutex_destroy(&link->door);
  free(link);
}

static const rfaas_link_ops link_ops = {.connect = connect_link,
                                        .listen = listen_at,
                                        .adopt = adopt,
                                        .port = port_of,
                                        .state = state_of,
                                        .end = end_for,
                                        .close = close_link,
                                        .register_input = register_input,
                                        .register_output = register_output,
                                        .unregister = unregister};

const rfaas_fabric rfaas_ofi_fabric = {
    .name = "ofi", .client = &rfaas_ofi_client_ops, .worker = &rfaas_ofi_worker_ops, .link = &link_ops};

#else

const rfaas_fabric rfaas_ofi_fabric = {.name = "ofi"};

#endif
