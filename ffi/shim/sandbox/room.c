/* Starts a process in a room: with fewer rights before it runs than it could give up itself, since Landlock and capabilities bind one
 * thread and those that it starts, and a runtime starts threads at once.
 *
 * The child borrows the memory of this process until it executes its program, as after vfork: a copy of the page tables would take
 * longer than all else. So it makes system calls and nothing more, on a stack of its own, with all signals blocked. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { MAX_ARGUMENTS = 256, MAX_VARIABLES = 1024, MAX_RULES = 256, MAX_DESCRIPTORS = 32, MAX_WRITABLE = 8, STACK_BYTES = 64 * 1024 };
/* Signals as the kernel counts them; the C library keeps two for itself, which its own functions leave out. */
enum { SIGNALS = 64, MASK_BYTES = SIGNALS / 8 };

/* What the child does, and how far it has come: in memory that both have. */
struct outcome {
  uint32_t layers;
  int32_t step, error;
};

struct room {
  uint32_t layers, required, terms;
  int32_t cgroup, count, scratch;
  const int32_t *descriptors;
  char *argv[MAX_ARGUMENTS + 1], *envp[MAX_VARIABLES + 1];
  const char *folder;
  /* A folder of which it sees no other place than this one; none where both are empty. */
  const char *placed, *place;
  char scratch_rule; /* that for the folder in memory: the first by which it may write */
  /* What its rules let it write, of which it has mounts of its own. */
  const char *writable[MAX_WRITABLE];
  int writables;
  struct rfaas_rules rules;
  int program, parent;
  uint64_t namespaces;
  int shares_memory;
  char map[64];
  struct outcome *outcome;
};

static int stop(struct room *room, int step) {
  room->outcome->error = errno ? errno : EPERM;
  room->outcome->step = step;
  return 127;
}

static int write_text(const char *path, const char *text) {
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  long written = syscall(SYS_write, fd, text, strlen(text));
  syscall(SYS_close, fd);
  return written == (long)strlen(text);
}

/* Of the calls that change modes, times and labels of files Landlock knows none: the mounts refuse them, but those of what may be written.
 * A kernel before 5.12 has not got the request. A path that is not there needs no mount. */
static int close_mounts(const struct room *room) {
  enum { OF_ALL = 0x8000, READ_ONLY = 1 };
  const struct { uint64_t set, clear, propagation, namespace; } closed = {.set = READ_ONLY}, open = {.clear = READ_ONLY};
  for (int i = 0; i < room->writables; i++)
    if (syscall(SYS_mount, room->writable[i], room->writable[i], NULL, MS_BIND, NULL) != 0 && errno != ENOENT) return 0;
  if (syscall(SYS_mount_setattr, AT_FDCWD, "/", OF_ALL, &closed, sizeof closed) != 0) return 0;
  for (int i = 0; i < room->writables; i++)
    if (syscall(SYS_mount_setattr, AT_FDCWD, room->writable[i], 0, &open, sizeof open) != 0 && errno != ENOENT) return 0;
  return 1;
}

/* Its folder becomes a file system of its own in memory, which ends with its namespace, and what the rule for the folder permits is for that: a
 * rule is for what lies there when it is made. Without it, the folder stays what it is. Returns whether it may be written. */
