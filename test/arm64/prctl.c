/* For arm64, in the emulator: what it does not know and its starter has asked the kernel for; see `start.c`. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int prctl(int option, ...) {
  if (option == PR_SET_CHILD_SUBREAPER) return 0;
  unsigned long argument[4];
  va_list all;
  va_start(all, option);
  for (int i = 0; i < 4; i++) argument[i] = va_arg(all, unsigned long);
  va_end(all);
  return (int)syscall(SYS_prctl, option, argument[0], argument[1], argument[2], argument[3]);
}
