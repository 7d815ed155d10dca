/**
 * A cluster's key for tokens: an Ed25519 key and the name of the cluster that signs with it.
 *
 * The public half travels as text: a line that names the cluster, then the key in PEM. Readers of PEM skip what stands before it.
 */
import { type KeyObject, createPublicKey } from "node:crypto";
import { EnvironmentError } from "../base/errors.ts";

export interface ClusterKey {
  /** The cluster's id: the audience of its tokens. */
  readonly cluster: string;
  readonly key: KeyObject;
}

/** What the id of a cluster is made of. */
export const CLUSTER_ID = /^[A-Za-z0-9._-]{1,64}$/;

const ADVICE = "use the token-key.pub of the manager's state directory";

/** The public half of a key as text, for {@link readPublicKey}. */
export function publicKeyText({ cluster, key }: ClusterKey): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return `Cluster: ${cluster}\n${publicKey.export({ type: "spki", format: "pem" })}`;
}

/** What {@link publicKeyText} has written; `from` names it. Throws {@link EnvironmentError}. */
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
