/* Executes a program that a filter keeps system calls from, as an older kernel or the profile of a container does:
 * `without-calls NAME.. -- COMMAND..`. They fail with EPERM. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
enum { LANDLOCK_CREATE = 444, LANDLOCK_ADD = 445, LANDLOCK_RESTRICT = 446 };
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static struct sock_filter steps[64];
static unsigned short count;

static void add(unsigned short code, unsigned value, unsigned char yes, unsigned char no) {
  steps[count++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = value};
}
static void only_for(unsigned value, unsigned char steps_of_it) { add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, steps_of_it); }
static void refuse(void) { add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0); }
static void allow(void) { add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0); }
static void load(unsigned offset) { add(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0); }
static void never(unsigned call) {
  only_for(call, 1);
  refuse();
}
/* Not with an argument that has one of these bits. */
static void never_with(unsigned call, unsigned argument, unsigned bits) {
  only_for(call, 4);
  load((unsigned)offsetof(struct seccomp_data, args) + 8 * argument);
  add(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
  refuse();
  allow();
}

int main(int arguments, char **words) {
  int i = 1;
  load(offsetof(struct seccomp_data, nr));
  for (; i < arguments && strcmp(words[i], "--") != 0; i++) {
    if (strcmp(words[i], "landlock") == 0) {
      for (unsigned call = LANDLOCK_CREATE; call <= LANDLOCK_RESTRICT; call++) never(call);
    } else if (strcmp(words[i], "seccomp") == 0) {
      never(SYS_seccomp);
    } else if (strcmp(words[i], "namespaces") == 0) {
      never_with(SYS_clone, 0, NAMESPACES);
      never(SYS_unshare);
      never(SYS_mount);
    } else if (strcmp(words[i], "rooms") == 0) {
      never_with(SYS_clone, 0, CLONE_PIDFD);
    } else {
      fprintf(stderr, "what is %s?\n", words[i]);
      return 2;
    }
  }
  allow();
  const struct sock_fprog filter = {.len = count, .filter = steps};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    perror("the filter");
    return 1;
  }
  if (i + 1 < arguments) execv(words[i + 1], words + i + 1);
  perror("the program");
  return 1;
}
