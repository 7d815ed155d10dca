/* The ends of one lease and the TCP connection by which they come together: what `link.c`, which watches and ends them, shares with
 * `handshake.c` and `side.c`. */
#ifndef RFAAS_OFI_LINK_H
#define RFAAS_OFI_LINK_H

#include "ofi.h"

#ifdef RFAAS_WITH_OFI

#define RFAAS_OFI_MAGIC 0x7266464fu /* "OFfr" */
#define RFAAS_OFI_WIRE_VERSION 1u

/* What a client says first; behind it, on both sides, an address for each channel. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t channels;
  uint8_t nonce[16];
  uint64_t total_bytes;
  uint64_t clock_ms; /* since the lease's epoch, on the client's clock */
  uint32_t slots;
  uint8_t pad[20];
} rfaas_ofi_greeting;
_Static_assert(sizeof(rfaas_ofi_greeting) == 64, "a greeting is 64 bytes");

/* And the node's answer. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t rejection; /* 0 or enum rfaas_ofi_rejection */
} rfaas_ofi_welcome;

/* How an end is reached, and the region behind it. */
typedef struct {
  uint64_t base;
  uint64_t key;
  uint32_t writes; /* it can be written with a number for the completion */
  uint32_t part_bytes;
  uint32_t name_bytes;
  uint8_t name[228];
} rfaas_ofi_address;
_Static_assert(sizeof(rfaas_ofi_address) == 256, "an address is 256 bytes");

/* Someone who has not shown yet that it is the lease's client. */
typedef struct {
  int32_t fd; /* -1 for none */
  uint32_t read;
  uint64_t deadline_ns;
  uint8_t said[sizeof(rfaas_ofi_greeting)];
} rfaas_ofi_newcomer;
#define RFAAS_OFI_NEWCOMERS 16u

/* The program's own memory, as each end knows it. */
typedef struct {
  struct fid_mr *of[RFAAS_MAX_WORKERS];
} rfaas_ofi_own;

struct rfaas_ofi_link {
  rfaas_link base;
  pthread_t thread;
  int has_thread;
  int listens; /* the node's side */
  int32_t notify_fd;
  int epoll_fd;
  int wake_fd;
  int listener_fd;
  int fd; /* the TCP connection, -1 for none */
  uint32_t ticking; /* an event loop waits for an end that has nothing to wait for */
  uint32_t stop;
  uint32_t port;
  uint32_t channels;
  uint32_t ready; /* listening, or all connected */
  uint8_t nonce[16];
  struct sockaddr_storage to;
  struct sockaddr_storage from; /* of no family for any */
  rfaas_ofi_device device;
  struct fi_info *found; /* a list, of which `info` is the first */
  struct fi_info *info;
  struct fid_fabric *fabric;
  rfaas_path path; /* of a client */
  uint32_t failing;
  uint32_t failure; /* enum rfaas_ofi_failure */
  int32_t detail;
  int32_t of;
  pthread_mutex_t door; /* guards the newcomers */
  rfaas_ofi_newcomer newcomer[RFAAS_OFI_NEWCOMERS];
  rfaas_ofi_end end[];
};

/* Tells the program that the link's state has changed. */
void rfaas_ofi_changed(rfaas_ofi_link *link);
__attribute__((cold)) void rfaas_ofi_link_fail(rfaas_ofi_link *link, uint32_t failure, int32_t detail, int32_t of);
/* The link's thread writes to the end's `notify_fd` when its queue has something, once. */
void rfaas_ofi_watch(rfaas_ofi_end *end);
/* Every end has failed. */
__attribute__((cold)) void rfaas_ofi_lose(rfaas_ofi_link *link, uint32_t failure, int32_t detail);
/* The link's thread wakes what is parked soon. */
void rfaas_ofi_tick(rfaas_ofi_link *link);

/* On the link's thread: makes the TCP connection, and what the ends need to reach each other. Returns whether they do; a client's link
 * has failed otherwise, unless it is to stop. */
int rfaas_ofi_connect(rfaas_ofi_link *link);
/* Waits for the client. Returns 0 when the link is to stop. */
int rfaas_ofi_admit(rfaas_ofi_link *link);
/* Someone is at the door, and has said `bytes` already. Takes the descriptor. */
void rfaas_ofi_let_in(rfaas_ofi_link *link, int fd, const uint8_t *said, uint32_t bytes);
/* Opens the listener. Returns 0 or a positive errno. */
int rfaas_ofi_begin_to_listen(rfaas_ofi_link *link, const struct sockaddr_storage *at);

/* ---- over the TCP connection ---- */

/* Moves all `bytes`, or says why not: ECANCELED when the link is to stop, ETIMEDOUT after `until_ns` (0 for never). */
int rfaas_ofi_move(rfaas_ofi_link *link, void *memory, size_t bytes, int there, uint64_t until_ns);
/* On a client that awaits an answer: shows whether the path stands, if it was not tried of late; every end fails where it does not. */
void rfaas_ofi_beat(rfaas_ofi_link *link);
/* On a node: does one thing that has been asked. Returns 0 or a positive errno. */
int rfaas_ofi_serve(rfaas_ofi_link *link);
int32_t rfaas_ofi_one_sided(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                            uint64_t *words);

/* ---- memory of the program's own ---- */

void *rfaas_ofi_own_description(const rfaas_ofi_end *end, const void *own);
rfaas_ofi_place rfaas_ofi_own_place(const rfaas_ofi_end *end, const rfaas_registration *r, uint32_t offset);

#endif
#endif
