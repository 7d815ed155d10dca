/* A fabric whose messages overtake each other, for tests: both sides map the region, and a message is seen at some later look.
 *
 * A request travels in the spare line of its slot until the worker's side delivers it, any of those under way first. A response is seen
 * at one look of four, and late when its worker has ended. Sleepers are not woken: they look again and again.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/endpoint.h"

extern const rfaas_fabric rfaas_overtaking_fabric;

/* A worker's last answers are so far behind the word that it has ended. */
enum { SPINS = 64, NAP_US = 20, BEHIND_MS = 40 };

typedef struct {
  rfaas_link base;
  int peer_pidfd;
} overtaking_link;

static uint32_t chance(void) {
  static __thread uint32_t state = 0x9e3779b9u;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

static void client_post(rfaas_client *c, uint32_t slot, rfaas_request *request) {
  rfaas_request *under_way = (rfaas_request *)c->slots[slot].spare;
  memcpy(under_way, request, offsetof(rfaas_request, word));
  __atomic_store_n(&under_way->word, request->word, __ATOMIC_RELEASE);
}

static int is_answered(rfaas_client *c, uint32_t slot) {
  return __atomic_load_n(&c->slots[slot].response.sequence, __ATOMIC_ACQUIRE) == c->slot[slot].sequence;
}

static int has_arrived(rfaas_client *c, uint32_t slot) {
  if (!__atomic_load_n(&c->page->ended, __ATOMIC_ACQUIRE)) return chance() % 4 == 0;
  uint32_t now_ms = (uint32_t)(rfaas_now_ns() / 1000000u), *looked_at_ms = &c->slot[slot].own;
  if (*looked_at_ms == 0) *looked_at_ms = now_ms;
  return now_ms - *looked_at_ms >= BEHIND_MS;
}

static const rfaas_response *client_poll(rfaas_client *c, uint32_t slot) {
  return is_answered(c, slot) && has_arrived(c, slot) ? &c->slots[slot].response : NULL;
}

static const rfaas_response *client_spin(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = NULL;
  for (int spins = 0; spins < SPINS && !response; spins++) {
    response = client_poll(c, slot);
    rfaas_relax();
  }
  return response;
}

static int client_wait(rfaas_client *c, uint32_t slot, uint64_t ns) {
  uint64_t until = rfaas_now_ns() + ns;
  while (rfaas_now_ns() < until) {
    if (is_answered(c, slot)) break;
    usleep(NAP_US);
  }
  return 0;
}

static void client_park(rfaas_client *c) { (void)c; }
static void client_unpark(rfaas_client *c) { (void)c; }
static int client_lost(rfaas_client *c) {
  struct pollfd peer = {.fd = ((overtaking_link *)c->end)->peer_pidfd, .events = POLLIN};
  return poll(&peer, 1, 0) == 1;
}

/* Delivers one of the requests that are under way, or none. */
static void deliver(rfaas_worker *w) {
  uint32_t first = chance();
  for (uint32_t i = 0; i <= w->mask; i++) {
    rfaas_slot *slot = &w->slots[(first + i) & w->mask];
    const rfaas_request *under_way = (const rfaas_request *)slot->spare;
    uint64_t word = __atomic_load_n(&under_way->word, __ATOMIC_ACQUIRE);
    if (word == slot->request.word || chance() % 4 == 0) continue;
    memcpy(&slot->request, under_way, offsetof(rfaas_request, word));
    slot->request.word = word;
    return;
  }
}

static int32_t worker_poll(rfaas_worker *w) {
  for (uint32_t slot = 0; slot <= w->mask; slot++)
    if (w->slots[slot].request.word == w->expected && !w->slot[slot].active) {
      w->incoming = &w->slots[slot].request;
      return (int32_t)slot;
    }
  deliver(w);
  return -1;
}

static int32_t worker_spin(rfaas_worker *w) {
  int32_t slot = -1;
  for (int spins = 0; spins < SPINS && slot < 0; spins++) slot = worker_poll(w);
  return slot;
}

static void worker_post(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  rfaas_response *response = &w->slots[slot].response;
  memcpy(response->payload, w->slot[slot].output, RFAAS_INLINE_OUTPUT);
  response->status = status;
  response->length = length;
  __atomic_store_n(&response->sequence, w->slot[slot].sequence, __ATOMIC_RELEASE);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  uint64_t until = rfaas_now_ns() + ns;
  while (rfaas_now_ns() < until && !__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
    if (worker_spin(w) >= 0) break;
    usleep(NAP_US);
  }
  return 0;
}

static void worker_park(rfaas_worker *w) { (void)w; }
static void worker_unpark(rfaas_worker *w) { (void)w; }
static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  return (int32_t)(request->deadline_ms - (uint32_t)((rfaas_now_ns() - w->epoch_ns) / 1000000u));
}
static void publish_end(rfaas_worker *w) { (void)w; }
static void rouse(rfaas_worker *w, int32_t loop_fd) { (void)w, (void)loop_fd; }

/* The address is the process id of the other side. */
static rfaas_link *new_link(rfaas_region *region, const rfaas_link_options *options) {
  overtaking_link *made = calloc(1, sizeof *made);
  if (!made) return NULL;
  made->base = (rfaas_link){.fabric = &rfaas_overtaking_fabric, .region = region};
  made->peer_pidfd = (int)syscall(SYS_pidfd_open, atoi(options->address), 0);
  return &made->base;
}

static uint32_t port_of(rfaas_link *of) {
  (void)of;
  return 0;
}
static void status_of(rfaas_link *of, int32_t channel, rfaas_link_status *out) {
  (void)of, (void)channel;
  out->ready = 1;
}
static void *end_of(rfaas_link *of, uint32_t channel, int32_t notify_fd) {
  (void)channel, (void)notify_fd;
  return of;
}
static void close_link(rfaas_link *of) {
  close(((overtaking_link *)of)->peer_pidfd);
  free(of);
}

static const rfaas_client_ops client_ops = {client_post, client_poll,   client_spin, client_wait,
                                            client_park, client_unpark, client_lost, rfaas_remote_in_place};
static const rfaas_worker_ops worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, publish_end, rouse};
static const rfaas_link_ops link_ops = {
    .connect = new_link, .listen = new_link, .port = port_of, .state = status_of, .end = end_of, .close = close_link};

const rfaas_fabric rfaas_overtaking_fabric = {.name = "overtaking",
                                              .inline_output = RFAAS_INLINE_OUTPUT,
                                              .shared_clock = 1,
                                              .copies_own_memory = 1,
                                              .client = &client_ops,
                                              .worker = &worker_ops,
                                              .link = &link_ops};
