/* Asks an HTTP server on this machine for what it sends, one request after the other, and never sleeps:
 * `spinning-client PORT BYTES WARMUP REQUESTS CPU`. Prints what each request took, in nanoseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { HEAD = 512 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "the answer is wrong");
  exit(1);
}

static void send_all(int fd, const char *from, size_t bytes) {
  while (bytes > 0) {
    ssize_t sent = send(fd, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail("send");
    if (sent > 0) from += sent, bytes -= (size_t)sent;
  }
}

/* Takes one answer. Returns where its body is. */
static char *take_answer(int fd, char *into, size_t room, size_t bytes) {
  size_t taken = 0;
  char *body = NULL;
  while (!body || (size_t)(into + taken - body) < bytes) {
    ssize_t got = recv(fd, into + taken, room - taken, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) fail("recv");
    if (got < 0) continue;
    taken += (size_t)got;
    if (!body && (body = memmem(into, taken, "\r\n\r\n", 4))) body += 4;
  }
  errno = 0;
  if ((size_t)(into + taken - body) != bytes || memcmp(into, "HTTP/1.1 200", 12) != 0) fail("answer");
  return body;
}

int main(int count, char **words) {
  if (count != 6) return 2;
  size_t bytes = (size_t)atol(words[2]);
  int warmup = atoi(words[3]), requests = atoi(words[4]), one = 1;
  cpu_set_t cpu;
  CPU_ZERO(&cpu);
  if (atoi(words[5]) >= 0) {
    CPU_SET(atoi(words[5]), &cpu);
    sched_setaffinity(0, sizeof cpu, &cpu);
  }
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  char *request = malloc(HEAD + bytes), *answer = malloc(HEAD + bytes);
  uint64_t *took = calloc((size_t)requests, sizeof *took);
  if (!request || !answer || !took) fail("malloc");
  size_t head = (size_t)snprintf(request, HEAD, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", bytes);
  for (int i = 0; i < warmup + requests; i++) {
    uint64_t before = now_ns();
    memset(request + head, i, bytes);
    send_all(fd, request, head + bytes);
    if (memcmp(take_answer(fd, answer, HEAD + bytes, bytes), request + head, bytes) != 0) fail("echo");
    if (i >= warmup) took[i - warmup] = now_ns() - before;
  }
  for (int i = 0; i < requests; i++) printf("%llu\n", (unsigned long long)took[i]);
  return 0;
}
