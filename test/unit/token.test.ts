import { describe, expect, test } from "bun:test";
import { createHmac, createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../src/base/errors.ts";
import { NoTokens, SignedTokens, TokenKeys } from "../../src/manager/tokens/keys.ts";
import { defaultStateDir } from "../../src/manager/state/state.ts";
import { readPublicKey } from "../../src/protocol/token-key.ts";
import {
  type Claims,
  LAST_MS,
  MAX_TOKEN_BYTES,
  MAX_USER_LENGTH,
  SCOPES,
  TokenVerifier,
  readClaims,
} from "../../src/protocol/token.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";

const NOW = Date.UTC(2026, 0, 15, 12);
const cluster = new SigningCluster();
const verifierOf = ({ publicKey }: { publicKey: string }): TokenVerifier =>
  new TokenVerifier(readPublicKey(publicKey, "the key"));
const verifier = verifierOf(cluster);
const claims: Claims = {
  id: "b4f6",
  user: "ada",
  maxCores: 16,
  expiresAtMs: NOW + 1000,
  scopes: ["client", "read"],
  issuedAtMs: NOW - 1000,
};
const holderKey = { kty: "OKP", crv: "Ed25519", x: "A".repeat(43) } as const;
const token = await cluster.token(claims);
const [head, body, seal] = token.split(".") as [string, string, string];

async function refusal(attempt: Promise<unknown>): Promise<TokenRefused> {
  const error = await attempt.then(
    () => new Error("was not refused"),
    (error: unknown) => error,
  );
  if (error instanceof TokenRefused) return error;
  throw error;
}

const encoded = (part: string | object): string =>
  Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
const decoded = (part: string) =>
  JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;

/** A token of arbitrary claims and an arbitrary header, soundly signed. */
function forge(payload: string | object, header: string | object = decoded(head)): string {
  const signed = `${encoded(header)}.${encoded(payload)}`;
  return `${signed}.${sign(null, Buffer.from(signed), cluster.privateKey).toString("base64url")}`;
}

describe("a token", () => {
  test("says to its verifier what was signed", async () => {
    expect(await verifier.verify(token, NOW)).toEqual(claims);
    const { kid } = decoded(head);
    expect(readClaims(token)).toEqual({ ...claims, cluster: "test", keyId: kid as string });
  });

  test("is a JWS signed with EdDSA, with the registered claims of a JWT", () => {
    expect(decoded(head)).toEqual({
      ...{ alg: "EdDSA", typ: "rfaas+jwt", kid: expect.stringMatching(/^[\w-]{43}$/) },
    });
    expect(decoded(body)).toEqual({
      ...{ jti: "b4f6", sub: "ada", aud: "test", iat: NOW / 1000 - 1, exp: NOW / 1000 + 1 },
      ...{ scope: "client read", max_cores: 16 },
    });
  });

  test("may have no limits", async () => {
    const free: Claims = { ...claims, maxCores: null, expiresAtMs: null };
    const text = await cluster.token(free);
    expect(await verifier.verify(text, Number.MAX_SAFE_INTEGER)).toEqual(free);
  });

  test("keeps its limit of memory, in bytes", async () => {
    const bound: Claims = { ...claims, maxMemoryBytes: 2 ** 36 };
    const text = await cluster.token(bound);
    expect(decoded(text.split(".")[1]!)["max_memory"]).toBe(2 ** 36);
    expect(await verifier.verify(text, NOW)).toEqual(bound);
  });

  test("keeps its user's weight, which is 1 at least", async () => {
    const heavy: Claims = { ...claims, weight: 3 };
    const text = await cluster.token(heavy);
    expect(decoded(text.split(".")[1]!)["weight"]).toBe(3);
    expect(await verifier.verify(text, NOW)).toEqual(heavy);
    expect(cluster.token({ ...claims, weight: 0 })).rejects.toThrow("weight");
  });

  test("keeps the key of its holder", async () => {
    const bound: Claims = { ...claims, holderKey };
    const text = await cluster.token(bound);
    expect(decoded(text.split(".")[1]!)["cnf"]).toEqual({ jwk: holderKey });
    expect(await verifier.verify(text, NOW)).toEqual(bound);
    expect(readClaims(text)).toMatchObject({ holderKey });
  });

  test("is made of characters that need no quotes anywhere", () => {
    expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]{86}$/);
  });

  test("is good for its scopes; admin is good for read", async () => {
    expect((await verifier.verify(token, NOW, "client")).user).toBe("ada");
    const admin = await cluster.token({ ...claims, scopes: ["admin"] });
    expect((await verifier.verify(admin, NOW, "read")).user).toBe("ada");
    for (const scope of ["node", "client"] as const)
      expect((await refusal(verifier.verify(admin, NOW, scope))).reason).toBe("scope");
  });

  test("with the longest claims is not too long", async () => {
    const long = new SigningCluster("c".repeat(64));
    const longest = await long.token({
      id: "\u0000".repeat(64),
      user: "u".repeat(MAX_USER_LENGTH),
      maxCores: 0xffffffff,
      expiresAtMs: LAST_MS,
      scopes: [...SCOPES],
      issuedAtMs: LAST_MS,
      holderKey,
    });
    expect(longest.length).toBeLessThan(MAX_TOKEN_BYTES);
    expect((await verifierOf(long).verify(longest, NOW)).user).toHaveLength(MAX_USER_LENGTH);
  });

  test.each<[string, Partial<Claims>]>([
    ["user", { user: "" }],
    ["user", { user: "a\nb" }],
    ["user", { user: "-rf" }],
    ["user", { user: "u".repeat(MAX_USER_LENGTH + 1) }],
    ["maxCores", { maxCores: 0 }],
    ["maxCores", { maxCores: 1.5 }],
    ["scopes", { scopes: [] }],
    ["scopes", { scopes: ["read", "read"] }],
    ["expiresAtMs", { expiresAtMs: -1 }],
    ["expiresAtMs", { expiresAtMs: 1_500 }],
    ["expiresAtMs", { expiresAtMs: LAST_MS + 1000 }],
    ["holderKey", { holderKey: { ...holderKey, d: "secret" } as typeof holderKey }],
  ])("cannot be signed with a wrong %s", async (field, wrong) => {
    const { message } = await refusal(cluster.token({ ...claims, ...wrong }));
    expect(message).toContain(`cannot say this: ${field}`);
  });
});

