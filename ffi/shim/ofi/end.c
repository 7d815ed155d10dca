/* One end of a channel: what is sent, what has come, and sleep in between. Hot down to "slow paths". */
#define _GNU_SOURCE
#include "link.h"

#ifdef RFAAS_WITH_OFI
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* Receives and sends more than calls may be in flight. */
enum { SPARE = 16 };
/* How long an end is looked at before it is closed. */
#define DRAIN_NS 2000000u

static inline rfaas_ofi_work *take(rfaas_ofi_work **list) {
  rfaas_ofi_work *work = *list;
  if (work) *list = work->next;
  return work;
}

static inline void give(rfaas_ofi_work **list, rfaas_ofi_work *work) {
  work->next = *list;
  *list = work;
}

/* The longest message. */
static inline size_t room_of(const rfaas_ofi_end *end) { return RFAAS_OFI_SAID + end->part_bytes; }

/* ---- what has come ---- */

static void post_receives(rfaas_ofi_end *end) {
  rfaas_ofi_work *work;
  while ((work = end->receives)) {
    ssize_t failed = fi_recv(end->ep, work->memory, room_of(end), end->slab_description, FI_ADDR_UNSPEC, &work->context);
    if (failed == -FI_EAGAIN) return;
    if (failed) return rfaas_ofi_fail(end, RFAAS_OFI_BROKEN, (int32_t)-failed, RFAAS_OFI_WORK_RECEIVE);
    take(&end->receives);
  }
}

void rfaas_ofi_receive_again(rfaas_ofi_end *end, rfaas_ofi_work *work) {
  give(&end->receives, work);
  post_receives(end);
}

__attribute__((cold)) static void completed_badly(rfaas_ofi_end *end) {
  struct fi_cq_err_entry error = {0};
  if (fi_cq_readerr(end->queue, &error, 0) < 1) return;
  rfaas_ofi_work *work = error.op_context;
  uint32_t kind = work ? work->kind : RFAAS_OFI_WORK_RECEIVE;
  /* A stranger's message that is too long harms nothing. */
  if (work && kind == RFAAS_OFI_WORK_RECEIVE && error.err == FI_ETRUNC) return rfaas_ofi_receive_again(end, work);
  rfaas_ofi_fail(end, RFAAS_OFI_BROKEN, error.err, (int32_t)kind);
}

static void flush(rfaas_ofi_end *end);

int rfaas_ofi_next(rfaas_ofi_end *end, rfaas_ofi_seen *seen) {
  if (__builtin_expect(__atomic_load_n(&end->failure, __ATOMIC_RELAXED), 0)) return 0;
  struct fi_cq_data_entry entry;
  ssize_t count;
  while ((count = fi_cq_read(end->queue, &entry, 1)) == 1) {
    rfaas_ofi_work *work = entry.op_context;
    /* Some providers say of our own writes, too, what they bring. */
    if ((entry.flags & FI_REMOTE_CQ_DATA) && (!work || work->kind == RFAAS_OFI_WORK_RECEIVE)) {
      /* Where the provider takes a receive for it, that one is posted again. */
      if (work) rfaas_ofi_receive_again(end, work);
      /* One that came with a message is a stranger's: a write needs a key. */
      if (__builtin_expect((entry.flags & FI_RECV) != 0, 0)) continue;
      *seen = (rfaas_ofi_seen){.data = (uint32_t)entry.data};
      return 1;
    }
    if (!work) continue;
    if (work->kind == RFAAS_OFI_WORK_RECEIVE) {
      *seen = (rfaas_ofi_seen){.work = work, .bytes = (uint32_t)entry.len};
      return 1;
    }
    if (work->kind == RFAAS_OFI_WORK_WRITE) work->written = NULL;
    if (work->kind == RFAAS_OFI_WORK_ONE_SIDED) end->one_sided_under_way--;
    give(&end->sends, work);
  }
  if (__builtin_expect(count != -FI_EAGAIN, 0)) {
    if (count == -FI_EAVAIL) completed_badly(end);
    else if (count < 0) rfaas_ofi_fail(end, RFAAS_OFI_BROKEN, (int32_t)-count, RFAAS_OFI_WORK_RECEIVE);
  }
  if (__builtin_expect(end->receives != NULL, 0)) post_receives(end);
  if (__builtin_expect(end->waiting, 0)) flush(end);
  return 0;
}

