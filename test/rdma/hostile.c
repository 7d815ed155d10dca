/* A client that knows a lease's port and nonce, greets as clients do, and then does what none of ours would:
 *
 *     hostile ADDRESS PORT NONCE BYTES SLOTS ATTACK [PORT NONCE]
 *
 * Prints `status N`, how its work has completed (-1 when it has not); `answer N` for each answer that comes, with its status;
 * `served SLOT BYTES` for each answer to requests that overtook each other; or `rejected N`. Then it prints `done` and waits for the end of its input, with its connections open. With `cross`, the second
 * port and nonce are those of another lease, which it holds too.
 */
#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <netdb.h>
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/rfaas.h"

/* As in ffi/shim/verbs/handshake.c. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t worker;
  uint8_t nonce[16];
  uint64_t base;
  uint64_t total_bytes;
  uint64_t clock_ms;
  uint32_t key;
  uint32_t slots;
} greeting;

#define IMMEDIATE_ROOM 0x80000000u
enum { RECEIVES = 64, DEPTH = 64 };

typedef struct {
  struct rdma_event_channel *events;
  struct rdma_cm_id *id;
  struct ibv_cq *sends;
  struct ibv_cq *receives;
  struct ibv_mr *memory;
  uint8_t *base;
  greeting theirs;
} lease;

static uint64_t bytes;
static uint32_t slots;
static const char *attack;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void done(void) {
  puts("done");
  while (getchar() != EOF) continue;
  exit(0);
}

static void expect_event(lease *l, enum rdma_cm_event_type wanted) {
  struct rdma_cm_event *event;
  if (rdma_get_cm_event(l->events, &event) != 0) fail("rdma_get_cm_event");
  if (event->event == RDMA_CM_EVENT_REJECTED) {
    printf("rejected %d\n", event->param.conn.private_data_len ? *(const uint8_t *)event->param.conn.private_data : 0);
    done();
  }
  if (event->event != wanted) {
    fprintf(stderr, "%s (%d) instead of %s\n", rdma_event_str(event->event), event->status, rdma_event_str(wanted));
    exit(1);
  }
  if (wanted == RDMA_CM_EVENT_ESTABLISHED) memcpy(&l->theirs, event->param.conn.private_data, sizeof l->theirs);
  rdma_ack_cm_event(event);
}

static void connect_to(lease *l, const char *address, const char *port, const char *nonce) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *to;
  if (getaddrinfo(address, port, &hints, &to) != 0) fail("getaddrinfo");
  l->events = rdma_create_event_channel();
  if (!l->events || rdma_create_id(l->events, &l->id, NULL, RDMA_PS_TCP) != 0) fail("rdma_create_id");
  if (rdma_resolve_addr(l->id, NULL, to->ai_addr, 2000) != 0) fail("rdma_resolve_addr");
  expect_event(l, RDMA_CM_EVENT_ADDR_RESOLVED);
  if (rdma_resolve_route(l->id, 2000) != 0) fail("rdma_resolve_route");
  expect_event(l, RDMA_CM_EVENT_ROUTE_RESOLVED);

  struct ibv_pd *pd = ibv_alloc_pd(l->id->verbs);
  l->base = aligned_alloc(RFAAS_PAGE, bytes);
  memset(l->base, 0, bytes);
  l->memory = ibv_reg_mr(pd, l->base, bytes, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  l->sends = ibv_create_cq(l->id->verbs, DEPTH, NULL, NULL, 0);
  l->receives = ibv_create_cq(l->id->verbs, RECEIVES, NULL, NULL, 0);
  if (!l->memory || !l->sends || !l->receives) fail("verbs");
  struct ibv_qp_init_attr attributes = {.send_cq = l->sends,
                                        .recv_cq = l->receives,
                                        .qp_type = IBV_QPT_RC,
                                        .cap = {DEPTH, RECEIVES, 2, 1, 0}};
  if (rdma_create_qp(l->id, pd, &attributes) != 0) fail("rdma_create_qp");
  for (int i = 0; i < RECEIVES; i++) {
    struct ibv_recv_wr receive = {0}, *refused;
    if (ibv_post_recv(l->id->qp, &receive, &refused) != 0) fail("ibv_post_recv");
  }

  greeting mine = {.magic = 0x72664c4b,
                   .version = strcmp(attack, "version") == 0 ? 9 : 2,
                   .worker = strcmp(attack, "worker") == 0 ? 7 : 0,
                   .base = (uintptr_t)l->base,
                   .total_bytes = bytes,
                   .key = l->memory->rkey,
                   .slots = slots};
  for (int i = 0; i < 16; i++) sscanf(nonce + 2 * i, "%2hhx", &mine.nonce[i]);
  struct rdma_conn_param with = {.private_data = &mine,
                                 .private_data_len = strcmp(attack, "short") == 0 ? 4 : sizeof mine,
                                 .initiator_depth = 1,
                                 .retry_count = 7,
                                 .rnr_retry_count = 6};
  if (rdma_connect(l->id, &with) != 0) fail("rdma_connect");
  if (strcmp(attack, "half") == 0) {
    /* The reply is never looked at. */
    sleep(1);
    exit(0);
  }
  expect_event(l, RDMA_CM_EVENT_ESTABLISHED);
}

