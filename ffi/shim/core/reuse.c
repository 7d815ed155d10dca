/* One lease after another in the same host: the next lease's memory takes the addresses of the last one's, and the endpoints of
 * its workers go on at theirs, so that what the module still holds of an earlier call reaches no address that is not there. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "endpoint.h"

double rfaas_region_map(int32_t fd, uint32_t workers, uint32_t slots);
void rfaas_region_unmap(rfaas_region *region, uint32_t keep_addresses);
double rfaas_worker_open(rfaas_region *region, uint32_t worker, int32_t notify_fd, rfaas_link *link);

/* The lease is over: empty memory of this process takes its place, and costs nothing until it is touched. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_region_vacate(rfaas_region *region) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(region->page, region->mapped_bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? -errno : 0;
}

/* Maps the region behind `fd`, which must have the size of the last one, at its addresses. Returns 0; or -errno, as
 * `rfaas_region_map` does, and then nothing has changed. */
RFAAS_EXPORT int32_t rfaas_region_refill(rfaas_region *region, int32_t fd) {
  double mapped = rfaas_region_map(fd, region->workers, region->slots);
  if (mapped < 0) return (int32_t)mapped;
  rfaas_region *fresh = (rfaas_region *)(uintptr_t)mapped;
  size_t bytes = fresh->mapped_bytes;
  int failed = bytes == region->mapped_bytes ? 0 : -EPROTO;
  if (!failed && mremap(fresh->page, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, region->page) == MAP_FAILED) failed = -errno;
  if (failed) {
    rfaas_region_unmap(fresh, 0);
    return failed;
  }
  fresh->page = region->page;
  *region = *fresh;
  free(fresh);
  return 0;
}

/* The endpoint of a worker whose thread is at rest begins anew, with a region that was refilled. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_worker_renew(rfaas_worker *w, rfaas_region *region, uint32_t worker, int32_t notify_fd) {
  double opened = rfaas_worker_open(region, worker, notify_fd, NULL);
  if (opened == 0) return -ENOMEM;
  rfaas_worker *fresh = (rfaas_worker *)(uintptr_t)opened;
  fresh->function_count = w->function_count;
  memcpy(w, fresh, sizeof *w + region->slots * sizeof(rfaas_worker_slot));
  free(fresh);
  return 0;
}

/* Whether this process has children, dead ones that it has not waited for among them. */
RFAAS_EXPORT int32_t rfaas_has_children(void) {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}