/* ---- what is sent ---- */

/* One message of what was said and `bytes` of payload. Returns 0 or a negative error of the provider's. */
static ssize_t hand_over(rfaas_ofi_end *end, const rfaas_ofi_outgoing *out, const uint8_t *payload, uint32_t bytes) {
  uint32_t all = out->said_bytes + bytes;
  if (bytes == 0 && all <= end->inject_bytes) return fi_inject(end->ep, out->said, all, end->peer);
  rfaas_ofi_work *work = take(&end->sends);
  if (!work) return -FI_EAGAIN;
  memcpy(work->memory, out->said, out->said_bytes);
  memcpy(work->memory + out->said_bytes, payload, bytes);
  ssize_t failed;
  if (all <= end->inject_bytes) {
    failed = fi_inject(end->ep, work->memory, all, end->peer);
    give(&end->sends, work);
    return failed;
  }
  work->kind = RFAAS_OFI_WORK_SEND;
  failed = fi_send(end->ep, work->memory, all, end->slab_description, end->peer, &work->context);
  if (failed) give(&end->sends, work);
  return failed;
}

static ssize_t write_apart(rfaas_ofi_end *end, const rfaas_ofi_outgoing *out) {
  rfaas_ofi_work *work = take(&end->sends);
  if (!work) return -FI_EAGAIN;
  work->kind = RFAAS_OFI_WORK_WRITE;
  ssize_t failed = fi_writedata(end->ep, out->payload, out->bytes, out->description, out->data, end->peer, out->to.address, out->to.key,
                                &work->context);
  if (failed) give(&end->sends, work);
  else work->written = out->payload;
  return failed;
}

/* As many parts as there is room for. */
static ssize_t send_parts(rfaas_ofi_end *end, rfaas_ofi_outgoing *out) {
  while (out->head.at < out->bytes) {
    uint32_t left = out->bytes - out->head.at, part = left < end->their_part_bytes ? left : end->their_part_bytes;
    ssize_t failed = hand_over(end, out, out->payload + out->head.at, part);
    if (failed) return failed;
    out->head.at += part;
  }
  return 0;
}

/* Returns 0 when the provider has no room. */
static int try_to_send(rfaas_ofi_end *end, rfaas_ofi_outgoing *out) {
  ssize_t failed = out->way == RFAAS_OFI_MESSAGE_WAY ? hand_over(end, out, out->payload, out->bytes)
                   : out->way == RFAAS_OFI_WRITE_WAY ? write_apart(end, out)
                                                     : send_parts(end, out);
  if (__builtin_expect(failed && failed != -FI_EAGAIN, 0)) rfaas_ofi_fail(end, RFAAS_OFI_BROKEN, (int32_t)-failed, RFAAS_OFI_WORK_SEND);
  return failed != -FI_EAGAIN;
}

static void flush(rfaas_ofi_end *end) {
  while (end->waiting && !__atomic_load_n(&end->failure, __ATOMIC_RELAXED) && try_to_send(end, &end->kept[end->first])) {
    end->first = (end->first + 1) % end->capacity;
    end->waiting--;
  }
}

void rfaas_ofi_send(rfaas_ofi_end *end, rfaas_ofi_outgoing *out) {
  if (__builtin_expect(__atomic_load_n(&end->failure, __ATOMIC_RELAXED), 0)) return;
  out->head.token = end->token;
  if (end->waiting == 0 && __builtin_expect(try_to_send(end, out), 1)) {
    if (__builtin_expect(end->sends_at_looks, 0)) fi_cq_read(end->queue, NULL, 0);
    return;
  }
  if (end->waiting == end->capacity) return;
  end->kept[(end->first + end->waiting) % end->capacity] = *out;
  end->waiting++;
}

