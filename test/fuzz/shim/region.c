/* Memory that a peer hands over: its size, its seals and its header are the peer's, and what it should be is told by the node. */
#include "lease.h"

#include <fcntl.h>

static int made(bytes *b, const rfaas_lease_page *header, size_t size, int sealed) {
  int fd = memfd_create("fuzzed", MFD_ALLOW_SEALING);
  (void)b;
  MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
  size_t part = size < RFAAS_LINE ? size : RFAAS_LINE;
  MUST(pwrite(fd, header, part, 0) == (ssize_t)part);
  if (sealed) fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static rfaas_lease_page header;
  bytes b = {data, size};
  uint32_t workers = next(&b) % 8, slots = 1u << next(&b) % 12, flags = next(&b);
  size_t arena_offset = sizeof header + workers * rfaas_channel_bytes(slots), arena = next32(&b) % 8192;
  if (arena_offset > (8u << 20)) return 0;
  header.magic = RFAAS_MAGIC;
  header.version = RFAAS_LAYOUT_VERSION;
  header.workers = workers;
  header.slots = slots;
  header.polling = RFAAS_WARM;
  header.arena_offset = arena_offset;
  header.arena_bytes = arena;
  header.total_bytes = (arena_offset + arena + RFAAS_ARENA_TAIL + RFAAS_PAGE - 1) & ~(uint64_t)(RFAAS_PAGE - 1);
  size_t file = flags & 1 ? next32(&b) % (16u << 20) : header.total_bytes;
  /* The peer's own words over that. */
  uint32_t at = next(&b) % RFAAS_LINE;
  take(&b, (uint8_t *)&header + at, RFAAS_LINE - at);
  int fd = made(&b, &header, file, !(flags & 2));
  double mapped = rfaas_region_map(fd, workers, slots);
  if (mapped > 0) {
    rfaas_region *region = (rfaas_region *)(uintptr_t)mapped;
    MUST(region->arena_offset + region->arena_bytes + RFAAS_ARENA_TAIL <= region->mapped_bytes && region->mapped_bytes == file);
    MUST(region->workers == workers && region->slots == slots);
    /* All of it can be used, and the next lease takes its place, whatever that one says. */
    memset((uint8_t *)region->page + region->arena_offset, 1, region->arena_bytes + RFAAS_ARENA_TAIL);
    take(&b, &header, RFAAS_LINE);
    int next_fd = made(&b, &header, flags & 4 ? file : file / 2, !(flags & 8));
    int refilled = rfaas_region_refill(region, next_fd);
    MUST(refilled <= 0);
    ((uint8_t *)region->page)[file - 1] = 1;
    close(next_fd);
    rfaas_region_unmap(region, 0);
  }
  close(fd);
  return 0;
}
