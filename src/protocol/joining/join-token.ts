/**
 * Join tokens: each lets one node into a cluster, once. A token is random and names the cluster that it is for, and has a checksum,
 * so that a damaged one and one for another cluster are told apart before any is used.
 *
 * A token is a secret: nothing here puts one, or a part of one, into an error.
 */
import { createHash } from "node:crypto";
import { TokenRefused } from "../../base/errors.ts";

/** A cluster as its join tokens name it. */
const TAG_CHARACTERS = 8;
const CHECK_CHARACTERS = 8;
export const JOIN_SECRET_BYTES = 16;
/** `join-CLUSTER-SECRET-CHECK`, in hex. */
const FORM = /^join-([0-9a-f]{8})-([0-9a-f]{32})-([0-9a-f]{8})$/;

export interface JoinToken {
  /** The part of its text that names the cluster. */
  tag: string;
  /** Names the token, and does not show it: SHA-256 of its secret, in hex. */
  id: string;
}

/** The token of these random bytes, {@link JOIN_SECRET_BYTES}, as text. */
export function formatJoinToken(cluster: string, secret: Uint8Array): string {
  const tag = clusterTag(cluster);
  const digits = Buffer.from(secret).toString("hex");
  return `join-${tag}-${digits}-${checkOf(tag, digits)}`;
}

/** Throws {@link TokenRefused}, `malformed`, on what {@link formatJoinToken} has not written. */
export function readJoinToken(text: string): JoinToken {
  const [, tag = "", digits = "", check] = FORM.exec(text.trim().toLowerCase()) ?? [];
  if (check === undefined || check !== checkOf(tag, digits))
    throw new TokenRefused(
      "malformed",
      "the join token is damaged; copy it whole, as rfaas node join-token printed it",
    );
  return { tag, id: digest(digits) };
}

/** How the tokens of a cluster name it. */
export const clusterTag = (cluster: string): string =>
  digest(`cluster ${cluster}`).slice(0, TAG_CHARACTERS);

const checkOf = (tag: string, digits: string): string =>
  digest(`check ${tag} ${digits}`).slice(0, CHECK_CHARACTERS);

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