void rfaas_ofi_send_payload(rfaas_ofi_end *end, rfaas_ofi_outgoing *out, const uint8_t *payload, uint32_t bytes, void *description,
                            rfaas_ofi_place to) {
  out->head.bytes = bytes;
  if (__builtin_expect(bytes <= sizeof out->said - out->said_bytes, 1)) {
    memcpy(out->said + out->said_bytes, payload, bytes);
    out->said_bytes += bytes;
    bytes = 0;
  }
  out->way = RFAAS_OFI_MESSAGE_WAY;
  out->payload = payload;
  out->bytes = bytes;
  if (bytes <= RFAAS_OFI_EAGER) return rfaas_ofi_send(end, out);
  if (!end->writes || bytes > end->longest) {
    out->way = RFAAS_OFI_PARTS_WAY;
    return rfaas_ofi_send(end, out);
  }
  rfaas_ofi_outgoing apart = {.way = RFAAS_OFI_WRITE_WAY,
                              .bytes = bytes,
                              .data = out->head.slot | out->head.sequence << RFAAS_OFI_SEQUENCE_SHIFT,
                              .payload = payload,
                              .description = description,
                              .to = to};
  rfaas_ofi_send(end, &apart);
  out->head.flags |= RFAAS_OFI_WRITTEN;
  out->bytes = 0;
  rfaas_ofi_send(end, out);
}

/* ---- slow paths ---- */

void rfaas_ofi_fail(rfaas_ofi_end *end, uint32_t failure, int32_t detail, int32_t of) {
  if (__atomic_exchange_n(&end->failing, 1, __ATOMIC_SEQ_CST)) return;
  end->detail = detail;
  end->of = of;
  __atomic_store_n(&end->failure, failure, __ATOMIC_RELEASE);
  rfaas_ofi_changed(end->link);
}

/* Whether the thread may sleep on the queue: its descriptor becomes readable when the provider has work. */
static int may_sleep(rfaas_ofi_end *end) {
  struct fid *queue = &end->queue->fid;
  return !__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE) && fi_trywait(end->link->fabric, &queue, 1) == FI_SUCCESS;
}

int rfaas_ofi_sleep(rfaas_ofi_end *end, uint64_t ns) {
  int connected = (int)__atomic_load_n(&end->connected, __ATOMIC_ACQUIRE);
  int dead = __atomic_load_n(&end->failure, __ATOMIC_ACQUIRE) != 0;
  int hears = connected && !dead && end->queue_fd >= 0 && !end->waiting;
  int naps = connected && !dead && !hears;
  if (hears && !may_sleep(end)) return 0;
  if (naps && ns > RFAAS_OFI_NAP_NS) ns = RFAAS_OFI_NAP_NS;
  struct pollfd fds[] = {{.fd = hears ? end->queue_fd : -1, .events = POLLIN}, {.fd = end->wake_fd, .events = POLLIN}};
  struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  int ready = ppoll(fds, 2, &timeout, NULL);
  if (ready > 0 && fds[1].revents) {
    uint64_t count;
    (void)!read(end->wake_fd, &count, sizeof count);
  }
  return ready == 0 && !naps;
}

void rfaas_ofi_park(rfaas_ofi_end *end) {
  /* Told now: what waits may be gone at a look before the tick. */
  int ticks = end->queue_fd < 0 || end->waiting;
  __atomic_store_n(&end->parked, ticks ? RFAAS_OFI_PARKED_FOR_TICK : RFAAS_OFI_PARKED, __ATOMIC_SEQ_CST);
  if (!__atomic_load_n(&end->connected, __ATOMIC_ACQUIRE)) return; /* the link's thread wakes it then */
  if (ticks) rfaas_ofi_tick(end->link);
  else if (may_sleep(end)) rfaas_ofi_watch(end);
  else {
    rfaas_ofi_unpark(end);
    rfaas_notify(end->notify_fd);
  }
}

void rfaas_ofi_unpark(rfaas_ofi_end *end) { __atomic_store_n(&end->parked, 0, __ATOMIC_SEQ_CST); }

/* ---- set-up ---- */

/* Where the provider wants memory to be there when it is registered, each page is touched. */
static void populate(uint8_t *memory, size_t bytes) {
  for (size_t at = 0; at < bytes; at += RFAAS_PAGE) __atomic_fetch_add(memory + at, 0, __ATOMIC_RELAXED);
}

