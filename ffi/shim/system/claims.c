/* Which CPU is whose, among all nodes of a machine: a name that one process can hold, and that its death gives back. Any user can hold
 * any name, so it counts by who holds it: a node of this user, or of root, has the CPU. What another user holds counts while that user
 * really runs there, tied to this CPU alone; a name that is held for nothing is passed over, and the next one taken. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "tree.h"

/* A stranger who holds all of a CPU's names keeps nodes of one user from knowing of each other there, and from nothing else. */
enum { NAMES = 4, QUEUE = 64 };
/* What rfaas_claim_cpu writes. */
enum { STRANGER, STRANGERS_PROCESS };

static socklen_t name_of(int32_t cpu, int number, struct sockaddr_un *out) {
  memset(out, 0, sizeof *out);
  out->sun_family = AF_UNIX;
  char *text = out->sun_path + 1;
  size_t room = sizeof out->sun_path - 1;
  int length = number == 0 ? snprintf(text, room, "rfaas-cpu-%d", cpu)
                           : snprintf(text, room, "rfaas-cpu-%d-%u-%d", cpu, geteuid(), number);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static int open_socket(void) { return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

/* A socket with this name, or -1. */
static int take_name(const struct sockaddr_un *address, socklen_t length) {
  int fd = open_socket();
  if (fd < 0) return -1;
  if (bind(fd, (const struct sockaddr *)address, length) == 0 && listen(fd, QUEUE) == 0) return fd;
  close(fd);
  return -1;
}

/* Who holds the name: returns 0 when no one does. */
static int holder_of(const struct sockaddr_un *address, socklen_t length, struct ucred *out) {
  *out = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
  int fd = open_socket();
  if (fd < 0) return 0;
  socklen_t size = sizeof *out;
  int connected = connect(fd, (const struct sockaddr *)address, length) == 0;
  int held = connected || errno != ECONNREFUSED;
  if (connected && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &size) != 0) out->uid = (uid_t)-1;
  close(fd);
  return held;
}

/* Whether a thread is tied to this CPU alone, and runs there. */
static int thread_runs_on(int pid, int thread, int32_t cpu) {
  cpu_set_t may;
  if (sched_getaffinity(thread, sizeof may, &may) != 0 || CPU_COUNT(&may) != 1 || !CPU_ISSET(cpu, &may)) return 0;
  char path[64], line[1024];
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, thread);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, line, sizeof line - 1);
  close(fd);
  if (length <= 0) return 0;
  line[length] = 0;
  const char *after = strrchr(line, ')');
  return after && after[1] == ' ' && after[2] == 'R';
}

static int process_runs_on(int pid, int32_t cpu) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  int runs = 0;
  for (struct dirent *task; !runs && (task = readdir(tasks));) {
    int thread = atoi(task->d_name);
    runs = thread > 0 && thread_runs_on(pid, thread, cpu);
  }
  closedir(tasks);
  return runs;
}

/* Whether a process, or one that it has started, does. */
static int runs_on(int pid, int32_t cpu) {
  struct tree tree = rfaas_tree_of(pid);
  int runs = 0;
  for (int at = 0; !runs && at < tree.count; at++) {
    runs = process_runs_on(tree.all[at].pid, cpu);
    rfaas_tree_grow(&tree, tree.all[at].pid, 0);
  }
  rfaas_tree_free(&tree);
  return runs;
}

/* Claims a CPU. Returns a descriptor to close, -EADDRINUSE when another node has it, -ENOENT when strangers have all of its names and it is to be used
 * without one, or another error. Writes which user, and which process of theirs, holds a name for nothing, or -1; 0 is a process that is not seen from here. */
RFAAS_EXPORT int32_t rfaas_claim_cpu(int32_t cpu, int32_t *out) {
  out[STRANGER] = out[STRANGERS_PROCESS] = -1;
  int fd = -1, taken = 0;
  for (int number = 0; number < NAMES && !taken; number++) {
    struct sockaddr_un address;
    struct ucred holder;
    socklen_t length = name_of(cpu, number, &address);
    if (fd < 0 && (fd = take_name(&address, length)) >= 0) continue;
    if (!holder_of(&address, length, &holder)) continue;
    taken = holder.uid == geteuid() || holder.uid == 0 || (holder.pid > 0 && runs_on(holder.pid, cpu));
    if (taken) continue;
    out[STRANGER] = (int32_t)holder.uid;
    out[STRANGERS_PROCESS] = holder.pid;
  }
  if (!taken && fd < 0) return out[STRANGERS_PROCESS] >= 0 ? -ENOENT : -ENFILE;
  if (!taken) return fd;
  if (fd >= 0) close(fd);
  return -EADDRINUSE;
}
