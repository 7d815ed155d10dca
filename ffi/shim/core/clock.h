/* The cycle counter, and what it is worth. */
#ifndef RFAAS_CLOCK_H
#define RFAAS_CLOCK_H

#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t rfaas_now_ticks(void) {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
#error "no cycle counter known for this processor"
#endif
}

static inline void rfaas_relax(void) {
#if defined(__x86_64__)
  _mm_pause();
#else
  /* Most processors take `yield` for nothing; this one waits for the pipeline, some tens of cycles, as a pause should. */
  __asm__ volatile("isb" ::: "memory");
#endif
}

static inline uint64_t rfaas_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Calibrated once per process, in 2 ms, at first use; needs an invariant counter, which `rfaas doctor` checks. */
double rfaas_ticks_per_ns(void);

#endif
