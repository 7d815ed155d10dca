/* One end of a connection: its queues, and the few things the data path does with them. */
#define _GNU_SOURCE
#include "write.h"

#ifdef RFAAS_WITH_VERBS
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Events are acknowledged in lots: each time takes a lock. */
enum { ACKNOWLEDGE_LOT = 64, COMPLETIONS_AT_ONCE = 8 };

void rfaas_verbs_fail(rfaas_verbs_end *end, uint32_t failure, int32_t detail, int32_t of) {
  if (__atomic_exchange_n(&end->failing, 1, __ATOMIC_SEQ_CST)) {
    /* A device that goes flushes its queues first, which looks like the peer's doing. */
    uint32_t flushed = RFAAS_LINK_DISCONNECTED;
    if (failure == RFAAS_LINK_DEVICE_REMOVED)
      __atomic_compare_exchange_n(&end->failure, &flushed, failure, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return;
  }
  end->detail = detail;
  end->of = of;
  __atomic_store_n(&end->failure, failure, __ATOMIC_RELEASE);
  rfaas_verbs_changed(end->link);
}

void rfaas_verbs_cut_off(rfaas_verbs_end *end) {
  rfaas_verbs_fail(end, RFAAS_LINK_PROTOCOL, 0, 0);
  struct ibv_qp_attr error = {.qp_state = IBV_QPS_ERR};
  rfaas_verbs()->ibv_modify_qp(end->qp, &error, IBV_QP_STATE);
}

/* ---- data path ---- */

void rfaas_verbs_retire(rfaas_verbs_end *end) {
  struct ibv_wc done[COMPLETIONS_AT_ONCE];
  int count;
  while ((count = ibv_poll_cq(end->sends, COMPLETIONS_AT_ONCE, done)) > 0)
    for (int i = 0; i < count; i++) {
      uint32_t work = (uint32_t)(done[i].wr_id >> 32);
      if (done[i].status != IBV_WC_SUCCESS) {
        if (done[i].status != IBV_WC_WR_FLUSH_ERR) rfaas_verbs_fail(end, RFAAS_LINK_COMPLETION, done[i].status, (int32_t)work);
        else if (work == RFAAS_WORK_ONE_SIDED) rfaas_verbs_fail(end, RFAAS_LINK_DISCONNECTED, 0, 0);
        continue;
      }
      end->sends_free += (uint32_t)done[i].wr_id;
      if (work == RFAAS_WORK_PROBE) end->probing = 0;
      if (work == RFAAS_WORK_ONE_SIDED) end->one_sided_under_way--;
    }
}

int rfaas_verbs_await_room(rfaas_verbs_end *end, uint32_t n) {
  for (uint32_t spins = 1; end->sends_free < n; spins++) {
    rfaas_verbs_retire(end);
    if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) return 0;
    if (spins % RFAAS_SPINS_PER_CHECK == 0) sched_yield();
    else rfaas_relax();
  }
  return 1;
}

void rfaas_verbs_refused(rfaas_verbs_end *end, int failed, enum rfaas_verbs_work work) {
  rfaas_verbs_retire(end); /* may know the reason */
  rfaas_verbs_fail(end, RFAAS_LINK_POST, failed, (int32_t)work);
}

void rfaas_verbs_post_receives(rfaas_verbs_end *end) {
  struct ibv_recv_wr *refused;
  int failed = ibv_post_recv(end->qp, end->lot, &refused);
  if (failed) rfaas_verbs_fail(end, RFAAS_LINK_POST, failed, -1);
}

void rfaas_verbs_received_badly(rfaas_verbs_end *end, int count, const struct ibv_wc *done) {
  if (count < 0) return rfaas_verbs_fail(end, RFAAS_LINK_POST, -count, -1);
  if (done->status == IBV_WC_SUCCESS) return rfaas_verbs_cut_off(end);
  /* Receives are flushed because something else failed first: the sends may know what. */
  rfaas_verbs_retire(end);
  if (done->status == IBV_WC_WR_FLUSH_ERR) rfaas_verbs_fail(end, RFAAS_LINK_DISCONNECTED, 0, 0);
  else rfaas_verbs_fail(end, RFAAS_LINK_COMPLETION, done->status, -1);
}

int rfaas_verbs_reserve(rfaas_verbs_end *end, uint32_t n) { return reserve(end, n); }
void rfaas_verbs_send(rfaas_verbs_end *end, struct ibv_send_wr *first, struct ibv_send_wr *last, uint32_t n,
                      enum rfaas_verbs_work work) {
  send_works(end, first, last, n, work);
}
int rfaas_verbs_receive(rfaas_verbs_end *end, uint32_t *immediate, uint32_t *bytes) { return receive(end, immediate, bytes); }

/* ---- waiting ---- */

void rfaas_verbs_arm(rfaas_verbs_end *end) { ibv_req_notify_cq(end->receives, 0); }

void rfaas_verbs_take_events(rfaas_verbs_end *end) {
  struct ibv_cq *queue;
  void *context;
  while (rfaas_verbs()->ibv_get_cq_event(end->channel, &queue, &context) == 0)
    if (++end->unacknowledged == ACKNOWLEDGE_LOT) {
      rfaas_verbs()->ibv_ack_cq_events(end->receives, end->unacknowledged);
      end->unacknowledged = 0;
    }
}