describe("a token is refused", () => {
  const flipped = (text: string, at: number): string =>
    text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
  const header = decoded(head);
  const payload = decoded(body);

  test.each<[string, string]>([
    ["nothing", ""],
    ["two parts", `${head}.${body}`],
    ["four parts", `${token}.x`],
    ["a JWE", `${token}.x.y`],
    ["a space behind it", `${token} `],
    ["padding", `${token}==`],
    ["the other base64", `${head}.${body}.${seal.slice(0, -2)}+/`],
    ["a short signature", `${head}.${body}.${seal.slice(0, -4)}`],
    ["without a signature", `${head}.${body}.`],
    [
      "a second spelling of the signature",
      `${token.slice(0, -1)}${token.endsWith("A") ? "B" : "z"}`,
    ],
    ["no JSON", forge("not json")],
    ["JSON of another shape", forge("[]")],
    ["a null", forge("null")],
    ["a scope that is none", forge({ ...payload, scope: "root" })],
    ["a scope twice", forge({ ...payload, scope: "read read" })],
    ["a claim too many", forge({ ...payload, root: true })],
    [
      "a holder's key with its secret",
      forge({ ...payload, cnf: { jwk: { ...holderKey, d: "" } } }),
    ],
    ["a header that is no JSON", forge(payload, "not json")],
    ["a header too many", forge(payload, { ...header, crit: ["b64"], b64: false })],
    ["a key of its own", forge(payload, { ...header, jwk: holderKey })],
    ["something else that the key has signed", forge(payload, { ...header, typ: "JWT" })],
    ["not to be checked", `${encoded({ ...header, alg: "none" })}.${body}.${seal}`],
    ["too many bytes", `${head}.${"A".repeat(MAX_TOKEN_BYTES)}.${seal}`],
  ])("when it is %s", async (_, text) => {
    const { reason, message, code } = await refusal(verifier.verify(text, NOW));
    expect([reason, code]).toEqual(["malformed", "RFAAS_TOKEN"]);
    expect(message).toEndWith("copy it whole, as rfaas token create printed it");
  });

  test("when the public key was taken for a shared secret", async () => {
    const signed = `${encoded({ ...header, alg: "HS512" })}.${body}`;
    const mac = createHmac("sha512", cluster.publicKey).update(signed).digest("base64url");
    expect((await refusal(verifier.verify(`${signed}.${mac}`, NOW))).reason).toBe("malformed");
  });

  test("when an earlier rfaas made it, with the way to a new one", async () => {
    const { reason, message } = await refusal(verifier.verify(`rfaas1.${body}.${seal}`, NOW));
    expect(reason).toBe("outdated");
    expect(message).toMatch(/earlier rfaas.*ask .* for a new one \(rfaas token create\)$/);
  });

  test("when another key signed it, whichever it names", async () => {
    const other = new SigningCluster("test");
    const text = await other.token(claims);
    const ours = decoded(head)["kid"] as string;
    const claiming = `${encoded({ ...header, kid: ours })}.${text.split(".").slice(1).join(".")}`;
    for (const foreign of [text, claiming]) {
      const { reason, message } = await refusal(verifier.verify(foreign, NOW));
      expect(reason).toBe("foreign");
      expect(message).toContain("not signed with this manager's key");
    }
  });

  test("when it is for another cluster, though the key is the same", async () => {
    const other = new SigningCluster("elsewhere", cluster.privateKey);
    const { reason, message } = await refusal(verifier.verify(await other.token(claims), NOW));
    expect(reason).toBe("foreign");
    expect(message).toBe(
      "the token of ada is for another cluster (elsewhere); ask this cluster's administrator for one (rfaas token create)",
    );
  });

  test("when any character of it was changed", async () => {
    for (let at = 0; at < token.length; at++)
      expect(["malformed", "foreign"]).toContain(
        (await refusal(verifier.verify(flipped(token, at), NOW))).reason,
      );
  });

  test("when its claims were replaced under its signature", async () => {
    const { max_cores: _, ...more } = payload;
    const { reason } = await refusal(verifier.verify(`${head}.${encoded(more)}.${seal}`, NOW));
    expect(reason).toBe("foreign");
  });

  test("from the moment it expires, saying when that was", async () => {
    expect(await verifier.verify(token, NOW + 999)).toEqual(claims);
    const { reason, message } = await refusal(verifier.verify(token, NOW + 1000));
    expect(reason).toBe("expired");
    expect(message).toBe(
      "the token of ada expired at 2026-01-15 12:00:01 UTC; ask for a new one (rfaas token create --user ada)",
    );
  });

  test("for what it is not for", async () => {
    const { reason, message } = await refusal(verifier.verify(token, NOW, "admin"));
    expect(reason).toBe("scope");
    expect(message).toBe(
      "the token of ada is for client, read and not for admin; ask for one with --scope admin",
    );
  });

  test("without a word of it in the message", async () => {
    const tokens = [
      flipped(token, token.length - 20),
      `${head}.${body}`,
      forge(`{"user":"${seal}`),
      `rfaas1.${body}.${seal}`,
      token,
    ];
    for (const text of tokens) {
      const { message, cause } = await refusal(verifier.verify(text, NOW + 5000));
      for (const part of text.split(".").slice(1)) expect(message).not.toContain(part);
      expect(message).not.toContain(seal);
      expect(cause).toBeUndefined();
    }
  });
});

