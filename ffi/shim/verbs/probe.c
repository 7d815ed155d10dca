/* What a device can do, found by asking it. */
#define _GNU_SOURCE
#include "verbs.h"

#include <errno.h>
#include <string.h>

enum { MOST_INLINE = 1024 };

#ifdef RFAAS_WITH_VERBS

/* The most inline bytes that a device grants to a queue pair of ours: known only by creating one. */
static int inline_capacity(struct ibv_context *context, uint32_t *bytes) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  struct ibv_pd *pd = verbs->ibv_alloc_pd(context);
  struct ibv_cq *queue = pd ? verbs->ibv_create_cq(context, 16, NULL, NULL, 0) : NULL;
  int failed = queue ? 0 : errno;
  for (uint32_t wanted = MOST_INLINE; !failed; wanted -= 16) {
    struct ibv_qp_init_attr attributes = {
        .send_cq = queue,
        .recv_cq = queue,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 2, .max_recv_sge = 1, .max_inline_data = wanted}};
    struct ibv_qp *pair = verbs->ibv_create_qp(pd, &attributes);
    if (pair) {
      *bytes = attributes.cap.max_inline_data;
      verbs->ibv_destroy_qp(pair);
      break;
    }
    if (wanted == 0) failed = errno;
  }
  if (queue) verbs->ibv_destroy_cq(queue);
  if (pd) verbs->ibv_dealloc_pd(pd);
  return failed;
}

/* Writes inline bytes, work requests a queue pair, longest message of the port, reads in flight, whether atomics work. Returns 0
 * or -errno. */
RFAAS_EXPORT int32_t rfaas_verbs_probe(const char *device, uint32_t port, double *out) {
  const rfaas_verbs_calls *verbs = rfaas_verbs();
  if (!verbs) return -ENOSYS;
  int count = 0;
  struct ibv_device **devices = verbs->ibv_get_device_list(&count);
  if (!devices) return -errno;
  struct ibv_context *context = NULL;
  errno = ENODEV;
  for (int i = 0; i < count && !context; i++)
    if (strcmp(verbs->ibv_get_device_name(devices[i]), device) == 0) context = verbs->ibv_open_device(devices[i]);
  int failed = context ? 0 : errno;
  verbs->ibv_free_device_list(devices);
  if (failed) return -failed;
  struct ibv_device_attr attributes = {0};
  uint32_t inline_bytes = 0;
  failed = verbs->ibv_query_device(context, &attributes);
  if (!failed) failed = inline_capacity(context, &inline_bytes);
  out[0] = inline_bytes;
  out[1] = attributes.max_qp_wr;
  out[2] = rfaas_verbs_longest_message(context, (uint8_t)port);
  out[3] = attributes.max_qp_rd_atom;
  out[4] = attributes.atomic_cap != IBV_ATOMIC_NONE;
  verbs->ibv_close_device(context);
  return -failed;
}

#else

RFAAS_EXPORT int32_t rfaas_verbs_probe(const char *device, uint32_t port, double *out) {
  (void)device, (void)port, (void)out;
  return -ENOSYS;
}

#endif
