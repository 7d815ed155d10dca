/* What the kernel's memory holds for sockets of a process and its descendants: what was sent and not received, which is of no process's own
 * memory. The kernel tells it of all sockets of a network namespace, and /proc whose they are. It also tells which watch descriptors. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "look.h"
#include "tree.h"

/* As linux/netlink_diag.h has them, which is not everywhere, and newer headers. */
struct netlink_question { uint8_t family, protocol; uint16_t pad; uint32_t inode, show, cookie[2]; };
struct netlink_answer { uint8_t family, type, protocol, state; uint32_t portid, dst_portid, dst_group, inode, cookie[2]; };
enum { OF_ALL_PROTOCOLS = 0xff, SHOW_NETLINK_MEMORY = 1, NETLINK_MEMORY = 0, SHOW_UNIX_UID = 0x40, UNIX_UID = 7 };
enum { RECEIVED, RECEIVE_MOST, SENT, SEND_MOST, AHEAD, QUEUED, OPTIONS, WAITING, MEMORY_NUMBERS };
enum { LISTENS = 10 /* a state */, ANSWER_BYTES = 32 * 1024, PATIENCE_S = 1 };
/* What the kernel has of each descriptor that an epoll instance watches. */
enum { BYTES_PER_WATCH = 200 };
/* What a look finds. */
enum { HELD, IN_FLIGHT, WATCHES };
/* Kinds of sockets. `ffi/children.ts` states the same numbers, and a module of the kernel for each. */
enum { UNTOLD_UNIX = 1, UNTOLD_NETLINK = 2, UNTOLD_STREAMS = 4, UNTOLD_DATAGRAMS = 8 };

/* A socket that holds something, or takes connections. Those that no one has accepted, or has closed already, have no inode. */
struct one {
  uint32_t inode, uid;
  int has_uid, listens, is_counted;
  uint16_t port, peer_port;
  double bytes;
};

struct sockets_look {
  struct look look;
  int pid, reads_all;
  double least;
  struct one *all;
  int count, room;
  /* Of the sockets that a process has open. */
  uint32_t *inodes;
  int open, open_room;
};

static void *grown(void *array, int count, int *room, size_t each) {
  if (count < *room) return array;
  int wider = *room ? 2 * *room : 256;
  void *moved = realloc(array, (size_t)wider * each);
  if (moved) *room = wider;
  return moved;
}

static double bytes_of(const void *attribute, size_t bytes) {
  uint32_t numbers[MEMORY_NUMBERS] = {0};
  memcpy(numbers, attribute, bytes < sizeof numbers ? bytes : sizeof numbers);
  uint32_t sent = numbers[SENT] > numbers[QUEUED] ? numbers[SENT] : numbers[QUEUED];
  return (double)numbers[RECEIVED] + (double)sent + (double)numbers[OPTIONS] + (double)numbers[WAITING];
}

/* Of one answer: which socket, and where its attributes begin. Returns 0 where it is of no such kind. */
static size_t head_of(const struct nlmsghdr *message, struct one *one, int *memory) {
  const void *body = NLMSG_DATA(message);
  switch (*(const uint8_t *)body) {
  case AF_UNIX: {
    const struct unix_diag_msg *answer = body;
    one->inode = answer->udiag_ino;
    *memory = UNIX_DIAG_MEMINFO;
    return sizeof *answer;
  }
  case AF_NETLINK: {
    const struct netlink_answer *answer = body;
    one->inode = answer->inode;
    *memory = NETLINK_MEMORY;
    return sizeof *answer;
  }
  case AF_INET:
  case AF_INET6: {
    const struct inet_diag_msg *answer = body;
    one->inode = answer->idiag_inode;
    one->uid = answer->idiag_uid;
    one->has_uid = answer->idiag_inode != 0;
    one->listens = answer->idiag_state == LISTENS;
    one->port = answer->id.idiag_sport;
    one->peer_port = answer->id.idiag_dport;
    *memory = INET_DIAG_SKMEMINFO;
    return sizeof *answer;
  }
  default: return 0;
  }
}

