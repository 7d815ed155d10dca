/* The floor of the ofi fabric: what the provider does with no rfaas in between, over endpoints of the same settings. */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>

#ifdef RFAAS_WITH_OFI
#include <sched.h>
#include <string.h>

typedef struct {
  rfaas_ofi_end *end;
  uint8_t *memory; /* what a program writes and reads, registered */
  uint32_t bytes;
  uint32_t part; /* of these, that is sent next */
  uint32_t gone;
  uint32_t landed; /* that have come */
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

/* Takes what has come. Returns 1 for a message of the other side, 0 for none, or a negative error. */
static ssize_t look(side *s) {
  rfaas_ofi_end *end = s->end;
  struct fi_cq_data_entry entry;
  ssize_t count = s->block && end->queue_fd >= 0 ? fi_cq_sread(end->queue, &entry, 1, NULL, -1) : fi_cq_read(end->queue, &entry, 1);
  if (count == -FI_EAGAIN) return 0;
  if (count != 1) return count < 0 ? count : -EIO;
  rfaas_ofi_work *work = entry.op_context;
  if ((entry.flags & FI_REMOTE_CQ_DATA) && (!work || work->kind == RFAAS_OFI_WORK_RECEIVE)) return 1;
  if (work->kind != RFAAS_OFI_WORK_RECEIVE) {
    work->next = end->sends;
    end->sends = work;
    return 0;
  }
  memcpy(s->memory + s->landed, work->memory + sizeof(rfaas_ofi_head), entry.len - sizeof(rfaas_ofi_head));
  s->landed += (uint32_t)(entry.len - sizeof(rfaas_ofi_head));
  ssize_t failed = fi_recv(end->ep, work->memory, RFAAS_OFI_SAID + end->part_bytes, end->slab_description, FI_ADDR_UNSPEC, &work->context);
  if (failed) return failed;
  int whole = s->landed >= s->bytes;
  if (whole) s->landed = 0;
  return whole;
}

/* A head and the payload, or the next part of it, in one message, or the payload written to its place. */
static ssize_t try_to_send(side *s) {
  rfaas_ofi_end *end = s->end;
  uint8_t small[sizeof(rfaas_ofi_head) + RFAAS_LINE];
  int apart = end->writes && s->bytes > RFAAS_OFI_EAGER;
  uint32_t left = s->bytes - s->gone, part = apart || left < end->their_part_bytes ? left : end->their_part_bytes;
  uint32_t all = (uint32_t)sizeof(rfaas_ofi_head) + part;
  s->part = part;
  if (all <= sizeof small && all <= end->inject_bytes) {
    memset(small, 0, sizeof(rfaas_ofi_head));
    memcpy(small + sizeof(rfaas_ofi_head), s->memory + s->gone, part);
    return fi_inject(end->ep, small, all, end->peer);
  }
  rfaas_ofi_work *work = end->sends;
  if (!work) return -FI_EAGAIN;
  work->kind = RFAAS_OFI_WORK_SEND;
  ssize_t failed;
  if (apart) {
    failed = fi_writedata(end->ep, s->memory, s->bytes, end->description, 0, end->peer, rfaas_ofi_remote(end, s->memory), end->remote_key,
                          &work->context);
  } else {
    memcpy(work->memory + sizeof(rfaas_ofi_head), s->memory + s->gone, part);
    if (all <= end->inject_bytes) return fi_inject(end->ep, work->memory, all, end->peer);
    failed = fi_send(end->ep, work->memory, all, end->slab_description, end->peer, &work->context);
  }
  if (!failed) end->sends = work->next;
  return failed;
}

/* Returns 0 or a positive error. */
static int send_one(side *s) {
  rfaas_ofi_end *end = s->end;
  s->gone = 0;
  for (;;) {
    ssize_t failed = try_to_send(s);
    if (failed == -FI_EAGAIN) {
      if (look(s) != 0) return EPROTO;
      continue;
    }
    if (failed) return (int)-failed;
    s->gone += s->part;
    if (end->sends_at_looks) fi_cq_read(end->queue, NULL, 0);
    if (s->gone == s->bytes) return 0;
  }
}

static int await_one(side *s) {
  uint32_t spins = 0;
  ssize_t seen;
  while ((seen = look(s)) == 0)
    if (++spins % 2048 == 0) sched_yield(); /* on one CPU the other side could never answer */
  return seen < 0 ? (int)-seen : 0;
}

static void *echo(void *argument) {
  side *s = argument;
  pin(s->cpu);
  for (uint32_t round = 0; round < s->rounds && !s->failed; round++) {
    s->failed = await_one(s);
    if (!s->failed) s->failed = send_one(s);
  }
  return NULL;
}

/* A ping-pong between two ends of one channel, both in this process, with payloads that a program writes and copies. Otherwise as
 * `rfaas_floor`; `block` sleeps, where the provider has something to sleep on. */
RFAAS_EXPORT int32_t rfaas_ofi_floor(rfaas_link *client, rfaas_link *server, uint32_t bytes, uint32_t warmup, uint32_t samples,
                                     int32_t client_cpu, int32_t echo_cpu, int32_t block, uint32_t gap_ns, uint32_t *ticks) {
  if (client->fabric != &rfaas_ofi_fabric || server->fabric != &rfaas_ofi_fabric) return -EINVAL;
  if (bytes > client->region->arena_bytes) return -EINVAL;
  rfaas_link *links[] = {client, server};
  side sides[2];
  for (int i = 0; i < 2; i++)
    sides[i] = (side){.end = &((rfaas_ofi_link *)links[i])->end[0],
                      .memory = (uint8_t *)links[i]->region->page + links[i]->region->arena_offset,
                      .bytes = bytes,
                      .rounds = warmup + samples,
                      .cpu = echo_cpu,
                      .block = block};
  pin(client_cpu);
  pthread_t thread;
  int failed = pthread_create(&thread, NULL, echo, &sides[1]);
  if (failed) return -failed;
  uint64_t before = rfaas_now_ticks(), gap = (uint64_t)(gap_ns * rfaas_ticks_per_ns());
  for (uint32_t round = 1; round <= sides[0].rounds && !failed; round++) {
    if (gap) {
      while (rfaas_now_ticks() - before < gap) rfaas_relax();
      before = rfaas_now_ticks();
    }
    memcpy(sides[0].memory, &round, sizeof round < bytes ? sizeof round : bytes);
    failed = send_one(&sides[0]);
    if (!failed) failed = await_one(&sides[0]);
    uint64_t now = rfaas_now_ticks();
    if (round > warmup) ticks[round - warmup - 1] = (uint32_t)(now - before);
    if (!gap) before = now;
  }
  if (failed) pthread_cancel(thread);
  pthread_join(thread, NULL);
  return failed ? -failed : -sides[1].failed;
}

#else

RFAAS_EXPORT int32_t rfaas_ofi_floor(rfaas_link *client, rfaas_link *server, uint32_t bytes, uint32_t warmup, uint32_t samples,
                                     int32_t client_cpu, int32_t echo_cpu, int32_t block, uint32_t gap_ns, uint32_t *ticks) {
  (void)client, (void)server, (void)bytes, (void)warmup, (void)samples, (void)client_cpu, (void)echo_cpu;
  (void)block, (void)gap_ns, (void)ticks;
  return -ENOSYS;
}

#endif
