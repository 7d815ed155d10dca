/* Starts PROGRAM, which is for arm64, in the emulator: a program of this machine's, so that it can be started as any other.
 *
 * The emulator refuses one request that a node makes of the kernel, to become the parent of orphans. It holds beyond exec, so it is
 * made here, and the library PRELOAD says yes to it. Linked statically: LD_PRELOAD is for arm64, and is inherited. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
  char **command = calloc((size_t)argc + 4, sizeof *command);
  char *emulated[] = {"qemu-aarch64-static", "-L", SYSROOT, PROGRAM};
  if (!command) return 127;
  for (int i = 0; i < 4; i++) command[i] = emulated[i];
  for (int i = 1; i < argc; i++) command[3 + i] = argv[i];
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || setenv("LD_PRELOAD", PRELOAD, 1) != 0) return 127;
  execvp(command[0], command);
  perror(command[0]);
  return 127;
}
