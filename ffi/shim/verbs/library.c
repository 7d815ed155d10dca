/* Opens libibverbs and librdmacm when they are first needed: the same executable runs where they are missing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

#include "verbs.h"

enum { AVAILABLE = 0, NOT_COMPILED = 1, NO_IBVERBS = 2, NO_RDMACM = 3, TOO_OLD = 4 };

#ifdef RFAAS_WITH_VERBS

static struct {
  pthread_once_t once;
  int state;
  rfaas_verbs_calls calls;
} library = {.once = PTHREAD_ONCE_INIT};

static void open_libraries(void) {
  /* The providers are plug-ins that look for libibverbs's symbols. */
  void *verbs = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_GLOBAL);
  void *cm = verbs ? dlopen("librdmacm.so.1", RTLD_NOW) : NULL;
  library.state = !verbs ? NO_IBVERBS : !cm ? NO_RDMACM : AVAILABLE;
  if (library.state != AVAILABLE) return;
#define FIND(from, name) \
  if (!(library.calls.name = (__typeof__(library.calls.name))dlsym(from, #name))) library.state = TOO_OLD;
#define FIND_VERB(name) FIND(verbs, name)
#define FIND_CM(name) FIND(cm, name)
  RFAAS_VERBS_SYMBOLS(FIND_VERB)
  RFAAS_RDMACM_SYMBOLS(FIND_CM)
}

const rfaas_verbs_calls *rfaas_verbs(void) {
  pthread_once(&library.once, open_libraries);
  return library.state == AVAILABLE ? &library.calls : NULL;
}

/* 0, or why this process has no verbs: `ffi/verbs/verbs.ts` has the words. */
RFAAS_EXPORT int32_t rfaas_verbs_state(void) {
  pthread_once(&library.once, open_libraries);
  return library.state;
}

#else

RFAAS_EXPORT int32_t rfaas_verbs_state(void) { return NOT_COMPILED; }

#endif
