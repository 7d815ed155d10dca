/* attempts SHIM TERMS FOLDER SECRET PID PORT NAME...: what a room's code tries, each by its name. It prints a line for each: `name 0`
 * where that succeeded, else its errno. With TERMS of -1 the room is not sealed. All is tried from a thread that was there before. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *folder, *secret;
static int other, port;
static char **names;
static void *shim;
static int given;

static char *in(const char *directory, const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static int opens(const char *path, int flags) {
  int fd = open(path, flags, 0600);
  if (fd < 0) return errno;
  char byte;
  int failed = (flags & O_ACCMODE) == O_RDONLY && read(fd, &byte, 1) < 0 && errno != EISDIR ? errno : 0;
  close(fd);
  return failed;
}

static int of_other(const char *file, int flags) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", other, file);
  return opens(path, flags);
}

static int socket_of(int domain, int type) {
  int fd = socket(domain, type, 0);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

static int connects(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int failed = connect(fd, (void *)&to, sizeof to) == 0 ? 0 : errno;
  close(fd);
  return failed;
}

static int binds(int at) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int failed = bind(fd, (void *)&to, sizeof to) == 0 ? 0 : errno;
  close(fd);
  return failed;
}

/* A service of the machine, at a name that begins with a zero. */
static int connects_to_name(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  int length = snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "rfaas-test-room-%d", port);
  int failed = connect(fd, (void *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + length) == 0 ? 0 : errno;
  close(fd);
  return failed;
}

static int pairs(int type) {
  int ends[2];
  if (socketpair(AF_UNIX, type, 0, ends) != 0) return errno;
  close(ends[0]);
  close(ends[1]);
  return 0;
}

static int forks(void) {
  pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) _exit(0);
  waitpid(child, NULL, 0);
  return 0;
}

