/* Whether a TCP connection still leads to its peer: the kernel there acknowledges what it is sent, whatever its processes do. For a client
 * that awaits an answer: a path that comes back before the next one has lost nothing. */
#ifndef RFAAS_PATH_H
#define RFAAS_PATH_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "endpoint.h"

/* The path is tried this often, and given up when nothing has been acknowledged for so long: with the next look that is at most 2 s after the
 * last sign of life. One that was not looked at for RFAAS_PATH_UNSEEN_NS has as long anew. */
#define RFAAS_PATH_BEAT_NS 200000000u
#define RFAAS_PATH_DEAD_MS 1450u
#define RFAAS_PATH_UNSEEN_NS 1000000000u

typedef struct {
  uint64_t beat_at_ns;
  uint64_t looked_at_ns;
  uint64_t unanswered_ns; /* since when something is not acknowledged */
} rfaas_path;

enum rfaas_path_state { RFAAS_PATH_STANDS = 0, RFAAS_PATH_BEAT_DUE = 1, RFAAS_PATH_DEAD = 2 };

static inline enum rfaas_path_state rfaas_path_look(rfaas_path *path, int fd) {
  uint64_t now = rfaas_now_ns(), dead_ns = RFAAS_PATH_DEAD_MS * 1000000ull;
  int due = now - path->beat_at_ns >= RFAAS_PATH_BEAT_NS;
  if (!due && now - path->unanswered_ns < dead_ns) return RFAAS_PATH_STANDS;
  int unseen = now - path->looked_at_ns > RFAAS_PATH_UNSEEN_NS;
  path->looked_at_ns = now;
  struct tcp_info info;
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
    if (info.tcpi_unacked == 0 || unseen) path->unanswered_ns = now;
    if (now - path->unanswered_ns >= dead_ns && info.tcpi_last_ack_recv >= RFAAS_PATH_DEAD_MS) return RFAAS_PATH_DEAD;
  }
  if (due) path->beat_at_ns = now;
  return due ? RFAAS_PATH_BEAT_DUE : RFAAS_PATH_STANDS;
}

/* What is idle outlives a short outage: only calls in flight have beats. */
static inline void rfaas_path_keep_alive(int fd) {
  const int on = 1, after_s = 5, times = 4;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &after_s, sizeof after_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &after_s, sizeof after_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

#endif
