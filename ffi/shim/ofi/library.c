/* Opens libfabric at run time, so that the executable starts on machines without it, and finds what it has. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ofi.h"

enum { AVAILABLE = 0, NOT_COMPILED = 1, MISSING = 2, TOO_OLD = 3 };

#ifdef RFAAS_WITH_OFI

struct rfaas_ofi_handlers {
  struct sigaction of[32];
};
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static rfaas_ofi_handlers kept;

rfaas_ofi_handlers *rfaas_ofi_keep_handlers(void) {
  pthread_mutex_lock(&opening);
  for (int number = 1; number < 32; number++) sigaction(number, NULL, &kept.of[number]);
  return &kept;
}

void rfaas_ofi_restore_handlers(rfaas_ofi_handlers *handlers) {
  for (int number = 1; number < 32; number++)
    if (number != SIGKILL && number != SIGSTOP) sigaction(number, &handlers->of[number], NULL);
  pthread_mutex_unlock(&opening);
}

static struct {
  pthread_once_t once;
  int state;
  rfaas_ofi_calls calls;
} library = {.once = PTHREAD_ONCE_INIT};

static void open_library(void) {
  /* What watches all of the process's memory for caches of registrations changes functions of the C library; nothing here needs it. */
  setenv("FI_MR_CACHE_MONITOR", "disabled", 0);
  /* An endpoint has one peer: for the hundreds that are expected by default some devices have no queues. */
  setenv("FI_UNIVERSE_SIZE", "1", 0);
  /* Milliseconds. The sender of a first message waits for its connection, by default for longer than two sides have to come together. */
  setenv("FI_SOCKETS_CONN_TIMEOUT", "2000", 0);
  rfaas_ofi_handlers *handlers = rfaas_ofi_keep_handlers();
  void *opened = dlopen("libfabric.so.1", RTLD_NOW);
  rfaas_ofi_restore_handlers(handlers);
  library.state = opened ? AVAILABLE : MISSING;
  if (!opened) return;
