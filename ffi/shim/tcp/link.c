/* The connections of one lease, set up and watched by a thread of their own, so that no event loop ever waits for the network. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tls.h"

/* While connections are being made the thread looks at the clock this often. */
#define LOOK_MS 100
/* So many connections more than the lease's may be on their way. */
#define STRANGERS 16u
/* Answers of one-sided operations and beats that wait for room. */
#define SIDE_QUEUE 16u

static inline rfaas_tcp_link *of(rfaas_link *link) { return (rfaas_tcp_link *)link; }

void rfaas_tcp_changed(rfaas_tcp_link *link) { rfaas_notify(link->notify_fd); }

void rfaas_tcp_link_fail(rfaas_tcp_link *link, uint32_t failure, int32_t detail, int32_t stage) {
  if (__atomic_exchange_n(&link->failing, 1, __ATOMIC_SEQ_CST)) return;
  link->detail = detail;
  link->of = stage;
  __atomic_store_n(&link->failure, failure, __ATOMIC_RELEASE);
  rfaas_tcp_changed(link);
}

/* ---- the thread ---- */

int rfaas_tcp_watch_once(rfaas_tcp_link *link, int fd, uint32_t events, enum rfaas_tcp_event about, uint32_t which) {
  struct epoll_event once = {.events = events | EPOLLONESHOT, .data.u64 = (uint64_t)about << 32 | which};
  if (epoll_ctl(link->epoll_fd, EPOLL_CTL_MOD, fd, &once) == 0) return 0;
  if (errno != ENOENT) return errno;
  return epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &once) == 0 ? 0 : errno;
}

static int is_served(const rfaas_tcp_end *end) { return end->link->listens && end->index == end->link->channels; }

void rfaas_tcp_watch(rfaas_tcp_end *end) {
  if (end->fd < 0 || __atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) return;
  int hears = end->parked || (is_served(end) && end->waiting < end->capacity);
  uint32_t events = EPOLLRDHUP | (hears ? EPOLLIN : 0u) | (end->waiting ? EPOLLOUT : 0u);
  rfaas_tcp_watch_once(end->link, end->fd, events, RFAAS_TCP_EVENT_END, end->index);
}

/* Why the connection is over. */
static void ended(rfaas_tcp_end *end) {
  int why = 0;
  socklen_t size = sizeof why;
  getsockopt(end->fd, SOL_SOCKET, SO_ERROR, &why, &size);
  if (why) rfaas_tcp_broken(end, why);
  else rfaas_tcp_fail(end, RFAAS_TCP_CLOSED, 0);
}

static void look_at(rfaas_tcp_end *end, uint32_t events) {
  pthread_mutex_lock(&end->lock);
  if (events & EPOLLOUT) rfaas_tcp_flush(end);
  pthread_mutex_unlock(&end->lock);
  if (is_served(end)) rfaas_tcp_serve(end, end->link->base.region);
  pthread_mutex_lock(&end->lock);
  int over = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  int wakes = end->parked && (over || (events & EPOLLIN));
  if (wakes) end->parked = 0;
  if (over) ended(end);
  else rfaas_tcp_watch(end);
  pthread_mutex_unlock(&end->lock);
  if (wakes) rfaas_notify(end->notify_fd);
}

void rfaas_tcp_let_go_soon(rfaas_tcp_link *link) {
  if (__atomic_load_n(&link->timing, __ATOMIC_RELAXED) || __atomic_exchange_n(&link->timing, 1, __ATOMIC_ACQ_REL)) return;
  struct itimerspec once = {.it_value.tv_nsec = RFAAS_TCP_HOLD_NS};
  timerfd_settime(link->timer_fd, 0, &once, NULL);
}

/* Clears first: what is held from now on sets the timer again. Each lock is taken, whatever the end seems to hold: either its holder sees
 * the timer cleared, or this thread sees what it holds. */
static void let_go_of_all(rfaas_tcp_link *link) {
  uint64_t count;
  (void)!read(link->timer_fd, &count, sizeof count);
  __atomic_store_n(&link->timing, 0, __ATOMIC_RELEASE);
  for (uint32_t i = 0; i <= link->channels; i++) rfaas_tcp_let_go(&link->end[i]);
}

static void *attend(void *argument) {
  rfaas_tcp_link *link = argument;
  while (!__atomic_load_n(&link->stop, __ATOMIC_ACQUIRE)) {
    struct epoll_event seen[16];
    pthread_mutex_lock(&link->door);
    int expects = rfaas_tcp_expire(link);
    pthread_mutex_unlock(&link->door);
    int count = epoll_wait(link->epoll_fd, seen, 16, expects ? LOOK_MS : -1);
    for (int i = 0; i < count; i++) {
      uint32_t which = (uint32_t)seen[i].data.u64;
      enum rfaas_tcp_event about = (enum rfaas_tcp_event)(seen[i].data.u64 >> 32);
      if (about == RFAAS_TCP_EVENT_END) look_at(&link->end[which], seen[i].events);
      if (about == RFAAS_TCP_EVENT_TIMER) let_go_of_all(link);
      pthread_mutex_lock(&link->door);
      if (about == RFAAS_TCP_EVENT_LISTENER) rfaas_tcp_accept(link);
      if (about == RFAAS_TCP_EVENT_NEWCOMER) rfaas_tcp_hear_newcomer(link, &link->newcomer[which]);
      if (about == RFAAS_TCP_EVENT_WAKE) (void)!read(link->wake_fd, &(uint64_t){0}, sizeof(uint64_t));
      pthread_mutex_unlock(&link->door);
    }
  }
  return NULL;
}