describe("a public key", () => {
  test.each<[string, string, RegExp]>([
    ["no key", "nonsense", /the key is no public key in PEM .*token-key\.pub/],
    [
      "one that names no cluster",
      cluster.publicKey.replace(/^.*\n/, ""),
      /the key does not name its cluster: .*use the token-key\.pub of the manager's state directory/,
    ],
    ["a cluster with an odd name", cluster.publicKey.replace("test", "a/b"), /does not name its/],
  ])("is refused when it is %s", (_, text, says) => {
    expect(() => readPublicKey(text, "the key")).toThrow(says);
    expect(() => readPublicKey(text, "the key")).toThrow(EnvironmentError);
  });
});

describe("the keys of a state directory", () => {
  test("are made on first use, the private one for its owner alone, and kept", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/rfaas");
    const keys = TokenKeys.open(state);
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(join(state, "token-key.pem")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(state, "token-key.pub"), "utf8")).toBe(keys.publicKey);
    expect(readdirSync(state).sort()).toEqual(["cluster-id", "token-key.pem", "token-key.pub"]);
    expect(TokenKeys.open(state).publicKey).toBe(keys.publicKey);
    expect(await verifierOf(keys).verify(await keys.sign(claims), NOW)).toEqual(claims);
  });

  test("are of the same cluster when the key is replaced, and of another elsewhere", async () => {
    using scratch = new Scratch();
    const [first, elsewhere] = ["a", "b"].map((name) => TokenKeys.open(scratch.join(name)));
    rmSync(scratch.join("a/token-key.pem"));
    const second = TokenKeys.open(scratch.join("a"));
    const clusters = [first!, second, elsewhere!].map(
      ({ publicKey }) => readPublicKey(publicKey, "the key").cluster,
    );
    expect(clusters[1]).toBe(clusters[0]!);
    expect(clusters[2]).not.toBe(clusters[0]!);
    const { reason } = await refusal(verifierOf(second).verify(await first!.sign(claims), NOW));
    expect(reason).toBe("foreign");
  });

  test("are refused when the cluster's id is none", () => {
    using scratch = new Scratch();
    const path = scratch.file("cluster-id", "a b\n");
    expect(() => TokenKeys.open(scratch.path)).toThrow(
      `${path} holds no id of a cluster; restore it, or remove it`,
    );
  });

  test("are the same for all processes that make them at once", async () => {
    using scratch = new Scratch();
    const keys = join(import.meta.dir, "../../src/manager/tokens/keys.ts");
    const code = `const { TokenKeys } = await import(${JSON.stringify(keys)});
      process.stdout.write(TokenKeys.open(${JSON.stringify(scratch.path)}).publicKey);`;
    const children = Array.from({ length: 6 }, () =>
      Bun.spawn([process.argv0, "-e", code], { stdout: "pipe", stderr: "inherit" }),
    );
    const printed = await Promise.all(children.map((child) => child.stdout.text()));
    expect(new Set(printed).size).toBe(1);
    expect(printed[0]).toBe(TokenKeys.open(scratch.path).publicKey);
  });

  test("are refused when others may read the private one", () => {
    using scratch = new Scratch();
    TokenKeys.open(scratch.path);
    for (const mode of [0o640, 0o604, 0o644, 0o660]) {
      chmodSync(scratch.join("token-key.pem"), mode);
      expect(() => TokenKeys.open(scratch.path)).toThrow(/others may read .* chmod 600 /);
    }
  });

  test("are refused when they are no Ed25519 keys", () => {
    using scratch = new Scratch();
    const path = scratch.file("token-key.pem", "secret nonsense");
    chmodSync(path, 0o600);
    expect(() => TokenKeys.open(scratch.path)).toThrow(EnvironmentError);
    expect(() => TokenKeys.open(scratch.path)).toThrow(/is no key; restore it/);
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(path, rsa.privateKey.export({ type: "pkcs8", format: "pem" }));
    expect(() => TokenKeys.open(scratch.path)).toThrow(/is of type rsa; use an Ed25519 key/);
    expect(() => new SignedTokens("nonsense")).toThrow(/use the token-key.pub of the manager/);
  });

  test("are written again, public from private, when the public one is lost or stale", () => {
    using scratch = new Scratch();
    const first = TokenKeys.open(scratch.join("a"));
    mkdirSync(scratch.join("b"));
    for (const kept of ["token-key.pem", "cluster-id"])
      copyFileSync(scratch.join(`a/${kept}`), scratch.join(`b/${kept}`));
    writeFileSync(scratch.join("b/token-key.pub"), "stale");
    expect(TokenKeys.open(scratch.join("b")).publicKey).toBe(first.publicKey);
    expect(readFileSync(scratch.join("b/token-key.pub"), "utf8")).toBe(first.publicKey);
    expect(createPrivateKey(readFileSync(scratch.join("b/token-key.pem"))).type).toBe("private");
  });

  test("are for a directory that can be made, and say so otherwise", () => {
    using scratch = new Scratch();
    const file = scratch.file("taken", "");
    expect(() => TokenKeys.open(join(file, "state"))).toThrow(/cannot be created: .*--state DIR$/);
  });
});

