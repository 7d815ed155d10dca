/* Where the threads of a host and of its descendants run. The agent puts them there, whatever they have asked for. */
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/rfaas.h"
#include "tree.h"

static int set_of(cpu_set_t *set, const int32_t *cpus, int32_t count) {
  CPU_ZERO(set);
  for (int32_t i = 0; i < count; i++)
    if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE) CPU_SET(cpus[i], set);
  return CPU_COUNT(set);
}

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

/* Takes CPUs that are not among these from the descendants of a process. Returns how many threads had any. */
RFAAS_EXPORT int32_t rfaas_restrict_descendants(int32_t pid, const int32_t *cpus, int32_t count) {
  cpu_set_t allowed;
  if (set_of(&allowed, cpus, count) == 0) return 0;
  struct tree tree = rfaas_tree_of(pid);
  int32_t changed = 0;
  for (int at = 0; at < tree.count; at++) {
    rfaas_tree_grow(&tree, tree.all[at].pid, 0);
    if (at > 0) changed += restrict_process(tree.all[at].pid, &allowed);
  }
  rfaas_tree_free(&tree);
  return changed;
}

/* Which worker a thread is, or has been started by, as it inherits the name; -1 for another one, -2 for one of the engine's own. */
enum { OTHER = -1, ENGINES = -2 };
static int worker_of(int pid, int thread) {
  static const char WORKER[] = "rfaas-worker-";
  char file[64], name[32];
  snprintf(file, sizeof file, "task/%d/comm", thread);
  if (!rfaas_read_text(pid, file, name, sizeof name)) return OTHER;
  if (strncmp(name, WORKER, sizeof WORKER - 1) == 0) return atoi(name + sizeof WORKER - 1);
  return rfaas_is_engines(name) ? ENGINES : OTHER;
}

/* Puts each thread of a host where it may run: a worker's on the worker's own CPUs, the engine's on all of the lease, others on no more
 * than these. A name can be forged, but none of it leads elsewhere. `masks` has for each worker how many CPUs it has, and these; a worker
 * without any may run on all. Returns how many were moved. */
RFAAS_EXPORT int32_t rfaas_place_threads(int32_t pid, const int32_t *all, int32_t count, const int32_t *masks, int32_t workers) {
  cpu_set_t lease;
  if (set_of(&lease, all, count) == 0) return 0;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  int32_t moved = 0;
  for (struct dirent *task; (task = readdir(tasks));) {
    int thread = atoi(task->d_name);
    cpu_set_t has, to;
    if (thread <= 0 || sched_getaffinity(thread, sizeof has, &has) != 0) continue;
    int worker = worker_of(pid, thread);
    to = lease;
    if (worker == OTHER) CPU_AND(&to, &has, &lease);
    if (worker >= 0 && worker < workers) {
      const int32_t *mask = masks;
      for (int i = 0; i < worker; i++) mask += 1 + *mask;
      if (set_of(&to, mask + 1, *mask) == 0) to = lease;
    }
    if (CPU_COUNT(&to) == 0) to = lease;
    if (!CPU_EQUAL(&to, &has) && sched_setaffinity(thread, sizeof to, &to) == 0) moved++;
  }
  closedir(tasks);
  return moved;
}