/* ---- memory of the program's own: this process reads and writes it itself ---- */

static int register_input(rfaas_link *link, rfaas_registration *registration) {
  registration->read = link;
  return 0;
}

static int register_output(rfaas_link *link, rfaas_registration *registration) {
  registration->written = link;
  return 0;
}

static void unregister(rfaas_link *base, rfaas_registration *registration) {
  rfaas_tcp_link *link = of(base);
  for (uint32_t i = 0; i < link->channels; i++) rfaas_tcp_forget(&link->end[i], registration->memory, registration->bytes);
}

/* ---- the program's threads ---- */

static int open_end(rfaas_tcp_link *link, uint32_t index, int32_t notify_fd) {
  rfaas_tcp_end *end = &link->end[index];
  end->link = link;
  end->index = index;
  end->fd = -1;
  end->notify_fd = notify_fd;
  end->burst_ticks = (uint64_t)(RFAAS_TCP_BURST_NS * rfaas_ticks_per_ns());
  pthread_mutex_init(&end->lock, NULL);
  /* Each call in flight is one message, and the end of the worker is one more. */
  end->capacity = index < link->channels ? link->base.region->slots + 4 : SIDE_QUEUE;
  end->wake_fd = link->listens && index < link->channels ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
  end->queue = calloc(end->capacity, sizeof *end->queue);
  if (!end->queue) return ENOMEM;
  return link->listens && index < link->channels && end->wake_fd < 0 ? errno : 0;
}

static rfaas_tcp_link *new_link(rfaas_region *region, const rfaas_link_options *options, int listens) {
  rfaas_tcp_link *link = calloc(1, sizeof *link + (region->workers + 1) * sizeof(rfaas_tcp_end));
  if (!link) return NULL;
  link->base = (rfaas_link){.fabric = &rfaas_tcp_fabric, .region = region};
  link->channels = region->workers;
  link->listens = listens;
  pthread_mutex_init(&link->door, NULL);
  link->listener_fd = -1;
  link->notify_fd = options->notify_fd;
  memcpy(link->nonce, options->nonce, sizeof link->nonce);
  link->encrypts = options->encrypt;
  link->newcomers = link->channels + 1 + (listens ? STRANGERS : 0);
  link->newcomer = calloc(link->newcomers, sizeof *link->newcomer);
  link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  link->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  int failed = link->epoll_fd < 0 || link->wake_fd < 0 || link->timer_fd < 0 ? errno : link->newcomer ? 0 : ENOMEM;
  if (!failed && link->encrypts) failed = rfaas_tls_identify(link->nonce, link->id);
  for (uint32_t i = 0; link->newcomer && i < link->newcomers; i++) link->newcomer[i].fd = -1;
  for (uint32_t i = 0; i <= link->channels; i++) {
    int lacks = open_end(link, i, options->notify_fd);
    if (!failed) failed = lacks;
  }
  struct epoll_event wakes = {.events = EPOLLIN, .data.u64 = (uint64_t)RFAAS_TCP_EVENT_WAKE << 32};
  if (!failed && epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, link->wake_fd, &wakes) != 0) failed = errno;
  struct epoll_event fires = {.events = EPOLLIN, .data.u64 = (uint64_t)RFAAS_TCP_EVENT_TIMER << 32};
  if (!failed && epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, link->timer_fd, &fires) != 0) failed = errno;
  if (failed) rfaas_tcp_link_fail(link, RFAAS_TCP_SETUP, failed, RFAAS_TCP_RESOURCES);
  return link;
}

static rfaas_link *connect_link(rfaas_region *region, const rfaas_link_options *options) {
  rfaas_tcp_link *link = new_link(region, options, 0);
  if (!link || link->failing) return (rfaas_link *)link;
  struct sockaddr_storage to, from;
  int stage = RFAAS_TCP_ADDRESS;
  int failed = rfaas_read_address(options->address, options->port, &to);
  if (!failed && options->source[0]) failed = rfaas_read_address(options->source, 0, &from);
  if (!failed) {
    stage = RFAAS_TCP_CONNECT;
    failed = rfaas_tcp_begin_to_connect(link, &to, options->source[0] ? &from : NULL);
  }
  if (!failed) {
    stage = RFAAS_TCP_RESOURCES;
    failed = rfaas_start_thread(&link->thread, attend, link);
    link->has_thread = !failed;
  }
  if (failed) rfaas_tcp_link_fail(link, RFAAS_TCP_SETUP, failed, stage);
  return &link->base;
}