static rfaas_slot *slot_of(lease *l, uint32_t slot) {
  return &rfaas_slots_of(rfaas_channel_at((rfaas_lease_page *)l->base, 0, slots))[slot];
}

static uint8_t *arena(lease *l) {
  return l->base + sizeof(rfaas_lease_page) + rfaas_channel_bytes(slots);
}

static uint64_t theirs(lease *l, const void *mine) { return l->theirs.base + (uint64_t)((const uint8_t *)mine - l->base); }

static void post(lease *l, enum ibv_wr_opcode opcode, const void *from, uint32_t length, uint64_t to, uint32_t key,
                 uint32_t immediate) {
  struct ibv_sge piece = {(uintptr_t)from, length, l->memory->lkey};
  struct ibv_send_wr work = {.sg_list = &piece,
                             .num_sge = length ? 1 : 0,
                             .opcode = opcode,
                             .send_flags = IBV_SEND_SIGNALED,
                             .imm_data = htonl(immediate),
                             .wr.rdma = {to, key}};
  struct ibv_send_wr *refused;
  if (ibv_post_send(l->id->qp, &work, &refused) != 0) fail("ibv_post_send");
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The first failed completion among `count`, else success; -1 when they do not come. */
static int completed(lease *l, int count) {
  double end = now() + 4;
  while (count > 0 && now() < end) {
    struct ibv_wc done;
    if (ibv_poll_cq(l->sends, 1, &done) != 1) continue;
    if (done.status != IBV_WC_SUCCESS) return (int)done.status;
    count--;
  }
  return count == 0 ? 0 : -1;
}

/* A request as a client writes it, into `slot`. */
static rfaas_request *request(lease *l, uint32_t slot, uint32_t sequence) {
  rfaas_request *r = &slot_of(l, slot)->request;
  *r = (rfaas_request){.input_offset = 0,
                       .input_length = 8,
                       .output_offset = 1024,
                       .output_capacity = 8,
                       .function = RFAAS_INPUT_INLINE,
                       .fabric = slot,
                       .sequence = sequence};
  return r;
}

static void send_request(lease *l, rfaas_request *r, uint32_t immediate) {
  post(l, IBV_WR_RDMA_WRITE_WITH_IMM, r, sizeof *r, theirs(l, r), l->theirs.key, immediate);
}

/* Prints the status of each of `count` answers, until they stop coming. */
static void answers(lease *l, int count, double seconds) {
  double end = now() + seconds;
  while (count > 0 && now() < end) {
    struct ibv_wc done;
    if (ibv_poll_cq(l->receives, 1, &done) != 1) continue;
    if (done.status != IBV_WC_SUCCESS) return;
    printf("answer %d\n", -(int)(ntohl(done.imm_data) >> 10 & 0xf));
    count--;
  }
}

/* Prints which slots are answered with how many bytes, in the order in which the answers come. */
static void served(lease *l, int count, double seconds) {
  double end = now() + seconds;
  while (count > 0 && now() < end) {
    struct ibv_wc done;
    if (ibv_poll_cq(l->receives, 1, &done) != 1) continue;
    if (done.status != IBV_WC_SUCCESS) return;
    printf("served %u %u\n", ntohl(done.imm_data) & 0x3ffu, done.byte_len);
    count--;
  }
}

static int is(const char *name) { return strcmp(attack, name) == 0; }

int main(int argc, char **argv) {
  if (argc < 7) return 2;
  bytes = strtoull(argv[4], NULL, 10);
  slots = (uint32_t)atoi(argv[5]);
  attack = argv[6];
  setvbuf(stdout, NULL, _IOLBF, 0);
  lease l = {0}, other = {0};
  if (is("cross")) connect_to(&other, argv[1], argv[7], argv[8]);
  connect_to(&l, argv[1], argv[2], argv[3]);

  uint32_t sequence = 1;
  if (is("below")) post(&l, IBV_WR_RDMA_WRITE, l.base, 64, l.theirs.base - 64, l.theirs.key, 0);
  else if (is("above")) post(&l, IBV_WR_RDMA_WRITE, l.base, 64, l.theirs.base + bytes - 8, l.theirs.key, 0);
  else if (is("read")) post(&l, IBV_WR_RDMA_READ, l.base, 64, l.theirs.base + bytes, l.theirs.key, 0);
  else if (is("cross")) post(&l, IBV_WR_RDMA_WRITE, l.base, 64, other.theirs.base + bytes / 2, other.theirs.key, 0);
  else if (is("slot")) send_request(&l, request(&l, 0, sequence), slots);
  else if (is("inner-slot")) {
    rfaas_request *r = request(&l, 0, sequence);
    r->fabric = 0x3ff;
    send_request(&l, r, 0);
  } else if (is("room")) send_request(&l, request(&l, 0, sequence), IMMEDIATE_ROOM | 0x7fffffffu);
  else if (is("room-at-the-end")) send_request(&l, request(&l, 0, sequence), IMMEDIATE_ROOM | (uint32_t)(bytes / RFAAS_LINE));
  else if (is("again")) {
    send_request(&l, request(&l, 0, sequence), 0);
    send_request(&l, request(&l, 0, sequence + 1), 0);
  } else if (is("send")) post(&l, IBV_WR_SEND_WITH_IMM, NULL, 0, 0, 0, 0);
  else if (is("long-send")) post(&l, IBV_WR_SEND_WITH_IMM, l.base, 64, 0, 0, 0);
  else if (is("far-ahead")) send_request(&l, request(&l, 0, slots + 1), 0);
  else if (is("early-again")) {
    send_request(&l, request(&l, 2, 2), 2);
    rfaas_request *r = request(&l, 3, 3);
    r->fabric = 2;
    send_request(&l, r, 3);
  } else if (is("overtaking")) {
    /* The third call comes first, in the room before an input; the first comes last. */
    for (uint32_t slot = 2; slot < 3; slot--) {
      rfaas_request *r = request(&l, slot, slot + 1);
      r->input_length = slot + 1;
      uint32_t room = slot == 2 ? IMMEDIATE_ROOM | 4 : slot;
      const uint8_t *at = slot == 2 ? arena(&l) + 4 * RFAAS_LINE : (const uint8_t *)r;
      post(&l, IBV_WR_RDMA_WRITE_WITH_IMM, r, sizeof *r, theirs(&l, at), l.theirs.key, room);
    }
    if (completed(&l, 3) != 0) return 1;
    served(&l, 3, 5);
    done();
  } else if (is("bounds")) {
    /* Bad requests are answered as such; the good one after them is answered, too. */
    for (int i = 0; i < 7; i++) {
      rfaas_request *r = request(&l, 0, sequence++);
      if (i == 0) r->function |= 5;
      if (i == 1) r->function |= RFAAS_FUNCTION_MASK;
      if (i == 2) r->function = 0, r->input_offset = 0xffffff00u, r->input_length = 0xffffffffu;
      if (i == 3) r->output_offset = 0xffffff00u, r->output_capacity = 0xffffffffu;
      if (i == 4) r->input_length = 33;
      if (i == 5) r->function |= RFAAS_OUTPUT_INLINE;
      send_request(&l, r, 0);
      if (completed(&l, 1) != 0) break;
      answers(&l, 1, 5);
    }
    done();
  }
  printf("status %d\n", completed(&l, is("again") || is("early-again") ? 2 : 1));
  /* A connection that lives would answer this. */
  send_request(&l, request(&l, 1, sequence), 1);
  answers(&l, 1, 1);
  if (is("cross")) {
    send_request(&other, request(&other, 0, 1), 0);
    answers(&other, 1, 5);
  }
  done();
}
