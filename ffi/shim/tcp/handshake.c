/* How client and node come together: each connection begins with a greeting, by which the node knows the lease's client. Only the link's
 * thread is here, and who brings a connection that has come elsewhere. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

static socklen_t size_of(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

/* No message waits for another to be acknowledged. Polling the device is refused to most users, which costs only time. */
void rfaas_tcp_tune(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  rfaas_path_keep_alive(fd);
  set(fd, SOL_SOCKET, SO_BUSY_POLL, 50);
}

void rfaas_tcp_dismiss(rfaas_tcp_newcomer *newcomer) {
  if (newcomer->fd >= 0) close(newcomer->fd);
  newcomer->fd = -1;
  rfaas_tls_free(newcomer->tls);
  newcomer->tls = NULL;
}

static uint32_t number_of(const rfaas_tcp_link *link, const rfaas_tcp_newcomer *newcomer) {
  return (uint32_t)(newcomer - link->newcomer);
}

static int hear_again(rfaas_tcp_link *link, const rfaas_tcp_newcomer *newcomer, uint32_t events) {
  return rfaas_tcp_watch_once(link, newcomer->fd, events, RFAAS_TCP_EVENT_NEWCOMER, number_of(link, newcomer));
}

/* The connection belongs to an end from now on. */
static void established(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer, uint32_t channel) {
  rfaas_tcp_end *end = &link->end[channel];
  if (link->listens) rfaas_far_clock_begin(&end->clock, newcomer->greeting.clock_ms);
  if (link->encrypts) end->encryption = newcomer->tls ? RFAAS_TCP_LIBSSL : RFAAS_TCP_KERNEL;
  end->tls = newcomer->tls;
  newcomer->tls = NULL;
  rfaas_tcp_tune(newcomer->fd);
  pthread_mutex_lock(&end->lock);
  __atomic_store_n(&end->fd, newcomer->fd, __ATOMIC_RELEASE);
  newcomer->fd = -1;
  rfaas_tcp_watch(end);
  pthread_mutex_unlock(&end->lock);
  if (++link->connected > link->channels) {
    if (link->listens) {
      if (link->listener_fd >= 0) close(link->listener_fd);
      link->listener_fd = -1;
      for (uint32_t i = 0; i < link->newcomers; i++) rfaas_tcp_dismiss(&link->newcomer[i]);
    } else __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
  }
  if (link->listens && channel < link->channels) {
    uint64_t one = 1;
    (void)!write(end->wake_fd, &one, sizeof one);
    rfaas_notify(end->notify_fd);
  }
  rfaas_tcp_changed(link);
}

/* Returns whether all `bytes` have been said. */
static int hear_all(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer, uint32_t bytes, int *failed) {
  while (newcomer->read < bytes) {
    ssize_t got = recv(newcomer->fd, newcomer->said + newcomer->read, bytes - newcomer->read, MSG_DONTWAIT);
    if (got > 0) newcomer->read += (uint32_t)got;
    else if (got == 0) *failed = ECONNRESET;
    else if (errno == EAGAIN || errno == EINTR) *failed = hear_again(link, newcomer, EPOLLIN);
    else *failed = errno;
    if (got <= 0) return 0;
  }
  return 1;
}

/* ---- encryption ---- */

/* Begins the handshake that follows a welcome. Returns 0 or a positive errno. */
static int begin_to_encrypt(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  newcomer->tls = rfaas_tls_new(newcomer->fd, link->listens, link->nonce, &newcomer->greeting);
  return newcomer->tls ? 0 : ENOMEM;
}

/* Returns 1 once the other side has shown that it has the key, 0 while that goes on, -1 when it has not. */
static int encrypted(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  int awaited = rfaas_tls_shake(newcomer->tls);
  if (awaited > 0) return hear_again(link, newcomer, (uint32_t)awaited) ? -1 : 0;
  int by_kernel = awaited < 0 ? -1 : rfaas_tls_hand_to_kernel(newcomer->tls);
  if (by_kernel < 0) return -1;
  if (by_kernel) {
    rfaas_tls_free(newcomer->tls);
    newcomer->tls = NULL;
  }
  return 1;
}

/* ---- the client's side ---- */

