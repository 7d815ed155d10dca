/* How client and node come together: by a TCP connection, whose greeting has the lease's secret, they tell each other the addresses of their
 * ends, and send a message over each channel before anything is asked of it. Only the link's thread is here. */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_OFI
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* While both sides wait for the first messages they look this often. */
#define LOOK_NS 20000u

static socklen_t size_of(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void tune(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  rfaas_path_keep_alive(fd);
}

/* ---- the ends ---- */

/* Opens every end, at the local address of the TCP connection where addresses are those of IP. Returns 0 or a positive errno. */
static int open_ends(rfaas_ofi_link *link, int32_t *stage) {
  struct sockaddr_storage at;
  socklen_t size = sizeof at;
  *stage = RFAAS_OFI_PROVIDER;
  int failed = getsockname(link->fd, (struct sockaddr *)&at, &size) == 0 ? 0 : errno;
  if (!failed && !link->info) {
    failed = rfaas_ofi_find(&link->device, (struct sockaddr *)&at, &link->found);
    if (failed) return failed;
    link->info = link->found;
    *stage = RFAAS_OFI_ENDPOINT;
    failed = -rfaas_ofi()->fi_fabric(link->info->fabric_attr, &link->fabric, NULL);
  }
  for (uint32_t i = 0; i < link->channels && !failed; i++) failed = rfaas_ofi_open_end(&link->end[i], link->fabric, link->info, stage);
  return failed;
}

static int describe(const rfaas_ofi_end *end, rfaas_ofi_address *out) {
  const struct fi_info *info = end->link->info;
  size_t bytes = sizeof out->name - 1;
  int failed = fi_getname(&end->ep->fid, out->name, &bytes);
  if (failed) return -failed;
  out->name_bytes = (uint32_t)bytes;
  out->writes = end->writes;
  out->part_bytes = end->part_bytes;
  if (!end->writes) return 0;
  out->base = info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)end->base : 0;
  out->key = fi_mr_key(end->memory);
  return 0;
}

static int reach(rfaas_ofi_end *end, rfaas_ofi_address *theirs) {
  /* Some names are text. */
  if (theirs->name_bytes >= sizeof theirs->name) return EPROTO;
  theirs->name[theirs->name_bytes] = 0;
  rfaas_ofi_handlers *handlers = rfaas_ofi_keep_handlers();
  int inserted = fi_av_insert(end->addresses, theirs->name, 1, &end->peer, 0, NULL);
  rfaas_ofi_restore_handlers(handlers);
  if (inserted != 1) return inserted < 0 ? -inserted : EHOSTUNREACH;
  memcpy(&end->token, end->link->nonce, sizeof end->token);
  end->remote_base = theirs->base;
  end->remote_key = theirs->key;
  end->writes = end->writes && theirs->writes;
  end->their_part_bytes = theirs->part_bytes < end->part_bytes ? theirs->part_bytes : end->part_bytes;
  if (end->their_part_bytes < RFAAS_OFI_EAGER) return EPROTO;
  const char *letters = end->link->device.letters;
  end->one_sided = end->writes && strchr(letters, 'r');
  end->atomic = end->one_sided && strchr(letters, 'a') && (end->link->info->caps & FI_ATOMIC);
  return 0;
}

static int say_addresses(rfaas_ofi_link *link, uint64_t until_ns) {
  int failed = 0;
  for (uint32_t i = 0; i < link->channels && !failed; i++) {
    rfaas_ofi_address ours = {0};
    failed = describe(&link->end[i], &ours);
    if (!failed) failed = rfaas_ofi_move(link, &ours, sizeof ours, 1, until_ns);
  }
  return failed;
}

static int hear_addresses(rfaas_ofi_link *link, uint64_t until_ns) {
  int failed = 0;
  for (uint32_t i = 0; i < link->channels && !failed; i++) {
    rfaas_ofi_address theirs;
    failed = rfaas_ofi_move(link, &theirs, sizeof theirs, 0, until_ns);
    if (!failed) failed = reach(&link->end[i], &theirs);
  }
  return failed;
}

static void say_hello(rfaas_ofi_end *end) {
  rfaas_ofi_outgoing out = {.head = {.kind = RFAAS_OFI_HELLO}, .said_bytes = sizeof(rfaas_ofi_head)};
  rfaas_ofi_send(end, &out);
}

static int hear_hello(rfaas_ofi_end *end) {
  rfaas_ofi_seen seen;
  while (rfaas_ofi_next(end, &seen)) {
    if (!seen.work) continue;
    rfaas_ofi_head head;
    memcpy(&head, seen.work->memory, sizeof head);
    int is_hello = seen.bytes == sizeof head && head.kind == RFAAS_OFI_HELLO && head.token == end->token;
    rfaas_ofi_receive_again(end, seen.work);
    if (!is_hello) continue;
    /* The node answers the client's. */
    if (end->link->listens && !end->greeted) say_hello(end);
    end->greeted = 1;
  }
  return end->failure ? end->detail ? end->detail : EPROTO : 0;
}