static int executes(const char *path) {
  pid_t child = fork();
  if (child < 0) {
    char *argv[] = {(char *)path, NULL};
    execve(path, argv, argv + 1);
    return errno;
  }
  if (child == 0) {
    execl(path, path, (char *)NULL);
    _exit(errno);
  }
  int status;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

static void *nothing(void *argument) { return argument; }

static int starts_thread(void) {
  pthread_t thread;
  int failed = pthread_create(&thread, NULL, nothing, NULL);
  if (!failed) pthread_join(thread, NULL);
  return failed;
}

static int calls(long number, long a, long b, long c, long d, long e) {
  long result = syscall(number, a, b, c, d, e);
  return result < 0 ? errno : 0;
}

/* For the other process, or a signal that has its number. */
static int with_pair(long call, int request) {
  int ends[2], to = request == F_SETSIG ? SIGURG : other;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return errno;
  int failed = calls(call, ends[0], request, request == 0x8901 ? (long)&to : to, 0, 0);
  close(ends[0]);
  close(ends[1]);
  return failed;
}

/* How many processes, besides itself, it sees. */
static int watches(const char *path) {
  int fd = inotify_init1(IN_CLOEXEC);
  if (fd < 0) return errno;
  int failed = inotify_add_watch(fd, path, IN_CREATE) < 0 ? errno : 0;
  close(fd);
  return failed;
}

static int sees_others(void) {
  DIR *all = opendir("/proc");
  if (!all) return errno;
  int count = 0;
  for (struct dirent *entry; (entry = readdir(all));) count += atoi(entry->d_name) > 0;
  closedir(all);
  return count > 1 ? 0 : ESRCH;
}

static int descriptors_besides(int most) {
  int count = 0;
  for (int fd = most; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

/* The user that all threads are, or -1. */
static int user_of_all(void) {
  DIR *all = opendir("/proc/self/task");
  if (!all) return -1;
  int user = -2;
  char path[64], line[256];
  for (struct dirent *entry; (entry = readdir(all));) {
    if (atoi(entry->d_name) == 0) continue;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", atoi(entry->d_name));
    FILE *status = fopen(path, "r");
    for (int uid; status && fgets(line, sizeof line, status);)
      if (sscanf(line, "Uid: %d", &uid) == 1) user = user == -2 || user == uid ? uid : -1;
    if (status) fclose(status);
  }
  closedir(all);
  return user;
}

static int attempt(const char *name) {
#define IS(text) (strcmp(name, text) == 0)
  if (IS("read-package")) return opens(in(folder, "package/module"), O_RDONLY);
  if (IS("write-package")) return opens(in(folder, "package/module"), O_WRONLY);
  if (IS("make-in-package")) return opens(in(folder, "package/fresh"), O_WRONLY | O_CREAT);
  if (IS("write-scratch")) return opens(in(folder, "scratch/fresh"), O_RDWR | O_CREAT);
  if (IS("fill-scratch")) {
    static char piece[1 << 20];
    int file = open(in(folder, "scratch/filled"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) return errno;
    for (int i = 0; i < 8; i++)
      if (write(file, piece, sizeof piece) != sizeof piece) return errno;
    return 0;
  }
  if (IS("truncate-scratch")) return truncate(in(folder, "scratch/fresh"), 0) == 0 ? 0 : errno;
  if (IS("make-device")) return mknod(in(folder, "scratch/device"), S_IFCHR | 0600, 0x103) == 0 ? 0 : errno;
  if (IS("read-secret")) return opens(secret, O_RDONLY);
  if (IS("write-secret")) return opens(secret, O_WRONLY);
  if (IS("truncate-secret")) return truncate(secret, 0) == 0 ? 0 : errno;
  if (IS("chmod-scratch")) return chmod(in(folder, "scratch/fresh"), 0600) == 0 ? 0 : errno;
  if (IS("chmod-secret")) return chmod(secret, 0644) == 0 ? 0 : errno;
  if (IS("list-root")) return opendir("/") ? 0 : errno;
  if (IS("read-by-link")) {
    (void)!symlink(secret, in(folder, "scratch/link"));
    return opens(in(folder, "scratch/link"), O_RDONLY);
  }
  if (IS("link-secret")) return link(secret, in(folder, "scratch/hard")) == 0 ? 0 : errno;
  if (IS("read-memory-of-other")) return of_other("mem", O_RDONLY);
  if (IS("read-environment-of-other")) return of_other("environ", O_RDONLY);
  if (IS("read-own-status")) return opens("/proc/self/status", O_RDONLY);
  if (IS("read-own-threads")) return opens("/proc/self/task", O_RDONLY);
  if (IS("see-others")) return sees_others();
  if (IS("signal-other")) return kill(other, 0) == 0 ? 0 : errno;
  if (IS("signal-own")) return kill(getpid(), 0) == 0 ? 0 : errno;
  if (IS("signal-thread")) return pthread_kill(pthread_self(), 0);
  if (IS("signal-all")) return kill(-1, SIGURG) == 0 ? 0 : errno;
  if (IS("limit-other")) return calls(SYS_prlimit64, other, RLIMIT_NOFILE, 0, (long)&(struct rlimit){0}, 0);
  if (IS("limit-own")) return calls(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&(struct rlimit){0}, 0);
  if (IS("renice-other")) return calls(SYS_setpriority, PRIO_PROCESS, other, 1, 0, 0);
  if (IS("renice-user")) return calls(SYS_setpriority, PRIO_USER, 0, 0, 0, 0);
  if (IS("renice-own")) return calls(SYS_setpriority, PRIO_PROCESS, 0, 1, 0, 0);
  if (IS("reschedule-other")) return calls(SYS_sched_setscheduler, other, SCHED_BATCH, (long)&(struct sched_param){0}, 0, 0);
  if (IS("reschedule-own")) return calls(SYS_sched_setscheduler, 0, SCHED_BATCH, (long)&(struct sched_param){0}, 0, 0);
  if (IS("attributes-other")) return calls(SYS_sched_setattr, other, (long)&(uint32_t[14]){48, SCHED_BATCH, 0, 0, 1}, 0, 0, 0);
  if (IS("disk-of-other")) return calls(SYS_ioprio_set, 1, other, 2 << 13 | 4, 0, 0);
  if (IS("own-descriptor-for-other")) return with_pair(SYS_fcntl, F_SETOWN);
  if (IS("own-socket-for-other")) return with_pair(SYS_ioctl, 0x8901);
  if (IS("own-signal")) return with_pair(SYS_fcntl, F_SETSIG);
  if (IS("sibling")) {
    long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    return child < 0 ? errno : 0;
  }
  if (IS("trace-other")) return ptrace(PTRACE_ATTACH, other, 0, 0) == 0 ? 0 : errno;
  if (IS("read-other")) return calls(SYS_process_vm_readv, other, 0, 0, 0, 0);
  if (IS("outlive-parent")) return prctl(PR_SET_PDEATHSIG, 0) == 0 ? 0 : errno;
  if (IS("hide")) return prctl(PR_SET_DUMPABLE, 0) != 0 ? errno : prctl(PR_GET_DUMPABLE) == 0 ? 0 : EPERM;
  if (IS("connect")) return connects();
  if (IS("bind")) return binds(port + 1);
  if (IS("bind-anywhere")) return binds(0);
  if (IS("socket")) return socket_of(AF_INET, SOCK_STREAM);
  if (IS("socket-datagram")) return socket_of(AF_INET6, SOCK_DGRAM);
  if (IS("socket-unix")) return socket_of(AF_UNIX, SOCK_STREAM);
  if (IS("socket-route")) return socket_of(AF_NETLINK, SOCK_RAW);
  if (IS("socket-vsock")) return socket_of(AF_VSOCK, SOCK_STREAM);
  if (IS("connect-to-name")) return connects_to_name();
  if (IS("pair")) return pairs(SOCK_SEQPACKET | SOCK_CLOEXEC);
  if (IS("pair-datagram")) return pairs(SOCK_DGRAM | SOCK_CLOEXEC);
  if (IS("fork")) return forks();
  if (IS("execute")) return executes("/bin/true");
  if (IS("start-thread")) return starts_thread();
  if (IS("clone3")) return calls(435, 0, 0, 0, 0, 0);
  if (IS("namespace")) return calls(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0);
  if (IS("clone-namespace")) {
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    if (child > 0) waitpid(child, NULL, 0);
    return child < 0 ? errno : 0;
  }
  if (IS("mount")) return calls(SYS_mount, (long)"none", (long)folder, (long)"tmpfs", 0, 0);
  if (IS("keyring")) return calls(SYS_keyctl, 0, -3, 0, 0, 0);
  if (IS("io_uring")) return calls(425, 1, (long)&(char[256]){0}, 0, 0, 0);
  if (IS("perf")) return calls(SYS_perf_event_open, (long)&(char[256]){0}, 0, -1, -1, 0);
  if (IS("bpf")) return calls(SYS_bpf, 0, (long)&(char[256]){0}, 8, 0, 0);
  if (IS("userfaultfd")) return calls(SYS_userfaultfd, 1, 0, 0, 0, 0);
  if (IS("set-clock")) return calls(SYS_clock_settime, CLOCK_REALTIME, 0, 0, 0, 0);
  if (IS("reboot")) return calls(SYS_reboot, 0, 0, 0, 0, 0);
  if (IS("load-module")) return calls(SYS_init_module, 0, 0, (long)"", 0, 0);
  if (IS("change-root")) return calls(SYS_chroot, (long)folder, 0, 0, 0, 0);
  if (IS("watch-folder")) return watches("/usr");
  if (IS("type-on-terminal")) return ioctl(0, TIOCSTI, "x") == 0 ? 0 : errno;
#ifdef __x86_64__
  if (IS("x32")) return calls(0x40000000 + SYS_getpid, 0, 0, 0, 0, 0);
#endif
  if (IS("become-root")) return setuid(0) == 0 && geteuid() == 0 ? 0 : errno ? errno : EPERM;
  if (IS("become-other")) {
    int32_t (*become)(uint32_t, uint32_t) = (int32_t(*)(uint32_t, uint32_t))dlsym(shim, "rfaas_become");
    return -become(54321, 100);
  }
  if (IS("user")) return (int)getuid();
  if (IS("user-of-all")) return user_of_all();
  if (IS("write-here")) return opens("here", O_WRONLY | O_CREAT);
  if (IS("write-package-here")) return opens("../package/module", O_WRONLY);
  if (IS("first")) return getpid() == 1 ? 0 : ESRCH;
  if (IS("descriptors")) return descriptors_besides(3);
  if (IS("segment")) {
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    return id < 0 ? errno : shmctl(id, IPC_RMID, NULL) == 0 ? 0 : errno;
  }
  if (IS("semaphores")) {
    int id = semget(IPC_PRIVATE, 250, IPC_CREAT | 0600);
    return id < 0 ? errno : semctl(id, 0, IPC_RMID) == 0 ? 0 : errno;
  }
  if (IS("named-queue")) {
    const char *name = "rfaas-test-room";
    int queue = (int)syscall(SYS_mq_open, name, O_WRONLY | O_CREAT, 0600, NULL);
    if (queue < 0) return errno;
    close(queue);
    return calls(SYS_mq_unlink, (long)name, 0, 0, 0, 0);
  }
  if (IS("memory-file")) {
    int fd = memfd_create("anonymous", MFD_CLOEXEC);
    if (fd < 0) return errno;
    close(fd);
    return 0;
  }
  if (IS("die")) return kill(getpid(), SIGKILL) == 0 ? 0 : errno;
  if (IS("crash")) return *(volatile int *)8;
  if (IS("sleep")) {
    printf("sleeps 0\n");
    fflush(stdout);
    for (;;) pause();
  }
  return -1;
}

static pthread_barrier_t sealed;

static void *try_all(void *unused) {
  (void)unused;
  pthread_barrier_wait(&sealed);
  for (int i = 0; i < given; i++) {
    errno = 0;
    int result = attempt(names[i]);
    printf("%s %d\n", names[i], result);
    fflush(stdout);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 7) return 2;
  int terms = atoi(argv[2]);
  folder = argv[3];
  secret = argv[4];
  other = atoi(argv[5]);
  port = atoi(argv[6]);
  names = argv + 7;
  given = argc - 7;
  pthread_barrier_init(&sealed, NULL, 2);
  pthread_t thread;
  if (pthread_create(&thread, NULL, try_all, NULL) != 0) return 3;
  shim = dlopen(argv[1], RTLD_NOW);
  if (!shim) return fprintf(stderr, "%s\n", dlerror()), 4;
  if (terms >= 0) {
    int32_t (*seal)(uint32_t, uint32_t) = (int32_t(*)(uint32_t, uint32_t))dlsym(shim, "rfaas_seal");
    for (uint32_t part = 1; part <= 2; part++) {
      int failed = seal((uint32_t)terms, part);
      if (failed != 0) return fprintf(stderr, "seal: %d\n", failed), 5;
    }
  }
  pthread_barrier_wait(&sealed);
  pthread_join(thread, NULL);
  return 0;
}