int rfaas_tcp_begin_to_connect(rfaas_tcp_link *link, const struct sockaddr_storage *to, const struct sockaddr_storage *from) {
  for (uint32_t i = 0; i <= link->channels; i++) {
    rfaas_tcp_newcomer *newcomer = &link->newcomer[i];
    newcomer->channel = i;
    newcomer->deadline_ns = rfaas_now_ns() + RFAAS_TCP_CONNECT_NS;
    newcomer->fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (newcomer->fd < 0) return errno;
    if (from && bind(newcomer->fd, (const struct sockaddr *)from, size_of(from)) != 0) return errno;
    if (connect(newcomer->fd, (const struct sockaddr *)to, size_of(to)) != 0 && errno != EINPROGRESS) return errno;
    int failed = hear_again(link, newcomer, EPOLLOUT);
    if (failed) return failed;
  }
  return 0;
}

static int greet(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  int failed = 0;
  socklen_t size = sizeof failed;
  if (getsockopt(newcomer->fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0) return errno;
  if (failed) return failed;
  const rfaas_region *region = link->base.region;
  rfaas_tcp_greeting *greeting = &newcomer->greeting;
  *greeting = (rfaas_tcp_greeting){.magic = RFAAS_TCP_MAGIC,
                                   .version = RFAAS_TCP_WIRE_VERSION,
                                   .channel = (uint16_t)newcomer->channel,
                                   .total_bytes = region->mapped_bytes,
                                   .clock_ms = (rfaas_now_ns() - region->epoch_ns) / 1000000u,
                                   .slots = region->slots,
                                   .encrypted = (uint8_t)link->encrypts};
  memcpy(greeting->nonce, link->encrypts ? link->id : link->nonce, sizeof greeting->nonce);
  if (send(newcomer->fd, greeting, sizeof *greeting, MSG_NOSIGNAL) != sizeof *greeting) return errno ? errno : EIO;
  newcomer->greeted = 1;
  return hear_again(link, newcomer, EPOLLIN);
}

static void shake_with_node(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  int done = encrypted(link, newcomer);
  if (done > 0) established(link, newcomer, newcomer->channel);
  else if (done < 0) rfaas_tcp_link_fail(link, RFAAS_TCP_NO_KEY, 0, RFAAS_TCP_CONNECT);
}

static void hear_node(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  if (newcomer->tls) return shake_with_node(link, newcomer);
  rfaas_tcp_welcome welcome;
  int failed = 0;
  if (!newcomer->greeted) failed = greet(link, newcomer);
  else if (hear_all(link, newcomer, sizeof welcome, &failed)) {
    memcpy(&welcome, newcomer->said, sizeof welcome);
    if (welcome.magic != RFAAS_TCP_MAGIC || welcome.version != RFAAS_TCP_WIRE_VERSION) welcome.rejection = RFAAS_TCP_VERSION;
    if (welcome.rejection) rfaas_tcp_link_fail(link, RFAAS_TCP_REJECTED, welcome.rejection, 0);
    else if (!link->encrypts) established(link, newcomer, newcomer->channel);
    else if (!(failed = begin_to_encrypt(link, newcomer))) shake_with_node(link, newcomer);
  }
  if (failed) rfaas_tcp_link_fail(link, RFAAS_TCP_SETUP, failed, RFAAS_TCP_CONNECT);
}

/* ---- the node's side ---- */

int rfaas_tcp_begin_to_listen(rfaas_tcp_link *link, const struct sockaddr_storage *at) {
  link->listener_fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (link->listener_fd < 0) return errno;
  struct sockaddr_storage bound;
  socklen_t size = sizeof bound;
  if (bind(link->listener_fd, (const struct sockaddr *)at, size_of(at)) != 0 ||
      listen(link->listener_fd, SOMAXCONN) != 0 ||
      getsockname(link->listener_fd, (struct sockaddr *)&bound, &size) != 0)
    return errno;
  link->port = ntohs(at->ss_family == AF_INET ? ((struct sockaddr_in *)&bound)->sin_port : ((struct sockaddr_in6 *)&bound)->sin6_port);
  return rfaas_tcp_watch_once(link, link->listener_fd, EPOLLIN, RFAAS_TCP_EVENT_LISTENER, 0);
}

void rfaas_tcp_let_in(rfaas_tcp_link *link, int fd, const uint8_t *said, uint32_t bytes) {
  /* A free place, or that of the one who has been silent for longest: strangers do not keep the client out. */
  rfaas_tcp_newcomer *place = &link->newcomer[0];
  for (uint32_t i = 1; i < link->newcomers && place->fd >= 0; i++)
    if (link->newcomer[i].fd < 0 || link->newcomer[i].deadline_ns < place->deadline_ns) place = &link->newcomer[i];
  rfaas_tcp_dismiss(place);
  *place = (rfaas_tcp_newcomer){.fd = fd, .deadline_ns = rfaas_now_ns() + RFAAS_TCP_GREETING_NS};
  place->read = bytes < sizeof place->said ? bytes : (uint32_t)sizeof place->said;
  if (place->read) memcpy(place->said, said, place->read);
  /* A connection that can be written is heard at once: what was to be said may have been said already. */
  if (hear_again(link, place, bytes ? EPOLLOUT : EPOLLIN)) rfaas_tcp_dismiss(place);
}

void rfaas_tcp_accept(rfaas_tcp_link *link) {
  int fd;
  while (link->listener_fd >= 0 && (fd = accept4(link->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
    rfaas_tcp_let_in(link, fd, NULL, 0);
  if (link->listener_fd >= 0) rfaas_tcp_watch_once(link, link->listener_fd, EPOLLIN, RFAAS_TCP_EVENT_LISTENER, 0);
}

static uint16_t reason_to_reject(const rfaas_tcp_link *link, const rfaas_tcp_greeting *greeting) {
  if (greeting->version != RFAAS_TCP_WIRE_VERSION) return RFAAS_TCP_VERSION;
  /* Of a lease that is not encrypted no id is known. */
  if (greeting->encrypted && !link->encrypts) return RFAAS_TCP_ENCRYPTION;
  if (!rfaas_is_secret(greeting->encrypted ? link->id : link->nonce, greeting->nonce, sizeof link->nonce)) return RFAAS_TCP_SECRET;
  if (greeting->encrypted != link->encrypts) return RFAAS_TCP_ENCRYPTION;
  if (greeting->channel > link->channels || link->end[greeting->channel].fd >= 0) return RFAAS_TCP_CHANNEL;
  const rfaas_region *region = link->base.region;
  return greeting->total_bytes != region->mapped_bytes || greeting->slots != region->slots ? RFAAS_TCP_MEMORY : 0;
}

static void shake_with_client(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  int done = encrypted(link, newcomer);
  if (done == 0) return;
  /* Another one may have come for the same channel, and been faster. */
  if (done > 0 && link->end[newcomer->greeting.channel].fd < 0) established(link, newcomer, newcomer->greeting.channel);
  else rfaas_tcp_dismiss(newcomer);
}

static void hear_client(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  if (newcomer->tls) return shake_with_client(link, newcomer);
  rfaas_tcp_greeting *greeting = &newcomer->greeting;
  int failed = 0;
  int said = hear_all(link, newcomer, sizeof *greeting, &failed);
  /* What speaks another protocol is not told which one is spoken here. */
  memcpy(greeting, newcomer->said, sizeof *greeting);
  uint32_t magic = newcomer->read >= sizeof greeting->magic ? greeting->magic : RFAAS_TCP_MAGIC;
  if (failed || magic != RFAAS_TCP_MAGIC) return rfaas_tcp_dismiss(newcomer);
  if (!said) return;
  rfaas_tcp_welcome welcome = {
      .magic = RFAAS_TCP_MAGIC, .version = RFAAS_TCP_WIRE_VERSION, .rejection = reason_to_reject(link, greeting)};
  if (send(newcomer->fd, &welcome, sizeof welcome, MSG_NOSIGNAL) != sizeof welcome || welcome.rejection)
    return rfaas_tcp_dismiss(newcomer);
  if (!link->encrypts) established(link, newcomer, greeting->channel);
  else if (begin_to_encrypt(link, newcomer)) rfaas_tcp_dismiss(newcomer);
  else shake_with_client(link, newcomer);
}

void rfaas_tcp_hear_newcomer(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer) {
  if (newcomer->fd < 0) return;
  if (link->listens) hear_client(link, newcomer);
  else hear_node(link, newcomer);
}

int rfaas_tcp_expire(rfaas_tcp_link *link) {
  int left = 0;
  uint64_t now = rfaas_now_ns();
  for (uint32_t i = 0; i < link->newcomers; i++) {
    rfaas_tcp_newcomer *newcomer = &link->newcomer[i];
    if (newcomer->fd < 0) continue;
    if (now < newcomer->deadline_ns) left = 1;
    else if (link->listens) rfaas_tcp_dismiss(newcomer);
    else rfaas_tcp_link_fail(link, RFAAS_TCP_TIMED_OUT, 0, RFAAS_TCP_CONNECT);
  }
  return left;
}
