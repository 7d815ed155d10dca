/* What the tcp fabric calls of libssl and libcrypto 3, which are opened when a lease is first encrypted: their headers need not be there to compile
 * the shim, nor the libraries to run it. */
#ifndef RFAAS_TCP_LIBSSL_H
#define RFAAS_TCP_LIBSSL_H

#include <stddef.h>
#include <stdint.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct evp_md_st EVP_MD;

typedef int (*rfaas_psk_use)(SSL *, const EVP_MD *, const unsigned char **identity, size_t *bytes, SSL_SESSION **);
typedef int (*rfaas_psk_find)(SSL *, const unsigned char *identity, size_t bytes, SSL_SESSION **);

#define RFAAS_SSL_SYMBOLS(X) \
  X(int, OPENSSL_init_ssl, (uint64_t, const void *)) \
  X(const SSL_METHOD *, TLS_method, (void)) \
  X(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *)) \
  X(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *)) \
  X(uint64_t, SSL_CTX_clear_options, (SSL_CTX *, uint64_t)) \
  X(int, SSL_CTX_set_ciphersuites, (SSL_CTX *, const char *)) \
  X(void, SSL_CTX_set_default_read_buffer_len, (SSL_CTX *, size_t)) \
  X(int, SSL_CTX_set_num_tickets, (SSL_CTX *, size_t)) \
  X(void, SSL_CTX_set_keylog_callback, (SSL_CTX *, void (*)(const SSL *, const char *))) \
  X(void, SSL_CTX_set_psk_use_session_callback, (SSL_CTX *, rfaas_psk_use)) \
  X(void, SSL_CTX_set_psk_find_session_callback, (SSL_CTX *, rfaas_psk_find)) \
  X(SSL *, SSL_new, (SSL_CTX *)) \
  X(void, SSL_free, (SSL *)) \
  X(void, SSL_set_bio, (SSL *, BIO *, BIO *)) \
  X(int, SSL_set_ex_data, (SSL *, int, void *)) \
  X(void *, SSL_get_ex_data, (const SSL *, int)) \
  X(void, SSL_set_verify, (SSL *, int, int (*)(int, void *))) \
  X(void, SSL_set_read_ahead, (SSL *, int)) \
  X(void, SSL_set_connect_state, (SSL *)) \
  X(void, SSL_set_accept_state, (SSL *)) \
  X(int, SSL_do_handshake, (SSL *)) \
  X(int, SSL_session_reused, (const SSL *)) \
  X(int, SSL_want, (const SSL *)) \
  X(int, SSL_get_shutdown, (const SSL *)) \
  X(int, SSL_key_update, (SSL *, int)) \
  X(int, SSL_read_ex, (SSL *, void *, size_t, size_t *)) \
  X(int, SSL_write_ex, (SSL *, const void *, size_t, size_t *)) \
  X(const SSL_CIPHER *, SSL_CIPHER_find, (SSL *, const unsigned char *)) \
  X(SSL_SESSION *, SSL_SESSION_new, (void)) \
  X(void, SSL_SESSION_free, (SSL_SESSION *)) \
  X(int, SSL_SESSION_set1_master_key, (SSL_SESSION *, const unsigned char *, size_t)) \
  X(int, SSL_SESSION_set_cipher, (SSL_SESSION *, const SSL_CIPHER *)) \
  X(int, SSL_SESSION_set_protocol_version, (SSL_SESSION *, int))

#define RFAAS_CRYPTO_SYMBOLS(X) \
  X(BIO_METHOD *, BIO_meth_new, (int, const char *)) \
  X(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int))) \
  X(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int))) \
  X(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *))) \
  X(int, BIO_get_new_index, (void)) \
  X(BIO *, BIO_new, (const BIO_METHOD *)) \
  X(void, BIO_set_data, (BIO *, void *)) \
  X(void *, BIO_get_data, (BIO *)) \
  X(void, BIO_set_init, (BIO *, int)) \
  X(void, BIO_set_flags, (BIO *, int)) \
  X(void, BIO_clear_flags, (BIO *, int)) \
  X(void, ERR_clear_error, (void)) \
  X(const EVP_MD *, EVP_sha256, (void)) \
  X(int, EVP_Digest, (const void *, size_t, unsigned char *, unsigned int *, const EVP_MD *, void *engine)) \
  X(unsigned char *, HMAC, (const EVP_MD *, const void *, int, const unsigned char *, size_t, unsigned char *, unsigned int *)) \
  X(void, OPENSSL_cleanse, (void *, size_t))

typedef struct {
#define RFAAS_FIELD(type, name, arguments) type(*name) arguments;
  RFAAS_SSL_SYMBOLS(RFAAS_FIELD)
  RFAAS_CRYPTO_SYMBOLS(RFAAS_FIELD)
#undef RFAAS_FIELD
  SSL_CTX *context; /* of every connection of this process, of either side */
  BIO_METHOD *socket;
} rfaas_ssl_calls;

/* NULL where the libraries are missing. Opened once, never closed. */
const rfaas_ssl_calls *rfaas_libssl(void);
/* In `tls.c`: what all connections share, once the libraries are open. Returns 0 without memory. */
int rfaas_tls_prepare(rfaas_ssl_calls *calls);

#endif