/* Until the first message of each channel has come, and on the node until the client says that its own have. Connections that the provider
 * makes below are made now, by threads that have nothing else to do. */
static int greet_each_other(rfaas_ofi_link *link, uint64_t until_ns) {
  for (uint32_t i = 0; i < link->channels && !link->listens; i++) say_hello(&link->end[i]);
  for (;;) {
    uint32_t greeted = 0;
    for (uint32_t i = 0; i < link->channels; i++) {
      int failed = hear_hello(&link->end[i]);
      if (failed) return failed;
      greeted += link->end[i].greeted;
    }
    uint8_t one;
    ssize_t said = recv(link->fd, &one, 1, MSG_DONTWAIT | (link->listens ? 0 : MSG_PEEK));
    if (said == 0) return ECONNRESET;
    if (said < 0 && errno != EAGAIN && errno != EINTR) return errno;
    if (greeted == link->channels && (said == 1 || !link->listens)) return 0;
    if (said == 1) return EPROTO;
    if (rfaas_now_ns() > until_ns) return ETIMEDOUT;
    if (__atomic_load_n(&link->stop, __ATOMIC_ACQUIRE)) return ECANCELED;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
  }
}

/* Memory that both sides have mapped needs no name any more, and one with a name would outlive processes that are killed. */
static void forget_name(const rfaas_ofi_end *end) {
  static const char scheme[] = "fi_shm://", folder[] = "/dev/shm/";
  char name[256] = {0}, path[sizeof name + sizeof folder];
  size_t bytes = sizeof name - 1;
  if (end->link->info->addr_format != FI_ADDR_STR || fi_getname(&end->ep->fid, name, &bytes) != 0) return;
  if (strncmp(name, scheme, sizeof scheme - 1) != 0 || strchr(name + sizeof scheme - 1, '/')) return;
  snprintf(path, sizeof path, "%s%s", folder, name + sizeof scheme - 1);
  unlink(path);
}

/* From now on the ends are their threads' own. */
static void hand_out(rfaas_ofi_link *link) {
  for (uint32_t i = 0; i < link->channels; i++) {
    rfaas_ofi_end *end = &link->end[i];
    forget_name(end);
    __atomic_store_n(&end->connected, 1, __ATOMIC_RELEASE);
    if (!link->listens) continue;
    uint64_t one = 1;
    (void)!write(end->wake_fd, &one, sizeof one);
    rfaas_notify(end->notify_fd);
  }
}

/* ---- the client's side ---- */

