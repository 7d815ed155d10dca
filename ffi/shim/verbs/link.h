/* The connections of one lease: what `link.c`, which makes and ends them, shares with `handshake.c`. */
#ifndef RFAAS_VERBS_LINK_H
#define RFAAS_VERBS_LINK_H

#include "verbs.h"

#ifdef RFAAS_WITH_VERBS

struct rfaas_verbs_link {
  rfaas_link base;
  rfaas_cm cm;
  struct rdma_cm_id *listener; /* NULL on a client's side */
  struct ibv_context *context;
  struct ibv_pd *pd;
  struct ibv_mr *memory;
  int epoll_fd; /* the completion channels of ends that are parked */
  uint32_t inline_wanted;
  uint32_t channels;
  uint32_t connected;
  uint32_t ready; /* listening, or all connected */
  uint8_t nonce[16];
  uint8_t *rooms;
  rfaas_verbs_end end[];
};

/* The device is known: everything of it that the lease needs but queue pairs. Returns 0 or a positive errno. */
int rfaas_verbs_open_device(rfaas_verbs_link *link, struct ibv_context *context);
/* Returns 0 or a positive errno. */
int rfaas_verbs_register_memory(rfaas_verbs_link *link);
/* As `heard` of an rfaas_cm. */
int rfaas_verbs_heard(rfaas_cm *cm, const struct rdma_cm_event *event);

#endif
#endif