static int make_scratch(struct room *room) {
  char options[96];
  /* Who will be its user is not known yet; no one else has a way to it. */
  int length = snprintf(options, sizeof options, "mode=%s", room->layers & RFAAS_LAYER_UID ? "1777" : "700");
  if (room->scratch > 0) snprintf(options + length, sizeof options - (size_t)length, ",size=%dm", room->scratch);
  if (syscall(SYS_mount, "scratch", room->folder, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0) return 0;
  if (room->rules.fd < 0 || !room->scratch_rule) return 1;
  int folder = (int)syscall(SYS_openat, AT_FDCWD, room->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return 0;
  int failed = rfaas_rules_permit(&room->rules, room->scratch_rule, folder);
  syscall(SYS_close, folder);
  return failed == 0;
}

/* A user of an own namespace is who it was outside, and no one else. */
static int enter_namespaces(struct room *room) {
  if (room->namespaces & CLONE_NEWUSER) {
    /* Its files in /proc are root's as long as its memory, which may be a copy of ours, is not to be dumped. */
    if (!room->shares_memory) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (!write_text("/proc/self/setgroups", "deny") && errno != ENOENT) return 0;
    char *group = strchr(room->map, '\n');
    *group = 0;
    int mapped = write_text("/proc/self/uid_map", room->map) && write_text("/proc/self/gid_map", group + 1);
    *group = '\n';
    if (!mapped) return 0;
    room->outcome->layers |= RFAAS_LAYER_USER;
  }
  if (room->namespaces & CLONE_NEWPID) {
    /* What is mounted outside later is seen inside, not the other way round. */
    if (syscall(SYS_mount, "none", "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) return 0;
    if (room->rules.fd >= 0 && close_mounts(room)) room->outcome->layers |= RFAAS_LAYER_MOUNTS;
    /* With what the mounts beneath it allow. */
    if (room->place[0] && syscall(SYS_mount, room->placed, room->place, NULL, MS_BIND | MS_REC, NULL) != 0) return 0;
    if (room->scratch >= 0 && make_scratch(room)) room->outcome->layers |= RFAAS_LAYER_SCRATCH;
    if (syscall(SYS_mount, "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) return 0;
    room->outcome->layers |= RFAAS_LAYER_PROCESSES;
  }
  if (room->namespaces & CLONE_NEWIPC) room->outcome->layers |= RFAAS_LAYER_IPC;
  return 1;
}

/* What it may read of /proc: all of its own one; else what is its own, and what is no process's. Returns a descriptor to keep, since
 * a rule for a process's folder holds as long as the folder is in the kernel's memory, or -1. */
static int permit_proc(struct room *room) {
  static const char *const OF_MACHINE[] = {
    "/proc/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version", "/proc/filesystems",
  };
  if (room->outcome->layers & RFAAS_LAYER_PROCESSES) {
    int all = (int)syscall(SYS_openat, AT_FDCWD, "/proc", O_PATH | O_CLOEXEC);
    if (all >= 0) rfaas_rules_permit(&room->rules, 'r', all);
    return -1;
  }
  for (size_t i = 0; i < sizeof OF_MACHINE / sizeof *OF_MACHINE; i++) {
    int file = (int)syscall(SYS_openat, AT_FDCWD, OF_MACHINE[i], O_PATH | O_CLOEXEC);
    if (file < 0) continue;
    rfaas_rules_permit(&room->rules, 'r', file);
    syscall(SYS_close, file);
  }
  int own = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (own >= 0) rfaas_rules_permit(&room->rules, 'r', own);
  return own;
}

/* Those of the calling thread, in its user namespace, as bits. */
struct capabilities { uint64_t effective, permitted; };

static struct capabilities own_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{0}};
  struct capabilities all = {~0ull, ~0ull};
  if (syscall(SYS_capget, &header, data) != 0) return all;
  struct capabilities own = {data[0].effective | (uint64_t)data[1].effective << 32, data[0].permitted | (uint64_t)data[1].permitted << 32};
  return own;
}

static int may(int capability) { return (own_capabilities().effective >> capability) & 1; }

/* All of them, but for those by which it becomes another user, if it is to. */
static void drop_capabilities(struct room *room) {
  const uint64_t becoming = 1ull << CAP_SETUID | 1ull << CAP_SETGID;
  uint64_t kept = room->layers & RFAAS_LAYER_UID ? becoming & own_capabilities().permitted : 0;
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    if (!(kept >> capability & 1)) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  /* It has no group then but its own. */
  if (kept == becoming && syscall(SYS_setgroups, 0, NULL) == 0) room->outcome->layers |= RFAAS_LAYER_UID;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct left[2] = {{.effective = (uint32_t)kept, .permitted = (uint32_t)kept}, {0}};
  syscall(SYS_capset, &header, left);
  /* Those that a program would give, no_new_privs takes away. */
  struct capabilities own = own_capabilities();
  if (((own.permitted | own.effective) & ~kept) == 0) room->outcome->layers |= RFAAS_LAYER_CAPABILITIES;
}

/* Puts its descriptors at 0, 1, ... and closes all others, but for two that it keeps behind them: its folder of /proc and its program,
 * whose place it returns, or -1. What it notes in `room`, the parent has, too: so it notes nothing. */
static int place_descriptors(const struct room *room, int own_proc) {
  int from[MAX_DESCRIPTORS + 2];
  int count = room->count, keep = count;
  for (int i = 0; i < count; i++) from[i] = room->descriptors[i];
  if (own_proc >= 0) from[keep++] = own_proc;
  from[keep++] = room->program;
  for (int i = 0; i < keep; i++)
    if ((from[i] = (int)syscall(SYS_fcntl, from[i], F_DUPFD, count + 2)) < 0) return -1;
  for (int i = 0; i < keep; i++)
    if (syscall(SYS_dup3, from[i], i, i + 1 == keep ? O_CLOEXEC : 0) < 0) return -1;
  if (syscall(SYS_close_range, keep, ~0u, 0) == 0) return keep - 1;
  struct rlimit most;
  if (getrlimit(RLIMIT_NOFILE, &most) != 0) return -1;
  for (int fd = keep; fd < (int)most.rlim_cur && fd < 1 << 20; fd++) syscall(SYS_close, fd);
  return keep - 1;
}

/* A program begins without handlers; a signal that is ignored here is ignored there, as these are until a host catches them. */
static void forget_signals(void) {
  uint64_t none[8] = {0}, ignored[8] = {(uintptr_t)SIG_IGN};
  for (int signal = 1; signal <= SIGNALS; signal++) {
    int of_jobs = signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
    syscall(SYS_rt_sigaction, signal, of_jobs ? ignored : none, NULL, MASK_BYTES);
  }
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, MASK_BYTES);
}

/* The kernel kills it when the thread that has started it dies; which may have been just before. */
static int dies_with_parent(struct room *room) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return 0;
  struct pollfd parent = {.fd = room->parent, .events = POLLIN};
  struct timespec none = {0, 0};
  return syscall(SYS_ppoll, &parent, 1, &none, NULL, 0) == 0;
}

static int live_in(void *argument) {
  struct room *room = argument;
  struct outcome *outcome = room->outcome;
  errno = 0;
  if (!enter_namespaces(room)) return stop(room, RFAAS_STEP_NAMESPACES);
  syscall(SYS_setsid);
  if (room->cgroup >= 0 && syscall(SYS_write, room->cgroup, "0", 1) != 1) return stop(room, RFAAS_STEP_CGROUP);
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  write_text("/proc/self/oom_score_adj", "1000");
  if (syscall(SYS_chdir, room->folder) != 0) return stop(room, RFAAS_STEP_FOLDER);
  int own_proc = room->rules.fd >= 0 ? permit_proc(room) : -1;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return stop(room, RFAAS_STEP_USER);
  if (room->layers & RFAAS_LAYER_CAPABILITIES) drop_capabilities(room);
  if (room->rules.fd >= 0 && rfaas_rules_apply(&room->rules) == 0) outcome->layers |= rfaas_rules_layers(&room->rules, room->layers);
  uint32_t refusal = SECCOMP_RET_ERRNO;
  if (room->layers & RFAAS_LAYER_CALLS && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &refusal) == 0)
    outcome->layers |= RFAAS_LAYER_CALLS;
  errno = 0;
  if ((outcome->layers & room->required) != room->required) return stop(room, RFAAS_STEP_LAYERS);
  if (!dies_with_parent(room)) return stop(room, RFAAS_STEP_USER);
  /* It was to be tried alone. */
  if (!room->argv[0]) return 0;
  int program = place_descriptors(room, own_proc);
  if (program < 0) return stop(room, RFAAS_STEP_DESCRIPTORS);
  forget_signals();
  syscall(SYS_execve, room->argv[0], room->argv, room->envp);
  /* Without capabilities it may not reach it by its name. */
  if (errno == EACCES) syscall(SYS_execveat, program, "", room->argv, room->envp, AT_EMPTY_PATH);
  return stop(room, RFAAS_STEP_EXEC);
}

/* Returns the child's number, when it has executed its program or has ended, or -errno. */
static int begin(struct room *room, int *pidfd) {
  char stack[STACK_BYTES] __attribute__((aligned(16)));
  const struct outcome fresh = {0, RFAAS_STEP_NONE, 0};
  *room->outcome = fresh;
  *pidfd = -1;
  uint64_t all = ~0ull, before;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, MASK_BYTES);
  unsigned flags = CLONE_VFORK | CLONE_PIDFD | SIGCHLD | (unsigned)room->namespaces;
  if (room->shares_memory) flags |= CLONE_VM;
  int pid = clone(live_in, stack + sizeof stack, (int)flags, room, pidfd);
  int failed = errno;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, MASK_BYTES);
  if (pid < 0) {
    room->outcome->step = RFAAS_STEP_CLONE;
    return -failed;
  }
  if (room->outcome->step == RFAAS_STEP_NONE && room->argv[0]) return pid;
  while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) continue;
  close(*pidfd);
  *pidfd = -1;
  return room->outcome->step == RFAAS_STEP_NONE ? pid : -room->outcome->error;
}

