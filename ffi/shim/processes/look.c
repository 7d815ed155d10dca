/* Looks in a thread of their own: how one is begun, taken and left. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "look.h"

enum { RUNS, DONE, ABANDONED, STACK_SIZE = 256 * 1024 };

static double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e6 * (double)now.tv_sec + (double)now.tv_nsec / 1e3;
}

static void *run(void *argument) {
  struct look *look = argument;
  double began_us = now_us();
  look->work(look);
  look->took_us = now_us() - began_us;
  if (atomic_exchange(&look->state, DONE) == ABANDONED) free(look);
  else syscall(SYS_futex, &look->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  return NULL;
}

double rfaas_look_begin(struct look *look, void (*work)(struct look *)) {
  look->work = work;
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_SIZE);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&thread, &attributes, run, look);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (!failed) return (double)(uintptr_t)look;
  free(look);
  return 0;
}

/* Takes the result, for which it waits so many microseconds at most: what was found, and how long the look took. Returns 0 while there is none. */
RFAAS_EXPORT int32_t rfaas_look_take(struct look *look, int32_t wait_us, double *out) {
  const struct timespec most = {.tv_nsec = 1000L * wait_us};
  if (atomic_load(&look->state) == RUNS) syscall(SYS_futex, &look->state, FUTEX_WAIT_PRIVATE, RUNS, &most, NULL, 0);
  if (atomic_load(&look->state) == RUNS) return 0;
  memcpy(out, look->found, sizeof look->found);
  out[LOOK_NUMBERS] = look->took_us;
  free(look);
  return 1;
}

/* No one takes the result. */
RFAAS_EXPORT void rfaas_look_abandon(struct look *look) {
  if (atomic_exchange(&look->state, ABANDONED) == DONE) free(look);
}
