/* One connection that is encrypted: TLS 1.3 by libssl, with a key that both sides have from their lease's secret and no certificates. Where the
 * kernel can encrypt, it does so from the end of the handshake on, and nothing of this is left. No call waits. */
#ifndef RFAAS_TCP_TLS_H
#define RFAAS_TCP_TLS_H

#include <sys/types.h>
#include <sys/uio.h>

#include "link.h"

#define RFAAS_TLS_KEY_BYTES 32

/* By what a greeting names a lease whose connections are encrypted: tells nothing of its secret. Returns 0, or ENOSYS without libssl. */
int rfaas_tls_identify(const uint8_t *secret, uint8_t *id);

/* Of the side that connects, or of the one that listens. Who knows the secret, and has seen this greeting, has the key. NULL without memory
 * or libssl. The descriptor stays the caller's. */
rfaas_tcp_tls *rfaas_tls_new(int fd, int listens, const uint8_t *secret, const rfaas_tcp_greeting *greeting);
/* Goes on with the handshake. Returns 0 when it is over; EPOLLIN or EPOLLOUT when it waits for that; -1 when the other side has failed. */
int rfaas_tls_shake(rfaas_tcp_tls *tls);
/* After the handshake: lets the kernel encrypt and decrypt. Returns whether it does, so that this one is of no more use; -1 when the connection
 * is of none. */
int rfaas_tls_hand_to_kernel(rfaas_tcp_tls *tls);
/* As `recvmsg` and `sendmsg` of a socket that does not wait; no piece is empty. What is received fills all places before it says that there is no more: until
 * EAGAIN, the kernel does not tell of all that has come. EBADMSG: the other side broke the protocol. One thread at a time. */
ssize_t rfaas_tls_receive(rfaas_tcp_tls *tls, const struct iovec *into, int count);
ssize_t rfaas_tls_send(rfaas_tcp_tls *tls, const struct iovec *pieces, int count);
void rfaas_tls_free(rfaas_tcp_tls *tls);

#endif
