/* Included before every file by ffi/build.ts: a library takes the newest version of each function of the C library that it is linked
 * with, and then asks for that glibc where it runs. These are functions that changed their version when glibc 2.32 to 2.34 moved them
 * between libraries, and nothing else: their first version is the same code, and the only one on older systems. A test compares
 * what the shim asks for with what packages declare. */
#define _GNU_SOURCE
#include <features.h>

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
#if defined(__x86_64__)
#define RFAAS_FIRST(x64, function) __asm__(".symver " #function ", " #function "@GLIBC_" x64)
#elif defined(__aarch64__)
#define RFAAS_FIRST(x64, function) __asm__(".symver " #function ", " #function "@GLIBC_2.17")
#endif
#ifdef RFAAS_FIRST
RFAAS_FIRST("2.2.5", pthread_sigmask);
#if __GLIBC_PREREQ(2, 34)
RFAAS_FIRST("2.2.5", dlerror);
RFAAS_FIRST("2.3.3", dlinfo);
RFAAS_FIRST("2.2.5", dlopen);
RFAAS_FIRST("2.2.5", dlsym);
RFAAS_FIRST("2.2.5", pthread_attr_setstacksize);
RFAAS_FIRST("2.2.5", pthread_cancel);
RFAAS_FIRST("2.2.5", pthread_create);
RFAAS_FIRST("2.2.5", pthread_detach);
RFAAS_FIRST("2.2.5", pthread_join);
RFAAS_FIRST("2.2.5", pthread_once);
RFAAS_FIRST("2.3.4", pthread_setaffinity_np);
#endif
#endif
#endif
