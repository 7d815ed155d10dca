/* Counters in the manager's memory that a node raises by remote atomics: `counters.c` has the manager's side,
 * `adder.c` the node's. */
#ifndef RFAAS_COUNTERS_H
#define RFAAS_COUNTERS_H

#include "verbs.h"

typedef struct rfaas_counter_port rfaas_counter_port;
typedef struct rfaas_counters rfaas_counters;
typedef struct rfaas_adder rfaas_adder;

/* Of a row, which is a line of its own: what one lease has used, in the order of `ffi/verbs/counters.ts`. */
#define RFAAS_COUNTERS_PER_ROW 5u

#ifdef RFAAS_WITH_VERBS
#define RFAAS_COUNTERS_MAGIC 0x7266434eu /* "rfCN" */
#define RFAAS_COUNTERS_VERSION 1u

/* Private data of a request to connect, and of the reply. */
typedef struct {
  uint32_t magic;
  uint32_t version;
  uint8_t nonce[16]; /* of the request */
  uint64_t base; /* of the reply, as is what follows */
  uint32_t key;
  uint32_t rows;
} rfaas_counters_greeting;
_Static_assert(sizeof(rfaas_counters_greeting) <= 56, "fits the private data of a request");
#endif

#endif
