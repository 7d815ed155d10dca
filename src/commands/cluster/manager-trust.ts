/**
 * With whom a command speaks over HTTPS: the manager whose CA is pinned, in the URL (`?ca=sha256:..`) or by `RFAAS_CA`. `fetch` trusts CAs,
 * and knows no fingerprints: the pinned CA's certificate is asked of the manager itself, and then is the one that counts. Without a pin
 * the public CAs count.
 */
import { X509Certificate } from "node:crypto";
import { connect, isIP } from "node:net";
import { TLSSocket, connect as connectTls } from "node:tls";
import { PeerNotTrusted, UsageError } from "../../base/errors.ts";
import type { Address } from "../../control/address.ts";
import { type PeerEnd, peerEnd } from "../../control/identity/ends.ts";
import { chainOf } from "../../trust/peer-chain.ts";
import { type Pin, fingerprintOf, readFingerprint } from "../../trust/fingerprint.ts";
import { type Expectation, judge, keyOf } from "../../trust/judge.ts";
import { pinnedCa } from "../../trust/pinned-ca.ts";

/** What `fetch` takes as its option `tls`. */
export interface FetchTls {
  ca: string;
  checkServerIdentity(host: string, certificate: { raw: Uint8Array }): Error | undefined;
}

/** The CA that the URL pins, or else the user does. Throws {@link UsageError}. */
export function pinOfUrl(url: URL): Pin | undefined {
  const named = url.searchParams.get("ca");
  if (named === null) return pinnedCa();
  const fingerprint = readFingerprint(named);
  if (fingerprint) return { of: "ca", fingerprint };
  throw new UsageError(
    `what follows ?ca= in ${url.href} is no fingerprint; give sha256: and 64 hexadecimal digits, as the manager's log has them`,
  );
}

/**
 * How `fetch` is to judge who answers at the URL.
 *
 * @throws {PeerNotTrusted} it is not the manager that is pinned; nothing was sent to it
 */
export function trustAt(url: URL, pin: Pin, { chain }: Answering): FetchTls {
  const host = hostOf(url);
  const expected: Expectation = { role: "manager", host, pin };
  requireTrusted(url, chain, expected);
  const ca = chain.find((der) => fingerprintOf(der) === pin.fingerprint)!;
  return {
    ca: new X509Certificate(ca).toString(),
    checkServerIdentity(_, { raw }) {
      try {
        requireTrusted(url, [raw, ...chain.slice(1)], expected);
        return undefined;
      } catch (error) {
        return error as Error;
      }
    },
  };
}

function requireTrusted(url: URL, chain: readonly Uint8Array[], expected: Expectation): void {
  const verdict = judge(chain, expected);
  if (verdict.kind === "trusted") return;
  const reason = verdict.kind === "wrong" ? verdict.reason : "its CA is not pinned";
  throw new PeerNotTrusted(
    `what answers at ${url.origin} is not the manager that is pinned: ${reason}; nothing was sent to it: check the address and the fingerprint, and ask who runs that machine`,
    { address: url.origin, seen: verdict.key },
  );
}

/** What answers at a URL: where, and over HTTPS with which certificates, the peer's own first. */
export interface Answering {
  address: string;
  port: number;
  chain: Uint8Array[];
}

/** Who would answer a request to the URL now. Rejects with the signal's reason, or why no connection can be made. */
export async function whoAnswers(url: URL, signal: AbortSignal): Promise<Answering> {
  const host = hostOf(url);
  const isTls = url.protocol === "https:";
  const port = Number(url.port || (isTls ? 443 : 80));
  const shown = Promise.withResolvers<Answering>();
  const socket = isTls
    ? connectTls({
        ...{ host, port, minVersion: "TLSv1.3", rejectUnauthorized: false },
        ...(isIP(host) === 0 ? { servername: host } : {}),
      })
    : connect({ host, port });
  socket.on(isTls ? "secureConnect" : "connect", () => {
    const chain = socket instanceof TLSSocket ? chainOf(socket) : [];
    shown.resolve({ address: socket.remoteAddress ?? "", port, chain });
  });
  socket.on("error", shown.reject);
  socket.on("close", () => shown.reject(new Error("it closed the connection")));
  const abort = (): void => shown.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await shown.promise;
  } finally {
    signal.removeEventListener("abort", abort);
    socket.destroy();
  }
}

/** How proofs name it. */
export function endOf(url: URL, { address, port, chain: [leaf] }: Answering): PeerEnd {
  const key = leaf ? keyOf(new X509Certificate(leaf)) : undefined;
  const dialled: Address = { kind: "tcp", host: hostOf(url), port };
  return peerEnd(dialled, { by: "nothing", ...(key ? { key } : {}) }, { address, port });
}

/** The URL that leads where it led before, in clear: its name may lead to several places. */
export function settled(url: URL, { address }: Answering): URL {
  if (url.protocol === "https:") return url;
  const there = new URL(url);
  there.hostname = address.includes(":") ? `[${address}]` : address;
  return there;
}

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, "");
