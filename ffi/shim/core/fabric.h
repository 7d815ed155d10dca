/* What a fabric is: how bytes and wake-ups travel between a client and a worker. `client.c` and `worker.c` know about slots,
 * credits, sequences, bounds, deadlines and when to spin, and ask the fabric of an endpoint for the rest.
 *
 * The unit is a channel: the slots of one client and one worker, where each says that it sleeps, and the area of error records. A
 * lease has a channel for each of its workers. A new fabric is a folder beside this one and a line in `fabrics.c`.
 */
#ifndef RFAAS_FABRIC_H
#define RFAAS_FABRIC_H

#include <pthread.h>
#include <sys/socket.h>

#include "rfaas.h"

typedef struct rfaas_client rfaas_client;
typedef struct rfaas_worker rfaas_worker;
typedef struct rfaas_fabric rfaas_fabric;

/* The connections of one lease, one for each channel: the beginning of what a fabric allocates for them. */
typedef struct {
  const rfaas_fabric *fabric;
  rfaas_region *region;
} rfaas_link;

typedef struct {
  /* Hands the request to the worker and wakes it if it sleeps. The fabric may change the request, which is the caller's no more. */
  void (*post)(rfaas_client *, uint32_t slot, rfaas_request *);
  /* The response of the slot's current call, or NULL. Responses may come in any order: each is known by slot and sequence. */
  const rfaas_response *(*poll)(rfaas_client *, uint32_t slot);
  /* The same, after looking for about as long as a call takes. */
  const rfaas_response *(*spin)(rfaas_client *, uint32_t slot);
  /* Blocks until the slot may have a response, at most `ns`. Returns whether the time ran out. */
  int (*wait)(rfaas_client *, uint32_t slot, uint64_t ns);
  /* From now on a response writes to the client's notify descriptor; one that was there before may not have. */
  void (*park)(rfaas_client *);
  void (*unpark)(rfaas_client *);
  /* Whether the worker can no longer answer, as far as the fabric can tell. Not hot: called every RFAAS_CLIENT_CHECK_NS. */
  int (*lost)(rfaas_client *);
  /* A one-sided operation within bounds, to its end; see `rfaas_remote`. */
  int32_t (*remote)(rfaas_client *, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                    uint64_t *words);
} rfaas_client_ops;

typedef struct {
  /* The slot of the request whose line has the expected sequence, or -1. Requests may arrive in any order: one that is early waits
   * where it is. Points `incoming` at the request; says the same until it is accepted. */
  int32_t (*poll)(rfaas_worker *);
  /* The same, after looking for some microseconds. */
  int32_t (*spin)(rfaas_worker *);
  /* Publishes the response and wakes the client if it sleeps. */
  void (*post)(rfaas_worker *, uint32_t slot, int32_t status, uint32_t length);
  int (*wait)(rfaas_worker *, uint64_t ns);
  void (*park)(rfaas_worker *);
  void (*unpark)(rfaas_worker *);
  /* Milliseconds until the request's deadline by the client's clock, as far as it is known; 0 or less when it has passed. */
  int32_t (*left_ms)(rfaas_worker *, const rfaas_request *);
  /* The channel's page says why the worker has ended: lets the client see it. */
  void (*publish_end)(rfaas_worker *);
  /* Ends the worker's sleep, from another thread. */
  void (*rouse)(rfaas_worker *, int32_t loop_fd);
} rfaas_worker_ops;

/* How a link is made: addresses are numbers, not names. */
typedef struct {
  const char *address; /* the peer's, or where to listen */
  const char *source; /* "" for any */
  const char *device; /* in the fabric's own words, "" where it has none */
  uint16_t port;
  const uint8_t *nonce; /* 16 bytes */
  int32_t notify_fd; /* gets a byte whenever the link's state changes */
  uint32_t inline_bytes; /* that may travel inside a work request */
  uint32_t encrypt; /* 1: what travels is encrypted, or the link fails */
} rfaas_link_options;

/* The state of a link, or of one channel's end. Each fabric gives failure, detail and of its own meaning. */
typedef struct {
  int32_t ready; /* listening, or connected with every worker */
  int32_t failure; /* 0 while it is sound */
  int32_t detail;
  int32_t of;
  int32_t inline_bytes; /* of an end */
} rfaas_link_status;

typedef struct {
  /* Begin to connect, or to listen for one client. Return NULL without memory; any other failure is told by the state. */
  rfaas_link *(*connect)(rfaas_region *, const rfaas_link_options *);
  rfaas_link *(*listen)(rfaas_region *, const rfaas_link_options *);
  /* Takes over a connection of a client that has come elsewhere, with the `bytes` that it has said first; closes it where that is no
   * client of this link. NULL where clients connect only to the link itself. */
  void (*adopt)(rfaas_link *, int32_t fd, const uint8_t *said, uint32_t bytes);
  /* Where a client may connect; 0 when it is not listening. */
  uint32_t (*port)(rfaas_link *);
  /* Of the whole link, or of one channel's end. */
  void (*state)(rfaas_link *, int32_t channel, rfaas_link_status *);
  /* What endpoints of the channel get as their `end`. Its wake-ups go to `notify_fd`, -1 for the link's own. */
  void *(*end)(rfaas_link *, uint32_t channel, int32_t notify_fd);
  /* Disconnects and gives everything back; forgets the region's registrations once no peer can use them. */
  void (*close)(rfaas_link *);
  /* Makes memory of the program known to the device, and to the peer. Return 0 or a positive errno. NULL where the fabric copies it. */
  int (*register_input)(rfaas_link *, rfaas_registration *);
  int (*register_output)(rfaas_link *, rfaas_registration *);
  void (*unregister)(rfaas_link *, rfaas_registration *);
} rfaas_link_ops;

struct rfaas_fabric {
  const char *name;
  uint32_t inline_output; /* outputs up to so many bytes travel in the response line */
  uint8_t shared_clock; /* time stamps of both sides are of one clock */
  uint8_t copies_own_memory; /* calls copy memory of the program's own to the arena and back */
  uint8_t encrypts; /* where its link is asked to */
  uint8_t ordered; /* what one side writes is seen by the other in that order */
  const rfaas_client_ops *client;
  const rfaas_worker_ops *worker;
  const rfaas_link_ops *link; /* NULL where the fabric needs no connection */
};

/* NULL when there is none of this name. */
const rfaas_fabric *rfaas_fabric_named(const char *name);
/* The fabric that a link is of. Without a link, that of clients and workers that map the same memory. */
const rfaas_fabric *rfaas_fabric_of(const rfaas_link *link);

/* The registration that holds these bytes of the arena, or NULL. */
const rfaas_registration *rfaas_registered(const rfaas_region *region, uint32_t offset, uint32_t bytes);
void rfaas_unregister_all(rfaas_link *link);

/* Where client and worker share memory, the node's copy is ours. */
int32_t rfaas_remote_in_place(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset,
                              uint32_t bytes, uint64_t *words);

/* One byte to a parked peer's event loop. A full or closed socket needs none. */
void rfaas_notify(int32_t fd);

/* ---- for links, in `link.c` ---- */

/* `text` is a number, not a name. Returns 0 or EINVAL. */
int rfaas_read_address(const char *text, uint16_t port, struct sockaddr_storage *out);
/* Signals are for the program's own threads. Returns 0 or a positive errno. */
int rfaas_start_thread(pthread_t *thread, void *(*run)(void *), void *argument);
/* In the same time, however much of it is right. */
int rfaas_is_secret(const uint8_t *expected, const uint8_t *shown, size_t bytes);

#endif
