import { describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../src/base/errors.ts";
import { NoTokens, SignedTokens, TokenKeys } from "../../src/manager/tokens/keys.ts";
import { defaultStateDir } from "../../src/manager/state/state.ts";
import {
  type Claims,
  MAX_TOKEN_BYTES,
  MAX_USER_LENGTH,
  SCOPES,
  readClaims,
  signToken,
  verifyToken,
} from "../../src/protocol/token.ts";
import { Scratch } from "../support/scratch.ts";

const NOW = Date.UTC(2026, 0, 15, 12);
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const claims: Claims = {
  id: "b4f6",
  user: "ada",
  maxCores: 16,
  expiresAtMs: NOW + 1000,
  scopes: ["client", "read"],
  issuedAtMs: NOW - 1000,
};
const token = signToken(privateKey, claims);

function refusal(run: () => unknown): TokenRefused {
  try {
    run();
  } catch (error) {
    if (error instanceof TokenRefused) return error;
    throw error;
  }
  throw new Error("was not refused");
}

/** A token of arbitrary claims, soundly signed. */
function forge(body: string, key = privateKey): string {
  const signed = `rfaas1.${Buffer.from(body).toString("base64url")}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString("base64url")}`;
}

describe("a token", () => {
  test("says to its verifier what was signed", () => {
    expect(verifyToken(publicKey, token, NOW)).toEqual(claims);
    expect(readClaims(token)).toEqual(claims);
  });

  test("may have no limits", () => {
    const free: Claims = { ...claims, maxCores: null, expiresAtMs: null };
    const text = signToken(privateKey, free);
    expect(verifyToken(publicKey, text, Number.MAX_SAFE_INTEGER)).toEqual(free);
  });

  test("is made of characters that need no quotes anywhere", () => {
    expect(token).toMatch(/^rfaas1\.[\w-]+\.[\w-]{86}$/);
  });

  test("is good for its scopes; admin is good for read", () => {
    expect(verifyToken(publicKey, token, NOW, "client").user).toBe("ada");
    const admin = signToken(privateKey, { ...claims, scopes: ["admin"] });
    expect(verifyToken(publicKey, admin, NOW, "read").user).toBe("ada");
    for (const scope of ["node", "client"] as const)
      expect(refusal(() => verifyToken(publicKey, admin, NOW, scope)).reason).toBe("scope");
  });

  test("with the longest claims is not too long", () => {
    const longest = signToken(privateKey, {
      id: "\u0000".repeat(64),
      user: "u".repeat(MAX_USER_LENGTH),
      maxCores: 0xffffffff,
      expiresAtMs: Number.MAX_SAFE_INTEGER,
      scopes: [...SCOPES],
      issuedAtMs: Number.MAX_SAFE_INTEGER,
    });
    expect(longest.length).toBeLessThan(MAX_TOKEN_BYTES);
    expect(verifyToken(publicKey, longest, NOW).user).toHaveLength(MAX_USER_LENGTH);
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
  ])("cannot be signed with a wrong %s", (field, wrong) => {
    expect(() => signToken(privateKey, { ...claims, ...wrong })).toThrow(
      new RegExp(`cannot say this: ${field}`),
    );
  });
});

describe("a token is refused", () => {
  const [prefix, body, seal] = token.split(".") as [string, string, string];
  const flipped = (text: string, at: number): string =>
    text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);

  test.each<[string, string]>([
    ["nothing", ""],
    ["another format", `rfaas2.${body}.${seal}`],
    ["two parts", `${prefix}.${body}`],
    ["four parts", `${token}.x`],
    ["a space behind it", `${token} `],
    ["padding", `${token}==`],
    ["the other base64", `${prefix}.${body}.${seal.slice(0, -2)}+/`],
    ["a short signature", `${prefix}.${body}.${seal.slice(0, -4)}`],
    [
      "a second spelling of the signature",
      `${token.slice(0, -1)}${token.endsWith("A") ? "B" : "z"}`,
    ],
    ["no JSON", forge("not json")],
    ["JSON of another shape", forge("[]")],
    ["a null", forge("null")],
    ["a scope that is none", forge(JSON.stringify({ ...claims, scopes: ["root"] }))],
    ["a claim too many", forge(JSON.stringify({ ...claims, root: true }))],
    ["too many bytes", `rfaas1.${"A".repeat(MAX_TOKEN_BYTES)}.${seal}`],
  ])("when it is %s", (_, text) => {
    const { reason, message, code } = refusal(() => verifyToken(publicKey, text, NOW));
    expect([reason, code]).toEqual(["malformed", "RFAAS_TOKEN"]);
    expect(message).toEndWith("copy it whole, as rfaas token create printed it");
  });

  test("when another key signed it", () => {
    const other = generateKeyPairSync("ed25519");
    const { reason, message } = refusal(() =>
      verifyToken(publicKey, signToken(other.privateKey, claims), NOW),
    );
    expect(reason).toBe("foreign");
    expect(message).toContain("not signed with this manager's key");
  });

  test("when any character of it was changed", () => {
    for (let at = 0; at < token.length; at++)
      expect(["malformed", "foreign"]).toContain(
        refusal(() => verifyToken(publicKey, flipped(token, at), NOW)).reason,
      );
  });

  test("when its claims were replaced under its signature", () => {
    const more = Buffer.from(JSON.stringify({ ...claims, maxCores: null })).toString("base64url");
    expect(refusal(() => verifyToken(publicKey, `${prefix}.${more}.${seal}`, NOW)).reason).toBe(
      "foreign",
    );
  });

  test("from the moment it expires, saying when that was", () => {
    expect(verifyToken(publicKey, token, NOW + 999)).toEqual(claims);
    const { reason, message } = refusal(() => verifyToken(publicKey, token, NOW + 1000));
    expect(reason).toBe("expired");
    expect(message).toBe(
      "the token of ada expired at 2026-01-15 12:00:01 UTC; ask for a new one (rfaas token create --user ada)",
    );
  });

  test("for what it is not for", () => {
    const { reason, message } = refusal(() => verifyToken(publicKey, token, NOW, "admin"));
    expect(reason).toBe("scope");
    expect(message).toBe(
      "the token of ada is for client, read and not for admin; ask for one with --scope admin",
    );
  });

  test("without a word of it in the message", () => {
    const tokens = [flipped(token, 20), `${prefix}.${body}`, forge(`{"user":"${seal}`), token];
    for (const text of tokens) {
      const { message, cause } = refusal(() => verifyToken(publicKey, text, NOW + 5000));
      for (const part of text.split(".").slice(1)) expect(message).not.toContain(part);
      expect(message).not.toContain(seal);
      expect(cause).toBeUndefined();
    }
  });
});

