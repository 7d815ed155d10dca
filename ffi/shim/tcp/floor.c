/* The floor of the tcp fabric: what two sockets of the same settings do with no rfaas in between. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcp.h"

typedef struct {
  int fd;
  uint8_t *message; /* a head and a payload */
  uint8_t *answer; /* what the echo makes of it, on the other side what a program sends */
  uint32_t buffers;
  uint32_t bytes;
  uint32_t rounds;
  uint32_t uncounted; /* of the rounds, the first */
  int32_t cpu;
  int block;
  int failed;
} side;

static void pin(int32_t cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/* Moves so many bytes one way. Returns 0 or a positive errno. */
static int move_bytes(side *s, uint8_t *from, size_t bytes, int there) {
  uint32_t spins = 0;
  for (size_t moved = 0; moved < bytes;) {
    int how = MSG_NOSIGNAL | (s->block ? 0 : MSG_DONTWAIT);
    uint8_t *at = from + moved;
    ssize_t did = there ? send(s->fd, at, bytes - moved, how) : recv(s->fd, at, bytes - moved, how);
    if (did > 0) moved += (size_t)did;
    else if (did == 0) return ECONNRESET;
    else if (errno != EAGAIN && errno != EINTR) return errno;
    else if (++spins % 2048 == 0) sched_yield(); /* on one CPU the other side could never answer */
  }
  return 0;
}

static int move(side *s, uint8_t *message, int there) { return move_bytes(s, message, s->bytes, there); }

static void *echo(void *argument) {
  side *s = argument;
  pin(s->cpu);
  for (uint32_t round = 0; round < s->rounds && !s->failed; round++) {
    s->failed = move(s, s->message, 0);
    memcpy(s->answer, s->message, s->bytes);
    if (!s->failed) s->failed = move(s, s->answer, 1);
  }
  return NULL;
}

/* Two ends of one connection over the loopback device. Returns 0 or a positive errno. */
static int connect_pair(int fds[2]) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof at;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  fds[1] = -1;
  if (listener >= 0 && fds[0] >= 0 && bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0 &&
      getsockname(listener, (struct sockaddr *)&at, &size) == 0 && connect(fds[0], (struct sockaddr *)&at, sizeof at) == 0)
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  int failed = fds[1] < 0 ? errno : 0;
  if (listener >= 0) close(listener);
  for (int i = 0; i < 2; i++)
    if (failed && fds[i] >= 0) close(fds[i]);
    else if (!failed) rfaas_tcp_tune(fds[i]);
  return failed;
}