static int take_answer(struct sockets_look *look, const struct nlmsghdr *message) {
  struct one one = {0};
  int memory = 0;
  size_t head = head_of(message, &one, &memory);
  if (head == 0 || message->nlmsg_len < NLMSG_LENGTH(head)) return 1;
  int is_unix = *(const uint8_t *)NLMSG_DATA(message) == AF_UNIX;
  const struct rtattr *attribute = (const void *)((const char *)NLMSG_DATA(message) + NLMSG_ALIGN(head));
  int left = (int)message->nlmsg_len - (int)NLMSG_SPACE(head);
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == memory) one.bytes = bytes_of(RTA_DATA(attribute), RTA_PAYLOAD(attribute));
    if (is_unix && attribute->rta_type == UNIX_UID && RTA_PAYLOAD(attribute) >= sizeof one.uid) {
      memcpy(&one.uid, RTA_DATA(attribute), sizeof one.uid);
      one.has_uid = 1;
    }
  }
  if (one.bytes == 0 && !one.listens) return 1;
  struct one *all = grown(look->all, look->count, &look->room, sizeof *all);
  if (!all) return 0;
  look->all = all;
  look->all[look->count++] = one;
  return 1;
}

/* All sockets of a kind. Returns whether the kernel tells of them. */
static int ask(struct sockets_look *look, int fd, const void *question, size_t bytes) {
  char answers[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
  struct nlmsghdr head = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(bytes), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
  memcpy(answers, &head, sizeof head);
  memcpy(answers + NLMSG_HDRLEN, question, bytes);
  if (send(fd, answers, head.nlmsg_len, 0) < 0) return 0;
  for (;;) {
    ssize_t got = recv(fd, answers, sizeof answers, 0);
    if (got <= 0) return 0;
    size_t left = (size_t)got;
    for (const struct nlmsghdr *message = (const void *)answers; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == NLMSG_ERROR) return 0;
      /* It ends with an error where the module of a protocol is missing. */
      if (message->nlmsg_type == NLMSG_DONE) return message->nlmsg_len < NLMSG_LENGTH(sizeof(int)) || *(const int *)NLMSG_DATA(message) >= 0;
      if (message->nlmsg_type == SOCK_DIAG_BY_FAMILY && !take_answer(look, message)) return 1;
    }
  }
}

/* A room may have a network of its own, into which this thread goes if it may. */
static void enter_network(int pid) {
  struct stat own, theirs;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  /* By the call itself: until glibc 2.33, stat is no function of libc.so.6. */
  int other = syscall(SYS_newfstatat, fd, "", &theirs, AT_EMPTY_PATH) == 0 &&
              syscall(SYS_newfstatat, AT_FDCWD, "/proc/thread-self/ns/net", &own, 0) == 0 && own.st_ino != theirs.st_ino;
  if (other) setns(fd, CLONE_NEWNET);
  close(fd);
}

/* Returns of which the kernel does not tell: bits of UNTOLD_*. */
static int ask_all(struct sockets_look *look) {
  int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return UNTOLD_UNIX | UNTOLD_NETLINK | UNTOLD_STREAMS | UNTOLD_DATAGRAMS;
  int untold = 0;
  const struct timeval patience = {.tv_sec = PATIENCE_S};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const struct unix_diag_req pairs = {.sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_MEMINFO | SHOW_UNIX_UID};
  if (!ask(look, fd, &pairs, sizeof pairs)) untold |= UNTOLD_UNIX;
  const struct netlink_question questions = {.family = AF_NETLINK, .protocol = OF_ALL_PROTOCOLS, .show = SHOW_NETLINK_MEMORY};
  if (!ask(look, fd, &questions, sizeof questions)) untold |= UNTOLD_NETLINK;
  static const uint8_t FAMILIES[] = {AF_INET, AF_INET6}, PROTOCOLS[] = {IPPROTO_TCP, IPPROTO_UDP};
  for (size_t i = 0; i < 4; i++) {
    const struct inet_diag_req_v2 network = {
      .sdiag_family = FAMILIES[i / 2], .sdiag_protocol = PROTOCOLS[i % 2], .idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1), .idiag_states = ~0u};
    if (!ask(look, fd, &network, sizeof network)) untold |= i % 2 ? UNTOLD_DATAGRAMS : UNTOLD_STREAMS;
  }
  close(fd);
  return untold;
}

