/* Closes a room from inside, for all of its threads, right before a tenant's code is loaded: a filter of system calls takes away what
 * neither this code nor the engine needs any more. What is refused fails with EPERM, but for `clone3`, whose flags a filter cannot
 * see: it is said to be missing, and the C library then uses `clone`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define X32 0x40000000u

/* Since Linux 5.1 a call has the same number everywhere; the headers of older systems know fewer. */
enum { PIDFD_SEND_SIGNAL = 424, IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER, OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK,
       CLONE3 = 435, PIDFD_GETFD = 438, PROCESS_MADVISE = 440, MOUNT_SETATTR = 442, QUOTACTL_FD = 443, MEMFD_SECRET = 447, PROCESS_MRELEASE = 448,
       OPEN_TREE_ATTR = 467 };

/* Never a tenant's. */
static const uint32_t DENIED[] = {
  /* other processes */
  SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, PIDFD_GETFD, PROCESS_MADVISE, PROCESS_MRELEASE, SYS_move_pages,
  SYS_migrate_pages,
  /* keyrings */
  SYS_keyctl, SYS_add_key, SYS_request_key,
  /* wide doors of the kernel */
  IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER, SYS_perf_event_open, SYS_bpf, SYS_userfaultfd, SYS_fanotify_init,
  /* mounts and namespaces */
  SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, OPEN_TREE, OPEN_TREE_ATTR, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK,
  MOUNT_SETATTR, SYS_unshare, SYS_setns, SYS_open_by_handle_at, SYS_quotactl, QUOTACTL_FD,
  /* the machine */
  SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_reboot, SYS_kexec_load, SYS_kexec_file_load, SYS_clock_settime,
  SYS_settimeofday, SYS_adjtimex, SYS_clock_adjtime, SYS_swapon, SYS_swapoff, SYS_acct, SYS_syslog, SYS_sethostname, SYS_setdomainname,
  SYS_vhangup, SYS_lookup_dcookie, SYS_nfsservctl, SYS_personality,
  /* memory that is there while no process has mapped it, and then counts for none: a pipe can keep a huge page by a piece of it */
  MEMFD_SECRET, SYS_shmget, SYS_msgget, SYS_semget, SYS_mq_open, SYS_vmsplice,
  /* changes of folders, whose names no other rule keeps from who does not open them */
  SYS_inotify_init1, SYS_inotify_add_watch,
#ifdef __x86_64__
  SYS_inotify_init, SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_create_module, SYS_get_kernel_syms, SYS_query_module, SYS__sysctl,
#endif
};
/* Who may have no network gets no new socket, and lets none that it has go elsewhere: a connection can be taken back and made anew. */
static const uint32_t OF_NETWORK[] = {SYS_socket, SYS_connect, SYS_bind, SYS_listen};
/* The same; but who connects to other nodes has the memory of its leases in such files. */
static const uint32_t OF_MEMORY[] = {SYS_memfd_create};
/* The kernel's memory holds what was sent and not received: who has neither processes nor the network has no one to send to. */
static const uint32_t OF_PAIRS[] = {SYS_socketpair};
/* Who may start no processes executes none, and has none to signal but itself. */
static const uint32_t OF_PROCESSES[] = {
  SYS_execve, SYS_execveat,
#ifdef __x86_64__
  SYS_fork, SYS_vfork,
#endif
};
static const uint32_t OF_SIGNALS[] = {PIDFD_SEND_SIGNAL, SYS_tkill};
/* What one process can do to another of its user, whose number comes first. */
static const uint32_t OF_ONE[] = {SYS_prlimit64, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr};
static const uint32_t SIGNALLING[] = {SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo};

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { MAX_STEPS = 512 };

struct program {
  struct sock_filter steps[MAX_STEPS];
  unsigned short count;
};

static void add(struct program *program, uint16_t code, uint32_t value, int yes, int no) {
  const struct sock_filter step = {.code = code, .jt = (uint8_t)yes, .jf = (uint8_t)no, .k = value};
  if (program->count < MAX_STEPS) program->steps[program->count++] = step;
}

static void load(struct program *program, size_t offset) { add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0); }
static void load_argument(struct program *program, int index) {
  /* Both machines are little-endian: the lower half comes first. */
  load(program, offsetof(struct seccomp_data, args) + 8u * (unsigned)index);
}
static void answer(struct program *program, uint32_t action) { add(program, BPF_RET | BPF_K, action, 0, 0); }
static void deny(struct program *program) { answer(program, SECCOMP_RET_ERRNO | EPERM); }
static void allow(struct program *program) { answer(program, SECCOMP_RET_ALLOW); }
/* The next `steps` are for the call, or for a value, alone. */
static void only_for(struct program *program, uint32_t value, int steps) { add(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, steps); }
static void only_with(struct program *program, uint32_t bits, int steps) { add(program, BPF_JMP | BPF_JSET | BPF_K, bits, 0, steps); }

/* Threads were put on their CPUs before: who asks for others is told that it has them, since libraries that bind their threads give up
 * where they may not, and keeps those of the lease. */
