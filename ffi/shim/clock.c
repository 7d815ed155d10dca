#include "clock.h"
#include "rfaas.h"

static double calibrated;

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
  uint64_t ns0 = rfaas_now_ns(), ticks0 = rfaas_now_ticks(), ns1;
  do ns1 = rfaas_now_ns();
  while (ns1 - ns0 < 2000000);
  known = (double)(rfaas_now_ticks() - ticks0) / (double)(ns1 - ns0);
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
