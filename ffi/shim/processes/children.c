/* The descendants of a process: counts their CPU time, and kills them. A subreaper becomes the parent of all
 * descendants whose own parents are gone, so a process that forks twice or leaves its session does not escape. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "tree.h"

/* So many are killed at a time. */
#define MAX_CHILDREN 1024
/* How long to wait for a process that even the kernel cannot kill at once, since it waits for a device. */
#define MAX_TRIES 10000

static double tree_ticks(int root) {
  struct tree tree = rfaas_tree_of(root);
  double ticks = 0;
  for (int at = 0; at < tree.count; at++) {
    struct stat_line stat;
    rfaas_tree_grow(&tree, tree.all[at].pid, 0);
    if (at > 0 && rfaas_read_stat(tree.all[at].pid, &stat))
      ticks += (double)(stat.user + stat.system) + (double)(stat.children_user + stat.children_system);
  }
  rfaas_tree_free(&tree);
  return ticks;
}

/* CPU time of what a process has started, nanoseconds: of those that it has waited for, and of those that live. */
RFAAS_EXPORT double rfaas_descendants_time(int32_t pid) {
  struct stat_line stat;
  if (!rfaas_read_stat(pid, &stat)) return 0;
  double ticks = (double)(stat.children_user + stat.children_system) + tree_ticks(pid);
  return ticks * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

/* The same, of each: four numbers for a process that is there, its own first, from the root on, whose own time is left out: its number, when it was
 * started, its CPU time, and that of those that it has waited for, nanoseconds. Returns how many there are, of which no more than `most` are written. */
RFAAS_EXPORT int32_t rfaas_descendants_times(int32_t pid, double *out, int32_t most) {
  const double tick_ns = 1e9 / (double)sysconf(_SC_CLK_TCK);
  struct tree tree = rfaas_tree_of(pid);
  int count = 0;
  for (int at = 0; at < tree.count; at++) {
    struct stat_line stat;
    rfaas_tree_grow(&tree, tree.all[at].pid, 0);
    if (!rfaas_read_stat(tree.all[at].pid, &stat)) continue;
    if (count++ >= most) continue;
    *out++ = tree.all[at].pid;
    *out++ = (double)stat.started;
    *out++ = at > 0 ? tick_ns * (double)(stat.user + stat.system) : 0;
    *out++ = tick_ns * (double)(stat.children_user + stat.children_system);
  }
  rfaas_tree_free(&tree);
  return count;
}

/* Descendants that lose their parent become children of this process. */
RFAAS_EXPORT int32_t rfaas_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? 0 : -errno; }

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

/* Whether functions cannot have started it: a host and its descendants can never gain privileges. */
static int is_foreign(int pid) {
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) return 0;
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *status = fopen(path, "re");
  if (!status) return 0;
  int confined = 1;
  while (fgets(line, sizeof line, status))
    if (sscanf(line, "NoNewPrivs: %d", &confined) == 1) break;
  fclose(status);
  return confined == 0;
}

/* Returns whether it was dead. The pid of a child of ours names it until we have waited for it, so no other process is hit. */
static int bury(int pid, double *cpu_ns) {
  struct rusage used;
  if (wait4(pid, NULL, WNOHANG | __WALL, &used) != pid) return 0;
  *cpu_ns += 1e9 * (seconds(used.ru_utime) + seconds(used.ru_stime));
  return 1;
}

static int is_among(int pid, const int32_t *some, int32_t count) {
  for (int32_t i = 0; i < count; i++)
    if (some[i] == pid) return 1;
  return 0;
}

/* Kills the children that are not among `keep` and descend from a function, and waits for those that are dead. What they had
 * started comes to us and is found the next time. Adds their CPU time, and what they had waited for, to `cpu_ns`. Returns 0 when
 * there are none.
 *
 * A list of children is no snapshot: the threads' lists are read one after another, and a process whose parent dies meanwhile moves
 * from a list that is still to be read to the first thread's, which has been read; and one that is listed and then waited for by another
 * thread makes the kernel skip the next. Either is seen by a second look, so only two equal ones in a row count as none. */
