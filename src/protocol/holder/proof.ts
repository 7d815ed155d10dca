/**
 * Proofs of possession (RFC 7800): that the holder of a token shows it, to this peer and for this once. A peer asks with a nonce, and the
 * holder signs it together with where it believes to be: the peer's address, and the key of its certificate. Who is shown a proof can use
 * it nowhere else, since no other peer has that nonce, that address and that key.
 *
 * A proof is a JWS of the token's own key (RFC 8037); nothing of it is secret.
 */
import {
  type KeyObject,
  createHash,
  createPublicKey,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { TokenRefused } from "../../base/errors.ts";
import type { HolderKey } from "../token.ts";

const ALGORITHM = "EdDSA";
const PROOF_TYPE = "rfaas-proof+jwt";
const NONCE_BYTES = 24;
/** Longer than any proof. */
export const MAX_PROOF_CHARACTERS = 4096;
const MAX_PLACE_CHARACTERS = 512;

/** What a prover sees of the peer that asks. */
export interface Occasion {
  nonce: string;
  /** Where the peer is: as its address was written, and as the kernel says that it is connected. */
  places: readonly string[];
  /** The fingerprint of the key of its certificate; null over a connection without TLS. */
  key: string | null;
  /** The one request that the proof is for; left out, it is for the connection. */
  request?: string;
}

/** What a verifier knows of itself. */
export interface OwnEnd {
  /** Where a peer is that has reached it. */
  places: readonly string[];
  /** The fingerprint of the key of the certificate that it has shown; null where the connection has no TLS. */
  key: string | null;
  /** Others may have the same key, so that it does not tell where the prover is. */
  sharesKey?: boolean;
}

export interface Expected extends OwnEnd {
  nonce: string;
  request?: string;
}

/** The token that a proof is for. */
export interface ShownToken {
  token: string;
  cluster: string;
}

const Header = Type.Object(
  { alg: Type.Literal(ALGORITHM), typ: Type.Literal(PROOF_TYPE) },
  { additionalProperties: false },
);
const Payload = Type.Object(
  {
    nonce: Type.String({ maxLength: 128 }),
    /** Of the token: SHA-256, as RFC 9449 has it. */
    ath: Type.String({ maxLength: 64 }),
    aud: Type.String({ maxLength: 64 }),
    to: Type.Array(Type.String({ maxLength: MAX_PLACE_CHARACTERS }), { minItems: 1, maxItems: 4 }),
    key: Type.Union([Type.String({ maxLength: 80 }), Type.Null()]),
    request: Type.Optional(Type.String({ maxLength: 1024 })),
  },
  { additionalProperties: false },
);
type Payload = Static<typeof Payload>;

/** For one question: no two are alike. */
export const newNonce = (): string => randomBytes(NONCE_BYTES).toString("base64url");

/** `key` is the holder's private one. */
export async function signProof(
  key: KeyObject,
  { token, cluster }: ShownToken,
  { nonce, places, key: peerKey, request }: Occasion,
): Promise<string> {
  const payload: Payload = {
    ...{ nonce, ath: hashOf(token), aud: cluster, to: [...places], key: peerKey },
    ...(request === undefined ? {} : { request }),
  };
  const { CompactSign } = await import("jose/jws/compact/sign");
  return await new CompactSign(new TextEncoder().encode(JSON.stringify(payload)))
    .setProtectedHeader({ alg: ALGORITHM, typ: PROOF_TYPE })
    .sign(key);
}

/**
 * Resolves when the proof is one of this token's holder for what is expected. The caller has checked the token, and uses its nonce for
 * nothing else from then on.
 *
 * @throws {TokenRefused} `unproven`, with what is wrong and what to do
 */
export async function checkProof(
  proof: string,
  { token, cluster, holderKey }: ShownToken & { holderKey: HolderKey },
  expected: Expected,
): Promise<void> {
  const said = await read(proof, holderKey);
  if (!said)
    throw unproven(
      "the proof that came with the token is not one of its holder's; use the text that rfaas token create has printed, whole",
    );
  if (!isSame(said.nonce, expected.nonce))
    throw unproven("the proof answers another question than was asked; connect again");
  if (!isSame(said.ath, hashOf(token)) || !isSame(said.aud, cluster))
    throw unproven("the proof is for another token; use the one that it was made for");
  if (!isSame(said.request ?? "", expected.request ?? ""))
    throw unproven("the proof is for another request; ask again");
  if (!isSame(said.key ?? "none", expected.key ?? "none"))
    throw unproven(
      `the client has met ${said.key === null ? "no TLS" : `the key ${said.key}`} and this end has ${expected.key === null ? "none" : `the key ${expected.key}`}: something stands between them and has passed the token on; connect directly, and pin the key`,
    );
  if (expected.key !== null && !expected.sharesKey) return;
  if (!said.to.some((place) => expected.places.includes(place)))
    throw unproven(
      `the client has connected to ${said.to.join(", ")}, and this end is ${expected.places.join(", ")}: something has passed the token on; connect directly or, where a way leads there that changes addresses, by TLS to the address that --advertise names`,
    );
}

/** What the proof says; undefined where the key has not signed it. */
async function read(proof: string, holderKey: HolderKey): Promise<Payload | undefined> {
  if (proof.length > MAX_PROOF_CHARACTERS) return undefined;
  const { compactVerify } = await import("jose/jws/compact/verify");
  try {
    const key = createPublicKey({ key: holderKey, format: "jwk" });
    const { payload, protectedHeader } = await compactVerify(proof, key, {
      algorithms: [ALGORITHM],
    });
    const said: unknown = JSON.parse(new TextDecoder().decode(payload));
    return Value.Check(Header, protectedHeader) && Value.Check(Payload, said) ? said : undefined;
  } catch {
    return undefined;
  }
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
const hashOf = (text: string): string => digest(text).toString("base64url");

/** Takes as long for any two texts of these lengths. */
const isSame = (one: string, other: string): boolean => timingSafeEqual(digest(one), digest(other));

const unproven = (message: string): TokenRefused => new TokenRefused("unproven", message);
