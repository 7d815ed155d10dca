/* Libraries of native functions. What they need is resolved when they are opened: an undefined symbol that is met in a call would
 * end the process without a word to its caller. */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>

#include "rfaas.h"

/* The runtime would take a crash of the library for its own, say so at length, and ask for a report of it. */
static void crash_plainly(void) {
  static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL);
}

/* Returns a handle that stays valid for the life of the process, or 0 with the loader's reason, cut to `capacity` bytes. */
RFAAS_EXPORT double rfaas_module_open(const char *path, char *reason, uint32_t capacity) {
  /* What functions print goes to a file or a pipe, and should be seen while they run. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  crash_plainly();
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!module) {
    const char *said = dlerror();
    snprintf(reason, capacity, "%s", said ? said : "the loader gave no reason");
  }
  return (double)(uintptr_t)module;
}

/* The address of a function, or 0. */
RFAAS_EXPORT double rfaas_module_symbol(void *module, const char *name) { return (double)(uintptr_t)dlsym(module, name); }
