/** Connections over tcp: how they are encrypted, and why one does not work, as the shim says it. */
import type { Pointer } from "bun:ffi";
import type { Link } from "../link.ts";
import { tcp } from "./symbols.ts";

/** Why this process cannot encrypt what it sends, in words that end with what to do; null when it can. */
export function encryptionProblem(): string | null {
  switch (tcp().rfaas_tcp_encryption_state()) {
    case 0:
      return null;
    case 1:
      return "libssl.so.3 cannot be opened; install OpenSSL 3: libssl3 (Debian, Ubuntu) or openssl-libs (Fedora, RHEL)";
    case 2:
      return "libssl.so.3 lacks functions that OpenSSL 3.0 has; install OpenSSL 3.0 or later";
    default:
      return "libssl.so.3 refuses TLS 1.3 with AES-128-GCM; look at its configuration with: openssl ciphers -tls1_3 -s";
  }
}

/** `enum rfaas_tcp_encryption`. */
const ENCRYPTIONS = ["none", "libssl", "kernel"] as const;
export type Encryption = (typeof ENCRYPTIONS)[number];

/** Who encrypts the connection of a channel; that behind the last one is the side way. */
export const encryptionOf = (link: Link, channel: number): Encryption | undefined =>
  ENCRYPTIONS[tcp().rfaas_tcp_encryption_of(link.handle as Pointer, channel)];

/** `enum rfaas_tcp_failure`. */
export const TCP_FAILURE = {
  sound: 0,
  closed: 1,
  broken: 2,
  protocol: 3,
  setup: 4,
  rejected: 5,
  timedOut: 6,
  noKey: 7,
} as const;

/** What was being done when a set-up failed. `enum rfaas_tcp_stage`. */
export const TCP_STAGE = { resources: 0, address: 1, listen: 2, connect: 3 } as const;
