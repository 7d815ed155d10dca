/* Opens libssl when it is first needed: the same executable runs where it is missing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "../core/rfaas.h"
#include "libssl.h"

enum { AVAILABLE = 0, NO_LIBSSL = 1, TOO_OLD = 2, REFUSES = 3 };
/* Without a handler at the end of the process: other threads may still be in the library. */
#define NO_ATEXIT 0x00080000u

static struct {
  pthread_once_t once;
  int state;
  rfaas_ssl_calls calls;
} library = {.once = PTHREAD_ONCE_INIT};

static void open_libraries(void) {
  void *ssl = dlopen("libssl.so.3", RTLD_NOW);
  void *crypto = ssl ? dlopen("libcrypto.so.3", RTLD_NOW) : NULL;
  library.state = crypto ? AVAILABLE : NO_LIBSSL;
  if (!crypto) return;
#define FIND(from, name) \
  if (!(library.calls.name = (__typeof__(library.calls.name))dlsym(from, #name))) library.state = TOO_OLD;
#define FIND_SSL(type, name, arguments) FIND(ssl, name)
#define FIND_CRYPTO(type, name, arguments) FIND(crypto, name)
  RFAAS_SSL_SYMBOLS(FIND_SSL)
  RFAAS_CRYPTO_SYMBOLS(FIND_CRYPTO)
  if (library.state == AVAILABLE && (!library.calls.OPENSSL_init_ssl(NO_ATEXIT, NULL) || !rfaas_tls_prepare(&library.calls)))
    library.state = REFUSES;
}

const rfaas_ssl_calls *rfaas_libssl(void) {
  pthread_once(&library.once, open_libraries);
  return library.state == AVAILABLE ? &library.calls : NULL;
}

/* 0, or why this process cannot encrypt: `ffi/tcp/tcp.ts` has the words. */
RFAAS_EXPORT int32_t rfaas_tcp_encryption_state(void) {
  pthread_once(&library.once, open_libraries);
  return library.state;
}
