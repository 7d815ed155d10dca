/* One end of a connection: what is sent, what arrives, and sleep in between. Hot down to "slow paths". */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

/* ---- the connection ---- */

/* As `recvmsg`. */
static ssize_t receive(rfaas_tcp_end *end, int fd, struct iovec *into, int count) {
  if (__builtin_expect(end->tls != NULL, 0)) {
    pthread_mutex_lock(&end->lock);
    ssize_t got = rfaas_tls_receive(end->tls, into, count);
    pthread_mutex_unlock(&end->lock);
    return got;
  }
  if (count == 1) return recv(fd, into->iov_base, into->iov_len, MSG_DONTWAIT);
  struct msghdr message = {.msg_iov = into, .msg_iovlen = (size_t)count};
  return recvmsg(fd, &message, MSG_DONTWAIT);
}

/* As `sendmsg`; with the lock. */
static ssize_t transmit(rfaas_tcp_end *end, struct iovec *pieces, int count) {
  if (__builtin_expect(end->tls != NULL, 0)) return rfaas_tls_send(end->tls, pieces, count);
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
  return sendmsg(end->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- what arrives ---- */

/* Takes in what has arrived: first as much as the payload at `place` still lacks, then what follows it. Returns whether anything came. */
static int take_in(rfaas_tcp_end *end, uint32_t lacking) {
  int fd = __atomic_load_n(&end->fd, __ATOMIC_ACQUIRE);
  if (fd < 0) return 0;
  struct iovec into[2];
  int count = 0;
  if (lacking) into[count++] = (struct iovec){.iov_base = end->place + end->landed, .iov_len = lacking};
  into[count++] = (struct iovec){.iov_base = end->buffer + end->filled, .iov_len = sizeof end->buffer - end->filled};
  ssize_t got = receive(end, fd, into, count);
  if (got > 0) {
    uint32_t landed = (size_t)got < lacking ? (uint32_t)got : lacking;
    end->landed += landed;
    end->filled += (uint32_t)got - landed;
    return 1;
  }
  if (got == 0) rfaas_tcp_fail(end, RFAAS_TCP_CLOSED, 0);
  else if (errno != EAGAIN && errno != EINTR) rfaas_tcp_broken(end, errno);
  /* Nothing more to work on: the other side gets what this one has. */
  if (__builtin_expect(__atomic_load_n(&end->waiting, __ATOMIC_RELAXED) && !__atomic_load_n(&end->blocked, __ATOMIC_RELAXED), 0))
    rfaas_tcp_let_go(end);
  return 0;
}

int rfaas_tcp_begun(rfaas_tcp_end *end) {
  if (end->in_frame) return 1;
  if (end->filled - end->taken < sizeof end->frame) {
    if (end->taken) {
      memmove(end->buffer, end->buffer + end->taken, end->filled - end->taken);
      end->filled -= end->taken;
      end->taken = 0;
    }
    if (!take_in(end, 0) || end->filled < sizeof end->frame) return 0;
  }
  memcpy(&end->frame, end->buffer + end->taken, sizeof end->frame);
  end->taken += (uint32_t)sizeof end->frame;
  end->in_frame = 1;
  end->landed = 0;
  end->place = NULL;
  return 1;
}

int rfaas_tcp_land(rfaas_tcp_end *end) {
  uint32_t lacking = end->frame.bytes - end->landed, here = end->filled - end->taken;
  if (here > lacking) here = lacking;
  memcpy(end->place + end->landed, end->buffer + end->taken, here);
  end->landed += here;
  end->taken += here;
  while ((lacking = end->frame.bytes - end->landed)) {
    end->taken = end->filled = 0;
    if (!take_in(end, lacking)) return 0;
  }
  end->in_frame = 0;
  return 1;
}

/* ---- what is sent ---- */

enum { AT_ONCE = 32 };

static rfaas_tcp_outgoing *waiting_at(rfaas_tcp_end *end, uint32_t i) { return &end->queue[(end->first + i) % end->capacity]; }

/* The pieces of one message that are left after `sent` bytes of it. Returns how many there are. */
static int pieces_of(struct iovec *pieces, const void *head, uint32_t head_bytes, const uint8_t *payload, uint32_t bytes, uint32_t sent) {
  int count = 0;
  if (sent < head_bytes) {
    pieces[count++] = (struct iovec){.iov_base = (uint8_t *)head + sent, .iov_len = head_bytes - sent};
    sent = 0;
  } else sent -= head_bytes;
  if (sent < bytes) pieces[count++] = (struct iovec){.iov_base = (uint8_t *)payload + sent, .iov_len = bytes - sent};
  return count;
}

/* Returns how many bytes the kernel took. */
static size_t hand_over(rfaas_tcp_end *end, struct iovec *pieces, int count) {
  ssize_t sent = transmit(end, pieces, count);
  if (sent >= 0) return (size_t)sent;
  if (errno != EAGAIN && errno != EINTR) rfaas_tcp_broken(end, errno);
  return 0;
}

int rfaas_tcp_flush(rfaas_tcp_end *end) {
  while (end->waiting && !__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) {
    struct iovec pieces[2 * AT_ONCE];
    int count = 0;
    for (uint32_t i = 0; i < end->waiting && i < AT_ONCE; i++) {
      const rfaas_tcp_outgoing *next = waiting_at(end, i);
      count += pieces_of(pieces + count, next->head, next->head_bytes, next->payload, next->bytes, i == 0 ? end->sent : 0);
    }
    size_t sent = hand_over(end, pieces, count);
    if (sent == 0) break;
    sent += end->sent;
    while (end->waiting && sent >= waiting_at(end, 0)->head_bytes + (size_t)waiting_at(end, 0)->bytes) {
      sent -= waiting_at(end, 0)->head_bytes + (size_t)waiting_at(end, 0)->bytes;
      end->first = (end->first + 1) % end->capacity;
      __atomic_store_n(&end->waiting, end->waiting - 1, __ATOMIC_RELAXED);
    }
    end->sent = (uint32_t)sent;
  }
  __atomic_store_n(&end->blocked, end->waiting != 0, __ATOMIC_RELAXED);
  return end->waiting != 0;
}

/* With the lock. */
static void keep(rfaas_tcp_end *end, const void *head, uint32_t head_bytes, const uint8_t *payload, uint32_t bytes) {
  rfaas_tcp_outgoing *last = waiting_at(end, end->waiting);
  memcpy(last->head, head, head_bytes);
  /* A copy costs less than one piece more for the kernel. */
  if (bytes && bytes <= RFAAS_LINE && end->waiting) {
    memcpy(last->head + head_bytes, payload, bytes);
    head_bytes += bytes;
    bytes = 0;
  }
  last->head_bytes = head_bytes;
  last->payload = payload;
  last->bytes = bytes;
  __atomic_store_n(&end->waiting, end->waiting + 1, __ATOMIC_RELAXED);
}

void rfaas_tcp_send(rfaas_tcp_end *end, const void *head, uint32_t head_bytes, const uint8_t *payload, uint32_t bytes, int held) {
  uint64_t now = rfaas_now_ticks(), since = now - end->posted_ticks;
  end->posted_ticks = now;
  held = held && since < end->burst_ticks && bytes <= RFAAS_TCP_HELD_BYTES;
  pthread_mutex_lock(&end->lock);
  size_t sent = 0;
  if (end->waiting == 0 && !held) {
    struct iovec pieces[2];
    int count = pieces_of(pieces, head, head_bytes, payload, bytes, 0);
    sent = hand_over(end, pieces, count);
    if (__builtin_expect(sent == (size_t)head_bytes + bytes, 1)) goto over;
    end->sent = (uint32_t)sent;
    end->blocked = 1;
  }
  if (__builtin_expect(end->waiting == end->capacity, 0)) goto over;
  if (end->waiting == 0) end->sent = (uint32_t)sent;
  keep(end, head, head_bytes, payload, bytes);
  if (end->blocked) rfaas_tcp_watch(end);
  else if (held && end->waiting < RFAAS_TCP_HELD) rfaas_tcp_let_go_soon(end->link);
  else if (rfaas_tcp_flush(end)) rfaas_tcp_watch(end);
over:
  pthread_mutex_unlock(&end->lock);
}

void rfaas_tcp_let_go(rfaas_tcp_end *end) {
  pthread_mutex_lock(&end->lock);
  if (end->waiting && !end->blocked && rfaas_tcp_flush(end)) rfaas_tcp_watch(end);
  pthread_mutex_unlock(&end->lock);
}

/* ---- slow paths ---- */

void rfaas_tcp_fail(rfaas_tcp_end *end, uint32_t failure, int32_t detail) {
  if (__atomic_exchange_n(&end->failing, 1, __ATOMIC_SEQ_CST)) return;
  end->detail = detail;
  __atomic_store_n(&end->failure, failure, __ATOMIC_RELEASE);
  rfaas_tcp_changed(end->link);
}

void rfaas_tcp_broken(rfaas_tcp_end *end, int why) {
  /* Where the kernel decrypts, a record without data is an error of the device. */
  if (why == EBADMSG || (why == EIO && end->encryption == RFAAS_TCP_KERNEL)) rfaas_tcp_cut_off(end);
  else rfaas_tcp_fail(end, RFAAS_TCP_BROKEN, why);
}

void rfaas_tcp_cut_off(rfaas_tcp_end *end) {
  rfaas_tcp_fail(end, RFAAS_TCP_PROTOCOL, 0);
  shutdown(end->fd, SHUT_RDWR);
}

void rfaas_tcp_forget(rfaas_tcp_end *end, const uint8_t *memory, uint64_t bytes) {
  pthread_mutex_lock(&end->lock);
  int uses = end->in_frame && end->place && (uint64_t)(end->place - memory) < bytes;
  for (uint32_t i = 0; i < end->waiting; i++) {
    const rfaas_tcp_outgoing *next = waiting_at(end, i);
    uses |= next->bytes && (uint64_t)(next->payload - memory) < bytes;
  }
  if (uses) {
    __atomic_store_n(&end->waiting, 0, __ATOMIC_RELAXED);
    end->frame.kind = 0; /* nothing that may come */
    end->place = NULL;
    rfaas_tcp_cut_off(end);
  }
  pthread_mutex_unlock(&end->lock);
}

int rfaas_tcp_sleep(rfaas_tcp_end *end, uint64_t ns) {
  int dead = __atomic_load_n(&end->failure, __ATOMIC_ACQUIRE) != 0;
  struct pollfd fds[] = {{.fd = dead ? -1 : __atomic_load_n(&end->fd, __ATOMIC_ACQUIRE), .events = POLLIN},
                         {.fd = end->wake_fd, .events = POLLIN}};
  struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  int ready = ppoll(fds, 2, &timeout, NULL);
  if (ready > 0 && fds[1].revents) {
    uint64_t count;
    (void)!read(end->wake_fd, &count, sizeof count);
  }
  return ready == 0;
}

void rfaas_tcp_park(rfaas_tcp_end *end) {
  pthread_mutex_lock(&end->lock);
  if (!end->blocked) rfaas_tcp_flush(end);
  end->parked = 1;
  rfaas_tcp_watch(end);
  pthread_mutex_unlock(&end->lock);
}
