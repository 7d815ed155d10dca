/* What a process and its descendants hold of the machine, and their end. The agent asks, of a host: it reads what the kernel says of
 * them, never what they say themselves. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "tree.h"

/* From linux/kcmp.h, which not every system has. */
#define SAME_MEMORY 1


enum { PROCESSES, THREADS, PRIVATE_BYTES, SHARED_BYTES };

/* The number after a name at the start of a line; 0 where there is none. */
static double field(const char *text, const char *name) {
  size_t length = strlen(name);
  for (const char *at = text; (at = strstr(at, name)); at += length)
    if (at == text || at[-1] == '\n') return strtod(at + length, NULL);
  return 0;
}

/* Returns whether there is such a file. */
static int read_text(const char *path, char *out, size_t capacity) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t length = 0;
  ssize_t more;
  while (length < capacity - 1 && (more = read(fd, out + length, capacity - 1 - length)) > 0) length += (size_t)more;
  close(fd);
  out[length] = 0;
  return length > 0;
}

/* A process that was started without a copy of its parent's memory, and has not yet become another program, has none of its own. */
static int shares_memory(int pid, int parent) { return parent > 0 && syscall(SYS_kcmp, parent, pid, SAME_MEMORY, 0, 0) == 0; }

/* Adds what one process has. With `exact`, a page that several have mapped counts by its share, which takes longer to find out. */
static void add_process(int pid, int parent, int exact, double *out) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  if (!read_text(path, text, sizeof text)) return;
  double threads = field(text, "Threads:");
  out[PROCESSES]++;
  out[THREADS] += threads;
  if (shares_memory(pid, parent)) return;
  double private = field(text, "RssAnon:") + field(text, "VmSwap:"), shared = field(text, "RssShmem:");
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
  /* Linux before 5.9 does not tell the kinds of memory apart there. */
  if (exact && read_text(path, text, sizeof text) && strstr(text, "Pss_Anon:")) {
    private = field(text, "Pss_Anon:") + field(text, "SwapPss:");
    shared = field(text, "Pss_Shmem:");
  }
  out[PRIVATE_BYTES] += 1024 * private;
  out[SHARED_BYTES] += 1024 * shared;
}

static void add_tree(int pid, int parent, int depth, int exact, double *out) {
  add_process(pid, parent, exact, out);
  int children[RFAAS_MAX_CHILDREN];
  int count = depth < RFAAS_MAX_DEPTH ? rfaas_children_of(pid, children, RFAAS_MAX_CHILDREN) : 0;
  for (int i = 0; i < count; i++) add_tree(children[i], pid, depth + 1, exact, out);
}

/* Processes, threads, private bytes and bytes of memory files that a process and its descendants have. Returns 0 where there is none. */
RFAAS_EXPORT int32_t rfaas_tree_usage(int32_t pid, int32_t exact, double *out) {
  memset(out, 0, 4 * sizeof *out);
  add_tree(pid, 0, 0, exact, out);
  return out[PROCESSES] > 0;
}

/* Only the child of `parent` is hit, not another process that has got its number. */
static void kill_child(int pid, int parent) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return;
  struct stat_line stat;
  if (rfaas_read_stat(pid, &stat) && stat.parent == parent) syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
  close(fd);
}

static void kill_descendants(int pid, int depth) {
  int children[RFAAS_MAX_CHILDREN];
  int count = depth < RFAAS_MAX_DEPTH ? rfaas_children_of(pid, children, RFAAS_MAX_CHILDREN) : 0;
  for (int i = 0; i < count; i++) {
    kill_child(children[i], pid);
    kill_descendants(children[i], depth + 1);
  }
}

/* Kills the descendants of a process that are there; what is started meanwhile is for who ends the process. */
RFAAS_EXPORT void rfaas_kill_descendants(int32_t pid) { kill_descendants(pid, 0); }

/* Restricts each thread of a process to CPUs of the set. Returns how many had others. */
static int32_t restrict_process(int pid, const cpu_set_t *allowed) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  int32_t changed = 0;
  for (struct dirent *task; (task = readdir(tasks));) {
    int thread = atoi(task->d_name);
    cpu_set_t has, both;
    if (thread <= 0 || sched_getaffinity(thread, sizeof has, &has) != 0) continue;
    CPU_AND(&both, &has, allowed);
    if (!CPU_EQUAL(&both, &has) && sched_setaffinity(thread, sizeof *allowed, allowed) == 0) changed++;
  }
  closedir(tasks);
  return changed;
}

static int32_t restrict_descendants(int pid, int depth, const cpu_set_t *allowed) {
  int children[RFAAS_MAX_CHILDREN];
  int count = depth < RFAAS_MAX_DEPTH ? rfaas_children_of(pid, children, RFAAS_MAX_CHILDREN) : 0;
  int32_t changed = 0;
  for (int i = 0; i < count; i++) changed += restrict_process(children[i], allowed) + restrict_descendants(children[i], depth + 1, allowed);
  return changed;
}

/* Takes CPUs that are not among these from the descendants of a process. Returns how many threads had any. */
RFAAS_EXPORT int32_t rfaas_restrict_descendants(int32_t pid, const int32_t *cpus, int32_t count) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  for (int32_t i = 0; i < count; i++)
    if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE) CPU_SET(cpus[i], &allowed);
  return CPU_COUNT(&allowed) > 0 ? restrict_descendants(pid, 0, &allowed) : 0;
}
