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

/* More processes than any lease may have, whatever its cores. */
#define MAX_MEMBERS 4096

/* One process of a tree. */
struct member {
  int pid;
  /* Where its stack begins: that of no other program, but of copies that a process has made of itself. */
  unsigned long stack;
  /* Its page tables are the kernel's, and no two processes share them. */
  double private, shared, tables;
};

/* Returns whether there is such a file. */
static int read_text(int pid, const char *name, char *out, size_t capacity) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t length = 0;
  ssize_t more;
  while (length < capacity - 1 && (more = read(fd, out + length, capacity - 1 - length)) > 0) length += (size_t)more;
  close(fd);
  out[length] = 0;
  return length > 0;
}

/* A line of a file, and the number in it, which is 0 where there is no such line. */
struct field {
  const char *name;
  double value;
};

static void take_line(const char *line, struct field *fields, int count) {
  for (int i = 0; i < count; i++) {
    size_t length = strlen(fields[i].name);
    if (strncmp(line, fields[i].name, length) == 0) fields[i].value = strtod(line + length, NULL);
  }
}

/* Lines may be of any length: that of a user's groups is. Returns whether there is such a file. */
static int read_fields(int pid, const char *name, struct field *fields, int count) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t kept = 0;
  ssize_t more;
  int any = 0, cut = 0;
  while ((more = read(fd, text + kept, sizeof text - kept)) > 0) {
    any = 1;
    kept += (size_t)more;
    char *line = text;
    for (char *end; (end = memchr(line, '\n', kept - (size_t)(line - text))); line = end + 1) {
      *end = 0;
      if (!cut) take_line(line, fields, count);
      cut = 0;
    }
    kept -= (size_t)(line - text);
    memmove(text, line, kept);
    if (kept < sizeof text) continue;
    cut = 1;
    kept = 0;
  }
  close(fd);
  return any;
}

/* A process that was started without a copy of its parent's memory, and has not yet become another program, has none of its own. */
static int shares_memory(int pid, int parent) { return parent > 0 && syscall(SYS_kcmp, parent, pid, SAME_MEMORY, 0, 0) == 0; }

/* The processes of a tree from its root on, each before its children. Adds up how many there are, and their threads. */
static int members_of(int root, struct member *members, double *out) {
  int count = 0, listed = 1;
  int parents[MAX_MEMBERS];
  members[0].pid = root;
  parents[0] = 0;
  /* Those that end meanwhile leave their places to others. */
  for (int at = 0; at < listed; at++) {
    int pid = members[at].pid, parent = parents[at];
    /* Linux before 4.15 has the tables of tables apart. */
    enum { TASKS, ANONYMOUS, SWAPPED, SHARED, TABLES, UPPER_TABLES, FIELDS };
    struct field fields[FIELDS] = {{"Threads:", 0}, {"RssAnon:", 0}, {"VmSwap:", 0}, {"RssShmem:", 0}, {"VmPTE:", 0}, {"VmPMD:", 0}};
    if (!read_fields(pid, "status", fields, FIELDS)) continue;
    struct member member = {.pid = pid};
    double threads = fields[TASKS].value;
    out[PROCESSES]++;
    out[THREADS] += threads;
    if (!shares_memory(pid, parent)) {
      member.private = 1024 * (fields[ANONYMOUS].value + fields[SWAPPED].value);
      member.shared = 1024 * fields[SHARED].value;
      member.tables = 1024 * (fields[TABLES].value + fields[UPPER_TABLES].value);
    }
    members[count++] = member;
    int children[RFAAS_MAX_CHILDREN];
    int more = threads == 1 ? rfaas_children_of_thread(pid, children, RFAAS_MAX_CHILDREN) : -1;
    if (more < 0) more = rfaas_children_of(pid, children, RFAAS_MAX_CHILDREN);
    for (int i = 0; i < more && listed < MAX_MEMBERS; i++, listed++) {
      members[listed].pid = children[i];
      parents[listed] = pid;
    }
  }
  return count;
}

