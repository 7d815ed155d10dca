/* One-sided operations on the node's copy of a lease's memory: no function runs and no thread there takes part. */
#define _GNU_SOURCE
#include <string.h>

#include "endpoint.h"

/* `words` are operand, second operand, and the result: what was there before. Both offsets count from the start of the arena. A
 * transfer returns when it is complete. Returns 0, RFAAS_BAD_REQUEST or RFAAS_WORKER_LOST. */
RFAAS_EXPORT int32_t rfaas_remote(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset,
                                  uint32_t bytes, uint64_t *words) {
  int atomic = operation == RFAAS_FETCH_ADD || operation == RFAAS_COMPARE_SWAP;
  if (operation > RFAAS_COMPARE_SWAP || (atomic && (bytes != sizeof(uint64_t) || remote_offset % sizeof(uint64_t))))
    return RFAAS_BAD_REQUEST;
  if ((uint64_t)remote_offset + bytes > c->arena_bytes || (!atomic && (uint64_t)local_offset + bytes > c->arena_bytes))
    return RFAAS_BAD_REQUEST;
  if (c->broken) return RFAAS_WORKER_LOST;
  if (bytes == 0) return RFAAS_OK; /* some devices never complete a read of nothing */
  return c->ops->remote(c, operation, local_offset, remote_offset, bytes, words);
}

int32_t rfaas_remote_in_place(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset,
                              uint32_t bytes, uint64_t *words) {
  uint8_t *local = c->arena + local_offset, *there = c->arena + remote_offset;
  switch (operation) {
    case RFAAS_READ: memmove(local, there, bytes); break;
    case RFAAS_WRITE: memmove(there, local, bytes); break;
    case RFAAS_FETCH_ADD: words[2] = __atomic_fetch_add((uint64_t *)there, words[0], __ATOMIC_SEQ_CST); break;
    case RFAAS_COMPARE_SWAP:
      words[2] = words[0];
      __atomic_compare_exchange_n((uint64_t *)there, &words[2], words[1], 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
      break;
  }
  return RFAAS_OK;
}
