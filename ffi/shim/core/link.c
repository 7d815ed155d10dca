/* The connections of a lease, of any fabric. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "fabric.h"

/* Begins to connect every channel to the node's `address` (a number, not a name) and `port`; `source` ("" for any) chooses the
 * device on this side, or `device`, in the fabric's own words. `notify_fd` gets a byte when `rfaas_link_state` has changed. With `encrypt` what travels is encrypted.
 * Returns the handle, -ENOSYS where the fabric cannot be had, or not encrypt, -ENOMEM without memory; any other failure is told by the state. */
RFAAS_EXPORT double rfaas_link_connect(const char *fabric_name, rfaas_region *region, const char *source, const char *address,
                                       uint32_t port, const uint8_t *nonce, int32_t notify_fd, uint32_t inline_bytes,
                                       uint32_t encrypt, const char *device) {
  const rfaas_fabric *fabric = rfaas_fabric_named(fabric_name);
  if (!fabric || !fabric->link || (encrypt && !fabric->encrypts)) return -ENOSYS;
  rfaas_link_options options = {.address = address,
                                .source = source,
                                .device = device,
                                .port = (uint16_t)port,
                                .nonce = nonce,
                                .notify_fd = notify_fd,
                                .inline_bytes = inline_bytes,
                                .encrypt = encrypt};
  rfaas_link *link = fabric->link->connect(region, &options);
  return link ? (double)(uintptr_t)link : -ENOMEM;
}

/* Begins to listen on the device that has `address`, at a port of the system's choice, for the client that knows `nonce`. Otherwise
 * as `rfaas_link_connect`. Workers may be opened at once. */
RFAAS_EXPORT double rfaas_link_listen(const char *fabric_name, rfaas_region *region, const char *address, const uint8_t *nonce,
                                      int32_t notify_fd, uint32_t inline_bytes, uint32_t encrypt,
                                      const char *device) {
  const rfaas_fabric *fabric = rfaas_fabric_named(fabric_name);
  if (!fabric || !fabric->link || (encrypt && !fabric->encrypts)) return -ENOSYS;
  rfaas_link_options options = {.address = address,
                                .source = "",
                                .device = device,
                                .nonce = nonce,
                                .notify_fd = notify_fd,
                                .inline_bytes = inline_bytes,
                                .encrypt = encrypt};
  rfaas_link *link = fabric->link->listen(region, &options);
  return link ? (double)(uintptr_t)link : -ENOMEM;
}

/* Gives a listening link a connection that a client has made to another port of this machine, and what the client has said so far; the
 * descriptor is the link's from now on. Returns 0, or -ENOSYS where the fabric has no such connections. */
RFAAS_EXPORT int32_t rfaas_link_adopt(rfaas_link *link, int32_t fd, const uint8_t *said, uint32_t bytes) {
  if (!link->fabric->link->adopt) return -ENOSYS;
  link->fabric->link->adopt(link, fd, said, bytes);
  return 0;
}

RFAAS_EXPORT uint32_t rfaas_link_port(rfaas_link *link) { return link->fabric->link->port(link); }

/* Whether the link is listening or connected, and what became of it, or of one channel's end. Writes ready, failure, detail, of,
 * inline bytes. */
RFAAS_EXPORT void rfaas_link_state(rfaas_link *link, int32_t channel, int32_t *out) {
  rfaas_link_status state = {0};
  link->fabric->link->state(link, channel, &state);
  memcpy(out, &state, sizeof state);
}

/* Disconnects and gives everything back. No endpoint may be in use, and the region must still be mapped. */
RFAAS_EXPORT void rfaas_link_close(rfaas_link *link) { link->fabric->link->close(link); }

/* ---- what several fabrics need for theirs ---- */

int rfaas_read_address(const char *text, uint16_t port, struct sockaddr_storage *out) {
  /* Knows the scope of a link-local address, too. */
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(text, NULL, &hints, &found) != 0) return EINVAL;
  memset(out, 0, sizeof *out);
  memcpy(out, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (out->ss_family == AF_INET) ((struct sockaddr_in *)out)->sin_port = htons(port);
  else ((struct sockaddr_in6 *)out)->sin6_port = htons(port);
  return 0;
}

int rfaas_start_thread(pthread_t *thread, void *(*run)(void *), void *argument) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(thread, NULL, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

int rfaas_is_secret(const uint8_t *expected, const uint8_t *shown, size_t bytes) {
  uint8_t differs = 0;
  for (size_t i = 0; i < bytes; i++) differs |= (uint8_t)(expected[i] ^ shown[i]);
  return differs == 0;
}
