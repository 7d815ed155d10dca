/* The floor of the verbs fabric: what the device does with no rfaas in between, over queue pairs of the same settings. */
#define _GNU_SOURCE
#include "verbs.h"

#include <errno.h>

#ifdef RFAAS_WITH_VERBS
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

typedef struct {
  rfaas_verbs_end *end;
  uint32_t arena_offset;
  uint32_t bytes;
  uint32_t rounds;
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

/* One write with immediate of up to two pieces to `to`, an offset in the peer's region. */
static int send_to(rfaas_verbs_end *end, struct ibv_sge *pieces, int count, uint64_t to) {
  uint32_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += pieces[i].length;
  struct ibv_send_wr work = {.sg_list = pieces,
                             .num_sge = count,
                             .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
                             .send_flags = bytes <= end->inline_bytes ? IBV_SEND_INLINE : 0,
                             .wr.rdma = {.remote_addr = end->remote_base + to, .rkey = end->remote_key}};
  if (!rfaas_verbs_reserve(end, 1)) return EIO;
  rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_CALL);
  return 0;
}

/* Spins, or sleeps as a C program does: arm, look once more, block in the read of the event. */
static int await(rfaas_verbs_end *end, int block) {
  uint32_t immediate, bytes, spins = 0;
  while (!rfaas_verbs_receive(end, &immediate, &bytes)) {
    if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) return EIO;
    if (!block) {
      if (++spins % 2048 == 0) sched_yield();
      continue;
    }
    rfaas_verbs_arm(end);
    if (rfaas_verbs_receive(end, &immediate, &bytes)) break;
    struct ibv_cq *queue;
    void *context;
    if (rfaas_verbs()->ibv_get_cq_event(end->channel, &queue, &context) != 0) return errno;
    rfaas_verbs()->ibv_ack_cq_events(queue, 1);
  }
  return 0;
}

static void *echo(void *argument) {
  side *s = argument;
  pin(s->cpu);
  struct ibv_sge payload = {
      .addr = (uintptr_t)s->end->base + s->arena_offset + RFAAS_LINE, .length = s->bytes, .lkey = s->end->local_key};
  for (uint32_t round = 0; round < s->rounds && !s->failed; round++) {
    s->failed = await(s->end, s->block);
    if (!s->failed) s->failed = send_to(s->end, &payload, 1, s->arena_offset + RFAAS_LINE);
  }
  return NULL;
}

static void set_blocking(rfaas_verbs_end *end, int block) {
  int flags = fcntl(end->channel->fd, F_GETFL);
  fcntl(end->channel->fd, F_SETFL, block ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

/* A ping-pong between two ends of one connection, both in this process: header and payload there, payload back, each one write
 * with immediate; payloads up to 32 bytes travel in the header's line, as in a call. Otherwise as `rfaas_floor`. */
RFAAS_EXPORT int32_t rfaas_verbs_floor(rfaas_link *client, rfaas_link *server, rfaas_region *region, uint32_t bytes,
                                       uint32_t warmup, uint32_t samples, int32_t client_cpu, int32_t echo_cpu,
                                       int32_t block, uint32_t gap_ns, uint32_t *ticks) {
  if (client->fabric != &rfaas_verbs_fabric || server->fabric != &rfaas_verbs_fabric) return -EINVAL;
  rfaas_verbs_end *end = rfaas_verbs_end_of(client, 0), *other = rfaas_verbs_end_of(server, 0);
  uint64_t offset = region->arena_offset;
  if (!end || !other || bytes + 2 * RFAAS_LINE > region->arena_bytes || bytes > end->chunk_bytes - RFAAS_LINE) return -EINVAL;
  uint8_t *line = end->base + offset;
  struct ibv_sge pieces[] = {{.addr = (uintptr_t)line, .length = RFAAS_LINE, .lkey = end->local_key},
                             {.addr = (uintptr_t)line + RFAAS_LINE, .length = bytes, .lkey = end->local_key}};
  side s = {.end = other, .arena_offset = (uint32_t)offset, .bytes = bytes, .rounds = warmup + samples, .cpu = echo_cpu, .block = block};
  set_blocking(end, block);
  set_blocking(other, block);
  pin(client_cpu);
  pthread_t thread;
  int failed = pthread_create(&thread, NULL, echo, &s);
  if (failed) return -failed;
  uint64_t before = rfaas_now_ticks(), gap = (uint64_t)(gap_ns * rfaas_ticks_per_ns());
  for (uint32_t round = 1; round <= s.rounds && !failed; round++) {
    if (gap) {
      while (rfaas_now_ticks() - before < gap) rfaas_relax();
      before = rfaas_now_ticks();
    }
    memcpy(line, &round, sizeof round);
    failed = send_to(end, pieces, bytes > RFAAS_INLINE_INPUT ? 2 : 1, offset);
    if (!failed) failed = await(end, block);
    uint64_t now = rfaas_now_ticks();
    if (round > warmup) ticks[round - warmup - 1] = (uint32_t)(now - before);
    if (!gap) before = now;
  }
  pthread_join(thread, NULL);
  set_blocking(end, 0);
  set_blocking(other, 0);
  return failed ? -failed : -s.failed;
}

#else

RFAAS_EXPORT int32_t rfaas_verbs_floor(rfaas_link *client, rfaas_link *server, rfaas_region *region, uint32_t bytes,
                                       uint32_t warmup, uint32_t samples, int32_t client_cpu, int32_t echo_cpu,
                                       int32_t block, uint32_t gap_ns, uint32_t *ticks) {
  (void)client, (void)server, (void)region, (void)bytes, (void)warmup, (void)samples, (void)client_cpu, (void)echo_cpu;
  (void)block, (void)gap_ns, (void)ticks;
  return -ENOSYS;
}

#endif
