/* What a process and its descendants hold of the machine, and their end. The agent asks, of a host: it reads what the kernel says of
 * them, never what they say themselves. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "tree.h"

/* From linux/kcmp.h, which not every system has. */
#define SAME_MEMORY 1

enum { PROCESSES, THREADS, PRIVATE_BYTES, SHARED_BYTES, DESCRIPTORS, NUMBERS };

/* One process of a tree. */
struct member {
  int pid;
  /* Where its stack begins: that of no other program, but of copies that a process has made of itself. */
  unsigned long stack;
  /* Its page tables are the kernel's, and no two processes share them. */
  double private, shared, tables;
};

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

/* How many it has open. Linux before 6.2 does not say: there they are counted. What its table of them has room for is more, from the start. */
static double descriptors_of(int pid) {
  char path[64];
  struct stat found;
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  /* By the call itself: until glibc 2.33, stat is no function of libc.so.6. */
  if (syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0) == 0 && found.st_size > 0) return (double)found.st_size;
  DIR *entries = opendir(path);
  if (!entries) return 0;
  double count = 0;
  for (struct dirent *entry; (entry = readdir(entries));) count += entry->d_name[0] != '.';
  closedir(entries);
  return count;
}

/* What a process has. One that is gone has nothing. Counts it, and its threads, which it returns. */
static int measure(struct member *member, int is_root, double *out) {
  /* Linux before 4.15 has the tables of tables apart. */
  enum { PARENT, TASKS, ANONYMOUS, SWAPPED, SHARED, TABLES, UPPER_TABLES, FIELDS };
  struct field fields[FIELDS] = {{"PPid:", 0}, {"Threads:", 0}, {"RssAnon:", 0}, {"VmSwap:", 0}, {"RssShmem:", 0}, {"VmPTE:", 0}, {"VmPMD:", 0}};
  if (!read_fields(member->pid, "status", fields, FIELDS)) return 0;
  out[PROCESSES]++;
  out[THREADS] += fields[TASKS].value;
  out[DESCRIPTORS] += descriptors_of(member->pid);
  if (is_root || !shares_memory(member->pid, (int)fields[PARENT].value)) {
    member->private = 1024 * (fields[ANONYMOUS].value + fields[SWAPPED].value);
    member->shared = 1024 * fields[SHARED].value;
    member->tables = 1024 * (fields[TABLES].value + fields[UPPER_TABLES].value);
  }
  return (int)fields[TASKS].value;
}

/* The processes of a tree from its root on, each before its children; to be freed. */
static struct member *members_of(int root, int *count, double *out) {
  struct tree tree = rfaas_tree_of(root);
  struct member *members = NULL;
  *count = 0;
  /* Those that end meanwhile leave their places to others. */
  for (int at = 0, room = 0; at < tree.count; at++) {
    if (*count == room) {
      struct member *more = realloc(members, (size_t)(room = room ? 2 * room : 16) * sizeof *members);
      if (!more) break;
      members = more;
    }
    struct member member = {.pid = tree.all[at].pid};
    int threads = measure(&member, at == 0, out);
    if (threads == 0) continue;
    members[(*count)++] = member;
    rfaas_tree_grow(&tree, member.pid, threads == 1);
  }
  rfaas_tree_free(&tree);
  return members;
}

/* Fields 23 to 28 of the line are its size, its pages, their limit, where its code begins and ends, and where its stack does. */
static unsigned long stack_of(int pid) {
  char line[1024];
  unsigned long stack = 0;
  const char *after = rfaas_read_text(pid, "stat", line, sizeof line) ? strrchr(line, ')') : NULL;
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

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

/* Only copies of a process share what they have written, and only those that have mapped a file in memory share its pages: it takes a while
 * to find out how much of either, and a lease that is to end goes on growing meanwhile. Those that are left when the time is over count in full. */
static void count_all_shares(struct member *members, int count, int32_t most_us) {
  double until_ns = now_ns() + 1e3 * most_us;
  int sharers = 0;
  for (int i = 0; i < count; i++) {
    members[i].stack = stack_of(members[i].pid);
    sharers += members[i].shared > 0;
  }
  for (int i = 0; i < count && now_ns() < until_ns; i++) {
    int shares = sharers > 1 && members[i].shared > 0;
    for (int other = 0; other < count && !shares; other++) shares = other != i && members[other].stack == members[i].stack;
    if (shares && members[i].private + members[i].shared > 0) count_shares(&members[i]);
  }
}

/* Processes, threads, private bytes, bytes of memory files and descriptors that a process and its descendants have; pages that several
 * share count once as far as that is found out in so many microseconds; not at all with -1. Returns 0 where there is none. */
RFAAS_EXPORT int32_t rfaas_tree_usage(int32_t pid, int32_t exact_us, double *out) {
  int count;
  memset(out, 0, NUMBERS * sizeof *out);
  struct member *members = members_of(pid, &count, out);
  if (exact_us >= 0) count_all_shares(members, count, exact_us);
  for (int i = 0; i < count; i++) {
    out[PRIVATE_BYTES] += members[i].private + members[i].tables;
    out[SHARED_BYTES] += members[i].shared;
  }
  free(members);
  return count > 0;
}

/* A process, not another one that has got its number since. */
static void kill_process(const struct process *process) {
  struct stat_line stat;
  int fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
  int out_of_descriptors = fd < 0 && errno != ESRCH;
  int same = rfaas_read_stat(process->pid, &stat) && stat.started == process->started;
  if (same && fd >= 0) syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
  if (same && out_of_descriptors) kill(process->pid, SIGKILL);
  if (fd >= 0) close(fd);
}

/* All are found before the first dies: its children get another parent. Kills those that are not among the `killed`, a bit for each. Returns how many. */
static int kill_found(int root, unsigned char *killed) {
  struct tree tree = rfaas_tree_of(root);
  int fresh = 0;
  for (int at = 0; at < tree.count; at++) {
    struct process *process = &tree.all[at];
    struct stat_line stat;
    if (at > 0 && (!rfaas_read_stat(process->pid, &stat) || stat.parent != process->parent)) continue;
    if (at > 0) process->started = stat.started;
    rfaas_tree_grow(&tree, process->pid, 0);
  }
  for (int at = 1; at < tree.count; at++) {
    const struct process *process = &tree.all[at];
    unsigned char bit = (unsigned char)(1 << (process->pid & 7)), *place = &killed[process->pid >> 3];
    if (process->started == 0 || *place & bit) continue;
    *place |= bit;
    fresh++;
    kill_process(process);
  }
  rfaas_tree_free(&tree);
  return fresh;
}

/* Kills the descendants of a process, and looks again as long as there are others; what starts processes faster than that is for who ends
 * the process. */
RFAAS_EXPORT void rfaas_kill_descendants(int32_t pid) {
  enum { MAX_PIDS = 1 << 22, MAX_ROUNDS = 16 };
  unsigned char *killed = calloc(MAX_PIDS / 8, 1);
  for (int round = 0; killed && round < MAX_ROUNDS && kill_found(pid, killed) > 0; round++) continue;
  free(killed);
}