int rfaas_verbs_sleep(rfaas_verbs_end *end, uint64_t ns) {
  struct pollfd fds[] = {{.fd = end->channel->fd, .events = POLLIN}, {.fd = end->wake_fd, .events = POLLIN}};
  struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  int ready = ppoll(fds, 2, &timeout, NULL);
  if (ready > 0 && fds[0].revents) rfaas_verbs_take_events(end);
  if (ready > 0 && fds[1].revents) {
    uint64_t count;
    (void)!read(end->wake_fd, &count, sizeof count);
  }
  return ready == 0;
}

/* ---- set-up ---- */

/* The symbol of this query has an older layout, so the context's own is asked. */
uint32_t rfaas_verbs_longest_message(struct ibv_context *context, uint8_t port) {
  struct ibv_port_attr attributes = {0};
  struct verbs_context *extended = verbs_get_ctx_op(context, query_port);
  if (!extended || extended->query_port(context, port ? port : 1, &attributes, sizeof attributes) != 0) return 1u << 20;
  uint32_t limit = attributes.max_msg_sz < 1u << 30 ? attributes.max_msg_sz : 1u << 30;
  return limit & ~(RFAAS_LINE - 1);
}

int rfaas_verbs_open_queues(rfaas_verbs_end *end, struct ibv_context *context, int vector) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  end->receive_depth = end->slots + RFAAS_RECEIVE_LOT;
  end->send_depth = 2 * end->slots + 4 * RFAAS_SIGNAL_EVERY;
  end->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (end->wake_fd < 0) return errno;
  if (!(end->channel = verbs->ibv_create_comp_channel(context))) return errno;
  if (fcntl(end->channel->fd, F_SETFL, fcntl(end->channel->fd, F_GETFL) | O_NONBLOCK) != 0) return errno;
  end->receives = verbs->ibv_create_cq(context, (int)end->receive_depth, NULL, end->channel, vector % context->num_comp_vectors);
  if (!end->receives) return errno;
  end->sends = verbs->ibv_create_cq(context, (int)end->send_depth, NULL, NULL, 0);
  return end->sends ? 0 : errno;
}

int rfaas_verbs_open_pair(rfaas_verbs_end *end, struct rdma_cm_id *id, struct ibv_pd *pd, uint32_t inline_wanted) {
  /* A device does not tell how much it can send inline: it must be tried. */
  for (uint32_t wanted = inline_wanted;; wanted /= 2) {
    struct ibv_qp_init_attr attributes = {.send_cq = end->sends,
                                          .recv_cq = end->receives,
                                          .qp_type = IBV_QPT_RC,
                                          .cap = {.max_send_wr = end->send_depth,
                                                  .max_recv_wr = end->receive_depth,
                                                  .max_send_sge = 2,
                                                  .max_recv_sge = 1,
                                                  .max_inline_data = wanted}};
    if (rfaas_verbs()->rdma_create_qp(id, pd, &attributes) == 0) {
      end->inline_bytes = attributes.cap.max_inline_data < inline_wanted ? attributes.cap.max_inline_data : inline_wanted;
      break;
    }
    if (wanted == 0) return errno;
  }
  end->qp = id->qp;
  end->id = id;
  end->sends_free = end->send_depth;
  for (uint32_t i = 0; i < RFAAS_RECEIVE_LOT; i++)
    end->lot[i] = (struct ibv_recv_wr){.next = i + 1 < RFAAS_RECEIVE_LOT ? &end->lot[i + 1] : NULL};
  end->call = (struct ibv_send_wr){.sg_list = end->pieces, .opcode = IBV_WR_RDMA_WRITE_WITH_IMM};
  end->pieces[0] = (struct ibv_sge){.length = RFAAS_LINE, .lkey = end->local_key};
  for (uint32_t posted = 0; posted + RFAAS_RECEIVE_LOT <= end->receive_depth; posted += RFAAS_RECEIVE_LOT) rfaas_verbs_post_receives(end);
  struct ibv_recv_wr *refused;
  int failed = 0;
  for (uint32_t rest = end->receive_depth % RFAAS_RECEIVE_LOT; rest > 0 && !failed; rest--)
    failed = ibv_post_recv(end->qp, &end->lot[RFAAS_RECEIVE_LOT - 1], &refused);
  return failed;
}

void rfaas_verbs_close_end(rfaas_verbs_end *end) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (end->id && end->qp) verbs->rdma_destroy_qp(end->id);
  if (end->receives) {
    rfaas_verbs_take_events(end);
    verbs->ibv_ack_cq_events(end->receives, end->unacknowledged);
    verbs->ibv_destroy_cq(end->receives);
  }
  if (end->sends) verbs->ibv_destroy_cq(end->sends);
  if (end->channel) verbs->ibv_destroy_comp_channel(end->channel);
  if (end->id) verbs->rdma_destroy_id(end->id);
  if (end->wake_fd >= 0) close(end->wake_fd);
}

#endif
