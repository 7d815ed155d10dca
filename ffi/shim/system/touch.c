/* First touch. A page that a process reaches for the first time costs it a fault: a microsecond, and twelve where a hypervisor has to
 * help. Here many are mapped by one system call, each for a tenth of that, and before a call needs them.
 *
 * The client takes memory from the arena in order, from its start. As it hands a buffer to its program, it gives the pages their
 * memory and says in the lease's page how far that goes. The threads of the host map what is there, in short pieces between their
 * looks for a request. They give no page memory: what a client says that is not so costs them some system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/clock.h"
#include "touch.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* A look for a request waits no longer for a piece. */
#define RFAAS_PIECE_NS 20000u

/* The kernel is older than Linux 5.14. */
static uint32_t by_hand;

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* A store would race with a payload that the peer writes. */
static void touch_by_hand(uint8_t *start, size_t bytes) {
  for (size_t at = 0; at < bytes; at += page_bytes())
    __atomic_fetch_add((uint32_t *)(void *)(start + at), 0, __ATOMIC_RELAXED);
}

int rfaas_populate(void *start, size_t bytes, int advice) {
  if (!__atomic_load_n(&by_hand, __ATOMIC_RELAXED)) {
    if (madvise(start, bytes, advice) == 0) return 0;
    int failed = errno;
    /* Of nothing, the kernel asks only whether it knows how. */
    if (failed != EINVAL || madvise(start, 0, advice) == 0) return failed;
    __atomic_store_n(&by_hand, 1, __ATOMIC_RELAXED);
  }
  touch_by_hand(start, bytes);
  return 0;
}

/* For tests of what happens before Linux 5.14, and with 0 for what comes after them. */
RFAAS_EXPORT void rfaas_touch_by_hand(uint32_t whether) { __atomic_store_n(&by_hand, whether, __ATOMIC_RELAXED); }

typedef struct {
  uint8_t *start; /* of a page */
  size_t bytes;
  uint64_t to; /* within the arena */
  uint64_t begun_ticks;
} piece;

/* Takes the next piece before `end` for this thread alone: so many pages, or fewer. Returns 0 when there is none. */
static int begin(rfaas_region *region, uint64_t end, uint32_t pages, piece *next) {
  uint64_t from = __atomic_load_n(&region->touched, __ATOMIC_RELAXED), touched;
  if (end > region->arena_bytes) end = region->arena_bytes;
  uint64_t length = (uint64_t)pages * page_bytes();
  do {
    if (from >= end) return 0;
    next->to = end - from < length ? end : from + length;
    /* At the arena's end nothing is left, whatever the client says. */
    touched = next->to < region->arena_bytes ? next->to : UINT64_MAX;
  } while (!__atomic_compare_exchange_n(&region->touched, &from, touched, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  uint8_t *arena = (uint8_t *)region->page + region->arena_offset;
  next->start = (uint8_t *)((uintptr_t)(arena + from) & ~(uintptr_t)(page_bytes() - 1));
  next->bytes = (size_t)(arena + next->to - next->start);
  next->begun_ticks = rfaas_now_ticks();
  return 1;
}

static inline uint32_t piece_pages(const rfaas_region *region) { return __atomic_load_n(&region->piece_pages, __ATOMIC_RELAXED); }

/* The next piece gets longer or shorter by how long this one took. */
static void adapt(rfaas_region *region, const piece *done) {
  uint64_t limit = (uint64_t)(RFAAS_PIECE_NS * rfaas_ticks_per_ns());
  uint64_t took = rfaas_now_ticks() - done->begun_ticks;
  uint32_t pages = piece_pages(region);
  if (took > limit && pages > 1) pages /= 2;
  else if (took < limit / 4 && pages < RFAAS_PIECE_PAGES) pages *= 2;
  __atomic_store_n(&region->piece_pages, pages, __ATOMIC_RELAXED);
}

/* The client's side: the first `end` bytes of the arena are in buffers of the program's. Gives memory to `budget` bytes of them or, when
 * that is 0, to a piece. Returns 1 when that is done, or cannot be done: the pages then wait for their first touch. */
RFAAS_EXPORT int32_t rfaas_hand_out(rfaas_region *region, double end, double budget) {
  piece next;
  int all_at_once = budget > 0;
  do {
    if (!begin(region, (uint64_t)end, all_at_once ? RFAAS_PIECE_PAGES : piece_pages(region), &next)) return 1;
    if (rfaas_populate(next.start, next.bytes, MADV_POPULATE_WRITE) != 0) {
      __atomic_store_n(&region->touched, UINT64_MAX, __ATOMIC_RELAXED);
      return 1;
    }
    if (!all_at_once) adapt(region, &next);
    __atomic_store_n(&region->page->handed_out, next.to, __ATOMIC_RELEASE);
    budget -= (double)next.bytes;
  } while (budget > 0);
  return next.to >= (uint64_t)end;
}

/* The host's side. A mapping for reading lets the processor write as well, and takes sixteen pages at a time. */
RFAAS_EXPORT int32_t rfaas_touch_piece(rfaas_region *region) {
  piece next;
  uint64_t end = __atomic_load_n(&region->page->handed_out, __ATOMIC_ACQUIRE);
  if (!begin(region, end, piece_pages(region), &next)) return 0;
  /* A piece may begin and end within a page. */
  unsigned char has_memory[RFAAS_PIECE_PAGES + 2];
  size_t pages = (next.bytes + page_bytes() - 1) / page_bytes();
  if (mincore(next.start, next.bytes, has_memory) == 0)
    for (size_t at = 0, run; at < pages; at += run + 1) {
      for (run = 0; at + run < pages && (has_memory[at + run] & 1);) run++;
      if (run > 0) rfaas_populate(next.start + at * page_bytes(), run * page_bytes(), MADV_POPULATE_READ);
    }
  adapt(region, &next);
  return 1;
}
