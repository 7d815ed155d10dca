/* Doors of the kernel that are not a tenant's. What would harm the machine is asked for wrongly: that the kernel says so shows that it
 * was asked. */
#include "escape.h"

#include <fcntl.h>

#include <sys/uio.h>

#include <sys/mman.h>

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <mqueue.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/time.h>

enum { IO_URING_SETUP = 425, OPEN_TREE = 428, FSOPEN = 430 };

/* A user who is not root has to be root of a namespace for this. */
static int own_mounts(void) {
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return errno;
  return made(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
}
static int mounts(void) {
  int failed = own_mounts();
  return failed ? failed : made(mount("none", "/tmp", "tmpfs", 0, NULL));
}
static int mount_over(void) { return in_child(mounts); }
static int binds(void) {
  int failed = own_mounts();
  return failed ? failed : made(mount(fact("outside"), "/tmp", NULL, MS_BIND, NULL));
}
static int bind_outside(void) { return in_child(binds); }
static int clones_tree(void) {
  int failed = own_mounts();
  if (failed) return failed;
  int fd = (int)syscall(OPEN_TREE, AT_FDCWD, "/", 0x8001 /* OPEN_TREE_CLONE, AT_RECURSIVE */);
  return fd < 0 ? errno : 0;
}
static int clone_tree(void) { return in_child(clones_tree); }
static int opens_system(void) {
  int failed = own_mounts();
  if (failed) return failed;
  return (int)syscall(FSOPEN, "tmpfs", 0) < 0 ? errno : 0;
}
static int open_system(void) { return in_child(opens_system); }
static int changes_root(void) {
  own_mounts();
  return made(chroot("/tmp"));
}
static int change_root(void) { return in_child(changes_root); }
static int pivots(void) {
  own_mounts();
  return CALL(SYS_pivot_root, "/tmp", "/tmp");
}
static int pivot_root(void) { return in_child(pivots); }
static int unshares(void) { return made(unshare(CLONE_NEWUSER)); }
static int user_namespace(void) { return in_child(unshares); }
static int clone_namespace(void) {
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
  if (child < 0) return errno;
  if (child == 0) _exit(0);
  int status;
  waitpid((pid_t)child, &status, 0);
  return 0;
}
static int joins(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/ns/mnt", number("decoy"));
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? errno : made(setns(fd, CLONE_NEWNS));
}
static int join_namespace(void) { return in_child(joins); }
static int load_program(void) {
  const struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr asked = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (uintptr_t)nothing, .insn_cnt = 2, .license = (uintptr_t)"GPL"};
  int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &asked, sizeof asked);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
