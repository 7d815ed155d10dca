/* Which CPU is whose, among all nodes of a machine: a name that one process can hold, and that its death gives back. Any user can hold
 * any name, so it counts by who holds it: a node of this user, or of root, has the CPU. What another user holds counts while that user
 * really runs there, tied to this CPU alone; a name that is held for nothing is passed over, and the next one taken. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "../processes/tree.h"

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

/* As <linux/unix_diag.h> has them; headers before Linux 5.3 know no users there. */
enum { LISTENING = 1 << 10 /* as the kernel counts states */, NAME = 0, SHOW_NAME = 1, OWNER = 7, SHOW_OWNER = 0x40 };

/* Whether the kernel's words about a socket are about this name; then who has made it. */
static int is_named(const struct nlmsghdr *message, const struct sockaddr_un *address, socklen_t length, uid_t *owner) {
  size_t size = length - offsetof(struct sockaddr_un, sun_path);
  const char *at = (const char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct unix_diag_msg));
  const char *end = (const char *)message + message->nlmsg_len;
  int named = 0;
  while (at + sizeof(struct nlattr) <= end) {
    const struct nlattr *attribute = (const struct nlattr *)at;
    const char *value = at + NLA_HDRLEN;
    if (attribute->nla_len < NLA_HDRLEN || at + attribute->nla_len > end) break;
    size_t given = attribute->nla_len - NLA_HDRLEN;
    if (attribute->nla_type == NAME) named = given == size && memcmp(value, address->sun_path, size) == 0;
    if (attribute->nla_type == OWNER && given == sizeof *owner) memcpy(owner, value, sizeof *owner);
    at += NLA_ALIGN(attribute->nla_len);
  }
  return named;
}

/* Who listens at the name, by the kernel's list of sockets, which takes no place in a queue; -1 where it does not say. */
static uid_t owner_of(const struct sockaddr_un *address, socklen_t length) {
  struct {
    struct nlmsghdr header;
    struct unix_diag_req asked;
  } request = {
    .header = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
    .asked = {.sdiag_family = AF_UNIX, .udiag_states = LISTENING, .udiag_show = SHOW_NAME | SHOW_OWNER},
  };
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return (uid_t)-1;
  uid_t found = (uid_t)-1;
  int more = send(fd, &request, sizeof request, 0) == (ssize_t)sizeof request;
  while (more) {
    char answer[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
    ssize_t received = recv(fd, answer, sizeof answer, 0);
    more = received > 0;
    size_t left = more ? (size_t)received : 0;
    for (struct nlmsghdr *message = (void *)answer; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
      uid_t owner = (uid_t)-1;
      if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) more = 0;
      else if (is_named(message, address, length, &owner)) found = owner;
    }
  }
  close(fd);
  return found;
}

/* Who holds the name: returns 0 when no one does. A listener whose queue is full tells no process of its own, which is 0 then. */
static int holder_of(const struct sockaddr_un *address, socklen_t length, struct ucred *out) {
  *out = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
  int fd = open_socket();
  if (fd < 0) return 0;
  socklen_t size = sizeof *out;
  int connected = connect(fd, (const struct sockaddr *)address, length) == 0;
  int failed = connected ? 0 : errno, held = failed != ECONNREFUSED;
  if (failed == EAGAIN) {
    uid_t owner = owner_of(address, length);
    /* It may be a node of this user: two spinners would share a CPU. */
    out->uid = owner == (uid_t)-1 ? geteuid() : owner;
  }
  if (connected && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &size) != 0) out->uid = (uid_t)-1;
  close(fd);
  return held;
}

/* Whether a thread is tied to this CPU alone, and runs there. */
static int thread_runs_on(int pid, int thread, int32_t cpu) {
  cpu_set_t may;
  if (sched_getaffinity(thread, sizeof may, &may) != 0 || CPU_COUNT(&may) != 1 || !CPU_ISSET(cpu, &may)) return 0;
  char name[64], line[1024];
  snprintf(name, sizeof name, "task/%d/stat", thread);
  const char *after = rfaas_read_text(pid, name, line, sizeof line) ? strrchr(line, ')') : NULL;
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

/* Whether any process of a user does. */
static int user_runs_on(uid_t uid, int32_t cpu) {
  DIR *all = opendir("/proc");
  if (!all) return 0;
  int runs = 0;
  for (struct dirent *entry; !runs && (entry = readdir(all));) {
    struct stat owner; /* by the call itself: until glibc 2.33, fstatat is no function of libc.so.6 */
    int pid = atoi(entry->d_name);
    runs = pid > 0 && syscall(SYS_newfstatat, dirfd(all), entry->d_name, &owner, 0) == 0 && owner.st_uid == uid && process_runs_on(pid, cpu);
  }
  closedir(all);
  return runs;
}

/* Whether the CPU is its holder's. */
static int has_cpu(const struct ucred *holder, int32_t cpu) {
  if (holder->uid == geteuid() || holder->uid == 0) return 1;
  return holder->pid > 0 ? runs_on(holder->pid, cpu) : user_runs_on(holder->uid, cpu);
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
    taken = has_cpu(&holder, cpu);
    if (taken) continue;
    out[STRANGER] = (int32_t)holder.uid;
    out[STRANGERS_PROCESS] = holder.pid;
  }
  if (!taken && fd < 0) return out[STRANGERS_PROCESS] >= 0 ? -ENOENT : -ENFILE;
  if (!taken) return fd;
  if (fd >= 0) close(fd);
  return -EADDRINUSE;
}
