/* A lease's memory: an anonymous file of fixed size, which leaves nothing on disk when any of its processes dies. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "rfaas.h"
#include "../system/touch.h"

#define HUGE_PAGE (2u << 20)

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) & ~(to - 1); }

/* Address space that cannot be touched and counts as no memory. Returns its address, or -errno. */
RFAAS_EXPORT double rfaas_reserve(double bytes) {
  void *space = mmap(NULL, (size_t)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return space == MAP_FAILED ? (double)-errno : (double)(uintptr_t)space;
}
RFAAS_EXPORT void rfaas_unreserve(void *space, double bytes) { munmap(space, (size_t)bytes); }

/* Maps only the first pages, where an agent writes why a lease ended and reads its usage. Returns their address, or -errno. */
RFAAS_EXPORT double rfaas_lease_map(int32_t fd) {
  void *page = mmap(NULL, sizeof(rfaas_lease_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return page == MAP_FAILED ? (double)-errno : (double)(uintptr_t)page;
}
RFAAS_EXPORT void rfaas_lease_unmap(rfaas_lease_page *page) {
  /* Of a huge page only the whole can be unmapped. */
  if (munmap(page, sizeof *page) != 0) munmap(page, HUGE_PAGE);
}

/* Pages that the machine has reserved as huge, or -1. They are set aside when a mapping of the whole file is made, and stay so
 * until the file is gone: no access meets a missing one later. */
static int create_huge(size_t total) {
  int fd = memfd_create("rfaas-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);
  if (fd < 0) return -1;
  void *whole = MAP_FAILED;
  if (ftruncate(fd, (off_t)total) == 0) whole = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (whole != MAP_FAILED) {
    munmap(whole, total);
    return fd;
  }
  close(fd);
  return -1;
}

static int create_plain(size_t total, size_t control_bytes) {
  int fd = memfd_create("rfaas-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  /* Take the control pages now, so that a machine without memory says so here and not by a bus error later. */
  if (ftruncate(fd, (off_t)total) == 0 && fallocate(fd, 0, 0, (off_t)control_bytes) == 0) return fd;
  int failed = errno;
  close(fd);
  errno = failed;
  return -1;
}

/* Returns the descriptor or -errno. The size is sealed: no holder can shrink it and fault the others. */
RFAAS_EXPORT int32_t rfaas_region_create(uint32_t workers, uint32_t slots, double arena_bytes, uint32_t polling,
                                         uint32_t spin_ns) {
  if (workers == 0 || workers > RFAAS_MAX_WORKERS || slots == 0 || slots > RFAAS_MAX_SLOTS || (slots & (slots - 1)))
    return -EINVAL;
  if (!(arena_bytes > 0) || arena_bytes > 4294967296.0 - RFAAS_LINE) return -EINVAL;
  size_t arena = round_up((size_t)arena_bytes, RFAAS_LINE);
  size_t arena_offset = sizeof(rfaas_lease_page) + workers * rfaas_channel_bytes(slots);
  size_t total = round_up(arena_offset + arena + RFAAS_ARENA_TAIL, RFAAS_PAGE);

  int fd = -1;
  if (total >= HUGE_PAGE && (fd = create_huge(round_up(total, HUGE_PAGE))) >= 0) total = round_up(total, HUGE_PAGE);
  if (fd < 0) fd = create_plain(total, arena_offset);
  if (fd < 0) return -errno;
  int failed = 0;
  double mapped = rfaas_lease_map(fd);
  rfaas_lease_page *lease = mapped < 0 ? NULL : (rfaas_lease_page *)(uintptr_t)mapped;
  if (!lease) failed = (int)-mapped;
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
  if (lease) rfaas_lease_unmap(lease);
  if (failed) {
    close(fd);
    return -failed;
  }
  return fd;
}

/* Whether a header describes a region of this file size, with as many workers and slots as the node said. */
static int sound(const rfaas_lease_page *h, uint64_t file_bytes, uint32_t workers, uint32_t slots) {
  return h->magic == RFAAS_MAGIC && h->version == RFAAS_LAYOUT_VERSION && h->workers == workers && h->slots == slots &&
         h->polling <= RFAAS_ADAPTIVE && h->arena_offset == sizeof *h + workers * rfaas_channel_bytes(slots) &&
         h->arena_bytes <= UINT32_MAX && h->arena_offset + h->arena_bytes + RFAAS_ARENA_TAIL <= h->total_bytes &&
         h->total_bytes == file_bytes;
}

/* Whether `fd` is memory that cannot shrink: a mapping of anything else may fault its reader. Only an anonymous file can
 * have this seal, on plain pages or on huge ones. */
static int cannot_shrink(int32_t fd) {
  int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK);
}

/* Empty memory of this process, which costs nothing until it is touched. Returns MAP_FAILED where that cannot be had. */
static void *map_nothing_at(void *start, size_t bytes) {
  return mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* Control pages are touched on the first call of every slot: map them now rather than fault then. Records of errors, which take ten
 * times as many, wait for an error. */
static void populate_control(const rfaas_region *region) {
  uint8_t *from = (uint8_t *)region->page;
  for (uint32_t worker = 0; worker < region->workers; worker++) {
    rfaas_channel_page *channel = rfaas_channel_at(region->page, worker, region->slots);
    size_t bytes = (size_t)(rfaas_errors_of(channel, region->slots) - from);
    rfaas_populate(from, round_up(bytes, RFAAS_PAGE), MADV_POPULATE_WRITE);
    from = (uint8_t *)rfaas_channel_at(region->page, worker + 1, region->slots);
  }
}

/* Maps the region behind `fd`: anywhere, or in the place of a `former` one that had the same size. Its header is
 * shared with a process that may be hostile: it is read once, the copy is checked against what the node told over the control
 * connection, and only the copy is used. Returns 0 or -errno: -ENOTSUP for memory that could shrink, -EPROTO for a header that is not
 * what the node told. */
static int map_region(int32_t fd, uint32_t workers, uint32_t slots, const rfaas_region *former, rfaas_region *region) {
  struct stat st;
  if (workers == 0 || workers > RFAAS_MAX_WORKERS || slots == 0 || slots > RFAAS_MAX_SLOTS) return -EINVAL;
  /* The call itself: until glibc 2.33, fstat is no function of libc.so.6. */
  if (syscall(SYS_fstat, fd, &st) != 0) return -errno;
  if (!cannot_shrink(fd)) return -ENOTSUP;
  if (st.st_size < (off_t)sizeof(rfaas_lease_page)) return -EPROTO;
  size_t bytes = (size_t)st.st_size;
  if (former && bytes != former->mapped_bytes) return -EPROTO;
  void *at = former ? former->page : NULL;
  rfaas_lease_page *page = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (former ? MAP_FIXED : 0), fd, 0);
  if (page == MAP_FAILED) return -errno;
  rfaas_lease_page header;
  memcpy(&header, page, sizeof header);
  __asm__ volatile("" ::: "memory"); /* what is checked is the copy, and not the page again */
  if (!sound(&header, bytes, workers, slots)) {
    if (!former) munmap(page, bytes);
    return -EPROTO;
  }
  *region = (rfaas_region){.page = page,
                           .mapped_bytes = bytes,
                           .workers = workers,
                           .slots = slots,
                           .polling = header.polling,
                           .spin_ns = header.spin_ns,
                           .epoch_ns = header.epoch_ns,
                           .arena_offset = header.arena_offset,
                           .arena_bytes = header.arena_bytes,
                           .piece_pages = RFAAS_PIECE_PAGES / 8};
  /* Fewer entries in the tables of processor and device, where the kernel gives huge pages to shared memory that asks. */
  if (bytes >= HUGE_PAGE) madvise(page, bytes, MADV_HUGEPAGE);
  populate_control(region);
  return 0;
}

/* Maps the region behind `fd`. Returns the handle, or -errno. */
RFAAS_EXPORT double rfaas_region_map(int32_t fd, uint32_t workers, uint32_t slots) {
  rfaas_region *region = calloc(1, sizeof *region);
  if (!region) return -ENOMEM;
  int failed = map_region(fd, workers, slots, NULL, region);
  if (failed) free(region);
  return failed ? failed : (double)(uintptr_t)region;
}

/* With `keep_addresses` the program may still look there: empty memory takes the place, which costs nothing until it is touched. */
RFAAS_EXPORT void rfaas_region_unmap(rfaas_region *region, uint32_t keep_addresses) {
  if (keep_addresses) map_nothing_at(region->page, region->mapped_bytes);
  else munmap(region->page, region->mapped_bytes);
  free(region);
}

/* One lease after another in the same host: the next lease's memory takes the addresses of the last one's, and the endpoints of its
 * workers go on at theirs, so that what the module still holds of an earlier call reaches no address that is not there. */

/* The lease is over: maps the region behind `fd` where its own was. Mapped there, and not moved: older kernels do not move huge pages.
 * Returns 0; or -errno, and then the place is empty. */
RFAAS_EXPORT int32_t rfaas_region_refill(rfaas_region *region, int32_t fd) {
  int failed = map_region(fd, region->workers, region->slots, region, region);
  if (failed) map_nothing_at(region->page, region->mapped_bytes);
  return failed;
}

RFAAS_EXPORT double rfaas_region_arena(rfaas_region *region) {
  return (double)(uintptr_t)((uint8_t *)region->page + region->arena_offset);
}
RFAAS_EXPORT double rfaas_region_arena_bytes(rfaas_region *region) { return (double)region->arena_bytes; }
RFAAS_EXPORT double rfaas_region_bytes(rfaas_region *region) { return (double)region->mapped_bytes; }
RFAAS_EXPORT double rfaas_region_errors(rfaas_region *region, uint32_t worker) {
  if (worker >= region->workers) return -EINVAL;
  return (double)(uintptr_t)rfaas_errors_of(rfaas_channel_at(region->page, worker, region->slots), region->slots);
}
RFAAS_EXPORT uint32_t rfaas_region_ended(rfaas_region *region) {
  return __atomic_load_n(&region->page->ended, __ATOMIC_ACQUIRE);
}
RFAAS_EXPORT int32_t rfaas_region_end_detail(rfaas_region *region) {
  return __atomic_load_n(&region->page->detail, __ATOMIC_RELAXED);
}

/* Of all workers together: calls, bytes, nanoseconds polling, and how many are in user code now. */
RFAAS_EXPORT void rfaas_lease_usage(const rfaas_lease_page *page, uint32_t workers, double *out) {
  double ns_per_tick = 1 / rfaas_ticks_per_ns();
  memset(out, 0, 4 * sizeof *out);
  for (uint32_t worker = 0; worker < workers && worker < RFAAS_MAX_WORKERS; worker++) {
    const rfaas_usage *usage = &page->usage[worker];
    /* First: a call that has ended since is among those that are counted after. */
    out[3] += __atomic_load_n(&usage->running, __ATOMIC_ACQUIRE) != 0;
    out[0] += (double)__atomic_load_n(&usage->calls, __ATOMIC_RELAXED);
    out[1] += (double)__atomic_load_n(&usage->bytes, __ATOMIC_RELAXED);
    out[2] += (double)__atomic_load_n(&usage->polled_ticks, __ATOMIC_RELAXED) * ns_per_tick;
  }
}

/* The first reason written stays. A client that blocks on the lease looks again at most a wait's bound later. */
RFAAS_EXPORT void rfaas_lease_end(rfaas_lease_page *page, uint32_t reason, int32_t detail) {
  if (__atomic_load_n(&page->ended, __ATOMIC_ACQUIRE) != RFAAS_ALIVE) return;
  __atomic_store_n(&page->detail, detail, __ATOMIC_RELAXED);
  __atomic_store_n(&page->ended, reason, __ATOMIC_RELEASE);
}

/* Offsets and sizes, in the order `ffi/layout.ts` lists them. Returns how many there are. */
RFAAS_EXPORT int32_t rfaas_layout(uint32_t *out, int32_t capacity) {
  const uint32_t numbers[] = {
      RFAAS_LAYOUT_VERSION,
      sizeof(rfaas_request),
      sizeof(rfaas_response),
      sizeof(rfaas_slot),
      sizeof(rfaas_channel_page),
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
