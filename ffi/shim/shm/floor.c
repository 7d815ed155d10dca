/* The floors a benchmark compares with: what the machine can do between two cores with no rfaas in between. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/clock.h"
#include "../core/rfaas.h"

/* The delays of a sweep: they move the moment of a store against the polls of the other side. Not inlined, so that it takes as long
 * in the floor as through FFI. */
void rfaas_delay(uint32_t ticks) __attribute__((noinline));

RFAAS_EXPORT void rfaas_delay(uint32_t ticks) {
  uint64_t start = rfaas_now_ticks();
  while (rfaas_now_ticks() - start < ticks);
}

static int compare(const void *a, const void *b) {
  int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
  return (left > right) - (left < right);
}

/* What a delay really takes, in ticks: the counter has steps, and reading it takes time. */
RFAAS_EXPORT double rfaas_delay_cost(uint32_t ticks) {
  enum { RUNS = 257 };
  int64_t took[RUNS];
  for (int i = 0; i < RUNS; i++) {
    uint64_t before = rfaas_now_ticks();
    rfaas_delay(ticks);
    uint64_t after = rfaas_now_ticks();
    took[i] = (int64_t)(after - before) - (int64_t)(rfaas_now_ticks() - after);
  }
  qsort(took, RUNS, sizeof *took, compare);
  return (double)took[RUNS / 2];
}

typedef struct {
  uint32_t *request; /* each flag on a line of its own, in its own 128-byte pair */
  uint32_t *response;
  uint8_t *input;
  uint8_t *output;
  uint32_t bytes;
  uint32_t rounds;
  uint32_t delay; /* ticks; written before the request that it is for */
  int32_t cpu;
  int block;
} side;

static void pin(int32_t cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void set_flag(uint32_t *flag, uint32_t value, int block) {
  __atomic_store_n(flag, value, __ATOMIC_RELEASE);
  if (block) syscall(SYS_futex, flag, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void await_flag(uint32_t *flag, uint32_t value, int block) {
  uint32_t seen, spins = 0;
  while ((seen = __atomic_load_n(flag, __ATOMIC_ACQUIRE)) != value) {
    if (block) syscall(SYS_futex, flag, FUTEX_WAIT, seen, NULL, NULL, 0);
    else if (++spins % 2048 == 0) sched_yield(); /* on one CPU the other side could never answer */
    else rfaas_relax();
  }
}

static void *echo(void *argument) {
  side *s = argument;
  pin(s->cpu);
  for (uint32_t round = 1; round <= s->rounds; round++) {
    await_flag(s->request, round, s->block);
    if (s->delay) rfaas_delay(s->delay);
    memcpy(s->output, s->input, s->bytes);
    set_flag(s->response, round, s->block);
  }
  return NULL;
}

/* A ping-pong on a fresh shared mapping between the calling thread on `client_cpu` and another on `echo_cpu` (-1: anywhere).
 * Payloads up to 8 bytes travel beside the flag, in its line; larger ones are copied in by one side and out by the other.
 * `block` sleeps on a futex instead of spinning; `gap_ns` is the least time between two beginnings, for an echo that is really
 * asleep. Of each of `delay_count` delays, writes `samples` round trips in ticks: both sides wait so many ticks before they store,
 * and the client's wait is no part of the round trip. Returns 0 or -errno. The calling thread keeps its pin. */
RFAAS_EXPORT int32_t rfaas_floor(uint32_t bytes, uint32_t warmup, uint32_t samples, int32_t client_cpu, int32_t echo_cpu,
                                 int32_t block, uint32_t gap_ns, const uint32_t *delays, uint32_t delay_count,
                                 uint32_t *ticks) {
  size_t payload = ((size_t)bytes + 4095) & ~(size_t)4095;
  size_t total = 4096 + 2 * payload;
  int fd = memfd_create("rfaas-floor", MFD_CLOEXEC);
  if (fd < 0) return -errno;
  uint8_t *base = MAP_FAILED;
  if (ftruncate(fd, (off_t)total) == 0)
    base = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  int failed = errno;
  close(fd);
  if (base == MAP_FAILED) return -failed;

  uint8_t *private_input = mmap(NULL, payload + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (private_input == MAP_FAILED) {
    failed = errno;
    munmap(base, total);
    return -failed;
  }
  int apart = bytes > 8;
  /* The echo reads it in its loop: on lines that the client does not write. */
  _Alignas(128) side s = {
      .request = (uint32_t *)(base + 60),
      .response = (uint32_t *)(base + 188),
      .input = apart ? base + 4096 : base,
      .output = apart ? base + 4096 + payload : base + 128,
      .bytes = bytes,
      .rounds = delay_count * (warmup + samples),
      .cpu = echo_cpu,
      .block = block,
  };
  pin(client_cpu);
  pthread_t thread;
  int started = pthread_create(&thread, NULL, echo, &s);
  if (started == 0) {
    uint64_t before = rfaas_now_ticks(), gap = (uint64_t)(gap_ns * rfaas_ticks_per_ns());
    uint32_t round = 0;
    for (uint32_t at = 0; at < delay_count; at++) {
      s.delay = delays[at];
      for (uint32_t done = 0; done < warmup + samples; done++) {
        while (gap && rfaas_now_ticks() - before < gap) rfaas_relax();
        if (s.delay) rfaas_delay(s.delay);
        before = rfaas_now_ticks();
        *(uint32_t *)private_input = ++round;
        memcpy(s.input, private_input, bytes);
        set_flag(s.request, round, block);
        await_flag(s.response, round, block);
        if (done >= warmup) *ticks++ = (uint32_t)(rfaas_now_ticks() - before);
      }
    }
    pthread_join(thread, NULL);
  }
  munmap(private_input, payload + 4096);
  munmap(base, total);
  return -started;
}
