/** Proofs that the holder of a token shows it: which count, and that one counts nowhere but where it was made for. */
import { describe, expect, test } from "bun:test";
import { type KeyObject, generateKeyPairSync } from "node:crypto";
import { CompactSign } from "jose/jws/compact/sign";
import { TokenRefused } from "../../src/base/errors.ts";
import { Showing } from "../../src/control/identity/showing.ts";
import { type Arrived, Doorkeeper } from "../../src/executor/admission/identity.ts";
import { SignedTokens } from "../../src/manager/tokens/keys.ts";
import { Credential, NewHolder, isBound } from "../../src/protocol/holder/credential.ts";
import {
  type Expected,
  type Occasion,
  checkProof,
  newNonce,
  signProof,
} from "../../src/protocol/holder/proof.ts";
import { type Claims, type HolderKey, readClaims } from "../../src/protocol/token.ts";
import { SigningCluster } from "../support/tokens.ts";

const KEY = `sha256:${"a".repeat(64)}`;
const OTHER_KEY = `sha256:${"b".repeat(64)}`;
const PLACE = "10.0.0.5:7700";

const cluster = new SigningCluster();

/** The text of RFAAS_TOKEN. */
async function bound(claims: Partial<Claims> = {}, from = cluster): Promise<string> {
  const holder = new NewHolder();
  return holder.with(await from.token({ ...claims, holderKey: holder.holderKey }));
}

/** A holder whose private key the test has, as a thief of it would. */
async function exposed() {
  const { privateKey } = generateKeyPairSync("ed25519");
  const { x } = privateKey.export({ format: "jwk" });
  const holderKey: HolderKey = { kty: "OKP", crv: "Ed25519", x: x! };
  return { privateKey, holderKey, token: await cluster.token({ holderKey }) };
}

describe("the text of RFAAS_TOKEN", () => {
  test("is the token, which peers are shown, with its private key", async () => {
    const text = await bound();
    const credential = Credential.read(text);
    expect(credential.isBound).toBe(true);
    expect(text).toStartWith(`${credential.token}.`);
    expect(credential.token.split(".")).toHaveLength(3);
    expect(isBound(credential.token)).toBe(true);
    expect(JSON.stringify(credential)).not.toContain(text.split(".")[3]);
  });

  test("is a bearer token where there is no key in it, and shown as it is", async () => {
    for (const text of [await cluster.token(), "anything"]) {
      const credential = Credential.read(text);
      expect([credential.token, credential.isBound, isBound(text)]).toEqual([text, false, false]);
    }
    expect([Credential.of(null), Credential.of("")]).toEqual([undefined, undefined]);
  });

  test("is refused without its key, with one that is damaged or another one's, and with one that no token asks for", async () => {
    const text = await bound();
    const [token, key] = [Credential.read(text).token, text.split(".")[3]!];
    expect(() => Credential.read(token)).toThrow("its key is missing; copy it whole");
    const others = (await bound()).split(".")[3]!;
    const bearer = await cluster.token();
    for (const wrong of [
      `${token}.${others}`,
      `${token}.${key.slice(1)}`,
      `${token}.`,
      `${bearer}.${key}`,
    ]) {
      expect(() => Credential.read(wrong)).toThrow("its key is not that of the token");
      expect(() => Credential.read(wrong)).toThrow(TokenRefused);
    }
  });

  test("is refused by who is sent all of it, and no part of the key is told", async () => {
    const text = await bound();
    const verdict = await new SignedTokens(cluster.publicKey).check(text, "client");
    expect(verdict).toMatchObject({ refused: expect.stringContaining("its private key came") });
    expect(JSON.stringify(verdict)).not.toContain(text.split(".")[3]);
  });
});

