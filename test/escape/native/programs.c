/* New processes and programs. */
#include "escape.h"

#include <linux/sched.h>

static int finished(pid_t child) {
  int status;
  while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}
static int nothing(void) { return 0; }
static int forks(void) {
  pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) _exit(nothing());
  return finished(child);
}
static int vforks(void) {
  pid_t child = vfork();
  if (child < 0) return errno;
  if (child == 0) _exit(0);
  return finished(child);
}
static int clones(void) {
  long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
  if (child < 0) return errno;
  if (child == 0) _exit(0);
  return finished((pid_t)child);
}
static int clones3(void) {
  struct clone_args asked = {.exit_signal = SIGCHLD};
  long child = syscall(435, &asked, sizeof asked);
  if (child < 0) return errno;
  if (child == 0) _exit(0);
  return finished((pid_t)child);
}
/* Twice, in a session of its own, so that no parent of ours hears of its end. */
static int leaves(void) {
  pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    setsid();
    pid_t second = fork();
    if (second == 0) _exit(0);
    _exit(second < 0 ? errno : 0);
  }
  return finished(child);
}
static char *const ARGUMENTS[] = {"true", NULL};
static char *const VARIABLES[] = {NULL};
static int executes_true(void) {
  execve("/bin/true", ARGUMENTS, VARIABLES);
  return errno;
}
static int executes(void) { return in_child(executes_true); }
static int executes_at(void) {
  int fd = open("/bin/true", O_PATH | O_CLOEXEC);
  if (fd < 0) return errno;
  syscall(SYS_execveat, fd, "", ARGUMENTS, VARIABLES, AT_EMPTY_PATH);
  return errno;
}
static int execute_at(void) { return in_child(executes_at); }
static int executes_memory(void) {
  int from = open("/bin/true", O_RDONLY | O_CLOEXEC), to = (int)syscall(SYS_memfd_create, "program", 0);
  if (from < 0 || to < 0) return errno;
  char bytes[8192];
  for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;)
    if (write(to, bytes, (size_t)got) != got) return errno;
  syscall(SYS_execveat, to, "", ARGUMENTS, VARIABLES, AT_EMPTY_PATH);
  return errno;
}
static int execute_memory(void) { return in_child(executes_memory); }
static int executes_by_loader(void) {
  static char *const words[] = {"ld", "/bin/true", NULL};
#ifdef __x86_64__
  execve("/lib64/ld-linux-x86-64.so.2", words, VARIABLES);
#else
  execve("/lib/ld-linux-aarch64.so.1", words, VARIABLES);
#endif
  return errno;
}
static int execute_by_loader(void) { return in_child(executes_by_loader); }
static int executes_script(void) {
  const char *path = scratch("script");
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
  if (fd < 0) return errno;
  if (write(fd, "#!/bin/sh\n", 10) != 10) return errno;
  close(fd);
  execve(path, ARGUMENTS, VARIABLES);
  return errno;
}
static int execute_script(void) {
  int failed = in_child(executes_script);
  unlink(scratch("script"));
  return failed;
}

const struct attempt program_attempts[] = {
  {"fork", forks}, {"vfork", vforks}, {"clone", clones}, {"clone3", clones3}, {"double-fork", leaves},
  {"execute", executes}, {"execute-at", execute_at}, {"execute-memory", execute_memory},
  {"execute-by-loader", execute_by_loader}, {"execute-script", execute_script},
  {NULL, NULL},
};