RFAAS_EXPORT int32_t rfaas_end_children(const int32_t *keep, int32_t count, double *cpu_ns) {
  int looks[2][MAX_CHILDREN];
  int before = -1;
  /* Several rounds at once: a process that forks and exits in a loop is caught by speed alone. */
  for (int round = 0; round < 8; round++) {
    int *children = looks[round % 2];
    int left = 0;
    int found = rfaas_children_of(getpid(), children, MAX_CHILDREN);
    for (int i = 0; i < found; i++) {
      int pid = children[i];
      if (is_among(pid, keep, count)) continue;
      int dead = bury(pid, cpu_ns);
      if (!dead && is_foreign(pid)) continue;
      left = 1;
      if (dead) continue;
      kill(pid, SIGKILL);
      bury(pid, cpu_ns);
    }
    if (!left && found == before && memcmp(looks[0], looks[1], sizeof *children * (size_t)found) == 0) return 0;
    before = left ? -1 : found;
  }
  return 1;
}

/* Whether this process has children, dead ones that it has not waited for among them. */
RFAAS_EXPORT int32_t rfaas_has_children(void) {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/* Waits for the dead among the children that this process has adopted: those of its first thread, which starts none itself. Their
 * CPU time becomes ours. */
RFAAS_EXPORT void rfaas_reap_adopted(void) {
  int children[MAX_CHILDREN];
  int count = rfaas_children_of_thread(getpid(), children, MAX_CHILDREN);
  for (int i = 0; i < count; i++) waitpid(children[i], NULL, WNOHANG | __WALL);
}

#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))

static void stay(int signal) {
  (void)signal;
  for (;;) pause();
}

/* No thread of this process starts another process any more, nor ends this one, be it by a crash: a thread that tries stays where it is.
 * Threads are still started, since Bun aborts where it gets none: only `clone` shows the filter what it is to start, so `clone3` is
 * said to be missing. Handlers stay as they are, since a runtime that aborts takes away that of SIGABRT first. Where the filter is refused, what is started meanwhile is seen or not. */
static void forbid_starting_and_exiting(void) {
  const int fatal[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
  const struct sigaction stays = {.sa_handler = stay, .sa_flags = SA_ONSTACK};
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &stays, NULL);
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigaction, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, REFUSE(EPERM)),
#ifdef SYS_fork
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, REFUSE(EAGAIN)),
#endif
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, REFUSE(ENOSYS)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, REFUSE(EAGAIN)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
}

static struct timespec milliseconds(long ms) { return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}; }

/* Waits for the parent's death, then, when the grace is over, ends all that this process has started, and the process itself. The
 * argument is a pidfd in its lower half and the grace in its upper one. */
static void *guard(void *argument) {
  struct pollfd parent = {.fd = (int)((intptr_t)argument & 0xffffffff), .events = POLLIN};
  while (poll(&parent, 1, -1) < 0 && errno == EINTR) continue;
  const struct timespec grace = milliseconds((long)((intptr_t)argument >> 32)), pause = milliseconds(1);
  nanosleep(&grace, NULL);
  forbid_starting_and_exiting();
  double ignored = 0;
  for (int tries = 0; tries < MAX_TRIES && rfaas_end_children(NULL, 0, &ignored) > 0; tries++) nanosleep(&pause, NULL);
  kill(getpid(), SIGKILL);
  return NULL;
}

/* This process, and all that it starts, ends when `parent` has died, however it died, `grace_ms` later at the latest. Returns -ESRCH
 * when it is dead already. */
RFAAS_EXPORT int32_t rfaas_end_with_parent(int32_t parent, int32_t grace_ms) {
  int fd = (int)syscall(SYS_pidfd_open, parent, 0);
  if (fd < 0) return -errno;
  int failed = rfaas_adopt_orphans();
  /* A stopped process could not kill the processes that it has started. */
  if (failed == 0 && prctl(PR_SET_PDEATHSIG, SIGCONT) != 0) failed = -errno;
  if (failed == 0 && getppid() != parent) failed = -ESRCH;
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 128 * 1024);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  if (failed == 0) failed = -pthread_create(&thread, &attributes, guard, (void *)((intptr_t)grace_ms << 32 | fd));
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (failed != 0) close(fd);
  return failed;
}
