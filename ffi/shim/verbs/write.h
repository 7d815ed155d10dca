/* How both ends write to the peer's copy of the region, and take what the peer has written. */
#ifndef RFAAS_VERBS_WRITE_H
#define RFAAS_VERBS_WRITE_H

#include "verbs.h"

#ifdef RFAAS_WITH_VERBS
#include <arpa/inet.h>

static inline uint64_t remote(const rfaas_verbs_end *end, const void *local) {
  return end->remote_base + (uint64_t)((const uint8_t *)local - end->base);
}

static inline struct ibv_sge piece(const rfaas_verbs_end *end, const void *from, uint32_t bytes) {
  return (struct ibv_sge){.addr = (uintptr_t)from, .length = bytes, .lkey = end->local_key};
}

/* A write of `pieces`, together `bytes` long, to where `to` is in the peer's copy. */
static inline struct ibv_send_wr write_of(const rfaas_verbs_end *end, struct ibv_sge *pieces, int count, uint32_t bytes,
                                          uint64_t to) {
  return (struct ibv_send_wr){.sg_list = pieces,
                              .num_sge = bytes ? count : 0,
                              .opcode = IBV_WR_RDMA_WRITE,
                              .send_flags = bytes <= end->inline_bytes ? IBV_SEND_INLINE : 0,
                              .wr.rdma = {.remote_addr = to, .rkey = end->remote_key}};
}

static inline void add_immediate(struct ibv_send_wr *work, uint32_t immediate) {
  work->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  work->imm_data = htonl(immediate);
}

/* Room for `n` more sends, waiting for completions if need be. Returns 0 when the end has failed. */
static inline int reserve(rfaas_verbs_end *end, uint32_t n) {
  return __builtin_expect(end->sends_free >= n, 1) || rfaas_verbs_await_room(end, n);
}

/* As `rfaas_verbs_send`. */
static inline void send_works(rfaas_verbs_end *end, struct ibv_send_wr *first, struct ibv_send_wr *last, uint32_t n,
                              enum rfaas_verbs_work work) {
  end->sends_free -= n;
  end->unsignalled += n;
  /* A failed send completes whether signalled or not, so each says what it is. */
  last->wr_id = (uint64_t)work << 32 | end->unsignalled;
  if (end->unsignalled >= RFAAS_SIGNAL_EVERY || work != RFAAS_WORK_CALL) {
    last->send_flags |= IBV_SEND_SIGNALED;
    end->unsignalled = 0;
  }
  struct ibv_send_wr *refused;
  int failed = ibv_post_send(end->qp, first, &refused);
  if (__builtin_expect(failed, 0)) rfaas_verbs_refused(end, failed, work);
}

/* Readies the end's own work request: `bytes` of its first `count` pieces to `to`, in the peer's memory of that key. */
static inline struct ibv_send_wr *ready_call(rfaas_verbs_end *end, int count, uint32_t bytes, uint64_t to, uint32_t key,
                                             uint32_t immediate) {
  struct ibv_send_wr *work = &end->call;
  work->num_sge = bytes ? count : 0;
  work->send_flags = bytes <= end->inline_bytes ? IBV_SEND_INLINE : 0;
  work->imm_data = htonl(immediate);
  work->wr.rdma.remote_addr = to;
  work->wr.rdma.rkey = key;
  return work;
}

static inline void send_call(rfaas_verbs_end *end) {
  if (reserve(end, 1)) send_works(end, &end->call, &end->call, 1, RFAAS_WORK_CALL);
}

/* As `rfaas_verbs_receive`. A lot of receives is posted again before the next look, and thus after what was received has been handed
 * on and answered. Of a lot more receives than calls may be in flight, at most a lot is not posted: each call has one. */
static inline int receive(rfaas_verbs_end *end, uint32_t *immediate, uint32_t *bytes) {
  if (__builtin_expect(end->receives_due == RFAAS_RECEIVE_LOT, 0)) {
    end->receives_due = 0;
    rfaas_verbs_post_receives(end);
  }
  struct ibv_wc done;
  int count = ibv_poll_cq(end->receives, 1, &done);
  if (count == 0) return 0;
  if (__builtin_expect(count < 0 || done.status != IBV_WC_SUCCESS || done.opcode != IBV_WC_RECV_RDMA_WITH_IMM, 0)) {
    rfaas_verbs_received_badly(end, count, &done);
    return 0;
  }
  end->receives_due++;
  *immediate = ntohl(done.imm_data);
  *bytes = done.byte_len;
  return 1;
}

/* Writes ahead of a message what it is too long for: all of `of` but `last` bytes, in chunks, to `to`. Moves both on. */
static inline void write_ahead(rfaas_verbs_end *end, struct ibv_sge *of, uint64_t *to, uint32_t key, uint32_t last) {
  while (of->length > last) {
    struct ibv_sge chunk = *of;
    if (chunk.length > end->chunk_bytes) chunk.length = end->chunk_bytes;
    struct ibv_send_wr work = write_of(end, &chunk, 1, chunk.length, *to);
    work.wr.rdma.rkey = key;
    if (!rfaas_verbs_reserve(end, 1)) return;
    rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_CALL);
    of->addr += chunk.length;
    of->length -= chunk.length;
    *to += chunk.length;
  }
}

/* Where a response goes that is for the program's own memory: said in the payload's place, which such a request does not need. */
typedef struct {
  uint64_t address;
  uint32_t key;
  uint32_t zero;
} own_output;
_Static_assert(sizeof(own_output) <= RFAAS_INLINE_INPUT, "fits the line");

#endif
#endif
