/**
 * A cluster's key for tokens: an Ed25519 key and the name of the cluster that signs with it.
 *
 * The public half travels as text: a line that names the cluster, then the key in PEM. Readers of PEM skip what stands before it. Keys that
 * the cluster has replaced, and that count until a time, follow in the same form; a reader of one key reads the present one.
 */
import { type KeyObject, createPublicKey } from "node:crypto";
import { EnvironmentError } from "../base/errors.ts";

export interface ClusterKey {
  /** The cluster's id: the audience of its tokens. */
  readonly cluster: string;
  readonly key: KeyObject;
}

/** A key by which tokens are checked. */
export interface RingKey extends ClusterKey {
  /** Of one that was replaced: until when it counts, by the wall clock. Left out or null, for ever. */
  readonly untilMs?: number | null;
}

/** As many replaced keys may count at a time: the text must fit into a message. */
export const MAX_FORMER_KEYS = 3;

/** What the id of a cluster is made of. */
export const CLUSTER_ID = /^[A-Za-z0-9._-]{1,64}$/;

const ADVICE = "use the token-key.pub of the manager's state directory";

/** The public halves of keys as text, the present one first, for {@link readPublicKeys}. */
export function publicKeyText(...keys: RingKey[]): string {
  return keys.map(textOf).join("");
}

function textOf({ cluster, key, untilMs = null }: RingKey): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  const until = untilMs === null ? "" : `Until: ${untilMs}\n`;
  return `Cluster: ${cluster}\n${until}${publicKey.export({ type: "spki", format: "pem" })}`;
}

/** All keys of what {@link publicKeyText} has written; `from` names it. Throws {@link EnvironmentError}. */
export function readPublicKeys(text: string, from: string): [RingKey, ...RingKey[]] {
  const [first = text, ...former] = text.match(/[^]*?-----END PUBLIC KEY-----/g) ?? [];
  return [
    readPublicKey(first, from),
    ...former.slice(0, MAX_FORMER_KEYS).map((one): RingKey => {
      const until = Number(/^Until: (\d+)$/m.exec(one)?.[1] ?? Number.NaN);
      if (Number.isNaN(until))
        throw new EnvironmentError(
          `${from} does not say until when a replaced key counts; ${ADVICE}`,
        );
      return { ...readPublicKey(one, from), untilMs: until };
    }),
  ];
}

/** The present key of what {@link publicKeyText} has written; `from` names it. Throws {@link EnvironmentError}. */
export function readPublicKey(text: string, from: string): ClusterKey {
  let key: KeyObject;
  try {
    key = createPublicKey(text);
  } catch (cause) {
    throw new EnvironmentError(
      `${from} is no public key in PEM (${(cause as Error).message}); ${ADVICE}`,
      { cause },
    );
  }
  requireEd25519(key, from);
  const cluster = /^Cluster: (\S+)$/m.exec(text)?.[1];
  if (cluster === undefined || !CLUSTER_ID.test(cluster))
    throw new EnvironmentError(
      `${from} does not name its cluster: it was made by an earlier rfaas, or by another program; ${ADVICE}`,
    );
  return { cluster, key };
}

/** Throws {@link EnvironmentError} for a key of another type. */
export function requireEd25519(key: KeyObject, from: string): void {
  if (key.asymmetricKeyType === "ed25519") return;
  throw new EnvironmentError(
    `${from} is of type ${key.asymmetricKeyType}; use an Ed25519 key, as rfaas token create makes it`,
  );
}