int rfaas_ofi_register(rfaas_ofi_end *end, void *memory, size_t bytes, uint64_t access, struct fid_mr **out) {
  const struct fi_info *info = end->link->info;
  uint64_t key = 0;
  if (!(info->domain_attr->mr_mode & FI_MR_PROV_KEY)) {
    /* One that a stranger does not guess, as far as the provider has room for it. */
    if (getrandom(&key, sizeof key, 0) != sizeof key) return errno;
    size_t room = info->domain_attr->mr_key_size;
    if (room < sizeof key) key &= (1ull << 8 * room) - 1;
  }
  if (info->domain_attr->mr_mode & FI_MR_ALLOCATED) populate(memory, bytes);
  int failed;
  for (int tries = 0; (failed = fi_mr_reg(end->domain, memory, bytes, access, 0, key, 0, out, NULL)) == -FI_ENOKEY && tries < 8; tries++)
    key++;
  if (failed) return -failed;
  if (info->domain_attr->mr_mode & FI_MR_ENDPOINT) {
    failed = fi_mr_bind(*out, &end->ep->fid, 0);
    if (!failed) failed = fi_mr_enable(*out);
    if (failed) {
      fi_close(&(*out)->fid);
      *out = NULL;
    }
  }
  return -failed;
}

static int open_queue(rfaas_ofi_end *end, uint32_t works) {
  struct fi_cq_attr attributes = {.size = 2 * works, .format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_FD};
  int failed = fi_cq_open(end->domain, &attributes, &end->queue, NULL);
  if (!failed && fi_control(&end->queue->fid, FI_GETWAIT, &end->queue_fd) == 0 && end->queue_fd >= 0) return 0;
  end->queue_fd = -1;
  if (!failed) fi_close(&end->queue->fid);
  end->queue = NULL;
  attributes.wait_obj = FI_WAIT_NONE;
  return -fi_cq_open(end->domain, &attributes, &end->queue, NULL);
}

static int open_endpoint(rfaas_ofi_end *end, struct fi_info *info) {
  struct fi_av_attr attributes = {.type = FI_AV_UNSPEC, .count = 1};
  int failed = fi_endpoint(end->domain, info, &end->ep, NULL);
  if (!failed) failed = fi_av_open(end->domain, &attributes, &end->addresses, NULL);
  if (!failed) failed = fi_ep_bind(end->ep, &end->queue->fid, FI_TRANSMIT | FI_RECV);
  if (!failed) failed = fi_ep_bind(end->ep, &end->addresses->fid, 0);
  if (!failed) failed = fi_enable(end->ep);
  return -failed;
}

