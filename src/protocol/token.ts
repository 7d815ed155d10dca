/**
 * Access tokens: who may use how many cores for what, until when. The manager signs them; a node that has the public key of its
 * cluster checks them by itself.
 *
 * A token is a JWS (RFC 7515) that is signed with EdDSA, and its claims are those of a JWT (RFC 7519), each in the one form that
 * {@link Payload} describes. A token without its holder's key (`cnf`) is a secret: nothing here puts one, or a part of one, into an error.
 */
import { type Static, Type } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { TokenRefused } from "../base/errors.ts";
import { project } from "./fields.ts";
import type { ClusterKey, RingKey } from "./token-key.ts";
import { LAST_MS, MAX_USER_LENGTH, TokenId, UserName, isoTime } from "./tokens/names.ts";

export { LAST_MS, MAX_USER_LENGTH, TokenId, UserName };

/** The prefix of tokens of the older format, before JWS. */
const OUTDATED_PREFIX = "rfaas1.";
const ALGORITHM = "EdDSA";
/** Tells our tokens from other things that are signed with the same key. */
const TOKEN_TYPE = "rfaas+jwt";
/** That of a token with a holder's key: what does not ask for a proof does not read it. */
const BOUND_TYPE = "rfaas-bound+jwt";
/** Longer than the longest token; checked before anything is decoded. */
export const MAX_TOKEN_BYTES = 2048;
/** The largest share of a user who waits with others. */
export const MAX_WEIGHT = 1_000_000;
const SIGNATURE_BYTES = 64;

/** Whole seconds since 1970. */
const seconds = Type.Integer({ minimum: 0, maximum: LAST_MS / 1000 });

/**
 * What a token is good for: `client` leases, `bill` sees its user's bill, `node` registers as one, `read` looks at the manager, `admin`
 * looks and changes, `renew` gets one like itself of the manager before it expires.
 */
export type Scope = "client" | "bill" | "node" | "read" | "admin" | "renew";
export const SCOPES: readonly Scope[] = ["client", "bill", "node", "read", "admin", "renew"];
/** What a scope permits besides itself. */
const COVERS: Partial<Record<Scope, readonly Scope[]>> = {
  read: ["bill"],
  admin: ["read", "bill"],
};
const NAMES = SCOPES.join("|");

export const CORE_HOURS_PATTERN = "^[0-9]{1,12}(?:\\.[0-9]{1,6})?/(?:day|month)$";
/** What leases may cost in a day or a month, as cores held. */
export interface CoreHours {
  hours: number;
  period: "day" | "month";
}
export const formatCoreHours = ({ hours, period }: CoreHours): string => `${hours}/${period}`;
/** Of a text that fits {@link CORE_HOURS_PATTERN}. */
export function readCoreHours(text: string): CoreHours {
  const [hours, period] = text.split("/");
  return { hours: Number(hours), period: period as CoreHours["period"] };
}

/** The name of a node, as its token has it. */
export const TokenNode = Type.String({
  minLength: 1,
  maxLength: 128,
  pattern: "^[A-Za-z0-9._:-]+$",
});

/** A public Ed25519 key as a JWK (RFC 8037). */
export const HolderKey = Type.Object(
  {
    kty: Type.Literal("OKP"),
    crv: Type.Literal("Ed25519"),
    x: Type.String({ pattern: "^[A-Za-z0-9_-]{43}$" }),
  },
  { additionalProperties: false },
);
export type HolderKey = Static<typeof HolderKey>;

const Header = Type.Object(
  {
    alg: Type.Literal(ALGORITHM),
    typ: Type.Union([Type.Literal(TOKEN_TYPE), Type.Literal(BOUND_TYPE)]),
    kid: Type.String(),
  },
  { additionalProperties: false },
);