static int count_events(void) {
  struct perf_event_attr asked = {.type = PERF_TYPE_SOFTWARE, .size = sizeof asked, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
  int fd = (int)syscall(SYS_perf_event_open, &asked, 0, -1, -1, 0);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
static int handle_faults(void) {
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
static int ring(void) {
  uint32_t asked[32] = {0};
  int fd = (int)syscall(IO_URING_SETUP, 1, asked);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
static int keyring(void) { return CALL(SYS_add_key, "user", "escape", "x", 1, -2 /* of the process */); }
static int read_keys(void) { return CALL(SYS_keyctl, 0, -4 /* of the user */, 0, 0, 0); }
static int load_module(void) { return CALL(SYS_init_module, NULL, 0, ""); }
static int load_module_file(void) { return CALL(SYS_finit_module, -1, "", 0); }
static int unload_module(void) { return CALL(SYS_delete_module, "no-such-module", O_NONBLOCK); }
static int boot_kernel(void) { return CALL(SYS_kexec_load, 0, 0, NULL, 0xffff); }
static int restart(void) { return CALL(SYS_reboot, 1, 2, 3, NULL); }
static int set_clock(void) {
  struct timezone none = {0, 0};
  return CALL(SYS_settimeofday, NULL, &none);
}
static int name_host(void) {
  char name[256];
  if (gethostname(name, sizeof name) != 0) return errno;
  return made(sethostname(name, strlen(name)));
}
static int swap(void) { return CALL(SYS_swapon, "/no/such/file", 0); }
static int quota(void) { return CALL(SYS_quotactl, 0x800001 << 8, "/dev/null", 0, NULL); }
static int kernel_log(void) {
  char text[256];
  return CALL(SYS_syslog, 3, text, sizeof text);
}
static int address_layout(void) { return CALL(SYS_personality, 0xffffffff); }
static int regains(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct all[2] = {{1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0}};
  return CALL(SYS_capset, &header, all);
}
static int regain(void) { return in_child(regains); }
static int becomes_other(void) { return CALL(SYS_setresuid, -1, geteuid() == 65534 ? 0 : 65534, -1); }
static int become_other(void) { return in_child(becomes_other); }
static int type_on_terminal(void) {
  int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
  int failed = made(ioctl(terminal < 0 ? 2 : terminal, 0x5412 /* TIOCSTI */, "x"));
  if (terminal >= 0) close(terminal);
  return failed;
}
#ifdef __x86_64__
static int other_table(void) { return CALL(0x40000000 + SYS_getppid); }
static int old_table(void) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(64 /* getppid */) : "memory", "r8", "r9", "r10", "r11");
  return (int)result < 0 ? -(int)result : 0;
}
static int ports(void) { return CALL(SYS_iopl, 3); }
static int segments(void) {
  char table[64];
  return CALL(SYS_modify_ldt, 0, table, sizeof table);
}
#endif

/* Memory that no process has mapped, nor a descriptor of: only the queue of a socket keeps it. */
enum { HOARD = 1 << 20 };
static int hoard_in_socket(void) {
  int pair[2], fd = (int)syscall(SYS_memfd_create, "hoard", 0);
  if (fd < 0) return errno;
  int failed = made(fallocate(fd, 0, 0, HOARD));
  if (!failed && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0) failed = errno;
  if (!failed) {
    char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    failed = sendmsg(pair[0], &message, 0) < 0 ? errno : 0;
    close(pair[0]);
    close(pair[1]);
  }
  close(fd);
  return failed;
}
static int hoard_in_pair(void) {
  int pair[2];
  char data[1 << 14] = {0};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return errno;
  int failed = send(pair[0], data, sizeof data, MSG_DONTWAIT) == sizeof data ? 0 : errno;
  close(pair[0]);
  close(pair[1]);
  return failed;
}
static int in_pipe(int (*fill)(int)) {
  int pipe_[2];
  if (pipe(pipe_) != 0) return errno;
  int failed = fill(pipe_[1]);
  close(pipe_[0]);
  close(pipe_[1]);
  return failed;
}
static int enlarges(int fd) { return fcntl(fd, F_SETPIPE_SZ, HOARD) < 0 ? errno : 0; }
static int enlarge_pipe(void) { return in_pipe(enlarges); }
/* The page is in the pipe alone when its process has mapped it no longer. */
static int splices(int fd) {
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (page == MAP_FAILED) return errno;
  struct iovec data = {page, 4096};
  int failed = vmsplice(fd, &data, 1, SPLICE_F_NONBLOCK) < 0 ? errno : 0;
  munmap(page, 4096);
  return failed;
}
static int hoard_in_pipe(void) { return in_pipe(splices); }
static int hoard_in_segment(void) {
  int id = shmget(IPC_PRIVATE, HOARD, IPC_CREAT | 0600);
  if (id < 0) return errno;
  void *at = shmat(id, NULL, 0);
  if (at != (void *)-1) {
    memset(at, 1, HOARD);
    shmdt(at);
  }
  shmctl(id, IPC_RMID, NULL);
  return at == (void *)-1 ? errno : 0;
}
/* One set has up to 32,000 of 64 bytes each. */
static int hoard_in_semaphores(void) {
  int id = semget(IPC_PRIVATE, 250, IPC_CREAT | 0600);
  return id < 0 ? errno : made(semctl(id, 0, IPC_RMID));
}
static int hoard_in_named_queue(void) {
  char name[64];
  snprintf(name, sizeof name, "/escape-hoard-%d", (int)getpid());
  mqd_t queue = mq_open(name, O_WRONLY | O_CREAT, 0600, NULL);
  if (queue == (mqd_t)-1) return errno;
  mq_unlink(name);
  mq_close(queue);
  return 0;
}
static int hoard_in_queue(void) {
  struct {
    long type;
    char text[1024];
  } message = {.type = 1};
  int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
  if (id < 0) return errno;
  int failed = made(msgsnd(id, &message, sizeof message.text, IPC_NOWAIT));
  msgctl(id, IPC_RMID, NULL);
  return failed;
}

const struct attempt kernel_attempts[] = {
  {"mount", mount_over}, {"bind-outside", bind_outside}, {"clone-tree", clone_tree}, {"open-system", open_system},
  {"change-root", change_root}, {"pivot-root", pivot_root}, {"user-namespace", user_namespace},
  {"clone-namespace", clone_namespace}, {"join-namespace", join_namespace}, {"load-program", load_program},
  {"count-events", count_events}, {"handle-faults", handle_faults}, {"ring", ring}, {"keyring", keyring},
  {"read-keys", read_keys}, {"load-module", load_module}, {"load-module-file", load_module_file},
  {"unload-module", unload_module}, {"boot-kernel", boot_kernel}, {"restart", restart}, {"set-clock", set_clock},
  {"name-host", name_host}, {"swap", swap}, {"quota", quota}, {"kernel-log", kernel_log},
  {"address-layout", address_layout}, {"regain", regain}, {"become-other", become_other},
  {"type-on-terminal", type_on_terminal}, {"hoard-in-socket", hoard_in_socket}, {"hoard-in-segment", hoard_in_segment},
  {"hoard-in-pair", hoard_in_pair}, {"hoard-in-pipe", hoard_in_pipe}, {"enlarge-pipe", enlarge_pipe},
  {"hoard-in-queue", hoard_in_queue}, {"hoard-in-semaphores", hoard_in_semaphores}, {"hoard-in-named-queue", hoard_in_named_queue},
#ifdef __x86_64__
  {"other-table", other_table}, {"old-table", old_table}, {"ports", ports}, {"segments", segments},
#endif
  {NULL, NULL},
};
