/* Native functions that leave what they send in the kernel's memory: `count` sockets full of it, as their input says in text. What is much is kept
 * until the process ends; with what is little, the output is 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FUNCTION(name) __attribute__((visibility("default"))) uint32_t name(void *input, uint32_t bytes, void *output)

enum { LITTLE = 8, MOST = 2048 };

static int held[MOST], count;
static int keep(int fd) { return held[count++ % MOST] = fd; }

static int number(const void *input, uint32_t bytes) {
  char text[16] = {0};
  memcpy(text, input, bytes < 15 ? bytes : 15);
  return atoi(text);
}

static uint32_t end(void *output, int number) {
  if (number > LITTLE) sleep(30);
  while (count > 0) close(held[--count]);
  *(char *)output = 1;
  return 1;
}

static void fill(int fd) {
  static const char data[1 << 14];
  while (send(fd, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) continue;
}

static int pair(int *ends) { return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends); }

FUNCTION(pairs) {
  int most = number(input, bytes), ends[2];
  for (int i = 0; i < most && pair(ends) == 0; i++) fill(keep(ends[0])), fill(keep(ends[1]));
  return end(output, most);
}

static int pass(int to, int fd) {
  char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 0;
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

/* Only the queues of other sockets keep these. */
FUNCTION(passed) {
  int most = number(input, bytes), ends[2], carrier[2] = {-1, -1};
  for (int i = 0; i < most && pair(ends) == 0; i++) {
    if (i % 64 == 0 && pair(carrier) == 0) keep(carrier[0]), keep(carrier[1]);
    fill(ends[0]);
    fill(ends[1]);
    pass(carrier[0], ends[0]);
    pass(carrier[0], ends[1]);
    close(ends[0]);
    close(ends[1]);
  }
  return end(output, most);
}

/* Only the listener is left of these connections: nothing accepts them. */
FUNCTION(connections) {
  int most = number(input, bytes), listener = keep(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  if (bind(listener, (void *)&at, size) != 0 || listen(listener, most) != 0 || getsockname(listener, (void *)&at, &size) != 0) return 0;
  for (int i = 0; i < most; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (void *)&at, size) != 0) break;
    for (int tries = 0; tries < 10; tries++) fill(fd);
    close(fd);
  }
  return end(output, most);
}