#define FIND(name) \
  if (!(library.calls.name = (__typeof__(library.calls.name))dlsym(opened, #name))) library.state = TOO_OLD;
  RFAAS_OFI_SYMBOLS(FIND)
  if (library.state == AVAILABLE && FI_VERSION_LT(library.calls.fi_version(), RFAAS_OFI_API)) library.state = TOO_OLD;
}

const rfaas_ofi_calls *rfaas_ofi(void) {
  pthread_once(&library.once, open_library);
  return library.state == AVAILABLE ? &library.calls : NULL;
}

/* 0, or why this process has no libfabric: `ffi/ofi/ofi.ts` has the words. */
RFAAS_EXPORT int32_t rfaas_ofi_state(void) {
  pthread_once(&library.once, open_library);
  return library.state;
}

int rfaas_ofi_read_device(rfaas_ofi_device *device, const char *text) {
  if (strlen(text) >= sizeof device->text) return EINVAL;
  strcpy(device->text, text);
  const char *line[4] = {device->text, "", "", ""};
  char *at = device->text;
  for (int i = 1; i < 4 && (at = strchr(at, '\n')); i++) {
    *at++ = 0;
    line[i] = at;
  }
  device->provider = line[0];
  device->domain = line[1];
  device->key = line[2];
  device->letters = line[3];
  return 0;
}

static int set_key(struct fi_info *hints, const char *key) {
  size_t bytes = strlen(key) / 2;
  if (bytes == 0) return 0;
  uint8_t *of_domain = malloc(bytes), *of_endpoint = malloc(bytes);
  hints->domain_attr->auth_key = of_domain;
  hints->ep_attr->auth_key = of_endpoint;
  if (!of_domain || !of_endpoint) return ENOMEM;
  for (size_t i = 0; i < bytes; i++) {
    char pair[3] = {key[2 * i], key[2 * i + 1], 0};
    of_domain[i] = of_endpoint[i] = (uint8_t)strtoul(pair, NULL, 16);
  }
  hints->domain_attr->auth_key_size = hints->ep_attr->auth_key_size = bytes;
  return 0;
}

/* Every mode of memory is handled; those that the provider does not need it leaves out of its answer. */
static struct fi_info *hints_for(const rfaas_ofi_device *device) {
  struct fi_info *hints = rfaas_ofi()->fi_dupinfo(NULL);
  if (!hints) return NULL;
  hints->ep_attr->type = FI_EP_RDM;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2 | FI_RX_CQ_DATA;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  /* Threads of the provider's would take the cores of those that look for messages. */
  hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  hints->fabric_attr->prov_name = strdup(device->provider);
  if (device->domain[0]) hints->domain_attr->name = strdup(device->domain);
  if (hints->fabric_attr->prov_name && set_key(hints, device->key) == 0) return hints;
  rfaas_ofi()->fi_freeinfo(hints);
  return NULL;
}

static int is_ip(uint32_t format) { return format == FI_SOCKADDR || format == FI_SOCKADDR_IN || format == FI_SOCKADDR_IN6; }

static int ask(struct fi_info *hints, const char *node, struct fi_info **found) {
  rfaas_ofi_handlers *handlers = rfaas_ofi_keep_handlers();
  int failed = rfaas_ofi()->fi_getinfo(RFAAS_OFI_API, node, NULL, node ? FI_SOURCE : 0, hints, found);
  rfaas_ofi_restore_handlers(handlers);
  return -failed;
}

int rfaas_ofi_find(const rfaas_ofi_device *device, const struct sockaddr *at, struct fi_info **found) {
  struct fi_info *hints = hints_for(device), *there;
  if (!hints) return ENOMEM;
  /* The most first. */
  const uint64_t wanted[] = {FI_MSG | FI_RMA | FI_ATOMIC, FI_MSG | FI_RMA, FI_MSG};
  int failed = ENODATA;
  for (int i = strchr(device->letters, 'a') ? 0 : 1; failed && i < 3; i++) {
    hints->caps = wanted[i];
    failed = ask(hints, NULL, found);
  }
  char node[NI_MAXHOST];
  socklen_t size = at && at->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  if (!failed && at && is_ip((*found)->addr_format) && getnameinfo(at, size, node, sizeof node, NULL, 0, NI_NUMERICHOST) == 0 &&
      ask(hints, node, &there) == 0) {
    rfaas_ofi()->fi_freeinfo(*found);
    *found = there;
  }
  rfaas_ofi()->fi_freeinfo(hints);
  return failed;
}

/* Which provider, of which version, on which domain libfabric has for a device: written to `out`. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_ofi_probe(const char *text, char *out, uint32_t bytes) {
  if (!rfaas_ofi()) return -ENOSYS;
  rfaas_ofi_device device;
  struct fi_info *info;
  int failed = rfaas_ofi_read_device(&device, text);
  if (!failed) failed = rfaas_ofi_find(&device, NULL, &info);
  if (failed) return -failed;
  snprintf(out, bytes, "%s on %s", info->fabric_attr->prov_name, info->domain_attr->name);
  rfaas_ofi()->fi_freeinfo(info);
  return 0;
}

/* What libfabric calls one of its errors. */
RFAAS_EXPORT void rfaas_ofi_error(int32_t code, char *out, uint32_t bytes) {
  snprintf(out, bytes, "%s", rfaas_ofi() ? rfaas_ofi()->fi_strerror(code) : "");
}

#else

RFAAS_EXPORT int32_t rfaas_ofi_state(void) { return NOT_COMPILED; }
RFAAS_EXPORT int32_t rfaas_ofi_probe(const char *text, char *out, uint32_t bytes) {
  (void)text, (void)out, (void)bytes;
  return -ENOSYS;
}
RFAAS_EXPORT void rfaas_ofi_error(int32_t code, char *out, uint32_t bytes) {
  (void)code;
  if (bytes) out[0] = 0;
}

#endif