/** A claim that is not known here may be a limit, so a token that has one is refused. */
const Payload = Type.Object(
  {
    jti: TokenId,
    sub: UserName,
    aud: Type.String(),
    iat: seconds,
    exp: Type.Optional(seconds),
    /** Names with a space between them (RFC 8693). */
    scope: Type.String({ pattern: `^(?:${NAMES})(?: (?:${NAMES}))*$` }),
    max_cores: Type.Optional(Type.Integer({ minimum: 1, maximum: 0xffffffff })),
    /** Bytes. */
    max_memory: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
    max_leases: Type.Optional(Type.Integer({ minimum: 1, maximum: 0xffffffff })),
    /** `100/month` or `2.5/day`. */
    core_hours: Type.Optional(Type.String({ pattern: CORE_HOURS_PATTERN, maxLength: 32 })),
    weight: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_WEIGHT })),
    node: Type.Optional(TokenNode),
    project: Type.Optional(project),
    /** The key of the token's holder (RFC 7800). */
    cnf: Type.Optional(Type.Object({ jwk: HolderKey }, { additionalProperties: false })),
  },
  { additionalProperties: false },
);
type Payload = Static<typeof Payload>;

/** What a token says. */
export interface Claims {
  /** Distinguishes the tokens of one user. */
  id: string;
  user: string;
  /** How many cores at a time; null for no limit. */
  maxCores: number | null;
  /** How much memory of a node at a time, heaps included; left out, without limit. */
  maxMemoryBytes?: number;
  /** How many leases at a time; left out, without limit. */
  maxLeases?: number;
  /** What leases may cost in a period; left out, without limit. */
  coreHours?: CoreHours;
  /** A whole second; null for never. */
  expiresAtMs: number | null;
  scopes: Scope[];
  /** A whole second. */
  issuedAtMs: number;
  /** The key whose owner alone may use the token; left out, every bearer of the token may. */
  holderKey?: HolderKey;
  /** The node that it is for: a node's token announces this one alone, and a user's takes leases of it alone. Left out, any of the cluster. */
  node?: string;
  /** What its leases are for, on the bill. Left out, what their client says. */
  project?: string;
  /** Its user's share of a node that others wait for, too, against theirs. Left out, 1. */
  weight?: number;
}

/** What a token shows without its key. */
export interface ShownClaims extends Claims {
  /** The cluster that it is for. */
  cluster: string;
  /** The key that has signed it, as it says. */
  keyId: string;
}

/** How {@link Claims} name what a payload says. */
const NAMES_OF_CLAIMS: Record<string, string> = {
  ...{ jti: "id", sub: "user", aud: "cluster", iat: "issuedAtMs", exp: "expiresAtMs" },
  ...{ scope: "scopes", max_cores: "maxCores", max_memory: "maxMemoryBytes" },
  ...{ max_leases: "maxLeases", core_hours: "coreHours" },
  ...{ cnf: "holderKey", node: "node", project: "project", weight: "weight" },
};

/** Compiled when the first token comes: most programs that load this never see one. */
let compiled: { header: TypeCheck<typeof Header>; payload: TypeCheck<typeof Payload> } | undefined;
const checks = () =>
  (compiled ??= { header: TypeCompiler.Compile(Header), payload: TypeCompiler.Compile(Payload) });

/** Signs the tokens of a cluster. */
export class TokenSigner {
  readonly #key: ClusterKey;

  /** `key` is the private one. */
  constructor(key: ClusterKey) {
    this.#key = key;
  }

