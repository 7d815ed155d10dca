/* Processes that are not the room's: the decoy, which would let all of its user's do this, the agent, and the host of another lease. */
#include "escape.h"

#include <mqueue.h>
#include <sys/ptrace.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/uio.h>

enum { PIDFD_SEND_SIGNAL = 424, PIDFD_OPEN = 434, PIDFD_GETFD = 438, PROCESS_MADVISE = 440 };

static pid_t decoy(void) { return (pid_t)number("decoy"); }

static int of(const char *process, const char *file, int flags) {
  char path[128];
  snprintf(path, sizeof path, "/proc/%ld/%s", number(process), file);
  return opens(path, flags);
}

static int signal_decoy(void) { return made(kill(decoy(), SIGUSR1)); }
static int signal_agent(void) { return made(kill((pid_t)number("agent"), 0)); }
static int signal_thread(void) { return CALL(SYS_tkill, decoy(), SIGUSR1); }
static int signal_group_thread(void) { return CALL(SYS_tgkill, decoy(), decoy(), SIGUSR1); }
static int queue_signal(void) {
  siginfo_t info = {.si_code = SI_QUEUE, .si_pid = getpid()};
  info.si_signo = SIGUSR1;
  return CALL(SYS_rt_sigqueueinfo, decoy(), SIGUSR1, &info);
}
static int with_pidfd(int (*run)(int)) {
  int pidfd = (int)syscall(PIDFD_OPEN, decoy(), 0);
  if (pidfd < 0) return errno;
  int failed = run(pidfd);
  close(pidfd);
  return failed;
}
static int signals_by(int pidfd) { return CALL(PIDFD_SEND_SIGNAL, pidfd, SIGUSR1, NULL, 0); }
static int signal_by_pidfd(void) { return with_pidfd(signals_by); }
static int takes_by(int pidfd) {
  int fd = (int)syscall(PIDFD_GETFD, pidfd, number("memfd"), 0);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
static int descriptor_by_pidfd(void) { return with_pidfd(takes_by); }
static int advises_by(int pidfd) {
  struct iovec page = {(void *)(number("address") & ~4095l), 4096};
  return CALL(PROCESS_MADVISE, pidfd, &page, 1, 20 /* MADV_COLD */, 0);
}
static int advise_memory(void) { return with_pidfd(advises_by); }
/* The kernel signals the owner of a descriptor in its user's name. */
static int signal_by_owner(void) {
  int ends[2];
  if (pipe(ends) != 0) return errno;
  int failed = made(fcntl(ends[0], F_SETOWN, decoy()));
  if (!failed) failed = made(fcntl(ends[0], F_SETSIG, SIGUSR1));
  if (!failed) failed = made(fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK));
  if (!failed) failed = write(ends[1], "x", 1) == 1 ? 0 : errno;
  close(ends[0]);
  close(ends[1]);
  return failed;
}
static int traces(void) {
  if (ptrace(PTRACE_ATTACH, decoy(), 0, 0) != 0) return errno;
  int status;
  waitpid(decoy(), &status, __WALL);
  return made(ptrace(PTRACE_DETACH, decoy(), 0, 0));
}
static int trace(void) { return in_child(traces); }
static int seizes(void) { return made(ptrace(PTRACE_SEIZE, decoy(), 0, 0)); }
static int seize(void) { return in_child(seizes); }
static int vm(long call) {
  char bytes[64] = "overwritten";
  struct iovec own = {bytes, 16}, other = {(void *)number(call == SYS_process_vm_readv ? "address" : "spare"), 16};
  return CALL(call, decoy(), &own, 1, &other, 1, 0);
}
static int vm_read(void) { return vm(SYS_process_vm_readv); }
static int vm_write(void) { return vm(SYS_process_vm_writev); }
static int memory_of(pid_t pid, int flags) {
  char path[64], bytes[16] = "overwritten";
  snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0) return errno;
  ssize_t moved = flags == O_RDONLY ? pread(fd, bytes, 16, number("address")) : pwrite(fd, bytes, 16, number("spare"));
  int failed = moved == 16 ? 0 : errno ? errno : EIO;
  close(fd);
  return failed;
}
static int memory_read(void) { return memory_of(decoy(), O_RDONLY); }
static int memory_write(void) { return memory_of(decoy(), O_RDWR); }
static int environment(void) { return of("decoy", "environ", O_RDONLY); }
static int agent_environment(void) { return of("agent", "environ", O_RDONLY); }
static int agent_maps(void) { return of("agent", "maps", O_RDONLY); }
static int agent_words(void) { return of("agent", "cmdline", O_RDONLY); }
static int other_descriptor(void) {
  char file[64];
  snprintf(file, sizeof file, "fd/%ld", number("memfd"));
  return of("decoy", file, O_RDWR);
}
static int other_mapping(void) { return of("decoy", "map_files", O_RDONLY); }
static int other_stack(void) { return of("decoy", "auxv", O_RDONLY); }
static int compare(void) { return CALL(SYS_kcmp, getpid(), decoy(), 1 /* KCMP_VM */, 0, 0) ? errno : 0; }
static int limit_other(void) {
  struct rlimit least;
  int failed = made(prlimit(decoy(), RLIMIT_CORE, NULL, &least));
  return failed ? failed : made(prlimit(decoy(), RLIMIT_CORE, &least, NULL));
}
static int renice(void) { return made(setpriority(PRIO_PROCESS, (id_t)decoy(), 1)); }
static int move_to_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(decoy(), sizeof set, &set) != 0) return errno;
  return made(sched_setaffinity(decoy(), sizeof set, &set));
}
static int reschedule(void) {
  struct sched_param none = {0};
  return made(sched_setscheduler(decoy(), SCHED_BATCH, &none));
}
/* Itself, to a CPU less or to all, and back. */
static int leave_cores(void) {
  cpu_set_t had, wanted, has;
  if (sched_getaffinity(0, sizeof had, &had) != 0) return errno;
  CPU_ZERO(&wanted);
  int one = CPU_COUNT(&had) > 1;
  for (int cpu = 0; cpu < CPU_SETSIZE && !(one && CPU_COUNT(&wanted)); cpu++)
    if (!one || CPU_ISSET(cpu, &had)) CPU_SET(cpu, &wanted);
  if (sched_setaffinity(0, sizeof wanted, &wanted) != 0 || sched_getaffinity(0, sizeof has, &has) != 0) return errno;
  sched_setaffinity(0, sizeof had, &had);
  return CPU_EQUAL(&had, &has) ? NOTHING : REACHED;
}
static int move_pages_of(void) {
  void *page = (void *)(number("address") & ~4095l);
  int status;
  return CALL(SYS_move_pages, decoy(), 1, &page, NULL, &status, 0);
}
static int shared_segment(void) {
  int id = shmget((key_t)number("decoy"), 0, 0);
  if (id < 0) return errno;
  void *at = shmat(id, NULL, SHM_RDONLY);
  if (at == (void *)-1) return errno;
  shmdt(at);
  return 0;
}
static int message_queue(void) {
  char name[64];
  snprintf(name, sizeof name, "/escape-%d", (int)decoy());
  mqd_t queue = mq_open(name, O_WRONLY);
  if (queue == (mqd_t)-1) return errno;
  mq_close(queue);
  return 0;
}
static int outlive(void) { return made(prctl(PR_SET_PDEATHSIG, 0)); }
static int real_time(void) {
  struct sched_param most = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &most) != 0) return errno;
  most.sched_priority = 0;
  sched_setscheduler(0, SCHED_OTHER, &most);
  return 0;
}

const struct attempt process_attempts[] = {
  {"signal-other", signal_decoy}, {"signal-agent", signal_agent},
  {"signal-thread", signal_thread}, {"signal-group-thread", signal_group_thread}, {"queue-signal", queue_signal},
  {"signal-by-pidfd", signal_by_pidfd}, {"descriptor-by-pidfd", descriptor_by_pidfd}, {"advise-memory", advise_memory},
  {"signal-by-owner", signal_by_owner}, {"trace", trace}, {"seize", seize}, {"vm-read", vm_read}, {"vm-write", vm_write},
  {"memory-read", memory_read}, {"memory-write", memory_write}, {"environment", environment},
  {"agent-environment", agent_environment}, {"agent-maps", agent_maps}, {"agent-words", agent_words},
  {"other-descriptor", other_descriptor}, {"other-mapping", other_mapping}, {"other-stack", other_stack},
  {"compare", compare}, {"limit-other", limit_other}, {"renice", renice}, {"move-to-cores", move_to_cores},
  {"leave-cores", leave_cores}, {"reschedule", reschedule}, {"move-pages", move_pages_of}, {"shared-segment", shared_segment},
  {"message-queue", message_queue}, {"outlive", outlive}, {"real-time", real_time},
  {NULL, NULL},
};
