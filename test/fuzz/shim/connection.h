/* One end of a connection over tcp, without a network: its socket is one of a pair, and what the peer says is the fuzzer's. No thread
 * attends the link, so that an input does the same each time. */
#ifndef FUZZ_CONNECTION_H
#define FUZZ_CONNECTION_H

#include "lease.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "../../../ffi/shim/tcp/link.h"
#include "../../../ffi/shim/tcp/tls.h"

static const uint8_t secret[16] = "a lease's secret";
enum { NEWCOMERS = 2, QUEUE = SLOTS + 4 };

static rfaas_tcp_link *new_link(rfaas_region *region, int listens) {
  rfaas_tcp_link *link = calloc(1, sizeof *link + 2 * sizeof(rfaas_tcp_end));
  link->base = (rfaas_link){.fabric = &rfaas_tcp_fabric, .region = region};
  link->channels = 1;
  link->listens = listens;
  link->listener_fd = -1;
  link->notify_fd = -1;
  link->newcomers = NEWCOMERS;
  link->newcomer = calloc(NEWCOMERS, sizeof *link->newcomer);
  link->epoll_fd = epoll_create1(0);
  link->wake_fd = eventfd(0, EFD_NONBLOCK);
  link->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  memcpy(link->nonce, secret, sizeof secret);
  pthread_mutex_init(&link->door, NULL);
  for (uint32_t i = 0; i <= 1; i++) {
    rfaas_tcp_end *end = &link->end[i];
    *end = (rfaas_tcp_end){.link = link, .index = i, .fd = -1, .notify_fd = -1, .capacity = QUEUE};
    pthread_mutex_init(&end->lock, NULL);
    end->wake_fd = eventfd(0, EFD_NONBLOCK);
    end->queue = calloc(QUEUE, sizeof *end->queue);
  }
  return link;
}

/* As new ones, not connected. */
static void reset_link(rfaas_tcp_link *link) {
  for (uint32_t i = 0; i < NEWCOMERS; i++) {
    if (link->newcomer[i].fd >= 0 && link->newcomer[i].deadline_ns) rfaas_tcp_dismiss(&link->newcomer[i]);
    link->newcomer[i] = (rfaas_tcp_newcomer){.fd = -1};
  }
  for (uint32_t i = 0; i <= 1; i++) {
    rfaas_tcp_end *end = &link->end[i];
    if (end->fd >= 0) close(end->fd);
    rfaas_tls_free(end->tls);
    rfaas_tcp_outgoing *queue = end->queue;
    int32_t wake_fd = end->wake_fd;
    pthread_mutex_destroy(&end->lock);
    /* Its buffer may hold what was left: nothing of that is taken. */
    memset(end, 0, offsetof(rfaas_tcp_end, buffer));
    *(rfaas_tcp_link **)&end->link = link;
    end->index = i;
    end->fd = end->notify_fd = -1;
    end->wake_fd = wake_fd;
    end->queue = queue;
    end->capacity = QUEUE;
    end->burst_ticks = 1000;
    pthread_mutex_init(&end->lock, NULL);
  }
  link->connected = link->ready = link->failing = link->failure = link->timing = link->stop = 0;
  link->encrypts = 0;
}

/* The peer's socket; ours goes to `own`. Neither waits. */
static int connect_pair(int32_t *own) {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
  *own = pair[0];
  return pair[1];
}

/* The peer says some bytes, and takes what is said to it. */
static void say(int peer, bytes *b, size_t most) {
  uint8_t out[256], in[4096];
  if (most > sizeof out) most = sizeof out;
  if (most > b->left) most = b->left;
  take(b, out, most);
  (void)!send(peer, out, most, MSG_NOSIGNAL);
  while (recv(peer, in, sizeof in, 0) > 0) continue;
}

#endif