static uint64_t namespaces_of(uint32_t layers) {
  uint64_t flags = 0;
  if (layers & RFAAS_LAYER_PROCESSES) flags |= CLONE_NEWPID | CLONE_NEWNS;
  if (layers & RFAAS_LAYER_IPC) flags |= CLONE_NEWIPC;
  if (flags == 0 || may(CAP_SYS_ADMIN)) return flags;
  return layers & RFAAS_LAYER_USER ? flags | CLONE_NEWUSER : 0;
}

/* With namespaces, if they can be had. */
static int start(struct room *room, int *pidfd) {
  room->namespaces = namespaces_of(room->layers);
  snprintf(room->map, sizeof room->map, "%u %u 1\n%u %u 1", geteuid(), geteuid(), getegid(), getegid());
  /* To the kernel, the files in /proc of who borrows the memory of a process that is not to be dumped are root's. */
  room->shares_memory = !(room->namespaces & CLONE_NEWUSER) || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1;
  int pid = begin(room, pidfd);
  if (pid > 0 || room->namespaces == 0) return pid;
  if (room->outcome->step != RFAAS_STEP_CLONE && room->outcome->step != RFAAS_STEP_NAMESPACES) return pid;
  room->namespaces = 0;
  room->shares_memory = 1;
  return begin(room, pidfd);
}

