/* A lease's memory: an anonymous file of fixed size that leaves nothing on disk, whoever dies. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "rfaas.h"

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) & ~(to - 1); }

/* Returns the descriptor or -errno. The size is sealed: no holder can shrink it and fault the others. */
RFAAS_EXPORT int32_t rfaas_region_create(uint32_t workers, uint32_t slots, double arena_bytes, uint32_t polling,
                                         uint32_t spin_ns) {
  if (workers == 0 || workers > RFAAS_MAX_WORKERS || slots == 0 || slots > RFAAS_MAX_SLOTS || (slots & (slots - 1)))
    return -EINVAL;
  if (!(arena_bytes > 0) || arena_bytes > 4294967296.0 - RFAAS_LINE) return -EINVAL;
  size_t arena = round_up((size_t)arena_bytes, RFAAS_LINE);
  size_t arena_offset = sizeof(rfaas_lease_page) + workers * rfaas_worker_bytes(slots);
  size_t total = round_up(arena_offset + arena + RFAAS_ARENA_TAIL, RFAAS_PAGE);

  int fd = memfd_create("rfaas-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  int failed = 0;
  rfaas_lease_page *lease = MAP_FAILED;
  if (ftruncate(fd, (off_t)total) != 0) failed = errno;
  /* Take the control pages now, so that a machine without memory says so here and not by a bus error later. */
  else if (fallocate(fd, 0, 0, (off_t)arena_offset) != 0) failed = errno;
  else if ((lease = mmap(NULL, sizeof *lease, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) failed = errno;
  else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) failed = errno;
  if (!failed) {
    lease->workers = workers;
    lease->slots = slots;
    lease->polling = polling;
    lease->spin_ns = spin_ns;
    lease->epoch_ns = rfaas_now_ns();
    lease->arena_offset = arena_offset;
    lease->arena_bytes = arena;
    lease->total_bytes = total;
    lease->version = RFAAS_LAYOUT_VERSION;
    lease->magic = RFAAS_MAGIC;
  }
  if (lease != MAP_FAILED) munmap(lease, sizeof *lease);
  if (failed) {
    close(fd);
    return -failed;
  }
  return fd;
}

/* Maps the whole region, or only its first page. Returns the address as a number, or -errno. The file's own size must agree
 * with what its header claims: the header is shared memory, and its other holder may be hostile. */
RFAAS_EXPORT double rfaas_region_map(int32_t fd, int32_t header_only) {
  struct stat st;
  if (fstat(fd, &st) != 0) return -errno;
  if (st.st_size < (off_t)sizeof(rfaas_lease_page)) return -EPROTO;
  size_t bytes = header_only ? sizeof(rfaas_lease_page) : (size_t)st.st_size;
  rfaas_lease_page *lease = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (lease == MAP_FAILED) return -errno;
  uint64_t control = sizeof *lease + lease->workers * rfaas_worker_bytes(lease->slots);
  if (lease->magic != RFAAS_MAGIC || lease->version != RFAAS_LAYOUT_VERSION || lease->workers == 0 ||
      lease->workers > RFAAS_MAX_WORKERS || lease->slots == 0 || lease->slots > RFAAS_MAX_SLOTS ||
      (lease->slots & (lease->slots - 1)) || lease->arena_offset != control || lease->arena_bytes > UINT32_MAX ||
      lease->arena_offset + lease->arena_bytes + RFAAS_ARENA_TAIL > lease->total_bytes ||
      lease->total_bytes != (uint64_t)st.st_size) {
    munmap(lease, bytes);
    return -EPROTO;
  }
  /* Control pages are touched on the first call of every slot: map them now rather than fault then. */
  if (!header_only) madvise(lease, control, MADV_POPULATE_WRITE);
  return (double)(uintptr_t)lease;
}

RFAAS_EXPORT int32_t rfaas_region_unmap(double address, int32_t header_only) {
  rfaas_lease_page *lease = (rfaas_lease_page *)(uintptr_t)address;
  size_t bytes = header_only ? sizeof *lease : (size_t)lease->total_bytes;
  return munmap(lease, bytes) == 0 ? 0 : -errno;
}

RFAAS_EXPORT double rfaas_region_arena(double address) {
  rfaas_lease_page *lease = (rfaas_lease_page *)(uintptr_t)address;
  return (double)(uintptr_t)((uint8_t *)lease + lease->arena_offset);
}
RFAAS_EXPORT double rfaas_region_arena_bytes(double address) {
  return (double)((rfaas_lease_page *)(uintptr_t)address)->arena_bytes;
}
RFAAS_EXPORT double rfaas_region_errors(double address, uint32_t worker) {
  rfaas_lease_page *lease = (rfaas_lease_page *)(uintptr_t)address;
  return (double)(uintptr_t)rfaas_errors_of(rfaas_worker_at(lease, worker, lease->slots), lease->slots);
}

/* The first reason written stays. Whoever blocks on the lease looks again at most a wait's bound later. */
RFAAS_EXPORT void rfaas_lease_end(double address, uint32_t reason, int32_t detail) {
  rfaas_lease_page *lease = (rfaas_lease_page *)(uintptr_t)address;
  if (__atomic_load_n(&lease->ended, __ATOMIC_ACQUIRE) != RFAAS_ALIVE) return;
  lease->detail = detail;
  __atomic_store_n(&lease->ended, reason, __ATOMIC_RELEASE);
}
RFAAS_EXPORT uint32_t rfaas_lease_ended(double address) {
  return __atomic_load_n(&((rfaas_lease_page *)(uintptr_t)address)->ended, __ATOMIC_ACQUIRE);
}
RFAAS_EXPORT int32_t rfaas_lease_end_detail(double address) {
  return ((rfaas_lease_page *)(uintptr_t)address)->detail;
}

/* Offsets and sizes, in the order `ffi/layout.ts` lists them. Returns how many there are. */
RFAAS_EXPORT int32_t rfaas_layout(uint32_t *out, int32_t capacity) {
  const uint32_t numbers[] = {
      RFAAS_LAYOUT_VERSION,
      sizeof(rfaas_request),
      sizeof(rfaas_response),
      sizeof(rfaas_slot),
      sizeof(rfaas_worker_page),
      sizeof(rfaas_lease_page),
      offsetof(rfaas_request, input_offset),
      offsetof(rfaas_request, sequence),
      offsetof(rfaas_response, status),
      offsetof(rfaas_response, sequence),
      offsetof(rfaas_slot, timing),
      offsetof(rfaas_slot, response),
      RFAAS_INLINE_INPUT,
      RFAAS_INLINE_OUTPUT,
      RFAAS_ERROR_BYTES,
      RFAAS_MAX_WORKERS,
      RFAAS_MAX_SLOTS,
  };
  int32_t count = (int32_t)(sizeof numbers / sizeof numbers[0]);
  if (capacity >= count) memcpy(out, numbers, sizeof numbers);
  return count;
}