  /** A token that says `claims`. Rejects with {@link TokenRefused} when no verifier would take them. */
  async sign(claims: Claims): Promise<string> {
    const { cluster, key } = this.#key;
    const payload = payloadOf(claims, cluster);
    const wrong = wrongWith(payload);
    if (wrong)
      throw new TokenRefused(
        "malformed",
        `a token cannot say this: ${NAMES_OF_CLAIMS[wrong.name] ?? wrong.name}: ${wrong.message}; correct it and sign again`,
      );
    const { CompactSign } = await import("jose/jws/compact/sign");
    const typ = claims.holderKey ? BOUND_TYPE : TOKEN_TYPE;
    const header = { alg: ALGORITHM, typ, kid: await keyIdOf(this.#key) };
    return await new CompactSign(new TextEncoder().encode(JSON.stringify(payload)))
      .setProtectedHeader(header)
      .sign(key);
  }
}

/** Checks the tokens of a cluster. */
export class TokenVerifier {
  readonly #keys: readonly RingKey[];
  readonly #keyIds: Promise<string[]>;

  /** The public keys that count, of one cluster, the present one first. */
  constructor(...keys: [RingKey, ...RingKey[]]) {
    this.#keys = keys;
    this.#keyIds = Promise.all(keys.map(keyIdOf));
  }

  /** Until when tokens of the key with this id count at most; null for no end, undefined for a key that is none of these. */
  async untilOf(keyId: string): Promise<number | null | undefined> {
    const key = this.#keys[(await this.#keyIds).indexOf(keyId)];
    return key && (key.untilMs ?? null);
  }

  /** Whose tokens it checks. */
  get cluster(): string {
    return this.#keys[0]!.cluster;
  }

  /**
   * The claims of the token, after checking that the key's owner signed it for this cluster, that it is not expired at `nowMs`, and
   * that it has the `scope`, where one is given. A token with the scope `admin` has `read` too, and one with `read` has `bill`. Where the claims have a `holderKey`, the
   * token counts for nothing without a proof, which `holder/proof.ts` checks. A token of a former key expires with that key at the latest.
   *
   * Rejects with {@link TokenRefused}, which has the reason and what to do.
   */
  async verify(token: string, nowMs: number, scope?: Scope): Promise<Claims> {
    const { cluster, keyId, ...shown } = readClaims(token);
    const signer = this.#keys[(await this.#keyIds).indexOf(keyId)];
    if (!signer || !(await isSigned(token, signer)))
      throw new TokenRefused(
        "foreign",
        "the token was not signed with this manager's key, or was altered; ask this cluster's administrator for one (rfaas token create)",
      );
    const { user, scopes } = shown;
    if (cluster !== signer.cluster)
      throw new TokenRefused(
        "foreign",
        `the token of ${user} is for another cluster (${cluster}); ask this cluster's administrator for one (rfaas token create)`,
      );
    const { untilMs = null } = signer;
    if (untilMs !== null && untilMs <= nowMs)
      throw new TokenRefused(
        "expired",
        `the token of ${user} was signed with a key that this cluster has replaced, and that counted until ${isoTime(untilMs)}; ask for a new one (rfaas token create --user ${user})`,
      );
    const expiresAtMs = earlier(shown.expiresAtMs, untilMs);
    if (expiresAtMs !== null && expiresAtMs <= nowMs)
      throw new TokenRefused(
        "expired",
        `the token of ${user} expired at ${isoTime(expiresAtMs)}; ask for a new one (rfaas token create --user ${user})`,
      );
    if (scope !== undefined && !permits(scopes, scope))
      throw new TokenRefused(
        "scope",
        `the token of ${user} is for ${scopes.join(", ")} and not for ${scope}; ask for one with --scope ${scope}`,
      );
    return { ...shown, expiresAtMs };
  }
}

async function isSigned(token: string, { key }: ClusterKey): Promise<boolean> {
  const { compactVerify } = await import("jose/jws/compact/verify");
  try {
    await compactVerify(token, key, { algorithms: [ALGORITHM] });
    return true;
  } catch (error) {
    // Its message and its cause may quote the token.
    if ((error as { code?: unknown }).code === "ERR_JWS_SIGNATURE_VERIFICATION_FAILED")
      return false;
    throw malformed("it is no JWS that is signed with EdDSA");
  }
}

/** The earlier of two moments, of which null is never. */
const earlier = (one: number | null, other: number | null): number | null =>
  one === null ? other : other === null ? one : Math.min(one, other);

/** The claims of the token, without a check of its signature: to be shown, never to be acted on. Throws {@link TokenRefused}. */
export function readClaims(token: string): ShownClaims {
  if (token.startsWith(OUTDATED_PREFIX))
    throw new TokenRefused(
      "outdated",
      "the token was made by an earlier rfaas, whose tokens name no cluster; ask this cluster's administrator for a new one (rfaas token create)",
    );
  if (token.length > MAX_TOKEN_BYTES)
    throw malformed(`it is longer than ${MAX_TOKEN_BYTES} characters`);
  const [header, payload, signature, ...more] = token.split(".");
  if (more.length === 1)
    throw malformed("its private key came with it, which an earlier rfaas sends; update that one");
  if (!header || !payload || !signature || more.length > 0)
    throw malformed("it does not have the form HEADER.CLAIMS.SIGNATURE");
  if (fromBase64Url(signature)?.length !== SIGNATURE_BYTES)
    throw malformed("its signature is not whole");
  const head = fromJson(header, "header");
  if (!checks().header.Check(head))
    throw malformed("its header is not that of a token of rfaas which is signed with EdDSA");
  const said = fromJson(payload, "claims");
  const wrong = wrongWith(said);
  if (wrong) throw malformed(`its claims are wrong at ${wrong.name}`);
  const claims = claimsOf(said as Payload);
  if ((head.typ === BOUND_TYPE) !== (claims.holderKey !== undefined))
    throw malformed("its header and its claims disagree on whether it has a holder's key");
  return { ...claims, keyId: head.kid };
}

/** The thumbprint of the public key (RFC 7638). */
export async function keyIdOf({ key }: ClusterKey): Promise<string> {
  const { calculateJwkThumbprint } = await import("jose/jwk/thumbprint");
  const { kty, crv, x } = key.export({ format: "jwk" });
  return await calculateJwkThumbprint({ kty, crv, x } as HolderKey);
}

function payloadOf(claims: Claims, cluster: string): Payload {
  const { maxCores, maxMemoryBytes, expiresAtMs, holderKey, node, project, weight } = claims;
  return {
    ...{ jti: claims.id, sub: claims.user, aud: cluster, iat: claims.issuedAtMs / 1000 },
    ...(expiresAtMs === null ? {} : { exp: expiresAtMs / 1000 }),
    scope: claims.scopes.join(" "),
    ...(maxCores === null ? {} : { max_cores: maxCores }),
    ...(maxMemoryBytes === undefined ? {} : { max_memory: maxMemoryBytes }),
    ...(claims.maxLeases === undefined ? {} : { max_leases: claims.maxLeases }),
    ...(claims.coreHours ? { core_hours: formatCoreHours(claims.coreHours) } : {}),
    ...(node === undefined ? {} : { node }),
    ...(project === undefined ? {} : { project }),
    ...(weight === undefined ? {} : { weight }),
    ...(holderKey ? { cnf: { jwk: holderKey } } : {}),
  };
}

function claimsOf(payload: Payload): Omit<ShownClaims, "keyId"> {
  const { jti, sub, aud, iat, exp, scope, max_cores, max_memory, node, project, weight, cnf } =
    payload;
  return {
    id: jti,
    user: sub,
    cluster: aud,
    maxCores: max_cores ?? null,
    ...(max_memory === undefined ? {} : { maxMemoryBytes: max_memory }),
    expiresAtMs: exp === undefined ? null : exp * 1000,
    scopes: scope.split(" ") as Scope[],
    issuedAtMs: iat * 1000,
    ...(payload.max_leases === undefined ? {} : { maxLeases: payload.max_leases }),
    ...(payload.core_hours === undefined ? {} : { coreHours: readCoreHours(payload.core_hours) }),
    ...(node === undefined ? {} : { node }),
    ...(project === undefined ? {} : { project }),
    ...(weight === undefined ? {} : { weight }),
    ...(cnf ? { holderKey: cnf.jwk } : {}),
  };
}

/** The first claim that is wrong; undefined for a {@link Payload}. */
function wrongWith(payload: unknown): { name: string; message: string } | undefined {
  const { payload: check } = checks();
  if (!check.Check(payload)) {
    const first = check.Errors(payload).First();
    return { name: first?.path.split("/")[1] || "all of them", message: first?.message ?? "wrong" };
  }
  const scopes = payload.scope.split(" ");
  if (new Set(scopes).size === scopes.length) return undefined;
  return { name: "scope", message: "Expected each scope once" };
}

function permits(scopes: readonly Scope[], scope: Scope): boolean {
  return scopes.some((one) => one === scope || COVERS[one]?.includes(scope));
}

function fromJson(part: string, what: string): unknown {
  const bytes = fromBase64Url(part);
  try {
    if (bytes) return JSON.parse(bytes.toString("utf8"));
  } catch {
    // The parser's own message quotes the text.
  }
  throw malformed(`its ${what} cannot be read`);
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