/* The next of some strings, each of which ends with a zero. */
static char *next(const char **strings) {
  char *string = (char *)(uintptr_t)*strings;
  *strings += strlen(string) + 1;
  return string;
}

/* Starts a program in a room, as `order` has it (enum rfaas_room_order): in `strings` its command line, its environment, the folder in which it begins,
 * a folder and the place where the room sees it, or nothing twice, and its rules follow each other. Without a command line the room is tried, and ends. A rule for a path that is not there is left out.
 * Returns the process's number, or -errno, and writes `report` (enum rfaas_room_report). */
RFAAS_EXPORT int32_t rfaas_room_start(const int32_t *order, const char *strings, int32_t *report) {
  struct room room = {.layers = (uint32_t)order[RFAAS_ORDER_LAYERS], .required = (uint32_t)order[RFAAS_ORDER_REQUIRED]};
  int arguments = order[RFAAS_ORDER_ARGUMENTS], variables = order[RFAAS_ORDER_VARIABLES], rules = order[RFAAS_ORDER_RULES];
  memset(report, 0, RFAAS_REPORT_COUNT * sizeof *report);
  report[RFAAS_REPORT_PIDFD] = -1;
  room.count = order[RFAAS_ORDER_DESCRIPTORS];
  if (arguments > MAX_ARGUMENTS || variables > MAX_VARIABLES || rules > MAX_RULES || room.count > MAX_DESCRIPTORS) return -E2BIG;
  room.terms = (uint32_t)order[RFAAS_ORDER_TERMS];
  room.cgroup = order[RFAAS_ORDER_CGROUP];
  room.scratch = order[RFAAS_ORDER_SCRATCH];
  room.descriptors = order + RFAAS_ORDER_COUNT;
  for (int i = 0; i < arguments; i++) room.argv[i] = next(&strings);
  for (int i = 0; i < variables; i++) room.envp[i] = next(&strings);
  room.folder = next(&strings);
  room.placed = next(&strings);
  room.place = next(&strings);
  room.outcome = mmap(NULL, sizeof *room.outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (room.outcome == MAP_FAILED) return -errno;
  room.parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
  room.rules = rfaas_rules_begin(room.layers, room.terms);
  for (int i = 0; i < rules; i++) {
    const char *rule = next(&strings);
    if ((rule[0] == 'w' || rule[0] == 'p') && room.writables < MAX_WRITABLE) {
      if (room.writables == 0) room.scratch_rule = rule[0];
      room.writable[room.writables++] = rule + 1;
    }
    int path = room.rules.fd < 0 ? -1 : open(rule + 1, O_PATH | O_CLOEXEC);
    if (path < 0) continue;
    rfaas_rules_permit(&room.rules, rule[0], path);
    close(path);
  }
  room.program = arguments ? open(room.argv[0], O_PATH | O_CLOEXEC) : -1;
  int failed = room.parent < 0 || (arguments && room.program < 0) ? -errno : 0;
  int pid = failed ? failed : start(&room, &report[RFAAS_REPORT_PIDFD]);
  report[RFAAS_REPORT_LAYERS] = (int32_t)room.outcome->layers;
  report[RFAAS_REPORT_ABI] = room.rules.abi;
  report[RFAAS_REPORT_STEP] = room.outcome->step;
  int opened[] = {room.parent, room.program, room.rules.fd};
  for (size_t i = 0; i < sizeof opened / sizeof *opened; i++)
    if (opened[i] >= 0) close(opened[i]);
  munmap(room.outcome, sizeof *room.outcome);
  return pid;
}

/* How a child has ended: its exit code, the signal that has killed it or 0, and the CPU time of its life and of what it had waited for,
 * nanoseconds. Returns 1, 0 when it lives, or -errno. Its number is free from then on. */
RFAAS_EXPORT int32_t rfaas_room_wait(int32_t pid, double *out) {
  siginfo_t info = {0};
  struct rusage used;
  if (syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG, &used) != 0) return -errno;
  if (info.si_pid == 0) return 0;
  int exited = info.si_code == CLD_EXITED;
  out[0] = exited ? info.si_status : 0;
  out[1] = exited ? 0 : info.si_status;
  out[2] = 1e9 * (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e3 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  return 1;
}

/* A signal for a child that has not been waited for. */
RFAAS_EXPORT int32_t rfaas_room_signal(int32_t pid, int32_t signal) { return kill(pid, signal) == 0 ? 0 : -errno; }