static int dial(rfaas_ofi_link *link, uint64_t until_ns) {
  link->fd = socket(link->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (link->fd < 0) return errno;
  if (link->from.ss_family && bind(link->fd, (const struct sockaddr *)&link->from, size_of(&link->from)) != 0) return errno;
  if (connect(link->fd, (const struct sockaddr *)&link->to, size_of(&link->to)) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  struct pollfd fds[] = {{.fd = link->fd, .events = POLLOUT}, {.fd = link->wake_fd, .events = POLLIN}};
  uint64_t now = rfaas_now_ns();
  int ready = poll(fds, 2, now < until_ns ? (int)((until_ns - now) / 1000000u) : 0);
  if (ready == 0) return ETIMEDOUT;
  if (fds[1].revents) return ECANCELED;
  int failed = 0;
  socklen_t size = sizeof failed;
  return getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 ? failed : errno;
}

static int fail(rfaas_ofi_link *link, int failed, int32_t stage) {
  if (failed == ETIMEDOUT && stage != RFAAS_OFI_PROVIDER) rfaas_ofi_link_fail(link, RFAAS_OFI_TIMED_OUT, 0, stage);
  else if (failed != ECANCELED) rfaas_ofi_link_fail(link, RFAAS_OFI_SETUP, failed, stage);
  return 0;
}

int rfaas_ofi_connect(rfaas_ofi_link *link) {
  uint64_t until = rfaas_now_ns() + RFAAS_OFI_CONNECT_NS;
  int32_t stage = RFAAS_OFI_CONNECT;
  int failed = dial(link, until);
  if (failed) return fail(link, failed, stage);
  tune(link->fd);
  const rfaas_region *region = link->base.region;
  rfaas_ofi_greeting greeting = {.magic = RFAAS_OFI_MAGIC,
                                 .version = RFAAS_OFI_WIRE_VERSION,
                                 .channels = (uint16_t)link->channels,
                                 .total_bytes = region->mapped_bytes,
                                 .clock_ms = (rfaas_now_ns() - region->epoch_ns) / 1000000u,
                                 .slots = region->slots};
  memcpy(greeting.nonce, link->nonce, sizeof greeting.nonce);
  rfaas_ofi_welcome welcome;
  /* First of all: a node does not wait for a greeting as long as a provider may take to open an end. */
  if ((failed = rfaas_ofi_move(link, &greeting, sizeof greeting, 1, until))) return fail(link, failed, stage);
  if ((failed = open_ends(link, &stage))) return fail(link, failed, stage);
  stage = RFAAS_OFI_CONNECT;
  failed = rfaas_ofi_move(link, &welcome, sizeof welcome, 0, until);
  if (failed) return fail(link, failed, stage);
  if (welcome.magic != RFAAS_OFI_MAGIC || welcome.version != RFAAS_OFI_WIRE_VERSION) welcome.rejection = RFAAS_OFI_VERSION;
  if (welcome.rejection) {
    rfaas_ofi_link_fail(link, RFAAS_OFI_REJECTED, welcome.rejection, 0);
    return 0;
  }
  stage = RFAAS_OFI_REACH;
  uint8_t one = 1;
  failed = say_addresses(link, until);
  if (!failed) failed = hear_addresses(link, until);
  if (!failed) failed = greet_each_other(link, until);
  if (!failed) failed = rfaas_ofi_move(link, &one, sizeof one, 1, until);
  if (!failed) failed = rfaas_ofi_move(link, &one, sizeof one, 0, until);
  if (failed) return fail(link, failed, stage);
  hand_out(link);
  __atomic_store_n(&link->ready, 1, __ATOMIC_RELEASE);
  rfaas_ofi_changed(link);
  return 1;
}

/* ---- the node's side ---- */

int rfaas_ofi_begin_to_listen(rfaas_ofi_link *link, const struct sockaddr_storage *at) {
  link->listener_fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (link->listener_fd < 0) return errno;
  struct sockaddr_storage bound;
  socklen_t size = sizeof bound;
  if (bind(link->listener_fd, (const struct sockaddr *)at, size_of(at)) != 0 || listen(link->listener_fd, SOMAXCONN) != 0 ||
      getsockname(link->listener_fd, (struct sockaddr *)&bound, &size) != 0)
    return errno;
  link->port = ntohs(at->ss_family == AF_INET ? ((struct sockaddr_in *)&bound)->sin_port : ((struct sockaddr_in6 *)&bound)->sin6_port);
  return 0;
}

static void dismiss(rfaas_ofi_newcomer *newcomer) {
  if (newcomer->fd >= 0) close(newcomer->fd);
  newcomer->fd = -1;
}

void rfaas_ofi_let_in(rfaas_ofi_link *link, int fd, const uint8_t *said, uint32_t bytes) {
  /* A free place, or that of the one who has been silent for longest: strangers do not keep the client out. */
  rfaas_ofi_newcomer *place = &link->newcomer[0];
  for (uint32_t i = 1; i < RFAAS_OFI_NEWCOMERS && place->fd >= 0; i++)
    if (link->newcomer[i].fd < 0 || link->newcomer[i].deadline_ns < place->deadline_ns) place = &link->newcomer[i];
  dismiss(place);
  *place = (rfaas_ofi_newcomer){.fd = fd, .deadline_ns = rfaas_now_ns() + RFAAS_OFI_GREETING_NS};
  place->read = bytes < sizeof place->said ? bytes : (uint32_t)sizeof place->said;
  if (place->read) memcpy(place->said, said, place->read);
}

static uint16_t reason_to_reject(const rfaas_ofi_link *link, const rfaas_ofi_greeting *greeting) {
  if (greeting->version != RFAAS_OFI_WIRE_VERSION) return RFAAS_OFI_VERSION;
  if (!rfaas_is_secret(link->nonce, greeting->nonce, sizeof link->nonce)) return RFAAS_OFI_SECRET;
  const rfaas_region *region = link->base.region;
  int same = greeting->total_bytes == region->mapped_bytes && greeting->slots == region->slots && greeting->channels == link->channels;
  return same ? 0 : RFAAS_OFI_MEMORY;
}

/* Returns whether the newcomer is the client: it is the link's connection then. */
static int hear_newcomer(rfaas_ofi_link *link, rfaas_ofi_newcomer *newcomer, rfaas_ofi_greeting *greeting) {
  if (newcomer->fd < 0) return 0;
  ssize_t got = 1;
  while (newcomer->read < sizeof newcomer->said && got > 0) {
    got = recv(newcomer->fd, newcomer->said + newcomer->read, sizeof newcomer->said - newcomer->read, MSG_DONTWAIT);
    if (got > 0) newcomer->read += (uint32_t)got;
  }
  memcpy(greeting, newcomer->said, sizeof *greeting);
  int silent = got < 0 && (errno == EAGAIN || errno == EINTR);
  /* What speaks another protocol is not told which one is spoken here. */
  if ((newcomer->read >= sizeof greeting->magic && greeting->magic != RFAAS_OFI_MAGIC) || (got <= 0 && !silent) ||
      (silent && rfaas_now_ns() > newcomer->deadline_ns)) {
    dismiss(newcomer);
    return 0;
  }
  if (newcomer->read < sizeof newcomer->said) return 0;
  rfaas_ofi_welcome welcome = {
      .magic = RFAAS_OFI_MAGIC, .version = RFAAS_OFI_WIRE_VERSION, .rejection = reason_to_reject(link, greeting)};
  if (welcome.rejection) {
    (void)!send(newcomer->fd, &welcome, sizeof welcome, MSG_NOSIGNAL | MSG_DONTWAIT);
    dismiss(newcomer);
    return 0;
  }
  link->fd = newcomer->fd;
  newcomer->fd = -1;
  return 1;
}

/* Waits until one of the newcomers is the client. Returns 0 when the link is to stop. */
static int await_client(rfaas_ofi_link *link, rfaas_ofi_greeting *greeting) {
  while (!__atomic_load_n(&link->stop, __ATOMIC_ACQUIRE)) {
    struct pollfd fds[RFAAS_OFI_NEWCOMERS + 2];
    pthread_mutex_lock(&link->door);
    int fd, expects = 0, client = 0;
    while (link->listener_fd >= 0 && (fd = accept4(link->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
      rfaas_ofi_let_in(link, fd, NULL, 0);
    for (uint32_t i = 0; i < RFAAS_OFI_NEWCOMERS && !client; i++) {
      client = hear_newcomer(link, &link->newcomer[i], greeting);
      fds[i] = (struct pollfd){.fd = link->newcomer[i].fd, .events = POLLIN};
      expects |= link->newcomer[i].fd >= 0;
    }
    pthread_mutex_unlock(&link->door);
    if (client) return 1;
    fds[RFAAS_OFI_NEWCOMERS] = (struct pollfd){.fd = link->listener_fd, .events = POLLIN};
    fds[RFAAS_OFI_NEWCOMERS + 1] = (struct pollfd){.fd = link->wake_fd, .events = POLLIN};
    poll(fds, RFAAS_OFI_NEWCOMERS + 2, expects ? 100 : -1);
    if (fds[RFAAS_OFI_NEWCOMERS + 1].revents) (void)!read(link->wake_fd, &(uint64_t){0}, sizeof(uint64_t));
  }
  return 0;
}

/* Brings the client that has shown the secret to every end. Returns 0 or a positive errno. */
static int bring_in(rfaas_ofi_link *link, const rfaas_ofi_greeting *greeting, int32_t *stage) {
  uint64_t until = rfaas_now_ns() + RFAAS_OFI_CONNECT_NS;
  tune(link->fd);
  int failed = open_ends(link, stage);
  rfaas_ofi_welcome welcome = {.magic = RFAAS_OFI_MAGIC, .version = RFAAS_OFI_WIRE_VERSION, .rejection = failed ? RFAAS_OFI_RESOURCE : 0};
  int unsaid = rfaas_ofi_move(link, &welcome, sizeof welcome, 1, until);
  if (failed) return failed;
  *stage = RFAAS_OFI_REACH;
  failed = unsaid;
  for (uint32_t i = 0; i < link->channels; i++) rfaas_far_clock_begin(&link->end[i].clock, greeting->clock_ms);
  uint8_t one = 1;
  if (!failed) failed = hear_addresses(link, until);
  if (!failed) failed = say_addresses(link, until);
  if (!failed) failed = greet_each_other(link, until);
  if (failed) return failed;
  hand_out(link);
  return rfaas_ofi_move(link, &one, sizeof one, 1, until);
}

int rfaas_ofi_admit(rfaas_ofi_link *link) {
  rfaas_ofi_greeting greeting;
  int32_t stage = RFAAS_OFI_REACH;
  if (!await_client(link, &greeting)) return 0;
  int failed = bring_in(link, &greeting, &stage);
  pthread_mutex_lock(&link->door);
  if (link->listener_fd >= 0) close(link->listener_fd);
  link->listener_fd = -1;
  for (uint32_t i = 0; i < RFAAS_OFI_NEWCOMERS; i++) dismiss(&link->newcomer[i]);
  pthread_mutex_unlock(&link->door);
  if (failed) fail(link, failed, stage);
  else rfaas_ofi_changed(link);
  return !failed;
}

#endif