static rfaas_link *listen_at(rfaas_region *region, const rfaas_link_options *options) {
  rfaas_tcp_link *link = new_link(region, options, 1);
  if (!link || link->failing) return (rfaas_link *)link;
  struct sockaddr_storage at;
  int stage = RFAAS_TCP_LISTEN;
  /* Without an address clients come through another port, and are brought here. */
  int failed = options->address[0] ? rfaas_read_address(options->address, 0, &at) : 0;
  if (!failed && options->address[0]) failed = rfaas_tcp_begin_to_listen(link, &at);
  if (!failed) {
    __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
    stage = RFAAS_TCP_RESOURCES;
    failed = rfaas_start_thread(&link->thread, attend, link);
    link->has_thread = !failed;
  }
  if (failed) rfaas_tcp_link_fail(link, RFAAS_TCP_SETUP, failed, stage);
  return &link->base;
}

static void wake_thread(rfaas_tcp_link *link) {
  uint64_t one = 1;
  (void)!write(link->wake_fd, &one, sizeof one);
}

static void adopt(rfaas_link *base, int32_t fd, const uint8_t *said, uint32_t bytes) {
  rfaas_tcp_link *link = of(base);
  pthread_mutex_lock(&link->door);
  if (link->listens && link->connected <= link->channels) rfaas_tcp_let_in(link, fd, said, bytes);
  else close(fd);
  pthread_mutex_unlock(&link->door);
  wake_thread(link);
}

static uint32_t port_of(rfaas_link *link) { return of(link)->port; }

static rfaas_tcp_end *end_of(rfaas_link *link, uint32_t channel) {
  return channel < of(link)->channels ? &of(link)->end[channel] : NULL;
}

static void *end_for(rfaas_link *link, uint32_t channel, int32_t notify_fd) {
  rfaas_tcp_end *end = end_of(link, channel);
  if (end && notify_fd >= 0) end->notify_fd = notify_fd;
  return end;
}

static void state_of(rfaas_link *base, int32_t channel, rfaas_link_status *out) {
  rfaas_tcp_link *link = of(base);
  const rfaas_tcp_end *end = channel < 0 ? NULL : end_of(base, (uint32_t)channel);
  const rfaas_tcp_end *side = rfaas_tcp_side(link);
  /* Without a sound channel's own failure, the path is what the side way has found it to be. */
  if (end && !link->listens && !__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) end = side;
  out->ready = (int32_t)__atomic_load_n(&link->ready, __ATOMIC_ACQUIRE);
  out->failure = (int32_t)__atomic_load_n(end ? &end->failure : &link->failure, __ATOMIC_ACQUIRE);
  out->detail = end ? end->detail : link->detail;
  out->of = end ? end->of : link->of;
  out->inline_bytes = 0;
}

/* How a channel's connection is encrypted, enum rfaas_tcp_encryption. */
RFAAS_EXPORT uint32_t rfaas_tcp_encryption_of(rfaas_link *link, uint32_t channel) {
  const rfaas_tcp_end *end = channel <= of(link)->channels ? &of(link)->end[channel] : NULL;
  return end && __atomic_load_n(&end->fd, __ATOMIC_ACQUIRE) >= 0 ? end->encryption : RFAAS_TCP_CLEAR;
}

/* Unread bytes would make the kernel reset the connection, and the other side lose what it was told last. */
static void hang_up(int fd) {
  char unread[4096];
  /* Who accepted it may have meant to reset it when it closed its own descriptor, which it does after it has handed it on. */
  const struct linger waits = {0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &waits, sizeof waits);
  shutdown(fd, SHUT_WR);
  for (int i = 0; i < 64 && recv(fd, unread, sizeof unread, MSG_DONTWAIT) > 0; i++);
  close(fd);
}

static void close_link(rfaas_link *base) {
  rfaas_tcp_link *link = of(base);
  if (link->has_thread) {
    __atomic_store_n(&link->stop, 1, __ATOMIC_RELEASE);
    wake_thread(link);
    pthread_join(link->thread, NULL);
  }
  for (uint32_t i = 0; link->newcomer && i < link->newcomers; i++) rfaas_tcp_dismiss(&link->newcomer[i]);
  for (uint32_t i = 0; i <= link->channels; i++) {
    rfaas_tcp_end *end = &link->end[i];
    if (end->fd >= 0) hang_up(end->fd);
    if (end->wake_fd >= 0) close(end->wake_fd);
    rfaas_tls_free(end->tls);
    pthread_mutex_destroy(&end->lock);
    free(end->queue);
  }
  rfaas_unregister_all(base);
  if (link->listener_fd >= 0) close(link->listener_fd);
  if (link->epoll_fd >= 0) close(link->epoll_fd);
  if (link->wake_fd >= 0) close(link->wake_fd);
  if (link->timer_fd >= 0) close(link->timer_fd);
  pthread_mutex_destroy(&link->door);
  free(link->newcomer);
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

const rfaas_fabric rfaas_tcp_fabric = {.name = "tcp",
                                       .encrypts = 1,
                                       .ordered = 1,
                                       .client = &rfaas_tcp_client_ops,
                                       .worker = &rfaas_tcp_worker_ops,
                                       .link = &link_ops};
