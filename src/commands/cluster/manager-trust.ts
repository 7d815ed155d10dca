/**
 * With whom a command speaks over HTTPS: the manager whose CA is pinned, in the URL (`?ca=sha256:..`) or by `RFAAS_CA`. `fetch` trusts CAs,
 * and knows no fingerprints: the pinned CA's certificate is asked of the manager itself, and then is the one that counts. Without a pin
 * the public CAs count.
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { type TLSSocket, connect } from "node:tls";
import { PeerNotTrusted, UsageError } from "../../base/errors.ts";
import { chainOf } from "../../trust/peer-chain.ts";
import { type Pin, fingerprintOf, readFingerprint } from "../../trust/fingerprint.ts";
import { type Expectation, judge } from "../../trust/judge.ts";
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
export async function trustAt(url: URL, pin: Pin, signal: AbortSignal): Promise<FetchTls> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const chain = await chainAt(host, Number(url.port || 443), signal);
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

async function chainAt(host: string, port: number, signal: AbortSignal): Promise<Uint8Array[]> {
  const shown = Promise.withResolvers<Uint8Array[]>();
  const socket: TLSSocket = connect({
    ...{ host, port, minVersion: "TLSv1.3", rejectUnauthorized: false },
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
  socket.on("secureConnect", () => shown.resolve(chainOf(socket)));
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