describe("a proof", () => {
  const occasion = (more: Partial<Occasion> = {}): Occasion => ({
    ...{ nonce: "n1", places: ["node:7700", PLACE], key: KEY },
    ...more,
  });
  const expected = (more: Partial<Expected> = {}): Expected => ({
    ...{ nonce: "n1", places: [PLACE], key: KEY },
    ...more,
  });
  /** Whether what was proved on one occasion counts where another is expected; else why not. */
  async function verdict(
    made: Partial<Occasion> = {},
    wanted: Partial<Expected> = {},
    text?: string,
  ): Promise<string> {
    const credential = Credential.read(text ?? (await bound()));
    const { holderKey } = readClaims(credential.token);
    const shown = { token: credential.token, cluster: "test", holderKey: holderKey! };
    try {
      await checkProof(await credential.prove(occasion(made)), shown, expected(wanted));
      return "good";
    } catch (error) {
      expect(error).toBeInstanceOf(TokenRefused);
      expect((error as TokenRefused).reason).toBe("unproven");
      return (error as Error).message;
    }
  }

  test("counts where it was made for", async () => {
    expect(await verdict()).toBe("good");
    expect(await verdict({ key: null }, { key: null })).toBe("good");
    expect(await verdict({ request: "GET /v1/bill" }, { request: "GET /v1/bill" })).toBe("good");
  });

  test("counts over TLS by the key alone, whatever way leads there, unless others have the key", async () => {
    const behind = { places: ["192.0.2.1:17700"] };
    expect(await verdict(behind)).toBe("good");
    expect(await verdict(behind, { sharesKey: true })).toContain("connected to 192.0.2.1:17700");
    expect(await verdict({}, { sharesKey: true })).toBe("good");
  });

  test.each([
    ["nonce", { nonce: "n2" }, {}, "answers another question"],
    [
      "address without TLS",
      { key: null, places: ["127.0.0.1:1"] },
      { key: null },
      "passed the token on",
    ],
    ["key", { key: OTHER_KEY }, {}, `has met the key ${OTHER_KEY} and this end has the key ${KEY}`],
    ["TLS where there is none here", {}, { key: null }, "this end has none"],
    ["no TLS where there is some here", { key: null }, {}, "has met no TLS"],
    ["request", { request: "GET /v1/bill" }, { request: "POST /v1/nodes" }, "another request"],
    ["request in place of the connection", { request: "GET /v1/bill" }, {}, "another request"],
    ["connection in place of a request", {}, { request: "GET /v1/bill" }, "another request"],
  ] as const)("is refused for another %s", async (_, made, wanted, why) => {
    expect(await verdict(made, wanted)).toContain(why);
  });

  test("is refused with another token of the same holder, or for another cluster", async () => {
    const { privateKey, holderKey, token } = await exposed();
    const later = await cluster.token({ holderKey, id: "2" });
    const proof = await signProof(privateKey, { token, cluster: "test" }, occasion());
    const check = (shown: string, name: string) =>
      checkProof(proof, { token: shown, cluster: name, holderKey }, expected());
    await check(token, "test");
    await expect(check(later, "test")).rejects.toThrow("for another token");
    await expect(check(token, "other")).rejects.toThrow("for another token");
  });

  test("is refused when anything of it was changed, or another key has signed it, or it is something else", async () => {
    const { privateKey, holderKey, token } = await exposed();
    const shown = { token, cluster: "test" };
    const good = await signProof(privateKey, shown, occasion());
    const [header, payload, signature] = good.split(".") as [string, string, string];
    const said = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const text = (value: object): string =>
      Buffer.from(JSON.stringify(value)).toString("base64url");
    const changed = Object.keys(said).map((name) => text({ ...said, [name]: "x" }));
    const sign = (value: object, typ = "rfaas-proof+jwt", key: KeyObject = privateKey) =>
      new CompactSign(new TextEncoder().encode(JSON.stringify(value)))
        .setProtectedHeader({ alg: "EdDSA", typ })
        .sign(key);
    const stranger = generateKeyPairSync("ed25519").privateKey;
    expect(changed).toHaveLength(5);
    for (const wrong of [
      ...changed.map((part) => `${header}.${part}.${signature}`),
      `${text({ alg: "none", typ: "rfaas-proof+jwt" })}.${payload}.`,
      `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
      await signProof(stranger, shown, occasion()),
      await sign(said, "rfaas+jwt"),
      await sign({ ...said, more: 1 }),
      await sign({ ...said, to: [] }),
      await sign({ ...said, to: Array(5).fill(PLACE) }),
      await sign({ ...said, nonce: undefined }),
      await sign(said, "rfaas-proof+jwt", stranger),
      ...["", "a.b.c", token, "x".repeat(5000)],
    ])
      await expect(
        checkProof(wrong, { ...shown, holderKey }, expected()),
        wrong.slice(0, 80),
      ).rejects.toThrow("not one of its holder's");
    await checkProof(await sign(said), { ...shown, holderKey }, expected());
  });

  test("is made once for a peer, which could gather them", async () => {
    const showing = new Showing(Credential.read(await bound()), { places: [PLACE], key: KEY }, "x");
    expect(showing.withheld).toBeUndefined();
    expect(await showing.proof("n1")).toContain(".");
    await expect(showing.proof("n2")).rejects.toThrow("not its to ask for");
    await expect(Showing.nothing().proof("n1")).rejects.toThrow(TokenRefused);
  });
});

test("a bearer token is withheld for a reason, and one with a key never is", async () => {
  const end = { places: [PLACE], key: null };
  const bearer = new Showing(Credential.read("bearer"), end, "no token was sent, as so");
  expect([bearer.token, bearer.withheld]).toEqual([null, "no token was sent, as so"]);
  expect(new Showing(Credential.read("bearer"), end, undefined).token).toBe("bearer");
  expect(new Showing(undefined, end, "why").withheld).toBeUndefined();
  expect(new Showing(Credential.read(await bound()), end, "why").token).not.toBeNull();
});

test("no two nonces are alike", () => {
  expect(new Set(Array.from({ length: 1000 }, newNonce)).size).toBe(1000);
});

describe("a node", () => {
  const end = { places: [PLACE], key: null };
  /** Who it takes the client for, that proves by `prove`. */
  async function identify(text: string, by: Partial<Arrived> = {}, name = "n1") {
    const doorkeeper = new Doorkeeper(false, name);
    doorkeeper.useKey(cluster.publicKey, "the test");
    const credential = Credential.read(text);
    const prove = (nonce: string) => credential.prove({ nonce, ...end });
    return await doorkeeper.identify(credential.token, { trusted: false, end, prove, ...by });
  }

  test("knows the holder of a token, and asks another question each time", async () => {
    const text = await bound({ maxCores: 3 });
    expect(await identify(text)).toMatchObject({ user: "ada", maxCores: 3, untilMs: null });
    let proof: Promise<string> | undefined;
    const again = (nonce: string) => (proof ??= Credential.read(text).prove({ nonce, ...end }));
    expect(await identify(text, { prove: again })).toMatchObject({ user: "ada" });
    expect(await identify(text, { prove: again })).toMatchObject({
      refused: expect.stringContaining("another question"),
    });
  });

  test("asks for no proof before the token is good", async () => {
    const prove = () => Promise.reject(new Error("was asked"));
    const expired = await bound({ expiresAtMs: 1000 });
    for (const text of [expired, await bound({}, new SigningCluster("other"))])
      expect(await identify(text, { prove })).toHaveProperty("refused");
    await expect(identify(await bound(), { prove })).rejects.toThrow("was asked");
  });

  test("asks its own user for the proof, too: the token says who pays", async () => {
    const prove = async () => "nothing";
    expect(await identify(await bound(), { trusted: true, prove })).toMatchObject({
      refused: expect.stringContaining("not one of its holder's"),
    });
  });

  test("takes no token that is for another one", async () => {
    const text = await bound({ node: "n1" });
    expect(await identify(text)).toMatchObject({ user: "ada" });
    expect(await identify(text, {}, "n2")).toMatchObject({
      refused: expect.stringContaining("is for the node n1 and not for n2"),
    });
  });
});

test("who checks no proofs takes no token that needs one", async () => {
  const { token } = Credential.read(await bound());
  expect(await new SignedTokens(cluster.publicKey).check(token, "client")).toMatchObject({
    refused: expect.stringContaining("has shown no proof"),
  });
});
