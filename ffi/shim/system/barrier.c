/* Barriers that one process makes for others, by a system call: Linux 4.16 has it, a sandbox may forbid it. */
#define _GNU_SOURCE
#include "barrier.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Process-wide, since the kernel's answer is. */
static int reach;
enum { UNASKED = 0, ASKING = 1, REACHED = 2, REFUSED = 3 };

static long membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

int rfaas_can_make_barriers(void) {
#ifdef RFAAS_FULL_FENCES /* for a race detector, which does not see barriers of the kernel's */
  return 0;
#endif
  long known = membarrier(MEMBARRIER_CMD_QUERY);
  return known > 0 && (known & MEMBARRIER_CMD_GLOBAL_EXPEDITED) && (known & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

void rfaas_make_barrier(void) { membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED); }

static void *ask(void *unused) {
  (void)unused;
  int asked = rfaas_can_make_barriers() && membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
  __atomic_store_n(&reach, asked ? REACHED : REFUSED, __ATOMIC_RELEASE);
  return NULL;
}

int rfaas_barriers_reach(void) {
  int unasked = UNASKED;
  if (__atomic_compare_exchange_n(&reach, &unasked, ASKING, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, ask, NULL) == 0) pthread_detach(thread);
    else __atomic_store_n(&reach, REFUSED, __ATOMIC_RELEASE);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  return __atomic_load_n(&reach, __ATOMIC_ACQUIRE) == REACHED;
}
