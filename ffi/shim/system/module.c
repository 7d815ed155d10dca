/* Libraries of native functions. What they need is resolved when they are opened: an undefined symbol that is met in a call would
 * end the process without a word to its caller. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "../core/rfaas.h"

/* The runtime would take a crash of the library for its own, say so at length, and ask for a report of it. */
static void crash_plainly(void) {
  static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL);
}

/* Lazily, functions may be missing that a library has which is opened later. Returns a handle that stays valid for the life of the process, or 0 with the loader's reason, cut to `capacity` bytes. */
RFAAS_EXPORT double rfaas_module_open(const char *path, char *reason, uint32_t capacity, int32_t lazy) {
  /* Functions print to a file or a pipe; without buffering, their output is visible while they run. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  crash_plainly();
  void *module = dlopen(path, (lazy ? RTLD_LAZY : RTLD_NOW) | RTLD_LOCAL);
  if (!module) {
    const char *said = dlerror();
    snprintf(reason, capacity, "%s", said ? said : "the loader gave no reason");
  }
  return (double)(uintptr_t)module;
}

/* Gives a library without a SONAME the name by which another library needs it. The loader looks among the open libraries first. */
RFAAS_EXPORT int32_t rfaas_module_name(void *module, const char *name) {
  struct link_map *map;
  if (dlinfo(module, RTLD_DI_LINKMAP, &map) != 0) return -1;
  char *copy = strdup(name);
  if (!copy) return -1;
  map->l_name = copy;
  return 0;
}

/* The address of a function, or 0. */
RFAAS_EXPORT double rfaas_module_symbol(void *module, const char *name) { return (double)(uintptr_t)dlsym(module, name); }