describe("checking tokens", () => {
  test("admits by name and limit, or says why not", async () => {
    let now = NOW;
    const tokens = new SignedTokens(cluster.publicKey, () => now);
    expect(tokens.publicKey).toBe(cluster.publicKey);
    expect(await tokens.check(token, "read")).toEqual({
      ...{ user: "ada", maxCores: 16, seesAll: false },
      token: expect.objectContaining({ user: "ada", maxCores: 16 }),
    });
    expect(await tokens.check(token, "admin")).toMatchObject({ forbidden: true });
    for (const missing of [null, ""])
      expect(await tokens.check(missing, "read")).toEqual({
        refused: expect.stringContaining("needed"),
      });
    now += 10_000;
    expect(await tokens.check(token, "read")).toMatchObject({
      refused: expect.stringContaining("expired"),
      forbidden: false,
    });
  });

  test("without a key admits everybody as nobody", async () => {
    const tokens = new NoTokens();
    expect(tokens.publicKey).toBeNull();
    expect(await tokens.check()).toEqual({ user: "anonymous", maxCores: null, seesAll: true });
  });
});

test("the state directory follows XDG, where its path is absolute", () => {
  expect(defaultStateDir({ XDG_STATE_HOME: "/var/lib/x" })).toBe("/var/lib/x/rfaas");
  for (const home of [undefined, "", "relative"])
    expect(defaultStateDir({ XDG_STATE_HOME: home })).toEndWith("/.local/state/rfaas");
});