/* Of which kinds of sockets this kernel does not tell what they hold: a bit each. */
RFAAS_EXPORT int32_t rfaas_sockets_untold(void) {
  struct sockets_look look = {.pid = 0};
  int untold = ask_all(&look);
  free(look.all);
  return untold;
}

/* What `visit` does to each descriptor of a process, whose link says what it is. */
static void each_descriptor(int pid, void (*visit)(struct sockets_look *, int pid, const char *name, const char *what, void *), struct sockets_look *look,
                            void *more) {
  char path[64], what[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *entries = opendir(path);
  if (!entries) return;
  for (struct dirent *entry; (entry = readdir(entries));) {
    ssize_t length = entry->d_name[0] == '.' ? -1 : readlinkat(dirfd(entries), entry->d_name, what, sizeof what - 1);
    if (length <= 0) continue;
    what[length] = 0;
    visit(look, pid, entry->d_name, what, more);
  }
  closedir(entries);
}

struct descriptors { double all, watchers; };

static int inode_of(const char *what, uint32_t *inode) { return sscanf(what, "socket:[%u]", inode) == 1; }

static void note(struct sockets_look *look, int pid, const char *name, const char *what, void *more) {
  (void)pid, (void)name;
  struct descriptors *descriptors = more;
  uint32_t inode;
  descriptors->all++;
  if (strcmp(what, "anon_inode:[eventpoll]") == 0) descriptors->watchers++;
  if (!inode_of(what, &inode)) return;
  uint32_t *inodes = grown(look->inodes, look->open, &look->open_room, sizeof *inodes);
  if (!inodes) return;
  look->inodes = inodes;
  look->inodes[look->open++] = inode;
}

static int by_inode(const void *a, const void *b) {
  uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
  return one < other ? -1 : one > other;
}

static int is_open(const struct sockets_look *look, uint32_t inode) {
  return look->open > 0 && bsearch(&inode, look->inodes, (size_t)look->open, sizeof inode, by_inode) != NULL;
}

/* The sockets of the tree, and those that wait to be accepted by one of them, or were closed while their peer has not received all. */
static void count_held(struct sockets_look *look) {
  unsigned char *ports = calloc(1, 1 << 16);
  for (int i = 0; i < look->count; i++) {
    struct one *one = &look->all[i];
    if (one->inode == 0 || !is_open(look, one->inode)) continue;
    one->is_counted = 1;
    look->look.found[HELD] += one->bytes;
    if (ports && one->listens) ports[one->port] = 1;
  }
  for (int i = 0; ports && i < look->count; i++) {
    struct one *one = &look->all[i];
    if (one->inode == 0 && (ports[one->port] || ports[one->peer_port])) look->look.found[HELD] += one->bytes;
  }
  free(ports);
}

/* How many descriptors are on their way to a socket, as Linux says from 5.8 on. */
static void add_passed(struct sockets_look *look, int pid, const char *name, const char *what, void *more) {
  (void)look;
  uint32_t inode;
  if (!inode_of(what, &inode)) return;
  char file[64], text[512], *line;
  snprintf(file, sizeof file, "fdinfo/%.16s", name);
  unsigned passed = 0;
  if (rfaas_read_text(pid, file, text, sizeof text) && (line = strstr(text, "scm_fds:"))) sscanf(line, "scm_fds: %u", &passed);
  *(double *)more += passed;
}

static void discount(struct sockets_look *look, int pid, const char *name, const char *what, void *more) {
  (void)pid, (void)name, (void)more;
  uint32_t inode;
  if (!inode_of(what, &inode)) return;
  struct one *one = look->count > 0 ? bsearch(&inode, look->all, (size_t)look->count, sizeof *one, by_inode) : NULL;
  if (one) one->is_counted = 1;
}

/* Sockets that no process has open are on their way from one to another. Whose they are is not known, but only of who lets descriptors wait. */
static void count_in_flight(struct sockets_look *look, struct tree *tree, uint32_t uid) {
  double passed = 0, bytes = 0;
  for (int at = 0; at < tree->count; at++) each_descriptor(tree->all[at].pid, add_passed, look, &passed);
  DIR *processes = passed > 0 ? opendir("/proc") : NULL;
  if (!processes) return;
  for (struct dirent *entry; (entry = readdir(processes));) {
    int pid = atoi(entry->d_name);
    if (pid > 0) each_descriptor(pid, discount, look, NULL);
  }
  closedir(processes);
  for (int i = 0; i < look->count; i++) {
    const struct one *one = &look->all[i];
    if (one->inode != 0 && one->has_uid && one->uid == uid && !one->is_counted) bytes += one->bytes;
  }
  look->look.found[IN_FLIGHT] = bytes;
}

static uint32_t uid_of(int pid) {
  char text[4096], *line;
  unsigned real = 0, effective = 0;
  if (rfaas_read_text(pid, "status", text, sizeof text) && (line = strstr(text, "\nUid:"))) sscanf(line, "\nUid: %u %u", &real, &effective);
  return effective;
}

/* Whose they are is asked only where all together hold what would matter. */
static void work(struct look *base) {
  struct sockets_look *look = (struct sockets_look *)base;
  enter_network(look->pid);
  ask_all(look);
  double all = 0, others = 0;
  for (int i = 0; i < look->count; i++) all += look->all[i].bytes;
  if (all > look->least || look->reads_all) {
    struct tree tree = rfaas_tree_of(look->pid);
    for (int at = 0; at < tree.count; at++) {
      int pid = tree.all[at].pid;
      struct descriptors descriptors = {0, 0};
      each_descriptor(pid, note, look, &descriptors);
      double watches = BYTES_PER_WATCH * descriptors.all * descriptors.watchers;
      if (watches > look->least) base->found[WATCHES] += watches;
      rfaas_tree_grow(&tree, pid, 0);
    }
    /* The inode comes first in each. */
    if (look->count > 0) qsort(look->all, (size_t)look->count, sizeof *look->all, by_inode);
    if (look->open > 0) qsort(look->inodes, (size_t)look->open, sizeof *look->inodes, by_inode);
    count_held(look);
    uint32_t uid = uid_of(look->pid);
    for (int i = 0; i < look->count; i++) {
      const struct one *one = &look->all[i];
      if (one->inode != 0 && one->has_uid && one->uid == uid && !one->is_counted) others += one->bytes;
    }
    if (others > look->least) count_in_flight(look, &tree, uid);
    rfaas_tree_free(&tree);
  }
  free(look->all);
  free(look->inodes);
}

/* Begins a look at the sockets of a process and its descendants: what they hold, what those hold that are on their way between processes where any of
 * theirs are, and what epoll instances can hold. Sums up to `least` are not looked into, but for the last with `reads_all`. Returns what
 * these bytes are to be taken from, or 0 where the machine has no thread or memory for it. */
RFAAS_EXPORT double rfaas_sockets_look(int32_t pid, double least, int32_t reads_all) {
  struct sockets_look *look = calloc(1, sizeof *look);
  if (!look) return 0;
  look->pid = pid;
  look->least = least;
  look->reads_all = reads_all;
  return rfaas_look_begin(&look->look, work);
}
