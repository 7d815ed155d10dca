/* A node that knows its own nonce, and a second one, and does with its counters what none of ours would:
 *
 *     hostile-adder ADDRESS PORT NONCE NONCE OPERATION
 *
 * `cross` adds over the first connection to the counters of the second; `write` and `read` do that with the first's own counters.
 * Prints the status of the work's completion.
 */
#include <infiniband/verbs.h>
#include <netdb.h>
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verbs/counters.h"

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static rfaas_counters_greeting connect_to(struct rdma_cm_id **id, struct addrinfo *to, const char *nonce) {
  /* Without a channel for events, every call waits for its own. */
  if (rdma_create_id(NULL, id, NULL, RDMA_PS_TCP) != 0) fail("rdma_create_id");
  if (rdma_resolve_addr(*id, NULL, to->ai_addr, 2000) != 0) fail("rdma_resolve_addr");
  if (rdma_resolve_route(*id, 2000) != 0) fail("rdma_resolve_route");
  struct ibv_qp_init_attr pair = {.qp_type = IBV_QPT_RC, .cap = {4, 4, 1, 1, 0}};
  if (rdma_create_qp(*id, NULL, &pair) != 0) fail("rdma_create_qp");
  rfaas_counters_greeting greeting = {.magic = RFAAS_COUNTERS_MAGIC, .version = RFAAS_COUNTERS_VERSION};
  for (int i = 0; i < 16; i++) sscanf(nonce + 2 * i, "%2hhx", &greeting.nonce[i]);
  struct rdma_conn_param with = {
      .private_data = &greeting, .private_data_len = sizeof greeting, .initiator_depth = 1, .retry_count = 6};
  if (rdma_connect(*id, &with) != 0) fail("rdma_connect");
  memcpy(&greeting, (*id)->event->param.conn.private_data, sizeof greeting);
  return greeting;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const char *operation = argv[5];
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *to;
  if (getaddrinfo(argv[1], argv[2], &hints, &to) != 0) fail("getaddrinfo");
  struct rdma_cm_id *mine, *other;
  rfaas_counters_greeting at = connect_to(&mine, to, argv[3]);
  rfaas_counters_greeting there = connect_to(&other, to, argv[4]);
  if (strcmp(operation, "cross") == 0) at = there;

  uint64_t *word = aligned_alloc(RFAAS_PAGE, RFAAS_PAGE);
  *word = 99;
  struct ibv_mr *memory = ibv_reg_mr(mine->pd, word, RFAAS_PAGE, IBV_ACCESS_LOCAL_WRITE);
  if (!memory) fail("ibv_reg_mr");
  struct ibv_sge piece = {(uintptr_t)word, sizeof *word, memory->lkey};
  struct ibv_send_wr work = {.sg_list = &piece, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED}, *refused;
  if (strcmp(operation, "cross") == 0) {
    work.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
    work.wr.atomic.remote_addr = at.base;
    work.wr.atomic.rkey = at.key;
    work.wr.atomic.compare_add = 1;
  } else {
    work.opcode = strcmp(operation, "write") == 0 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
    work.wr.rdma.remote_addr = at.base;
    work.wr.rdma.rkey = at.key;
  }
  if (ibv_post_send(mine->qp, &work, &refused) != 0) fail("ibv_post_send");
  struct ibv_wc done;
  while (ibv_poll_cq(mine->send_cq, 1, &done) == 0) continue;
  printf("%d\n", done.status);
  return 0;
}
