/** What the first bytes of a connection tell of it, at a port that takes TLS and plain messages. */

/** As many tell all of it. */
export const TELLING_BYTES = 3;
const HANDSHAKE = 0x16;
const MAJOR = 3;

/**
 * Whether a connection begins as TLS; undefined while too few bytes have come. A record of the handshake begins with its type and two bytes of
 * a version; a frame with its length, of which the third byte is 0 as long as the peer has not greeted.
 */
export function beginsTls(first: Uint8Array): boolean | undefined {
  const [type = HANDSHAKE, major = MAJOR, minor] = first;
  if (type !== HANDSHAKE || major !== MAJOR) return false;
  return minor === undefined ? undefined : minor !== 0;
}