/* A ping-pong of a frame's head and `bytes` of payload, which a program writes on one side and copies on the other. Otherwise as `rfaas_floor`; `block` sleeps in the system call. */
RFAAS_EXPORT int32_t rfaas_tcp_floor(uint32_t bytes, uint32_t warmup, uint32_t samples, int32_t client_cpu, int32_t echo_cpu,
                                     int32_t block, uint32_t gap_ns, uint32_t *ticks) {
  int fds[2];
  int failed = connect_pair(fds);
  if (failed) return -failed;
  side sides[2];
  for (int i = 0; i < 2; i++)
    sides[i] = (side){.fd = fds[i],
                      .message = calloc(1, sizeof(rfaas_tcp_frame) + bytes),
                      .answer = calloc(1, sizeof(rfaas_tcp_frame) + bytes),
                      .bytes = (uint32_t)sizeof(rfaas_tcp_frame) + bytes,
                      .rounds = warmup + samples,
                      .cpu = echo_cpu,
                      .block = block};
  if (!sides[0].message || !sides[1].message || !sides[0].answer || !sides[1].answer) failed = ENOMEM;
  pin(client_cpu);
  pthread_t thread;
  if (!failed) failed = pthread_create(&thread, NULL, echo, &sides[1]);
  if (!failed) {
    uint64_t before = rfaas_now_ticks(), gap = (uint64_t)(gap_ns * rfaas_ticks_per_ns());
    for (uint32_t round = 1; round <= sides[0].rounds && !failed; round++) {
      if (gap) {
        while (rfaas_now_ticks() - before < gap) rfaas_relax();
        before = rfaas_now_ticks();
      }
      memcpy(sides[0].message, sides[0].answer, sides[0].bytes);
      memcpy(sides[0].message, &round, sizeof round);
      failed = move(&sides[0], sides[0].message, 1);
      if (!failed) failed = move(&sides[0], sides[0].message, 0);
      uint64_t now = rfaas_now_ticks();
      if (round > warmup) ticks[round - warmup - 1] = (uint32_t)(now - before);
      if (!gap) before = now;
    }
    /* An echo that still waits ends. */
    shutdown(fds[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    if (!failed && sides[1].failed) failed = sides[1].failed;
  }
  for (int i = 0; i < 2; i++) {
    close(fds[i]);
    free(sides[i].message);
    free(sides[i].answer);
  }
  return -failed;
}

/* ---- one way ---- */

/* A message stays in the buffer that it has, of so many that are used in turn. */
static uint8_t *message_of(const side *s, uint32_t round) { return s->message + (size_t)(round % s->buffers) * s->bytes; }

static void *take_all(void *argument) {
  side *s = argument;
  pin(s->cpu);
  uint8_t done = 1;
  for (uint32_t round = 0; round < s->rounds && !s->failed; round++) {
    s->failed = move_bytes(s, message_of(s, round), sizeof(rfaas_tcp_frame), 0);
    if (!s->failed) s->failed = move_bytes(s, message_of(s, round) + sizeof(rfaas_tcp_frame), s->bytes - sizeof(rfaas_tcp_frame), 0);
    /* All that did not count is over, and all that did. */
    if (!s->failed && (round + 1 == s->uncounted || round + 1 == s->rounds)) s->failed = move_bytes(s, &done, sizeof done, 1);
  }
  return NULL;
}

/* Sends `warmup` and then `messages` messages, each a frame's head and `bytes` of payload, in `buffers` buffers in turn on both sides.
 * `took_ns` is from the first that counts until the other side says that it has all. Otherwise as `rfaas_tcp_floor`. */
RFAAS_EXPORT int32_t rfaas_tcp_stream_floor(uint32_t bytes, uint32_t buffers, uint32_t warmup, uint32_t messages,
                                            int32_t client_cpu, int32_t taker_cpu, int32_t block, double *took_ns) {
  int fds[2];
  int failed = connect_pair(fds);
  if (failed) return -failed;
  side sides[2];
  for (int i = 0; i < 2; i++) {
    sides[i] = (side){.fd = fds[i],
                      .buffers = buffers,
                      .bytes = (uint32_t)sizeof(rfaas_tcp_frame) + bytes,
                      .rounds = warmup + messages,
                      .uncounted = warmup,
                      .cpu = taker_cpu,
                      .block = block};
    size_t all = (size_t)buffers * sides[i].bytes;
    sides[i].message = malloc(all);
    if (!sides[i].message) failed = ENOMEM;
    else memset(sides[i].message, i, all); /* so that no page is met for the first time */
  }
  pin(client_cpu);
  pthread_t thread;
  if (!failed) failed = pthread_create(&thread, NULL, take_all, &sides[1]);
  if (!failed) {
    uint64_t before = rfaas_now_ns();
    uint8_t done;
    for (uint32_t round = 0; round < sides[0].rounds && !failed; round++) {
      failed = move(&sides[0], message_of(&sides[0], round), 1);
      if (failed || (round + 1 != warmup && round + 1 != sides[0].rounds)) continue;
      failed = move_bytes(&sides[0], &done, sizeof done, 0);
      *took_ns = (double)(rfaas_now_ns() - before);
      before = rfaas_now_ns();
    }
    shutdown(fds[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    if (!failed && sides[1].failed) failed = sides[1].failed;
  }
  for (int i = 0; i < 2; i++) {
    close(fds[i]);
    free(sides[i].message);
  }
  return -failed;
}