describe("the keys of a state directory", () => {
  test("are made on first use, the private one for its owner alone, and kept", () => {
    using scratch = new Scratch();
    const state = scratch.join("state/rfaas");
    const keys = TokenKeys.open(state);
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(join(state, "token-key.pem")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(state, "token-key.pub"), "utf8")).toBe(keys.publicKey);
    expect(readdirSync(state).sort()).toEqual(["token-key.pem", "token-key.pub"]);
    expect(TokenKeys.open(state).publicKey).toBe(keys.publicKey);
    expect(verifyToken(createPublicKey(keys.publicKey), keys.sign(claims), NOW)).toEqual(claims);
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
    expect(() => new SignedTokens("nonsense")).toThrow(/use the manager's token-key.pub/);
  });

  test("are written again, public from private, when the public one is lost or stale", () => {
    using scratch = new Scratch();
    const first = TokenKeys.open(scratch.join("a"));
    mkdirSync(scratch.join("b"));
    copyFileSync(scratch.join("a/token-key.pem"), scratch.join("b/token-key.pem"));
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
  const pem = publicKey.export({ type: "spki", format: "pem" }).toString();

  test("admits by name and limit, or says why not", () => {
    let now = NOW;
    const tokens = new SignedTokens(pem, () => now);
    expect(tokens.publicKey).toBe(pem);
    expect(tokens.check(token, "read")).toEqual({
      ...{ user: "ada", maxCores: 16, seesAll: false },
    });
    expect(tokens.check(token, "admin")).toMatchObject({ forbidden: true });
    for (const missing of [null, ""])
      expect(tokens.check(missing, "read")).toEqual({ refused: expect.stringContaining("needed") });
    now += 10_000;
    expect(tokens.check(token, "read")).toMatchObject({
      refused: expect.stringContaining("expired"),
      forbidden: false,
    });
  });

  test("without a key admits everybody as nobody", () => {
    const tokens = new NoTokens();
    expect(tokens.publicKey).toBeNull();
    expect(tokens.check()).toEqual({ user: "anonymous", maxCores: null, seesAll: true });
  });
});

test("the state directory follows XDG, where its path is absolute", () => {
  expect(defaultStateDir({ XDG_STATE_HOME: "/var/lib/x" })).toBe("/var/lib/x/rfaas");
  for (const home of [undefined, "", "relative"])
    expect(defaultStateDir({ XDG_STATE_HOME: home })).toEndWith("/.local/state/rfaas");
});