/* Memory for every message in hand, and what the provider needs for each. */
static int open_messages(rfaas_ofi_end *end, uint32_t works, uint32_t receives) {
  end->message_bytes = works * room_of(end);
  end->message_bytes = (end->message_bytes + RFAAS_PAGE - 1) & ~(size_t)(RFAAS_PAGE - 1);
  void *memory = mmap(NULL, end->message_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return errno;
  end->messages = memory;
  end->works = calloc(works, sizeof *end->works);
  if (!end->works) return ENOMEM;
  end->work_count = works;
  if (end->link->info->domain_attr->mr_mode & FI_MR_LOCAL) {
    int failed = rfaas_ofi_register(end, memory, end->message_bytes, FI_SEND | FI_RECV, &end->slab);
    if (failed) return failed;
    end->slab_description = fi_mr_desc(end->slab);
  }
  for (uint32_t i = works; i-- > 0;) {
    rfaas_ofi_work *work = &end->works[i];
    work->memory = end->messages + i * room_of(end);
    work->kind = i < receives ? RFAAS_OFI_WORK_RECEIVE : RFAAS_OFI_WORK_SEND;
    give(i < receives ? &end->receives : &end->sends, work);
  }
  return 0;
}

/* A write of which only a part has come when its connection ends is an error without a context, which this provider follows. */
static int crashes_on_part_of_a_write(const struct fi_info *info) {
  static const char name[] = "tcp;ofi_rxm";
  return strncmp(info->fabric_attr->prov_name, name, sizeof name - 1) == 0;
}

/* This provider only notes what is to be sent: the next look at the queue sends it. */
static int sends_at_looks(const struct fi_info *info) { return strcmp(info->fabric_attr->prov_name, "sockets") == 0; }

int rfaas_ofi_open_end(rfaas_ofi_end *end, struct fid_fabric *fabric, struct fi_info *info, int32_t *stage) {
  rfaas_region *region = end->link->base.region;
  uint32_t receives = region->slots + SPARE, works = receives + 2 * (region->slots + SPARE);
  end->base = (uint8_t *)region->page;
  end->longest = info->ep_attr->max_msg_size;
  end->writes = (info->caps & FI_RMA) && info->domain_attr->cq_data_size >= sizeof(uint32_t) && !strchr(end->link->device.letters, 'm') &&
                !crashes_on_part_of_a_write(info);
  end->part_bytes = end->writes ? RFAAS_OFI_EAGER : RFAAS_OFI_PART;
  if (end->longest < room_of(end)) end->part_bytes = (uint32_t)(end->longest - RFAAS_OFI_SAID);
  end->inject_bytes = (uint32_t)(info->tx_attr->inject_size < room_of(end) ? info->tx_attr->inject_size : room_of(end));
  end->sends_at_looks = sends_at_looks(info);
  end->capacity = 2 * (region->slots + SPARE);
  *stage = RFAAS_OFI_PROVIDER;
  if (end->longest < RFAAS_OFI_SAID + RFAAS_OFI_EAGER) return EMSGSIZE;
  *stage = RFAAS_OFI_RESOURCES;
  end->kept = calloc(end->capacity, sizeof *end->kept);
  end->arrival = calloc(region->slots, sizeof *end->arrival);
  if (!end->kept || !end->arrival) return ENOMEM;
  *stage = RFAAS_OFI_ENDPOINT;
  rfaas_ofi_handlers *handlers = rfaas_ofi_keep_handlers();
  int failed = -fi_domain(fabric, info, &end->domain, NULL);
  if (!failed) failed = open_queue(end, works);
  if (!failed) failed = open_endpoint(end, info);
  rfaas_ofi_restore_handlers(handlers);
  if (failed) return failed;
  *stage = RFAAS_OFI_REGISTER;
  uint64_t access = FI_READ | FI_WRITE | FI_SEND | FI_RECV | FI_REMOTE_WRITE | (end->link->listens ? FI_REMOTE_READ : 0);
  if (end->writes) {
    failed = rfaas_ofi_register(end, region->page, region->mapped_bytes, access, &end->memory);
    if (failed) return failed;
    end->description = fi_mr_desc(end->memory);
  }
  failed = open_messages(end, works, receives);
  if (failed) return failed;
  *stage = RFAAS_OFI_ENDPOINT;
  post_receives(end);
  return (int)end->failure ? end->detail : 0;
}

/* Takes what has come and will not be used: libfabric 1.17 crashes when it finds a message of an RDMA device as it closes an endpoint. */
static void drain(rfaas_ofi_end *end) {
  uint64_t until = rfaas_now_ns() + DRAIN_NS;
  struct fi_cq_data_entry entry;
  while (rfaas_now_ns() < until)
    if (fi_cq_read(end->queue, &entry, 1) == -FI_EAVAIL) fi_cq_readerr(end->queue, &(struct fi_cq_err_entry){0}, 0);
}

void rfaas_ofi_close_end(rfaas_ofi_end *end) {
  /* A provider without a descriptor maps its peer's memory, which a peer in this process may have taken with it. */
  if (end->connected && end->ep && end->queue_fd >= 0) drain(end);
  if (end->memory) fi_close(&end->memory->fid);
  if (end->ep) fi_close(&end->ep->fid);
  if (end->slab) fi_close(&end->slab->fid);
  if (end->addresses) fi_close(&end->addresses->fid);
  if (end->queue) fi_close(&end->queue->fid);
  if (end->domain) fi_close(&end->domain->fid);
  if (end->messages) munmap(end->messages, end->message_bytes);
  if (end->wake_fd >= 0) close(end->wake_fd);
  free(end->works);
  free(end->kept);
  free(end->arrival);
}

#endif
