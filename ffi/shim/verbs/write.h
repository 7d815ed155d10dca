/* How both ends write to the peer's copy of the region. */
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
