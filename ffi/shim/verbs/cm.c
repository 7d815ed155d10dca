/* What every connection over verbs needs of the connection manager, and a thread that hears one event channel. */
#define _GNU_SOURCE
#include "verbs.h"

#ifdef RFAAS_WITH_VERBS
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { READS_IN_FLIGHT = 8 };

uint8_t rfaas_cm_reads(struct ibv_context *context) {
  struct ibv_device_attr attributes;
  if (rfaas_verbs()->ibv_query_device(context, &attributes) != 0) return 0;
  int most = attributes.max_qp_init_rd_atom < attributes.max_qp_rd_atom ? attributes.max_qp_init_rd_atom : attributes.max_qp_rd_atom;
  return (uint8_t)(most < READS_IN_FLIGHT ? most : READS_IN_FLIGHT);
}

struct rdma_conn_param rfaas_cm_parameters(const void *data, size_t bytes, uint8_t reads_served, uint8_t reads_asked) {
  return (struct rdma_conn_param){.private_data = data,
                                  .private_data_len = (uint8_t)bytes,
                                  .responder_resources = reads_served,
                                  .initiator_depth = reads_asked,
                                  .flow_control = 1,
                                  .retry_count = RFAAS_SEND_RETRIES,
                                  .rnr_retry_count = RFAAS_RNR_RETRIES};
}

void rfaas_cm_set_timers(struct rdma_cm_id *id) {
  uint8_t timeout = RFAAS_ACK_TIMEOUT;
  rfaas_verbs()->rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout);
}

void rfaas_cm_reject(struct rdma_cm_id *id, uint8_t reason) { rfaas_verbs()->rdma_reject(id, &reason, sizeof reason); }

int rfaas_cm_reason(const struct rdma_cm_event *event) {
  const uint8_t *said = event->param.conn.private_data;
  return event->param.conn.private_data_len > 0 && *said <= RFAAS_NO_RESOURCES ? *said : 0;
}

void rfaas_cm_fail(rfaas_cm *cm, uint32_t failure, int32_t detail, int32_t of) {
  if (__atomic_exchange_n(&cm->failing, 1, __ATOMIC_SEQ_CST)) {
    if (failure == RFAAS_LINK_DEVICE_REMOVED) __atomic_store_n(&cm->failure, failure, __ATOMIC_RELEASE);
    return;
  }
  cm->detail = detail;
  cm->of = of;
  __atomic_store_n(&cm->failure, failure, __ATOMIC_RELEASE);
  rfaas_notify(cm->notify_fd);
}

void rfaas_cm_heard_failure(rfaas_cm *cm, const struct rdma_cm_event *event) {
  switch (event->event) {
    case RDMA_CM_EVENT_ADDR_ERROR: rfaas_cm_fail(cm, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_ADDRESS); break;
    case RDMA_CM_EVENT_ROUTE_ERROR: rfaas_cm_fail(cm, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_ROUTE); break;
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR: rfaas_cm_fail(cm, RFAAS_LINK_SETUP, -event->status, RFAAS_STAGE_CONNECT); break;
    case RDMA_CM_EVENT_REJECTED: rfaas_cm_fail(cm, RFAAS_LINK_REJECTED, rfaas_cm_reason(event), event->status); break;
    case RDMA_CM_EVENT_DISCONNECTED: rfaas_cm_fail(cm, RFAAS_LINK_DISCONNECTED, 0, 0); break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL: rfaas_cm_fail(cm, RFAAS_LINK_DEVICE_REMOVED, 0, 0); break;
    default: break;
  }
}

int rfaas_cm_open(rfaas_cm *cm, int32_t notify_fd, int watched_fd) {
  cm->notify_fd = notify_fd;
  cm->watched_fd = watched_fd;
  cm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (cm->wake_fd < 0 || !(cm->events = rfaas_verbs()->rdma_create_event_channel())) return errno;
  return fcntl(cm->events->fd, F_SETFL, fcntl(cm->events->fd, F_GETFL) | O_NONBLOCK) == 0 ? 0 : errno;
}

static int wait_ms(const rfaas_cm *cm) {
  if (!cm->deadline_ns) return -1;
  uint64_t now = rfaas_now_ns();
  return now >= cm->deadline_ns ? 0 : (int)((cm->deadline_ns - now) / 1000000u) + 1;
}

static void hear(rfaas_cm *cm) {
  struct rdma_cm_event *event;
  while (rfaas_verbs()->rdma_get_cm_event(cm->events, &event) == 0) {
    struct rdma_cm_id *id = event->id;
    int unwanted = cm->heard(cm, event);
    rfaas_verbs()->rdma_ack_cm_event(event);
    if (unwanted) rfaas_verbs()->rdma_destroy_id(id);
  }
}

static void *listen_to(void *argument) {
  rfaas_cm *cm = argument;
  if (cm->begun) cm->begun(cm);
  while (!__atomic_load_n(&cm->stop, __ATOMIC_ACQUIRE)) {
    struct pollfd fds[] = {{.fd = cm->events->fd, .events = POLLIN},
                           {.fd = cm->wake_fd, .events = POLLIN},
                           {.fd = cm->watched_fd, .events = POLLIN}};
    poll(fds, 3, wait_ms(cm));
    uint64_t count;
    if (fds[1].revents && read(cm->wake_fd, &count, sizeof count) > 0 && cm->woken) cm->woken(cm);
    if (fds[0].revents) hear(cm);
    if (fds[2].revents) cm->readable(cm);
    if (cm->deadline_ns && rfaas_now_ns() >= cm->deadline_ns) {
      cm->deadline_ns = 0;
      rfaas_cm_fail(cm, RFAAS_LINK_TIMED_OUT, 0, RFAAS_STAGE_CONNECT);
    }
  }
  return NULL;
}

int rfaas_cm_run(rfaas_cm *cm) {
  int failed = rfaas_start_thread(&cm->thread, listen_to, cm);
  cm->has_thread = !failed;
  return failed;
}

void rfaas_cm_wake(rfaas_cm *cm) {
  uint64_t one = 1;
  (void)!write(cm->wake_fd, &one, sizeof one);
}

void rfaas_cm_join(rfaas_cm *cm) {
  if (!cm->has_thread) return;
  __atomic_store_n(&cm->stop, 1, __ATOMIC_RELEASE);
  rfaas_cm_wake(cm);
  pthread_join(cm->thread, NULL);
  cm->has_thread = 0;
}

/* librdmacm keeps a removed device open as long as there is no other, and some devices do not go before all processes have closed them.
 * Its descriptors lead nowhere from now on; their numbers stay taken until librdmacm closes them. */
static void let_go(struct ibv_context *context) {
  int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nowhere < 0) return;
  dup3(nowhere, context->async_fd, O_CLOEXEC);
  dup3(nowhere, context->cmd_fd, O_CLOEXEC);
  close(nowhere);
}

void rfaas_cm_close(rfaas_cm *cm) {
  if (cm->events) rfaas_verbs()->rdma_destroy_event_channel(cm->events);
  if (cm->wake_fd >= 0) close(cm->wake_fd);
  if (cm->failure == RFAAS_LINK_DEVICE_REMOVED && cm->released) let_go(cm->released);
}

void rfaas_cm_state(const rfaas_cm *cm, int32_t *out) {
  out[0] = (int32_t)__atomic_load_n(&cm->failure, __ATOMIC_ACQUIRE);
  out[1] = cm->detail;
  out[2] = cm->of;
}

#endif
