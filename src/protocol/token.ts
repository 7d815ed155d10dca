/**
 * Access tokens: who may use how many cores for what, until when. The manager signs them with Ed25519; whoever has its public key
 * checks them without asking anyone.
 *
 * `rfaas1.CLAIMS.SIGNATURE`, both base64url; the signature covers everything before its dot. A token is a secret: nothing here
 * puts one, or a part of one, into an error.
 */
import { type KeyObject, sign, verify } from "node:crypto";
import { type Static, Type } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { TokenRefused } from "../base/errors.ts";

const PREFIX = "rfaas1";
/** Longer than the longest set of claims; checked before anything is decoded. */
export const MAX_TOKEN_BYTES = 2048;
export const MAX_USER_LENGTH = 64;
const SIGNATURE_BYTES = 64;

const moment = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** What a token is good for: `client` leases, `node` registers as one, `read` looks at the manager, `admin` looks and changes. */
export const Scope = Type.Union([
  Type.Literal("client"),
  Type.Literal("node"),
  Type.Literal("read"),
  Type.Literal("admin"),
]);
export type Scope = Static<typeof Scope>;
export const SCOPES: readonly Scope[] = ["client", "node", "read", "admin"];

/** The name of a user, as it stands on a bill. */
export const UserName = Type.String({
  minLength: 1,
  maxLength: MAX_USER_LENGTH,
  pattern: "^[A-Za-z0-9][A-Za-z0-9._@+-]*$",
});

export const Claims = Type.Object(
  {
    /** Distinguishes the tokens of one user. */
    id: Type.String({ minLength: 1, maxLength: 64 }),
    user: UserName,
    maxCores: Type.Union([Type.Integer({ minimum: 1, maximum: 0xffffffff }), Type.Null()]),
    expiresAtMs: Type.Union([moment, Type.Null()]),
    scopes: Type.Array(Scope, { minItems: 1, maxItems: SCOPES.length, uniqueItems: true }),
    issuedAtMs: moment,
  },
  { additionalProperties: false },
);
export type Claims = Static<typeof Claims>;

let compiled: TypeCheck<typeof Claims> | undefined;
/** Compiled when the first token comes: most programs that load this never see one. */
const claimsCheck = (): TypeCheck<typeof Claims> => (compiled ??= TypeCompiler.Compile(Claims));

/** A token that says `claims`. Throws {@link TokenRefused} when no verifier would take them. */
export function signToken(privateKey: KeyObject, claims: Claims): string {
  const wrong = claimsCheck().Errors(claims).First();
  if (wrong)
    throw new TokenRefused(
      "malformed",
      `a token cannot say this: ${wrong.path.slice(1)}: ${wrong.message}; correct it and sign again`,
    );
  const signed = `${PREFIX}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString("base64url")}`;
}

/**
 * What the token says, once it is known to be the key owner's word, not expired at `nowMs`, and good for `scope` where one is given.
 * A token with the scope `admin` is good for `read` too.
 *
 * @throws {TokenRefused} with the reason and what to do.
 */
export function verifyToken(
  publicKey: KeyObject,
  token: string,
  nowMs: number,
  scope?: Scope,
): Claims {
  const { claims, signed, signature } = dismantle(token);
  if (!verify(null, Buffer.from(signed), publicKey, signature))
    throw new TokenRefused(
      "foreign",
      "the token was not signed with this manager's key, or was altered; ask this cluster's administrator for one (rfaas token create)",
    );
  if (claims.expiresAtMs !== null && claims.expiresAtMs <= nowMs)
    throw new TokenRefused(
      "expired",
      `the token of ${claims.user} expired at ${isoTime(claims.expiresAtMs)}; ask for a new one (rfaas token create --user ${claims.user})`,
    );
  if (scope !== undefined && !permits(claims.scopes, scope))
    throw new TokenRefused(
      "scope",
      `the token of ${claims.user} is for ${claims.scopes.join(", ")} and not for ${scope}; ask for one with --scope ${scope}`,
    );
  return claims;
}

/** What the token says, without knowing who says it: to be shown, never to be acted on. */
export function readClaims(token: string): Claims {
  return dismantle(token).claims;
}

function permits(scopes: readonly Scope[], scope: Scope): boolean {
  return scopes.includes(scope) || (scope === "read" && scopes.includes("admin"));
}

interface Parts {
  claims: Claims;
  signed: string;
  signature: Uint8Array;
}

function dismantle(token: string): Parts {
  if (token.length > MAX_TOKEN_BYTES)
    throw malformed(`it is longer than ${MAX_TOKEN_BYTES} characters`);
  const [prefix, payload, seal, ...more] = token.split(".");
  if (prefix !== PREFIX || !payload || !seal || more.length > 0)
    throw malformed(`it does not have the form ${PREFIX}.CLAIMS.SIGNATURE`);
  const body = fromBase64Url(payload);
  const signature = fromBase64Url(seal);
  if (!body || signature?.length !== SIGNATURE_BYTES)
    throw malformed("a part of it is missing or not base64url");
  let claims: unknown;
  try {
    claims = JSON.parse(body.toString("utf8"));
  } catch {
    // The parser's own message quotes the text.
    throw malformed("its claims are not JSON");
  }
  if (!claimsCheck().Check(claims)) {
    const first = claimsCheck().Errors(claims).First();
    throw malformed(`its claims are wrong at ${first?.path || "/"}`);
  }
  return { claims, signed: `${prefix}.${payload}`, signature };
}

/** Undefined unless `text` is the one way to write its bytes: a token must not have two spellings. */
function fromBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

function malformed(why: string): TokenRefused {
  return new TokenRefused(
    "malformed",
    `the token is malformed: ${why}; copy it whole, as rfaas token create printed it`,
  );
}

function isoTime(ms: number): string {
  const utc = new Intl.DateTimeFormat("sv-SE", {
    timeZone: "UTC",
    dateStyle: "short",
    timeStyle: "medium",
  });
  // The last moment a calendar knows.
  return `${utc.format(Math.min(ms, 8.64e15))} UTC`;
}
