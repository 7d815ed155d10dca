/* Sockets that reach outside: services of the decoy, which hands out a secret to who connects. */
#include "escape.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/vm_sockets.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_in at_port(const char *name) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(*name ? number(name) : 0))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}

static socklen_t at_name(struct sockaddr_un *to, const char *suffix) {
  to->sun_family = AF_UNIX;
  int length = snprintf(to->sun_path + 1, sizeof to->sun_path - 1, "escape-%ld%s", number("decoy"), suffix);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static int opened(int domain, int type, int protocol) {
  int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

/* Connects a new socket, and hears the secret. */
static int hears(int domain, const void *to, socklen_t bytes) {
  int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int failed = connect(fd, to, bytes) == 0 ? reads_secret(fd) : errno;
  close(fd);
  return failed;
}

static int connect_tcp(void) {
  struct sockaddr_in to = at_port("tcp");
  return hears(AF_INET, &to, sizeof to);
}
static int fast_open(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  struct sockaddr_in to = at_port("tcp");
  int failed = sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&to, sizeof to) < 0 ? errno : 0;
  close(fd);
  return failed;
}
static int listen_tcp(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  struct sockaddr_in any = at_port("");
  int failed = bind(fd, (void *)&any, sizeof any) == 0 ? made(listen(fd, 1)) : errno;
  close(fd);
  return failed;
}
static int send_udp(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  struct sockaddr_in to = at_port("udp");
  int failed = sendto(fd, "x", 1, 0, (void *)&to, sizeof to) == 1 ? 0 : errno;
  close(fd);
  return failed;
}
static int raw_packets(void) { return opened(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static int wire_packets(void) { return opened(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)); }
static int ask_kernel(void) { return opened(AF_NETLINK, SOCK_RAW, 0); }
static int virtual_machines(void) { return opened(AF_VSOCK, SOCK_STREAM, 0); }
static int kernel_crypto(void) { return opened(38 /* AF_ALG */, SOCK_SEQPACKET, 0); }
static int connect_path(void) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  snprintf(to.sun_path, sizeof to.sun_path, "%s", fact("socket"));
  return hears(AF_UNIX, &to, sizeof to);
}
static int connect_node(void) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  snprintf(to.sun_path, sizeof to.sun_path, "%s", fact("node"));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int failed = made(connect(fd, (void *)&to, sizeof to));
  close(fd);
  return failed;
}
static int connect_name(void) {
  struct sockaddr_un to = {0};
  socklen_t bytes = at_name(&to, "");
  return hears(AF_UNIX, &to, bytes);
}
static int sends_to_name(int fd) {
  struct sockaddr_un to = {0};
  socklen_t bytes = at_name(&to, "-mail");
  return sendto(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (void *)&to, bytes) == 1 ? 0 : errno;
}
static int send_name(void) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int failed = sends_to_name(fd);
  close(fd);
  return failed;
}
/* A pair needs no name, but one end of it can be given another peer. */
static int reconnect_pair(void) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0) return errno;
  struct sockaddr_un to = {0};
  socklen_t bytes = at_name(&to, "-mail");
  int failed = made(connect(ends[0], (void *)&to, bytes));
  close(ends[0]);
  close(ends[1]);
  return failed;
}
/* Takes a descriptor that another process hands out. */
static int take_descriptor(void) {
  struct sockaddr_un to = {0};
  socklen_t bytes = at_name(&to, "");
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  if (connect(fd, (void *)&to, bytes) != 0) {
    int failed = errno;
    close(fd);
    return failed;
  }
  char text[64];
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } rights;
  struct iovec body = {text, sizeof text};
  struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
  int failed = recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < 0 ? errno : 0;
  struct cmsghdr *header = failed ? NULL : CMSG_FIRSTHDR(&message);
  if (!failed) {
    int taken = -1;
    if (header) memcpy(&taken, CMSG_DATA(header), sizeof taken);
    failed = taken < 0 ? NOTHING : 0;
    if (taken >= 0) close(taken);
  }
  close(fd);
  return failed;
}
/* With a socket of its own, or with any that it was born with. */
static int send_by_inherited(void) {
  int failed = send_name();
  for (int fd = 3; failed && fd < 256; fd++)
    if (sends_to_name(fd) == 0) return REACHED;
  return failed;
}

const struct attempt socket_attempts[] = {
  {"connect-tcp", connect_tcp}, {"fast-open", fast_open}, {"listen-tcp", listen_tcp}, {"send-udp", send_udp},
  {"raw-packets", raw_packets}, {"wire-packets", wire_packets}, {"ask-kernel", ask_kernel},
  {"virtual-machines", virtual_machines}, {"kernel-crypto", kernel_crypto}, {"connect-path", connect_path},
  {"connect-node", connect_node}, {"connect-name", connect_name}, {"send-name", send_name},
  {"reconnect-pair", reconnect_pair}, {"take-descriptor", take_descriptor}, {"send-by-inherited", send_by_inherited},
  {NULL, NULL},
};
