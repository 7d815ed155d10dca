/* What a process may do to itself and its children: die with a parent, stay on a core, bound its heap. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "../processes/tree.h"

RFAAS_EXPORT int32_t rfaas_pidfd_open(int32_t pid) {
  long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : (int32_t)fd;
}

/* Pins the calling thread, not the process: helper threads of the engine keep the whole machine. Unpins it with -1. */
RFAAS_EXPORT int32_t rfaas_pin_thread(int32_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0) CPU_SET(cpu, &set);
  else memset(&set, 0xff, sizeof set); /* the kernel takes away what the process may not have */
  return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

/* Names the calling thread for others of its process. */
RFAAS_EXPORT int32_t rfaas_thread(void) { return (int32_t)syscall(SYS_gettid); }

/* The CPUs of a thread of this process (0: the calling one), and of what it starts from then on; all that there are with none.
 * The kernel leaves away those that the process may not have. */
RFAAS_EXPORT int32_t rfaas_set_affinity(int32_t thread, const int32_t *cpus, int32_t count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (count == 0) memset(&set, 0xff, sizeof set);
  for (int32_t i = 0; i < count; i++)
    if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE) CPU_SET(cpus[i], &set);
  return sched_setaffinity(thread, sizeof set, &set) == 0 ? 0 : -errno;
}

/* Threads that the engine starts for itself, to compile and to collect garbage, when it first needs them. */
static const char *const ENGINE_THREADS[] = {
  "JITWorker", "HeapHelper", "mi-scavenger", "JSCWarmUp", "s Signal Sender", "ollector Thread", "Bun Pool",
};

int rfaas_is_engines(const char *name) {
  for (size_t i = 0; i < sizeof ENGINE_THREADS / sizeof *ENGINE_THREADS; i++)
    if (strncmp(name, ENGINE_THREADS[i], strlen(ENGINE_THREADS[i])) == 0) return 1;
  return 0;
}

static int is_engine_thread(int32_t thread) {
  char path[64], name[32] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/comm", thread);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, name, sizeof name - 1);
  close(fd);
  return length > 0 && rfaas_is_engines(name);
}

/* Lets the engine's threads of this process run anywhere. One that a worker started while it loaded its module has the worker's
 * CPUs, where it would wait behind a loop that spins. Those of functions stay where they are; all do where there is no /proc. */
RFAAS_EXPORT void rfaas_free_engine_threads(void) {
  DIR *tasks = opendir("/proc/self/task");
  if (!tasks) return;
  for (struct dirent *task; (task = readdir(tasks));) {
    int32_t thread = atoi(task->d_name);
    if (thread > 0 && is_engine_thread(thread)) rfaas_set_affinity(thread, NULL, 0);
  }
  closedir(tasks);
}

/* Native libraries read the C environment, which the runtime does not write to. For one name that is not there yet: a thread that
 * reads the environment meanwhile sees the old one or the new one. With no value, for a process of one thread: it is there no more. */
RFAAS_EXPORT int32_t rfaas_set_environment(const char *name, const char *value) {
  return (value ? setenv(name, value, 1) : unsetenv(name)) == 0 ? 0 : -errno;
}

/* CPU time that another process of ours has used, nanoseconds, or -errno once it is gone. */
RFAAS_EXPORT double rfaas_cpu_time(int32_t pid) {
  clockid_t clock;
  struct timespec used;
  int failed = clock_getcpuclockid(pid, &clock);
  if (failed) return -failed;
  if (clock_gettime(clock, &used) != 0) return -errno;
  return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}

/* The CPUs this process may use, ascending; respects taskset, numactl and batch systems. Returns how many. */
RFAAS_EXPORT int32_t rfaas_affinity(int32_t *out, int32_t capacity) {
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof set, &set) != 0) return -errno;
  int32_t count = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && count < capacity; cpu++)
    if (CPU_ISSET(cpu, &set)) out[count++] = cpu;
  return count;
}

