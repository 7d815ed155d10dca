/* File descriptors between processes. A receiver opens a mailbox: a datagram socket under a name the kernel picks, that is
 * in no file system. The sender needs the name and the nonce, both told over the control connection, so a stranger who
 * guesses the name cannot plant a descriptor. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/fabric.h"

#define NONCE_BYTES 16
#define MAX_DESCRIPTORS (2 * RFAAS_MAX_WORKERS + 4)

/* Writes the 5-byte abstract name. Returns the socket or -errno. */
RFAAS_EXPORT int32_t rfaas_mailbox_open(uint8_t *name) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
    int failed = errno;
    close(fd);
    return -failed;
  }
  if (length != sizeof(sa_family_t) + 6) {
    close(fd);
    return -EPROTO;
  }
  memcpy(name, address.sun_path + 1, 5);
  return fd;
}

RFAAS_EXPORT int32_t rfaas_mailbox_send(const uint8_t *name, const uint8_t *nonce, const int32_t *fds, int32_t count) {
  if (count < 1 || count > (int32_t)MAX_DESCRIPTORS) return -EINVAL;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path + 1, name, 5);
  uint8_t body[NONCE_BYTES];
  memcpy(body, nonce, sizeof body);
  struct iovec iov = {.iov_base = body, .iov_len = sizeof body};
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_name = &address,
                           .msg_namelen = sizeof(sa_family_t) + 6,
                           .msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = CMSG_SPACE(count * sizeof(int))};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(header), fds, count * sizeof(int));
  ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  int failed = errno;
  close(fd);
  return sent == NONCE_BYTES ? 0 : -failed;
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
    if (ours && !cut && count > 0 && count <= capacity) {
      memcpy(fds, received, count * sizeof(int));
      return count;
    }
    for (int i = 0; i < count; i++) close(received[i]);
    if (ours && cut) return -EMFILE;
  }
}

/* A connected pair: one end waits in an event loop, the other is written by `rfaas_notify`. */
RFAAS_EXPORT int32_t rfaas_notify_pair(int32_t *out) {
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out) == 0 ? 0 : -errno;
}

void rfaas_notify(int32_t fd) {
  if (fd >= 0) (void)!send(fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

RFAAS_EXPORT int32_t rfaas_duplicate(int32_t fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? -errno : copy;
}

RFAAS_EXPORT int32_t rfaas_close(int32_t fd) { return close(fd) == 0 ? 0 : -errno; }