static void filter_placing(struct program *program) {
  only_for(program, SYS_sched_setaffinity, 1);
  answer(program, SECCOMP_RET_ERRNO | 0);
}

static void deny_all(struct program *program, const uint32_t *calls, size_t count) {
  for (size_t i = 0; i < count; i++) {
    only_for(program, calls[i], 1);
    deny(program);
  }
}

/* Threads, without which the engine aborts, and no processes; or any but in a namespace of its own, or as a child of another than itself. */
static void filter_clone(struct program *program, uint32_t terms) {
  only_for(program, CLONE3, 1);
  answer(program, SECCOMP_RET_ERRNO | ENOSYS);
  int processes = (terms & RFAAS_TERM_PROCESSES) != 0;
  only_for(program, SYS_clone, processes ? 4 : 6);
  load_argument(program, 0);
  only_with(program, NAMESPACES | CLONE_PARENT, 1);
  deny(program);
  if (!processes) {
    add(program, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
    deny(program);
  }
  allow(program);
}

/* Streams and datagrams of the Internet, and the questions to the kernel that names of hosts need: the agent can ask what these hold.
 * A socket of the machine's own reaches its services by a path. */
static void filter_sockets(struct program *program) {
  only_for(program, SYS_socket, 15);
  load_argument(program, 0);
  add(program, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 5, 0);
  add(program, BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 4, 0);
  only_for(program, AF_NETLINK, 10);
  load_argument(program, 2);
  only_for(program, 0, 8);
  allow(program);
  load_argument(program, 2);
  only_for(program, 0, 1);
  allow(program);
  only_for(program, IPPROTO_TCP, 1);
  allow(program);
  only_for(program, IPPROTO_UDP, 1);
  allow(program);
  deny(program);
}

/* A connected pair reaches no one else, unless it takes datagrams: then it can be connected again. */
static void filter_pairs(struct program *program) {
  only_for(program, SYS_socketpair, 10);
  load_argument(program, 0);
  add(program, BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0);
  deny(program);
  load_argument(program, 1);
  add(program, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0);
  only_for(program, SOCK_STREAM, 1);
  allow(program);
  only_for(program, SOCK_SEQPACKET, 1);
  allow(program);
  deny(program);
}

/* By these a process dies that has no handler for them, and a library that sends itself one counts on it. */
static const uint32_t DEADLY[] = {SIGKILL, SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

/* The first process of a pid namespace does not die by a signal of its own, but by the trap in its place, whose handler then says by
 * which it wanted to: RFAAS_ROOM_DIED and the signal's number are its exit code. Where it is blocked, the trap itself kills. */
static void filter_suicide(struct program *program, uint32_t call, int signal_argument) {
  enum { DEADLY_COUNT = COUNT(DEADLY) };
  only_for(program, call, 2 * DEADLY_COUNT + 4);
  load_argument(program, 0);
  only_for(program, 1, 2 * DEADLY_COUNT + 1);
  load_argument(program, signal_argument);
  for (int i = 0; i < DEADLY_COUNT; i++) {
    only_for(program, DEADLY[i], 1);
    answer(program, SECCOMP_RET_TRAP | DEADLY[i]);
  }
  allow(program);
}

static void die_of(int number, siginfo_t *info, void *context) {
  (void)number, (void)context;
  enum { BY_FILTER = 1 };
  if (info->si_code == BY_FILTER) syscall(SYS_exit_group, RFAAS_ROOM_DIED + info->si_errno);
}

/* The call is allowed with these values of one of its arguments alone, */
static void allow_only(struct program *program, uint32_t call, int argument, const uint32_t *values, int count) {
  only_for(program, call, 2 * count + 2);
  load_argument(program, argument);
  for (int i = 0; i < count; i++) {
    only_for(program, values[i], 1);
    allow(program);
  }
  deny(program);
}

/* or with all but these. */
static void deny_only(struct program *program, uint32_t call, int argument, const uint32_t *values, int count) {
  only_for(program, call, 2 * count + 2);
  load_argument(program, argument);
  for (int i = 0; i < count; i++) {
    only_for(program, values[i], 1);
    deny(program);
  }
  allow(program);
}

/* The same, where the argument before says whose number this is: of a process, which is `kind`, not of a group or a user. */
static void allow_own(struct program *program, uint32_t call, uint32_t kind, const uint32_t *own, int count) {
  only_for(program, call, 2 * count + 5);
  load_argument(program, 0);
  add(program, BPF_JMP | BPF_JEQ | BPF_K, kind, 1, 0);
  deny(program);
  load_argument(program, 1);
  for (int i = 0; i < count; i++) {
    only_for(program, own[i], 1);
    allow(program);
  }
  deny(program);
}

/* Of processes that it sees, since it has no namespace of its own: no limits but its own, which it may lower, no priorities, and no signals
 * that the kernel would send in its name. Landlock knows of none of these but signals, and of those from ABI 6 on: without programs, it
 * signals itself alone. */
static void filter_others(struct program *program, uint32_t terms) {
  enum { OF_PROCESS = 0 /* PRIO_PROCESS */, IO_OF_PROCESS = 1 /* IOPRIO_WHO_PROCESS */ };
  const uint32_t itself[] = {(uint32_t)getpid(), 0};
  for (size_t i = 0; i < COUNT(OF_ONE); i++) allow_only(program, OF_ONE[i], 0, itself, COUNT(itself));
  allow_own(program, SYS_setpriority, OF_PROCESS, itself, COUNT(itself));
  allow_own(program, SYS_ioprio_set, IO_OF_PROCESS, itself, COUNT(itself));
  if (terms & RFAAS_TERM_PROCESSES) return;
  deny_all(program, OF_SIGNALS, COUNT(OF_SIGNALS));
  for (size_t i = 0; i < COUNT(SIGNALLING); i++) allow_only(program, SIGNALLING[i], 0, itself, COUNT(itself));
}

/* Pipes keep the size that they have, since all of a user share what the kernel gives for larger ones; and where it sees others, it has no signals
 * sent to them. */
static void filter_descriptors(struct program *program, int sees_others) {
  const uint32_t denied[] = {F_SETPIPE_SZ, F_SETOWN, F_SETSIG, F_SETOWN_EX};
  deny_only(program, SYS_fcntl, 1, denied, sees_others ? COUNT(denied) : 1);
}

/* It stays as it is to who looks at it: what it has of memory and files is no longer to be seen of a process that hides. Programs which
 * do that to guard a secret are told that they have, since some give up where they may not. */
static void filter_attributes(struct program *program, uint32_t terms) {
  int processes = (terms & RFAAS_TERM_PROCESSES) != 0;
  only_for(program, SYS_prctl, processes ? 4 : 6);
  load_argument(program, 0);
  only_for(program, PR_SET_DUMPABLE, 1);
  answer(program, SECCOMP_RET_ERRNO | 0);
  if (!processes) {
    only_for(program, PR_SET_PDEATHSIG, 1);
    deny(program);
  }
  allow(program);
}

/* What a terminal takes as typed, and whom a socket signals. */
static void filter_devices(struct program *program) {
  enum { FAKE_INPUT = 0x5412, OF_CONSOLE = 0x541c, OWNER = 0x8901 /* FIOSETOWN */, OWNING_GROUP = 0x8902 /* SIOCSPGRP */ };
  const uint32_t denied[] = {FAKE_INPUT, OF_CONSOLE, OWNER, OWNING_GROUP};
  deny_only(program, SYS_ioctl, 1, denied, COUNT(denied));
}

/* What a host needs neither for a lease nor before one comes. */
static int deny_first(struct program *p, uint32_t terms) {
  deny_all(p, DENIED, COUNT(DENIED));
  filter_clone(p, terms);
  if (!(terms & RFAAS_TERM_PROCESSES)) deny_all(p, OF_PROCESSES, COUNT(OF_PROCESSES));
  int first = getpid() == 1;
  filter_descriptors(p, !first);
  filter_devices(p);
  if (!first) {
    filter_others(p, terms);
    return 0;
  }
  filter_suicide(p, SYS_kill, 1);
  filter_suicide(p, SYS_tgkill, 2);
  const struct sigaction dying = {.sa_sigaction = die_of, .sa_flags = SA_SIGINFO};
  return sigaction(SIGSYS, &dying, NULL) == 0 ? 0 : -errno;
}

/* What it needs until its lease has come: it becomes another user, listens for its client, and places its threads. */
static void deny_rest(struct program *p, uint32_t terms) {
  if (terms & RFAAS_TERM_NETWORK) filter_sockets(p);
  else {
    deny_all(p, OF_NETWORK, COUNT(OF_NETWORK));
    deny_all(p, OF_MEMORY, COUNT(OF_MEMORY));
  }
  if (terms & (RFAAS_TERM_NETWORK | RFAAS_TERM_PROCESSES)) filter_pairs(p);
  else deny_all(p, OF_PAIRS, COUNT(OF_PAIRS));
  filter_placing(p);
  filter_attributes(p, terms);
}

/* Seals this process, and all that it starts, to what `terms` (enum rfaas_term) allow: `parts` of it (enum rfaas_seal_part), so that a lease
 * waits for a short filter alone. The kernel takes 0.2 ms for all. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_seal(uint32_t terms, uint32_t parts) {
#ifndef ARCHITECTURE
  (void)terms, (void)parts;
  return -ENOSYS;
#else
  struct program program = {.count = 0}, *p = &program;
  load(p, offsetof(struct seccomp_data, arch));
  add(p, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
  deny(p);
  load(p, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
  add(p, BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1);
  deny(p);
#endif
  if (parts & RFAAS_SEAL_FIRST) {
    int failed = deny_first(p, terms);
    if (failed != 0) return failed;
  }
  if (parts & RFAAS_SEAL_REST) deny_rest(p, terms);
  allow(p);
  if (p->count == MAX_STEPS) return -E2BIG;
  const struct sock_fprog filter = {.len = p->count, .filter = p->steps};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
  /* Without SPEC_ALLOW older kernels slow the whole process down. */
  long failed = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
  return failed < 0 ? -errno : failed > 0 ? -EBUSY : 0;
#endif
}