/* Fields 23 to 28 of the line are its size, its pages, their limit, where its code begins and ends, and where its stack does. */
static unsigned long stack_of(int pid) {
  char line[1024];
  unsigned long stack = 0;
  const char *after = read_text(pid, "stat", line, sizeof line) ? strrchr(line, ')') : NULL;
  if (after) sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %*d %*u %*u %*u %lu", &stack);
  return stack;
}

/* What a process has, where a page that several have mapped counts by its share. Linux before 5.9 does not tell the kinds of memory apart there. */
static void count_shares(struct member *member) {
  enum { ANONYMOUS, SWAPPED, SHARED, FIELDS };
  struct field fields[FIELDS] = {{"Pss_Anon:", -1}, {"SwapPss:", 0}, {"Pss_Shmem:", 0}};
  if (!read_fields(member->pid, "smaps_rollup", fields, FIELDS) || fields[ANONYMOUS].value < 0) return;
  member->private = 1024 * (fields[ANONYMOUS].value + fields[SWAPPED].value);
  member->shared = 1024 * fields[SHARED].value;
}

/* Only copies of a process share what they have written, and only those that have mapped a file in memory share its pages: it takes a while
 * to find out how much of either, and a lease that is to end goes on growing meanwhile. */
static void count_all_shares(struct member *members, int count) {
  int sharers = 0;
  for (int i = 0; i < count; i++) {
    members[i].stack = stack_of(members[i].pid);
    sharers += members[i].shared > 0;
  }
  for (int i = 0; i < count; i++) {
    int shares = sharers > 1 && members[i].shared > 0;
    for (int other = 0; other < count && !shares; other++) shares = other != i && members[other].stack == members[i].stack;
    if (shares && members[i].private + members[i].shared > 0) count_shares(&members[i]);
  }
}

/* Processes, threads, private bytes and bytes of memory files that a process and its descendants have; with `exact`, pages that several
 * share count once. Returns 0 where there is none. */
RFAAS_EXPORT int32_t rfaas_tree_usage(int32_t pid, int32_t exact, double *out) {
  struct member members[MAX_MEMBERS];
  memset(out, 0, 4 * sizeof *out);
  int count = members_of(pid, members, out);
  if (exact) count_all_shares(members, count);
  for (int i = 0; i < count; i++) {
    out[PRIVATE_BYTES] += members[i].private + members[i].tables;
    out[SHARED_BYTES] += members[i].shared;
  }
  return count > 0;
}

/* A process that is a child of `parent`, not another one that has got its number. Returns -errno. */
static int open_child(int pid, int parent) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return -errno;
  struct stat_line stat;
  if (rfaas_read_stat(pid, &stat) && stat.parent == parent) return fd;
  close(fd);
  return -ESRCH;
}

/* Kills the descendants of a process that are there; what is started meanwhile is for who ends the process. All are found before the
 * first dies: its children get another parent. */
RFAAS_EXPORT void rfaas_kill_descendants(int32_t pid) {
  int pids[MAX_MEMBERS], opened[MAX_MEMBERS], count = 1;
  pids[0] = pid;
  for (int at = 0; at < count; at++) {
    int children[RFAAS_MAX_CHILDREN];
    int more = rfaas_children_of(pids[at], children, RFAAS_MAX_CHILDREN);
    for (int i = 0; i < more && count < MAX_MEMBERS; i++) {
      int child = open_child(children[i], pids[at]);
      if (child < 0) continue;
      pids[count] = children[i];
      opened[count++] = child;
    }
  }
  for (int i = 1; i < count; i++) {
    syscall(SYS_pidfd_send_signal, opened[i], SIGKILL, NULL, 0);
    close(opened[i]);
  }
}

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
  return set_of(&allowed, cpus, count) > 0 ? restrict_descendants(pid, 0, &allowed) : 0;
}

/* Which worker a thread is, or has been started by, as it inherits the name; -1 for another one, -2 for one of the engine's own. */
enum { OTHER = -1, ENGINES = -2 };
static int worker_of(int pid, int thread) {
  static const char WORKER[] = "rfaas-worker-";
  char file[64], name[32];
  snprintf(file, sizeof file, "task/%d/comm", thread);
  if (!read_text(pid, file, name, sizeof name)) return OTHER;
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
