/**
 * Whether a peer is the one that is meant, by the certificates that it shows. The runtime's own judgement is not used: it knows the
 * public CAs of the Web, which have no say here, and neither pins nor names of nodes.
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { type Fingerprint, type Pin, fingerprintOf } from "./fingerprint.ts";

/** What a peer must be. */
export interface Expectation {
  role: "node" | "manager";
  /** The node's name, where its manager has told it. */
  name?: string | undefined;
  /** The host that was dialled: what a certificate without a name of rfaas's must be for. */
  host: string;
  pin?: Pin | undefined;
}

export type Verdict =
  /** It is the one that is pinned. */
  | { kind: "trusted"; key: Fingerprint }
  /** Nothing is pinned: what is known of the key decides. */
  | { kind: "unknown"; key: Fingerprint }
  /** `reason` is a clause of which the peer's certificate is the subject, or a part. */
  | { kind: "wrong"; key: Fingerprint | undefined; reason: string };

/** Names of rfaas's own in a certificate: its SANs of the kind URI that begin so. */
const OWN_NAME = "rfaas:";
export const MANAGER_URI = `${OWN_NAME}manager`;
export const nodeUri = (name: string): string => `${OWN_NAME}node:${name}`;

const SERVER_AUTHENTICATION = ["1.3.6.1.5.5.7.3.1", "2.5.29.37.0"];
/** No site has more steps from a CA to a server; each is tried against each. */
const MAX_CHAIN = 8;

/** `chain` is in DER, the peer's own certificate first. */
export function judge(
  chain: readonly Uint8Array[],
  expected: Expectation,
  nowMs = Date.now(),
): Verdict {
  const [leaf, ...others] = read(chain);
  if (!leaf) return { kind: "wrong", key: undefined, reason: "it shows no certificate" };
  const key = keyOf(leaf);
  const { pin } = expected;
  if (!pin) return { kind: "unknown", key };
  if (pin.of === "key")
    return key === pin.fingerprint
      ? { kind: "trusted", key }
      : { kind: "wrong", key, reason: `its key is ${key}, and ${pin.fingerprint} is pinned` };
  const reason = whyNotUnder(pin.fingerprint, leaf, others, nowMs) ?? whyNotForIt(leaf, expected);
  return reason === undefined ? { kind: "trusted", key } : { kind: "wrong", key, reason };
}

/** The fingerprint of the certificate's key. */
export function keyOf(certificate: X509Certificate): Fingerprint {
  return fingerprintOf(certificate.publicKey.export({ type: "spki", format: "der" }));
}

function read(chain: readonly Uint8Array[]): X509Certificate[] {
  try {
    return chain.slice(0, MAX_CHAIN).map((der) => new X509Certificate(der));
  } catch {
    return [];
  }
}

function whyNotUnder(
  ca: Fingerprint,
  leaf: X509Certificate,
  others: readonly X509Certificate[],
  nowMs: number,
): string | undefined {
  const pinned = [leaf, ...others].find(({ raw }) => fingerprintOf(raw) === ca);
  if (!pinned) return `none of the certificates that it shows is the pinned CA ${ca}`;
  if (!pinned.ca) return `${ca}, which is pinned as a CA, is none; pin its key with ?key=`;
  return whyNotLeading(leaf, pinned, new Set(others), nowMs);
}

/**
 * Why no signatures lead from a certificate to the CA, within the dates of each. What is tried leaves `others`: it leads to the CA or not by
 * whichever way it was come to, and the ways through a chain that a stranger has made up may be thousands.
 */
function whyNotLeading(
  from: X509Certificate,
  ca: X509Certificate,
  others: Set<X509Certificate>,
  nowMs: number,
): string | undefined {
  const outOfDate = whyOutOfDate(from, nowMs);
  if (outOfDate !== undefined || from === ca) return outOfDate;
  let reason = `the certificate ${subjectOf(from)} is not signed by the pinned CA`;
  for (const issuer of others) {
    if (!isSignedBy(from, issuer)) continue;
    if (issuer.ca) {
      others.delete(issuer);
      const why = whyNotLeading(issuer, ca, others, nowMs);
      if (why === undefined) return undefined;
      reason = why;
    } else reason = `the certificate ${subjectOf(from)} is signed by ${subjectOf(issuer)}, no CA`;
  }
  return reason;
}

function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** Why a certificate has no say at this time. */
export function whyOutOfDate(certificate: X509Certificate, nowMs: number): string | undefined {
  const { validFrom, validTo } = certificate;
  // A date that cannot be read is not in order.
  if (!(nowMs >= Date.parse(validFrom)))
    return `the certificate ${subjectOf(certificate)} is not valid before ${validFrom}; compare the clocks of both machines`;
  if (!(nowMs <= Date.parse(validTo)))
    return `the certificate ${subjectOf(certificate)} has expired on ${validTo}`;
  return undefined;
}

/** Why the certificate is another one's than the peer's that is meant. */
function whyNotForIt(leaf: X509Certificate, { role, name, host }: Expectation): string | undefined {
  // What a program gets here, the types do not say: no list where the certificate has none.
  const purposes = leaf.keyUsage as readonly string[] | undefined;
  if (purposes && !purposes.some((purpose) => SERVER_AUTHENTICATION.includes(purpose)))
    return `the certificate ${subjectOf(leaf)} is not for servers`;
  const names = ownNames(leaf);
  if (names.length === 0) {
    const [plain = ""] = host.split("%");
    const isFor = isIP(plain) === 0 ? leaf.checkHost(plain) : leaf.checkIP(plain);
    return isFor === undefined
      ? `the certificate ${subjectOf(leaf)} is not for ${host}`
      : undefined;
  }
  if (role === "manager")
    return names.includes(MANAGER_URI) ? undefined : `it is ${names.join(" and ")}, no manager`;
  if (name !== undefined)
    return names.includes(nodeUri(name))
      ? undefined
      : `it is ${names.join(" and ")}, and not the node ${name}`;
  return names.some((own) => own.startsWith(nodeUri("")))
    ? undefined
    : `it is ${names.join(" and ")}, no node`;
}

/** The SANs come as one text, in which a comma inside of a name is escaped. */
function ownNames({ subjectAltName }: X509Certificate): string[] {
  const names = (subjectAltName ?? "").split(", ");
  return names.flatMap((name) =>
    name.startsWith(`URI:${OWN_NAME}`) ? [name.slice("URI:".length)] : [],
  );
}

/** In one line, and short: a stranger has chosen it. */
function subjectOf({ subject }: X509Certificate): string {
  const shown = (subject ?? "").replaceAll(/[\p{Cc}\p{Cf}]+/gu, ", ");
  return `"${shown.slice(0, 80)}"`;
}
