/* Who is at the other end of a connection, by what the kernel knows. Over a Unix socket it keeps the peer's user. Over loopback the
 * other end is a socket of this network namespace, and the kernel tells whose: it is asked for exactly that socket, by both addresses
 * and ports, and only one that is established and that a process holds counts. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/rfaas.h"

/* One end of a connection; IPv4 that travels on a socket of both families is IPv4. */
struct end {
  uint8_t family;
  uint16_t port; /* as on the wire, like the address */
  uint32_t address[4];
};

static int set_end(struct end *end, int family, const void *address, uint16_t port) {
  memset(end, 0, sizeof *end);
  end->port = port;
  if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address)) {
    family = AF_INET;
    address = (const uint8_t *)address + 12;
  }
  if (family != AF_INET && family != AF_INET6) return -EAFNOSUPPORT;
  end->family = (uint8_t)family;
  memcpy(end->address, address, family == AF_INET ? 4 : 16);
  return 0;
}

static int end_of(struct end *end, const struct sockaddr_storage *at) {
  if (at->ss_family == AF_INET6) {
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)at;
    return set_end(end, AF_INET6, &six->sin6_addr, six->sin6_port);
  }
  const struct sockaddr_in *four = (const struct sockaddr_in *)at;
  return set_end(end, at->ss_family, &four->sin_addr, four->sin_port);
}

static int is_loopback(const struct end *end) {
  if (end->family == AF_INET) return ntohl(end->address[0]) >> 24 == 127;
  return memcmp(end->address, &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

/* Asks for the socket that is bound to `near` and connected to `far`. Returns 0 or -errno; -ENOENT when there is none. */
static int ask(int netlink, const struct end *near, const struct end *far, struct inet_diag_msg *found) {
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
  } question = {
      .header = {.nlmsg_len = sizeof question, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 1},
      .request = {.sdiag_family = near->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1u << TCP_ESTABLISHED},
  };
  struct inet_diag_sockid *id = &question.request.id;
  id->idiag_sport = near->port;
  id->idiag_dport = far->port;
  memcpy(id->idiag_src, near->address, sizeof near->address);
  memcpy(id->idiag_dst, far->address, sizeof far->address);
  id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;

  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(netlink, &question, sizeof question, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) return -errno;
  union {
    struct nlmsghdr header;
    uint8_t bytes[8192];
  } answer;
  struct sockaddr_nl from = {0};
  socklen_t from_length = sizeof from;
  /* The kernel has answered before the question returns. */
  ssize_t length = recvfrom(netlink, &answer, sizeof answer, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from, &from_length);
  if (length < 0) return -errno;
  const struct nlmsghdr *header = &answer.header;
  if (from.nl_pid != 0 || (size_t)length > sizeof answer || !NLMSG_OK(header, (uint32_t)length) || header->nlmsg_seq != 1) return -EPROTO;
  if (header->nlmsg_type == NLMSG_ERROR && header->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
    int error = ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
    return error < 0 ? error : -EPROTO;
  }
  if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof *found)) return -EPROTO;
  memcpy(found, NLMSG_DATA(header), sizeof *found);
  return 0;
}

/* The user who made the socket at the other end, or -errno. */
static double owner_over_loopback(const struct end *peer, const struct end *own) {
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
  if (netlink < 0) return -errno;
  struct inet_diag_msg found;
  int failed = ask(netlink, peer, own, &found);
  close(netlink);
  if (failed) return failed;
  /* Where no connection has these ends, the kernel answers with the socket that listens at the first. */
  struct end near, far;
  if (set_end(&near, found.idiag_family, found.id.idiag_src, found.id.idiag_sport) != 0 ||
      set_end(&far, found.idiag_family, found.id.idiag_dst, found.id.idiag_dport) != 0)
    return -EPROTO;
  if (memcmp(&near, peer, sizeof near) != 0 || memcmp(&far, own, sizeof far) != 0) return -ENOENT;
  /* A socket that no process holds has no user: the kernel then says 0, which is root. */
  if (found.idiag_state != TCP_ESTABLISHED || found.idiag_inode == 0) return -ENOTCONN;
  return found.idiag_uid;
}

static double peer_over_tcp(int32_t fd, const struct sockaddr_storage *own_at) {
  struct sockaddr_storage peer_at = {0};
  socklen_t length = sizeof peer_at;
  struct end peer, own;
  if (getpeername(fd, (struct sockaddr *)&peer_at, &length) != 0) return -errno;
  if (end_of(&peer, &peer_at) != 0 || end_of(&own, own_at) != 0) return -EAFNOSUPPORT;
  if (peer.family != own.family || !is_loopback(&peer) || !is_loopback(&own)) return -EADDRNOTAVAIL;
  double uid = owner_over_loopback(&peer, &own);
  if (uid < 0) return uid;
  /* While this end is established no other socket can have taken the place of the one that connected. */
  struct tcp_info info;
  length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -errno;
  return info.tcpi_state == TCP_ESTABLISHED ? uid : -ENOTCONN;
}

static int end_at(struct end *end, const char *address, uint32_t port) {
  uint8_t bytes[16];
  for (int i = 0; i < 2; i++) {
    int family = i == 0 ? AF_INET : AF_INET6;
    if (inet_pton(family, address, bytes) == 1) return set_end(end, family, bytes, htons((uint16_t)port));
  }
  return -EINVAL;
}

/* Copies what waits at a connected socket, at most `capacity` bytes of it, which stay there. Returns how many they are; 0 where there are
 * none, or the peer has closed. */
RFAAS_EXPORT int32_t rfaas_peek(int32_t fd, uint8_t *out, int32_t capacity) {
  ssize_t waits = recv(fd, out, (size_t)capacity, MSG_PEEK | MSG_DONTWAIT);
  return waits < 0 ? 0 : (int32_t)waits;
}

/* A TCP listener gets a connection when its peer has said something, or has been silent for about a second. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_accept_spoken(int32_t listener) {
  int seconds = 1;
  return setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) == 0 ? 0 : -errno;
}

/* As rfaas_peer_uid, of a TCP connection of this process whose descriptor is not at hand: by the addresses of its ends, as text. */
RFAAS_EXPORT double rfaas_peer_uid_at(const char *peer_address, uint32_t peer_port, const char *own_address, uint32_t own_port) {
  struct end peer, own;
  if (end_at(&peer, peer_address, peer_port) != 0 || end_at(&own, own_address, own_port) != 0) return -EINVAL;
  if (peer.family != own.family || !is_loopback(&peer) || !is_loopback(&own)) return -EADDRNOTAVAIL;
  double uid = owner_over_loopback(&peer, &own);
  if (uid < 0) return uid;
  double ours = owner_over_loopback(&own, &peer);
  return ours < 0 ? ours : uid;
}

/* The user id of the process that opened the other end of a connected socket, or -errno where the kernel cannot vouch for it: the peer
 * is not on loopback, is in another network namespace, has closed, or the kernel has no sock_diag. */
RFAAS_EXPORT double rfaas_peer_uid(int32_t fd) {
  struct sockaddr_storage own = {0};
  socklen_t length = sizeof own;
  if (getsockname(fd, (struct sockaddr *)&own, &length) != 0) return -errno;
  if (own.ss_family != AF_UNIX) return peer_over_tcp(fd, &own);
  struct ucred peer;
  length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -errno;
  return peer.uid;
}

/* The process and the user that opened the other end of a connected Unix socket, as this one sees them; a process that it does not see is 0.
 * Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_peer_process(int32_t fd, int32_t *out) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -errno;
  out[0] = peer.pid;
  out[1] = (int32_t)peer.uid;
  return 0;
}