/* Set-user-id programs grant no privileges. An attribute of the thread, inherited by threads that it starts: call it before. */
RFAAS_EXPORT int32_t rfaas_forbid_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno; }

/* No other process of this user reads this one's memory, or gets its descriptors; a core dump has neither. A program that it executes
 * is again as others are. */
RFAAS_EXPORT int32_t rfaas_hide(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -errno; }

/* Where the kernel reads the arguments and the environment of this process from, one behind the other. */
static int given_words(char **begin, char **end) {
  char text[2048];
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return -EIO;
  text[length] = 0;
  /* The name of the program, in parentheses, may have spaces. */
  char *field = strrchr(text, ')');
  unsigned long found[4]; /* fields 48 to 51: both ends of both */
  for (int number = 2; field && number < 48; number++) field = strchr(field + 1, ' ');
  if (!field || sscanf(field, "%lu %lu %lu %lu", &found[0], &found[1], &found[2], &found[3]) != 4) return -EIO;
  if (found[0] == 0 || found[1] < found[0] || found[2] < found[1] || found[3] < found[2]) return -EIO;
  *begin = (char *)found[0];
  *end = (char *)found[3];
  return 0;
}

/* Overwrites a secret in the arguments and the environment that this process was started with, which the system shows to others.
 * Returns how often it was there, or -errno. */
RFAAS_EXPORT int32_t rfaas_forget(const char *secret) {
  size_t length = strlen(secret);
  char *at, *end;
  if (length == 0) return -EINVAL;
  int failed = given_words(&at, &end);
  if (failed) return failed;
  int32_t count = 0;
  while ((at = memmem(at, (size_t)(end - at), secret, length))) {
    memset(at, '*', length);
    at += length;
    count++;
  }
  return count;
}

/* Of a process that runs a tenant's code, or waits to: no core dump, and first in line for the kernel's out-of-memory killer. */
RFAAS_EXPORT int32_t rfaas_stand_first(void) {
  struct rlimit core = {0, 0};
  if (setrlimit(RLIMIT_CORE, &core) != 0) return -errno;
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    (void)!write(fd, "1000", 4);
    close(fd);
  }
  return 0;
}

/* A host's standard output is a pipe, for which the C library would keep lines until it has many, or the process ends; one that is killed would
 * lose them. */
RFAAS_EXPORT void rfaas_print_lines(void) { setvbuf(stdout, NULL, _IOLBF, BUFSIZ); }

/* Private writable memory of this process and its stack, in pages: the sixth number of a file that takes a tenth of the time of the
 * one that tells them apart. Returns -errno. */
static long data_pages(void) {
  char text[256];
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return -EIO;
  text[length] = 0;
  long pages;
  return sscanf(text, "%*s %*s %*s %*s %*s %ld", &pages) == 1 ? pages : -EIO;
}

static int32_t at_most(int resource, rlim_t most) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) != 0) return -errno;
  if (most > limit.rlim_max) most = limit.rlim_max; /* RLIM_INFINITY is the largest */
  limit.rlim_cur = limit.rlim_max = most;
  return setrlimit(resource, &limit) == 0 ? 0 : -errno;
}

/* Bounds private writable memory (the JavaScript heap, native allocations; not the lease's shared region) to what the process
 * has now plus `bytes`, and its descriptors to `files`, or to less where they are bounded already. What it starts inherits that. */
RFAAS_EXPORT int32_t rfaas_confine(double bytes, uint32_t files) {
  long pages = data_pages();
  if (pages < 0) return (int32_t)pages;
  int32_t failed = at_most(RLIMIT_DATA, (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)bytes);
  return failed ? failed : at_most(RLIMIT_NOFILE, files);
}

RFAAS_EXPORT double rfaas_memlock_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return -errno;
  return limit.rlim_cur == RLIM_INFINITY ? 1.0 / 0.0 : (double)limit.rlim_cur;
}
