/* TLS 1.3 on one connection, by libssl: the handshake, records in user space, and how the kernel takes them over. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "libssl.h"
#include "tls.h"

/* Numbers of libssl's headers, which are parts of its binary interface. */
enum { TLS_1_3 = 0x0304, SESSION_CACHE = 44, CLEAR_MODES = 78, LEAST_VERSION = 123, LAST_VERSION = 124 };
enum { AUTO_RETRY = 4, WANTS_READ = 3 };
enum { VERIFY_PEER = 1, RECEIVED_SHUTDOWN = 2, UPDATE_NOT_REQUESTED = 0 };
enum { BIO_READS = 1, BIO_RETRY = 8, BIO_FLUSH = 11, SOURCE_SINK = 0x0400 };
#define MIDDLEBOX_COMPATIBLE (1u << 20)
/* The one that processors are made for and kernels know. */
#define SUITE "TLS_AES_128_GCM_SHA256"
static const unsigned char SUITE_NUMBER[] = {0x13, 0x01};
static const unsigned char IDENTITY[] = "rfaas lease";

/* Of the kernel's interface, which headers of older systems lack. */
enum { ULP = 31, KERNEL_TLS = 282, KERNEL_SENDS = 1, KERNEL_RECEIVES = 2, KERNEL_NO_PADDING = 4, AES_GCM_128 = 51 };
typedef struct {
  uint16_t version;
  uint16_t cipher;
  uint8_t iv[8];
  uint8_t key[16];
  uint8_t salt[4];
  uint8_t sequence[8];
} kernel_keys;
_Static_assert(sizeof(kernel_keys) == 40, "the kernel's structure has 40 bytes");

/* The longest record. */
enum { RECORD = 16384 };
/* So many records go to the kernel, and come from it, at a time. */
enum { RECORDS_AT_ONCE = 8 };
/* For what a record is longer on the wire, and what may come between records. */
enum { ROOM_BESIDES = 256 };
/* Records without data that may follow each other: key updates, and nothing that a side of ours sends. */
enum { IDLE_RECORDS = 32 };
/* A key encrypts far less than AES-GCM is safe for (2^38 bytes). */
#ifndef RFAAS_TLS_BYTES_OF_A_KEY
#define RFAAS_TLS_BYTES_OF_A_KEY (1ull << 36)
#endif

enum { SECRET = 32 };
struct rfaas_tcp_tls {
  const rfaas_ssl_calls *calls;
  SSL *ssl;
  int fd;
  int listens;
  int dry; /* the kernel has no more bytes, or no room */
  int closed;
  int failed; /* errno, also of a look whose bytes were taken */
  size_t begin, end; /* of what is encrypted and is still to be sent */
  size_t ahead; /* bytes that were encrypted, and are not yet said to be sent */
  uint64_t sent; /* with the present key */
  uint32_t secrets; /* which of the next two are known */
  uint8_t secret[2][SECRET]; /* of what the client sends, of what the node sends */
  uint8_t key[RFAAS_TLS_KEY_BYTES];
  uint8_t record[RECORD]; /* of several pieces */
  uint8_t out[RECORDS_AT_ONCE * (RECORD + ROOM_BESIDES)];
};

/* ---- the socket, as libssl sees it ---- */

static int receive_bytes(BIO *bio, char *to, int bytes) {
  rfaas_tcp_tls *t = rfaas_libssl()->BIO_get_data(bio);
  t->calls->BIO_clear_flags(bio, BIO_READS | BIO_RETRY);
  ssize_t got = recv(t->fd, to, (size_t)bytes, MSG_DONTWAIT);
  if (got == 0) t->closed = 1;
  else if (got < 0 && errno != EAGAIN && errno != EINTR) t->failed = errno;
  else if (got < 0) {
    t->dry = 1;
    t->calls->BIO_set_flags(bio, BIO_READS | BIO_RETRY);
  }
  return (int)got;
}

static int send_bytes(BIO *bio, const char *from, int bytes) {
  rfaas_tcp_tls *t = rfaas_libssl()->BIO_get_data(bio);
  if ((size_t)bytes > sizeof t->out - t->end) return -1;
  memcpy(t->out + t->end, from, (size_t)bytes);
  t->end += (size_t)bytes;
  return bytes;
}

