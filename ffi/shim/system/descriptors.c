/* File descriptors between processes. A receiver has a mailbox: a datagram socket. That of a host is one end of a pair, of which its
 * agent has the other, so that it can be reached by no name. That of a client has a name that the kernel picks, in no file system,
 * and is connected to the socket that its node sends from: the kernel lets no other one send to it. The sender says the nonce, told
 * over the control connection, so that what is taken is what was announced. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/fabric.h"

#define NONCE_BYTES 16
#define MAX_DESCRIPTORS (2 * RFAAS_MAX_WORKERS + 4)

#define NAME_BYTES 5

static socklen_t address_of(struct sockaddr_un *address, const uint8_t *name) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path + 1, name, NAME_BYTES);
  return sizeof(sa_family_t) + 1 + NAME_BYTES;
}

/* Has the kernel pick a name. */
static int take_name(int fd, uint8_t *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &length) != 0)
    return -errno;
  if (length != sizeof(sa_family_t) + 1 + NAME_BYTES) return -EPROTO;
  memcpy(name, address.sun_path + 1, NAME_BYTES);
  return 0;
}

static int datagram_socket(void) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd < 0 ? -errno : fd;
}

/* Writes the 5-byte abstract name. Only `sender`, the name of a socket, can send to it; every socket where that is NULL. Returns the
 * socket or -errno. */
RFAAS_EXPORT int32_t rfaas_mailbox_open(uint8_t *name, const uint8_t *sender) {
  int fd = datagram_socket();
  if (fd < 0) return fd;
  struct sockaddr_un address;
  int failed = 0;
  /* First the sender, then the name: it is open to others at no moment. */
  if (sender && connect(fd, (struct sockaddr *)&address, address_of(&address, sender)) != 0) failed = -errno;
  if (!failed) failed = take_name(fd, name);
  if (!failed) return fd;
  close(fd);
  return failed;
}

/* A mailbox without a name, and what sends to it: nothing comes back. Its messages are a connection's: who has an end of a pair for datagrams
 * may send to any service of the machine that takes those, which a room must not. */
RFAAS_EXPORT int32_t rfaas_mailbox_pair(int32_t *out) {
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out) != 0) return -errno;
  shutdown(out[1], SHUT_RD);
  return 0;
}

/* A socket that sends to mailboxes by name, and receives nothing. Writes its own name. Returns it or -errno. */
RFAAS_EXPORT int32_t rfaas_sender_open(uint8_t *name) {
  int fd = datagram_socket();
  if (fd < 0) return fd;
  int failed = take_name(fd, name);
  if (failed) {
    close(fd);
    return failed;
  }
  shutdown(fd, SHUT_RD);
  return fd;
}

/* Sends over `fd`: to the mailbox `name`, or to the other end of its pair where that is NULL. */
RFAAS_EXPORT int32_t rfaas_mailbox_send(int32_t fd, const uint8_t *name, const uint8_t *nonce, const int32_t *fds, int32_t count) {
  if (count < 1 || count > (int32_t)MAX_DESCRIPTORS) return -EINVAL;
  struct sockaddr_un address;
  uint8_t body[NONCE_BYTES];
  memcpy(body, nonce, sizeof body);
  struct iovec iov = {.iov_base = body, .iov_len = sizeof body};
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_name = name ? &address : NULL,
                           .msg_namelen = name ? address_of(&address, name) : 0,
                           .msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = CMSG_SPACE(count * sizeof(int))};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(header), fds, count * sizeof(int));
  return sendmsg(fd, &message, MSG_NOSIGNAL) == NONCE_BYTES ? 0 : -errno;
}

/* Whether the one who sends over it is gone. */
static int is_over(int32_t mailbox) {
  struct pollfd hung_up = {.fd = mailbox, .events = POLLRDHUP};
  return poll(&hung_up, 1, 0) == 1;
}

/* Never blocks. Returns how many descriptors came with the right nonce, or -EAGAIN, or -EMFILE when this process has no room for
 * them. Closes all other descriptors. */
RFAAS_EXPORT int32_t rfaas_mailbox_receive(int32_t mailbox, const uint8_t *nonce, int32_t *fds, int32_t capacity) {
  for (;;) {
    uint8_t body[NONCE_BYTES + 1];
    struct iovec iov = {.iov_base = body, .iov_len = sizeof body};
    union {
      struct cmsghdr align;
      uint8_t bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(mailbox, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) return -errno;
    int ours = got == NONCE_BYTES && memcmp(body, nonce, NONCE_BYTES) == 0;
    /* There is room in `control` for all that a sender may send: the kernel found none in the table of descriptors. */
    int cut = (message.msg_flags & MSG_CTRUNC) != 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int count = 0;
    int *received = NULL;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      received = (int *)CMSG_DATA(header);
    }
    /* A message may be empty, and have descriptors all the same. */
    if (got == 0 && count == 0 && is_over(mailbox)) return -EAGAIN;
    if (ours && !cut && count > 0 && count <= capacity) {
      memcpy(fds, received, count * sizeof(int));
      return count;
    }
    for (int i = 0; i < count; i++) close(received[i]);
    if (ours && cut) return -EMFILE;
  }
}

/* Connects to the socket at `path`, and waits for what its listener sends over it with `nonce`. Returns how many descriptors came, or
 * -errno. */
RFAAS_EXPORT int32_t rfaas_handed_take(const char *path, const uint8_t *nonce, int32_t *fds, int32_t capacity) {
  const struct timeval limit = {.tv_sec = 10};
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int32_t taken = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0
                    ? rfaas_mailbox_receive(fd, nonce, fds, capacity)
                    : -errno;
  close(fd);
  return taken;
}

/* A connected pair: one end waits in an event loop, the other is written by `rfaas_notify`. */
RFAAS_EXPORT int32_t rfaas_notify_pair(int32_t *out) {
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out) == 0 ? 0 : -errno;
}

void rfaas_notify(int32_t fd) {
  if (fd >= 0) (void)!send(fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A pipe, of which the end to read waits for nothing. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_output_pipe(int32_t *fds) {
  if (pipe2(fds, O_CLOEXEC) != 0) return -errno;
  return fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
}

/* Whether a write of some bytes would not wait. */
RFAAS_EXPORT int32_t rfaas_can_be_written(int32_t fd) {
  struct pollfd written = {.fd = fd, .events = POLLOUT};
  return poll(&written, 1, 0) != 0;
}

RFAAS_EXPORT int32_t rfaas_duplicate(int32_t fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? -errno : copy;
}

RFAAS_EXPORT int32_t rfaas_close(int32_t fd) { return close(fd) == 0 ? 0 : -errno; }
