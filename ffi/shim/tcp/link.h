/* The connections of one lease: what `link.c`, which watches and ends them, shares with `handshake.c`, which makes them. */
#ifndef RFAAS_TCP_LINK_H
#define RFAAS_TCP_LINK_H

#include "tcp.h"

#define RFAAS_TCP_MAGIC 0x72665443u /* "CTfr" */
#define RFAAS_TCP_WIRE_VERSION 1u

/* What a client says first, on each connection. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t channel; /* behind the last one, the side way */
  uint8_t nonce[16]; /* the lease's secret; of one that is encrypted, its id */
  uint64_t total_bytes;
  uint64_t clock_ms; /* since the lease's epoch, on the client's clock */
  uint32_t slots;
  uint8_t encrypted; /* 1: a handshake of TLS follows the answer */
  uint8_t pad[19];
} rfaas_tcp_greeting;
_Static_assert(sizeof(rfaas_tcp_greeting) == 64, "a greeting is 64 bytes");

/* And the node's answer. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t rejection; /* 0 or enum rfaas_tcp_rejection */
} rfaas_tcp_welcome;

/* A connection that is being made: on a node, with someone who has not shown yet that it is the lease's client. */
typedef struct {
  int32_t fd; /* -1 for none */
  uint32_t channel; /* on a client's side */
  uint32_t greeted;
  rfaas_tcp_tls *tls; /* while its handshake goes on */
  rfaas_tcp_greeting greeting;
  uint32_t read;
  uint64_t deadline_ns;
  uint8_t said[sizeof(rfaas_tcp_greeting)];
} rfaas_tcp_newcomer;

struct rfaas_tcp_link {
  rfaas_link base;
  pthread_t thread;
  int has_thread;
  int listens; /* the node's side */
  int epoll_fd;
  int wake_fd;
  int timer_fd; /* what is held goes out when it fires */
  uint32_t timing;
  int listener_fd;
  int32_t notify_fd;
  uint32_t stop;
  uint32_t port;
  uint32_t channels;
  uint32_t connected; /* the side way included */
  uint32_t ready; /* listening, or all connected */
  uint8_t nonce[16];
  uint8_t id[16]; /* names the lease where it is encrypted */
  uint32_t encrypts;
  uint32_t failing;
  uint32_t failure; /* enum rfaas_tcp_failure */
  int32_t detail;
  int32_t of;
  pthread_mutex_t door; /* guards the newcomers and what they become */
  uint32_t newcomers;
  rfaas_tcp_newcomer *newcomer;
  rfaas_tcp_end end[]; /* of each channel, and the side way */
};

/* What an event is about, in the upper half; which one, in the lower half. */
enum rfaas_tcp_event { RFAAS_TCP_EVENT_WAKE = 0, RFAAS_TCP_EVENT_LISTENER = 1, RFAAS_TCP_EVENT_NEWCOMER = 2, RFAAS_TCP_EVENT_END = 3, RFAAS_TCP_EVENT_TIMER = 4 };

/* Tells the program that the link's state has changed. */
void rfaas_tcp_changed(rfaas_tcp_link *link);
__attribute__((cold)) void rfaas_tcp_link_fail(rfaas_tcp_link *link, uint32_t failure, int32_t detail, int32_t of);
/* What is held goes out in RFAAS_TCP_HOLD_NS, if it has not by then. */
void rfaas_tcp_let_go_soon(rfaas_tcp_link *link);
/* Watches for what the end waits for; with its lock. */
void rfaas_tcp_watch(rfaas_tcp_end *end);
/* Watches a descriptor for `events`, once, or goes on. Returns 0 or a positive errno. */
int rfaas_tcp_watch_once(rfaas_tcp_link *link, int fd, uint32_t events, enum rfaas_tcp_event about, uint32_t which);

/* Begins to connect every channel and the side way. Returns 0 or a positive errno. */
int rfaas_tcp_begin_to_connect(rfaas_tcp_link *link, const struct sockaddr_storage *to, const struct sockaddr_storage *from);
/* Someone is at the door, and has said `bytes` already. Takes the descriptor. With the lock of the door. */
void rfaas_tcp_let_in(rfaas_tcp_link *link, int fd, const uint8_t *said, uint32_t bytes);
/* Opens the listener. Returns 0 or a positive errno. */
int rfaas_tcp_begin_to_listen(rfaas_tcp_link *link, const struct sockaddr_storage *at);
void rfaas_tcp_accept(rfaas_tcp_link *link);
/* Turns one away who is still at the door, if there is one. */
void rfaas_tcp_dismiss(rfaas_tcp_newcomer *newcomer);
void rfaas_tcp_hear_newcomer(rfaas_tcp_link *link, rfaas_tcp_newcomer *newcomer);
/* Ends what has not come so far in time. Returns whether some are still on their way. */
int rfaas_tcp_expire(rfaas_tcp_link *link);

#endif