/* Sends what is encrypted. Returns 0 when all of it is sent, or an errno. */
static int flush(rfaas_tcp_tls *t) {
  while (t->begin < t->end) {
    ssize_t sent = send(t->fd, t->out + t->begin, t->end - t->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return errno;
    t->begin += (size_t)sent;
  }
  t->begin = t->end = 0;
  return 0;
}

static long control(BIO *bio, int what, long number, void *pointer) {
  (void)bio, (void)number, (void)pointer;
  return what == BIO_FLUSH;
}

/* ---- records ---- */

ssize_t rfaas_tls_receive(rfaas_tcp_tls *t, const struct iovec *into, int count) {
  ssize_t total = 0;
  int idle = 0;
  for (int i = 0; i < count; i++) {
    for (size_t at = 0, got; at < into[i].iov_len;) {
      t->dry = 0;
      if (t->calls->SSL_read_ex(t->ssl, (uint8_t *)into[i].iov_base + at, into[i].iov_len - at, &got)) {
        at += got;
        total += (ssize_t)got;
        idle = 0;
        continue;
      }
      if (t->dry) errno = EAGAIN;
      else if (t->closed || t->calls->SSL_get_shutdown(t->ssl) & RECEIVED_SHUTDOWN) return total;
      else if (t->failed) errno = t->failed;
      else if (t->calls->SSL_want(t->ssl) == WANTS_READ && ++idle < IDLE_RECORDS) continue;
      else {
        flush(t); /* the other side is told why, if it listens */
        errno = t->failed = EBADMSG;
      }
      return total ? total : -1;
    }
  }
  return total;
}

/* What is left of some pieces. */
typedef struct {
  const struct iovec *piece;
  int count;
  size_t taken; /* bytes of the first */
} rest;

static size_t skip(rest *left, size_t bytes) {
  size_t skipped = 0;
  while (left->count > 0 && skipped < bytes) {
    size_t part = left->piece->iov_len - left->taken;
    if (part > bytes - skipped) part = bytes - skipped;
    skipped += part;
    left->taken += part;
    if (left->taken < left->piece->iov_len) break;
    left->taken = 0;
    left->piece++;
    left->count--;
  }
  return skipped;
}

/* What the next record has: where it is, or a copy where it is of several pieces. */
static const uint8_t *gather(rfaas_tcp_tls *t, rest left, size_t *bytes) {
  size_t first = left.piece->iov_len - left.taken;
  if (first >= RECORD || left.count == 1) {
    *bytes = first < RECORD ? first : RECORD;
    return (const uint8_t *)left.piece->iov_base + left.taken;
  }
  for (*bytes = 0; left.count > 0 && *bytes < RECORD;) {
    const uint8_t *from = (const uint8_t *)left.piece->iov_base + left.taken;
    size_t part = left.piece->iov_len - left.taken;
    if (part > RECORD - *bytes) part = RECORD - *bytes;
    memcpy(t->record + *bytes, from, part);
    *bytes += part;
    skip(&left, part);
  }
  return t->record;
}

ssize_t rfaas_tls_send(rfaas_tcp_tls *t, const struct iovec *pieces, int count) {
  rest left = {.piece = pieces, .count = count};
  size_t total = 0;
  if ((errno = flush(t))) return -1;
  total += skip(&left, t->ahead);
  t->ahead = 0;
  while (left.count > 0) {
    while (left.count > 0 && sizeof t->out - t->end >= RECORD + ROOM_BESIDES) {
      size_t bytes, sent;
      const uint8_t *from = gather(t, left, &bytes);
      if (!t->calls->SSL_write_ex(t->ssl, from, bytes, &sent)) {
        errno = t->failed ? t->failed : EBADMSG;
        return -1;
      }
      t->ahead += skip(&left, sent);
      t->sent += sent;
      if (__builtin_expect(t->sent >= RFAAS_TLS_BYTES_OF_A_KEY, 0) && t->calls->SSL_key_update(t->ssl, UPDATE_NOT_REQUESTED)) t->sent = 0;
    }
    if ((errno = flush(t))) return total ? (ssize_t)total : -1;
    total += t->ahead;
    t->ahead = 0;
  }
  return (ssize_t)total;
}

/* ---- handshake ---- */

static void digest(const rfaas_ssl_calls *calls, const char *label, const uint8_t *secret, const void *more, size_t bytes, uint8_t *out) {
  uint8_t of[64 + 16 + sizeof(rfaas_tcp_greeting)];
  size_t size = strlen(label);
  memcpy(of, label, size);
  memcpy(of + size, secret, 16);
  if (bytes) memcpy(of + size + 16, more, bytes);
  calls->EVP_Digest(of, size + 16 + bytes, out, NULL, calls->EVP_sha256(), NULL);
  calls->OPENSSL_cleanse(of, sizeof of);
}

int rfaas_tls_identify(const uint8_t *secret, uint8_t *id) {
  const rfaas_ssl_calls *calls = rfaas_libssl();
  if (!calls) return ENOSYS;
  uint8_t out[32];
  digest(calls, "rfaas: id of a lease", secret, NULL, 0, out);
  memcpy(id, out, 16);
  return 0;
}

/* The key as a session that both sides have had. */
static SSL_SESSION *session_of(SSL *ssl) {
  const rfaas_ssl_calls *calls = rfaas_libssl();
  const rfaas_tcp_tls *t = calls->SSL_get_ex_data(ssl, 0);
  SSL_SESSION *session = calls->SSL_SESSION_new();
  const SSL_CIPHER *cipher = calls->SSL_CIPHER_find(ssl, SUITE_NUMBER);
  if (session && cipher && calls->SSL_SESSION_set1_master_key(session, t->key, sizeof t->key) &&
      calls->SSL_SESSION_set_cipher(session, cipher) && calls->SSL_SESSION_set_protocol_version(session, TLS_1_3))
    return session;
  calls->SSL_SESSION_free(session);
  return NULL;
}

static int use_key(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *bytes, SSL_SESSION **session) {
  (void)digest;
  *identity = IDENTITY;
  *bytes = sizeof IDENTITY - 1;
  *session = session_of(ssl);
  return *session != NULL;
}

static int find_key(SSL *ssl, const unsigned char *identity, size_t bytes, SSL_SESSION **session) {
  int is_ours = bytes == sizeof IDENTITY - 1 && memcmp(identity, IDENTITY, bytes) == 0;
  *session = is_ours ? session_of(ssl) : NULL;
  return !is_ours || *session;
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* What both sides' keys come from, for the kernel: libssl tells it in a line of words, of which the last is the secret. */
static void hear_secret(const SSL *ssl, const char *line) {
  static const char *names[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
  rfaas_tcp_tls *t = rfaas_libssl()->SSL_get_ex_data(ssl, 0);
  for (uint32_t which = 0; which < 2; which++) {
    const char *text = strrchr(line, ' ');
    if (strncmp(line, names[which], strlen(names[which])) != 0 || !text || strlen(text + 1) != (size_t)2 * SECRET) continue;
    for (int i = 0; i < SECRET; i++) t->secret[which][i] = (uint8_t)(digit(text[1 + 2 * i]) << 4 | digit(text[2 + 2 * i]));
    t->secrets |= 1u << which;
  }
}

int rfaas_tls_prepare(rfaas_ssl_calls *calls) {
  calls->socket = calls->BIO_meth_new(calls->BIO_get_new_index() | SOURCE_SINK, "connection of a lease");
  calls->context = calls->SSL_CTX_new(calls->TLS_method());
  if (!calls->socket || !calls->context) return 0;
  calls->BIO_meth_set_read(calls->socket, receive_bytes);
  calls->BIO_meth_set_write(calls->socket, send_bytes);
  calls->BIO_meth_set_ctrl(calls->socket, control);
  SSL_CTX *context = calls->context;
  calls->SSL_CTX_ctrl(context, SESSION_CACHE, 0, NULL);
  calls->SSL_CTX_ctrl(context, CLEAR_MODES, AUTO_RETRY, NULL);
  calls->SSL_CTX_set_default_read_buffer_len(context, RECORDS_AT_ONCE * (RECORD + ROOM_BESIDES));
  calls->SSL_CTX_clear_options(context, MIDDLEBOX_COMPATIBLE);
  calls->SSL_CTX_set_keylog_callback(context, hear_secret);
  calls->SSL_CTX_set_psk_use_session_callback(context, use_key);
  calls->SSL_CTX_set_psk_find_session_callback(context, find_key);
  return calls->SSL_CTX_ctrl(context, LEAST_VERSION, TLS_1_3, NULL) && calls->SSL_CTX_ctrl(context, LAST_VERSION, TLS_1_3, NULL) &&
         calls->SSL_CTX_set_ciphersuites(context, SUITE) && calls->SSL_CTX_set_num_tickets(context, 0);
}

rfaas_tcp_tls *rfaas_tls_new(int fd, int listens, const uint8_t *secret, const rfaas_tcp_greeting *greeting) {
  const rfaas_ssl_calls *calls = rfaas_libssl();
  rfaas_tcp_tls *t = calls ? calloc(1, sizeof *t) : NULL;
  if (!t) return NULL;
  t->calls = calls;
  t->fd = fd;
  t->listens = listens;
  digest(calls, "rfaas: key of a connection", secret, greeting, sizeof *greeting, t->key);
  t->ssl = calls->SSL_new(calls->context);
  BIO *bio = t->ssl ? calls->BIO_new(calls->socket) : NULL;
  if (!bio) {
    rfaas_tls_free(t);
    return NULL;
  }
  calls->BIO_set_data(bio, t);
  calls->BIO_set_init(bio, 1);
  calls->SSL_set_bio(t->ssl, bio, bio);
  calls->SSL_set_ex_data(t->ssl, 0, t);
  if (listens) calls->SSL_set_accept_state(t->ssl);
  else {
    /* No certificate is good enough: a node that has not the key fails. */
    calls->SSL_set_verify(t->ssl, VERIFY_PEER, NULL);
    calls->SSL_set_connect_state(t->ssl);
  }
  return t;
}

int rfaas_tls_shake(rfaas_tcp_tls *t) {
  t->dry = 0;
  int done = t->calls->SSL_do_handshake(t->ssl) == 1;
  int unsent = flush(t);
  if (unsent == EAGAIN || unsent == EINTR) return EPOLLOUT;
  if (done && !unsent && t->calls->SSL_session_reused(t->ssl)) {
    /* Only from here on: what follows the handshake may be the kernel's to read. */
    t->calls->SSL_set_read_ahead(t->ssl, 1);
    t->calls->OPENSSL_cleanse(t->key, sizeof t->key);
    return 0;
  }
  if (!done && !unsent && t->dry) return EPOLLIN;
  t->calls->ERR_clear_error();
  return -1;
}

/* RFC 8446, 7.1: HKDF-Expand-Label, for what fits in one block. */
static void expand(const rfaas_tcp_tls *t, const uint8_t *secret, const char *label, uint8_t *out, uint8_t bytes) {
  uint8_t info[32] = {0, bytes, (uint8_t)(6 + strlen(label))}, block[32];
  size_t size = 3;
  memcpy(info + size, "tls13 ", 6);
  memcpy(info + size + 6, label, strlen(label));
  size += 6 + strlen(label);
  info[size++] = 0; /* no context */
  info[size++] = 1; /* the first block */
  t->calls->HMAC(t->calls->EVP_sha256(), secret, SECRET, info, size, block, NULL);
  memcpy(out, block, bytes);
  t->calls->OPENSSL_cleanse(block, sizeof block);
}

static int give_keys(const rfaas_tcp_tls *t, int way, const uint8_t *secret) {
  kernel_keys keys = {.version = TLS_1_3, .cipher = AES_GCM_128};
  uint8_t nonce[12];
  expand(t, secret, "key", keys.key, sizeof keys.key);
  expand(t, secret, "iv", nonce, sizeof nonce);
  memcpy(keys.salt, nonce, sizeof keys.salt);
  memcpy(keys.iv, nonce + sizeof keys.salt, sizeof keys.iv);
  int failed = setsockopt(t->fd, KERNEL_TLS, way, &keys, sizeof keys);
  t->calls->OPENSSL_cleanse(&keys, sizeof keys);
  t->calls->OPENSSL_cleanse(nonce, sizeof nonce);
  return failed == 0;
}

int rfaas_tls_hand_to_kernel(rfaas_tcp_tls *t) {
  int result = 0, on = 1;
  if (t->secrets == 3 && setsockopt(t->fd, IPPROTO_TCP, ULP, "tls", sizeof "tls") == 0 &&
      give_keys(t, KERNEL_RECEIVES, t->secret[!t->listens])) {
    result = give_keys(t, KERNEL_SENDS, t->secret[t->listens]) ? 1 : -1;
    setsockopt(t->fd, KERNEL_TLS, KERNEL_NO_PADDING, &on, sizeof on);
  }
  t->calls->OPENSSL_cleanse(t->secret, sizeof t->secret);
  return result;
}

void rfaas_tls_free(rfaas_tcp_tls *t) {
  if (!t) return;
  if (t->ssl) t->calls->SSL_free(t->ssl);
  t->calls->OPENSSL_cleanse(t->key, sizeof t->key);
  t->calls->OPENSSL_cleanse(t->secret, sizeof t->secret);
  free(t);
}
