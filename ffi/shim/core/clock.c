#include "clock.h"
#include "rfaas.h"

enum { CALIBRATION_NS = 2000000, READINGS = 16 };

static double calibrated;

#if !defined(__aarch64__)
typedef struct {
  uint64_t ns;
  uint64_t ticks;
} reading;

/* Both clocks at one moment: of several readings the one that took least, for a thread may be interrupted between the two. */
static reading read_both(void) {
  reading best = {0};
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < READINGS; i++) {
    uint64_t before = rfaas_now_ticks(), ns = rfaas_now_ns(), after = rfaas_now_ticks();
    if (after - before >= least) continue;
    least = after - before;
    best = (reading){.ns = ns, .ticks = before + least / 2};
  }
  return best;
}

static reading first;

/* Read as the library is opened: most have something else to do before they ask, and do not wait. */
__attribute__((constructor)) static void begin(void) { first = read_both(); }
#endif

/* Racing threads compute the same value, so the one process-wide word needs no lock. */
double rfaas_ticks_per_ns(void) {
  double known;
  __atomic_load(&calibrated, &known, __ATOMIC_RELAXED);
  if (known > 0) return known;
#if defined(__aarch64__)
  uint64_t hz;
  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
  known = (double)hz / 1e9;
#else
  reading from = first, to;
  do to = read_both();
  while (to.ns - from.ns < CALIBRATION_NS);
  known = (double)(to.ticks - from.ticks) / (double)(to.ns - from.ns);
#endif
  __atomic_store(&calibrated, &known, __ATOMIC_RELAXED);
  return known;
}

/* Low half of the counter: enough for intervals below a second, and cheap to return to JavaScript. */
RFAAS_EXPORT uint32_t rfaas_ticks(void) { return (uint32_t)rfaas_now_ticks(); }
RFAAS_EXPORT double rfaas_tick_rate(void) { return rfaas_ticks_per_ns(); }

RFAAS_EXPORT int32_t rfaas_ticks_invariant(void) {
#if defined(__x86_64__)
  uint32_t eax = 0x80000007u, ebx, ecx = 0, edx;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (edx >> 8) & 1;
#else
  return 1;
#endif
}
