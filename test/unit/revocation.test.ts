/** Tokens that were issued and revoked, and keys that are replaced, as a manager keeps them. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { EnvironmentError, TokenRefused, UsageError } from "../../src/base/errors.ts";
import { Doorkeeper } from "../../src/executor/admission/identity.ts";
import { Manager } from "../../src/manager/manager.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { SignedTokens, TokenKeys } from "../../src/manager/tokens/keys.ts";
import { TokenTables, issueToken } from "../../src/manager/tokens/tables.ts";
import { MANAGER_PROTOCOL_VERSION } from "../../src/protocol/manager-messages.ts";
import { type Revocation, Revocations } from "../../src/protocol/tokens/revocation.ts";
import { readPublicKeys } from "../../src/protocol/token-key.ts";
import { type Claims, TokenVerifier, readClaims } from "../../src/protocol/token.ts";
import { MemoryPeer } from "../support/memory-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;
const ada: Omit<Claims, "id" | "issuedAtMs"> = {
  ...{ user: "ada", maxCores: null, scopes: ["client", "read"] },
  expiresAtMs: Math.ceil(Date.now() / 1000) * 1000 + HOUR_MS,
};
const BY = { trusted: false, end: { places: [], key: null }, prove: async () => "" };
const whyNot = (text: string, state: string): Promise<unknown> =>
  new TokenVerifier(...readPublicKeys(TokenKeys.open(state).publicKey, "the key"))
    .verify(text, Date.now())
    .then(() => undefined);

describe("tokens that were issued", () => {
  test("are listed with what they say, and never with what makes them one", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const signed = await issueToken(state, ada, "on the laptop");
    await issueToken(state, { ...ada, user: "bob" });
    using tables = TokenTables.open(state);
    const { id, issuedAtMs, cluster } = readClaims(signed);
    expect(tables.list("ada")).toEqual([
      {
        ...{ id, user: "ada", scopes: ["client", "read"], audience: cluster, issuedAtMs },
        ...{ expiresAtMs: ada.expiresAtMs, label: "on the laptop", bearer: true, state: "valid" },
      },
    ]);
    expect(
      tables
        .list()
        .map(({ user }) => user)
        .toSorted(),
    ).toEqual(["ada", "bob"]);
    const kept = readFileSync(scratch.join("state/of/issued-tokens.json"), "utf8");
    expect(kept).not.toContain(signed.split(".")[2]!);
  });

  test("are forgotten once they have expired", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    await issueToken(state, { ...ada, id: "old", expiresAtMs: 1000 });
    await issueToken(state, { ...ada, id: "new" });
    using tables = TokenTables.open(state);
    expect(tables.list().map(({ id }) => id)).toEqual(["new"]);
    expect(readFileSync(scratch.join("state/of/issued-tokens.json"), "utf8")).not.toContain("old");
  });

  test("by several processes at once are all kept", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    TokenKeys.open(state);
    const program = `import { issueToken } from "${import.meta.dir}/../../src/manager/tokens/tables.ts";
      for (let i = 0; i < 5; i++) await issueToken(${JSON.stringify(state)}, ${JSON.stringify(ada)});`;
    const all = [1, 2, 3].map(() => Bun.spawn([process.execPath, "-e", program]).exited);
    expect(await Promise.all(all)).toEqual([0, 0, 0]);
    using tables = TokenTables.open(state);
    expect(tables.list()).toHaveLength(15);
  });

  test("are not forgotten, but told of, where their file is damaged", () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    TokenTables.open(state)[Symbol.dispose]();
    writeFileSync(scratch.join("state/of/issued-tokens.json"), "{");
    expect(() => TokenTables.open(state)).toThrow(EnvironmentError);
    expect(() => TokenTables.open(state)).toThrow("restore it");
  });
});

describe("a token that was revoked", () => {
  test("counts no more for the manager, nor for a node; another one of its user does", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const [stolen, other] = [await issueToken(state, ada), await issueToken(state, ada)];
    using tables = TokenTables.open(state);
    await tables.revoke({ id: readClaims(stolen).id }, 5_000);
    const { publicKey } = TokenKeys.open(state);
    const manager = new SignedTokens(publicKey, Date.now, tables.revocations);
    expect(await manager.check(stolen, "read")).toEqual({
      refused: expect.stringMatching(/was revoked at .*rfaas token create --user ada/),
      forbidden: false,
    });
    expect(await manager.check(other, "read")).toMatchObject({ user: "ada" });
    const door = new Doorkeeper(false, "n1");
    door.useKey(publicKey, "the key");
    door.useRevocations(tables.revocations.entries(Date.now()));
    expect(await door.identify(stolen, BY)).toEqual({
      refused: expect.stringContaining("revoked"),
    });
    expect(await door.identify(other, BY)).toMatchObject({ user: "ada" });
    expect(
      tables
        .list()
        .map(({ state: now }) => now)
        .toSorted(),
    ).toEqual(["revoked", "valid"]);
  });

  test("of a user is every one that was issued until then, known or not; a new one counts", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const keys = TokenKeys.open(state);
    const unlisted = await keys.sign({ ...ada, id: "of an earlier rfaas", issuedAtMs: 0 });
    const listed = await issueToken(state, ada);
    using tables = TokenTables.open(state);
    await tables.revoke({ user: "ada" }, 0);
    const fresh = await issueToken(state, ada);
    const manager = new SignedTokens(keys.publicKey, Date.now, tables.revocations);
    for (const text of [unlisted, listed])
      expect(await manager.check(text, "client")).toMatchObject({
        refused: expect.stringContaining("revoked"),
      });
    expect(await manager.check(fresh, "client")).toMatchObject({ user: "ada" });
  });

  test("stays so over restarts, until it has expired by itself", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    await issueToken(state, { ...ada, id: "soon", expiresAtMs: 2_000 });
    await issueToken(state, { ...ada, id: "later" });
    const revoke = async (id: string) => {
      using tables = TokenTables.open(state);
      await tables.revoke({ id }, 0, { user: "ada", expiresAtMs: id === "soon" ? 2_000 : null });
    };
    await revoke("soon");
    await revoke("later");
    using tables = TokenTables.open(state);
    const mark = { user: "ada", issuedAtMs: 0 };
    expect(tables.revocations.of({ ...mark, id: "later" })).toBeDefined();
    expect(tables.revocations.of({ ...mark, id: "soon" })).toBeUndefined();
  });

  test("must be one that was issued, or be given itself", async () => {
    using scratch = new Scratch();
    using tables = TokenTables.open(scratch.join("state/of"));
    expect(tables.revoke({ id: "never" }, 0)).rejects.toThrow(UsageError);
    expect(tables.revoke({ id: "never" }, 0)).rejects.toThrow("rfaas token list");
    await tables.revoke({ id: "never" }, 0, { user: "ada", expiresAtMs: null });
    expect(tables.revocations.of({ id: "never", user: "ada", issuedAtMs: 0 })).toBeDefined();
    // An id that another user's token has says nothing of this one.
    expect(tables.revocations.of({ id: "never", user: "bob", issuedAtMs: 0 })).toBeUndefined();
  });

  test("is heard of when another process has revoked it", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const { id } = readClaims(await issueToken(state, ada));
    const problems: string[] = [];
    using running = TokenTables.open(state, (problem) => problems.push(problem));
    let heard = 0;
    running.onRevoked(() => heard++);
    using command = TokenTables.open(state);
    await command.revoke({ id }, 0);
    await until(() => heard > 0, "the manager hears of it");
    expect(running.revocations.of({ id, user: "ada", issuedAtMs: 0 })).toBeDefined();
    expect(problems).toEqual([]);
  });
});

describe("a key that is replaced", () => {
  test("verifies for the overlap, and its tokens end with it at the latest", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const before = await issueToken(state, ada);
    const nowMs = Date.now();
    const untilMs = nowMs + 60_000;
    const keys = await TokenKeys.rotate(state, untilMs, nowMs);
    const after = await issueToken(state, ada);
    expect(readClaims(after).keyId).not.toBe(readClaims(before).keyId);
    const verifier = new TokenVerifier(...readPublicKeys(keys.publicKey, "the key"));
    expect((await verifier.verify(before, nowMs)).expiresAtMs).toBe(untilMs);
    expect((await verifier.verify(after, nowMs)).expiresAtMs).toBe(ada.expiresAtMs);
    const late = verifier.verify(before, untilMs);
    expect(late).rejects.toThrow(TokenRefused);
    expect(late).rejects.toThrow("signed with a key that this cluster has replaced");
  });

  test("without an overlap counts no more", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const before = await issueToken(state, ada);
    await TokenKeys.rotate(state, Date.now(), Date.now());
    expect(whyNot(before, state)).rejects.toThrow("not signed with this manager's key");
    expect(await whyNot(await issueToken(state, ada), state)).toBeUndefined();
  });

  test("is one of three at most, so that the text of all fits into a message of the version before", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const tokens = [await issueToken(state, ada)];
    const rotate = () => TokenKeys.rotate(state, Date.now() + HOUR_MS, Date.now());
    for (let i = 0; i < 3; i++) {
      await rotate();
      tokens.push(await issueToken(state, ada));
    }
    for (const text of tokens) expect(await whyNot(text, state)).toBeUndefined();
    expect(TokenKeys.open(state).publicKey.length).toBeLessThan(1024);
    expect(rotate()).rejects.toThrow("wait until one does not");
  });

  test("comes after the present one, which is all that a reader of one key sees", async () => {
    using scratch = new Scratch();
    const state = scratch.join("state/of");
    const single = TokenKeys.open(state).publicKey;
    const { publicKey } = await TokenKeys.rotate(state, Date.now() + HOUR_MS, Date.now());
    const [present, former, ...none] = readPublicKeys(publicKey, "the key");
    expect(none).toEqual([]);
    const [first] = readPublicKeys(single, "the key");
    expect(former!.key.equals(first.key)).toBe(true);
    expect(present.key.equals(first.key)).toBe(false);
    expect(publicKey.startsWith(`Cluster: ${present.cluster}\n-----BEGIN`)).toBe(true);
  });
});

describe("over the manager's port", () => {
  const cluster = new SigningCluster();
  const entry = (user: string): Revocation => ({
    ...{ user, issuedUpToMs: 5_000, atMs: 5_000, untilMs: null, graceMs: 1_000 },
  });
  const announce = (token: string, can?: string[]) => ({
    ...{ t: "announce", name: "n1", instance: "n1-first", address: "n1:7000", cores: 8 },
    ...{ memoryBytes: 2 ** 33, fabrics: ["shm"], machine: "m", token, settling: false },
    ...{ protocol: MANAGER_PROTOCOL_VERSION, version: "1.0.0" },
    ...(can ? { can } : {}),
  });

  function managing() {
    const revocations = new Revocations([entry("eve")]);
    const tokens = new SignedTokens(cluster.publicKey, () => 10_000, revocations);
    const ledger = { record() {} };
    const manager = new Manager({
      ...{ registry: new Registry(), ledger, tokens, revocations, log() {} },
    });
    return { manager, revocations };
  }

  test("a node hears of all revoked tokens when it comes, and of others at once", async () => {
    const { manager, revocations } = managing();
    const token = await cluster.token({ user: "n1", scopes: ["node"], node: "n1" });
    const node = new MemoryPeer(manager).send(announce(token, ["revoked"]));
    await until(() => node.all("revoked").length === 1, "the list");
    expect(node.find("revoked")).toMatchObject({ tokens: [entry("eve")], first: true, last: true });
    revocations.replace([entry("eve"), entry("ada")]);
    expect(manager.tellRevoked()).toEqual({ told: 1, deaf: [] });
    expect(node.all("revoked").at(-1)).toMatchObject({ tokens: [entry("eve"), entry("ada")] });
    manager.close();
  });

  test("a node of the version before hears nothing that it does not know, and the operator of that", async () => {
    const { manager } = managing();
    const token = await cluster.token({ user: "n1", scopes: ["node"], node: "n1" });
    const node = new MemoryPeer(manager).send(announce(token));
    await until(() => node.find("accepted") !== undefined, "it is accepted");
    expect(manager.tellRevoked()).toEqual({ told: 0, deaf: ["n1"] });
    expect(node.all("revoked")).toEqual([]);
    manager.close();
  });

  test("a client and a node whose token is revoked lose their connection, and hear why", async () => {
    const { manager, revocations } = managing();
    const token = await cluster.token({ user: "n1", scopes: ["node"], node: "n1" });
    const node = new MemoryPeer(manager).send(announce(token, ["revoked"]));
    const client = new MemoryPeer(manager).send({
      ...{ t: "subscribe", protocol: MANAGER_PROTOCOL_VERSION, version: "1.0.0" },
      token: await cluster.token({ user: "ada" }),
    });
    await until(
      () => Boolean(node.find("accepted") && client.find("manager-key")),
      "both are let in",
    );
    revocations.replace([entry("ada"), entry("n1")]);
    manager.tellRevoked();
    for (const peer of [node, client]) {
      expect(peer.find("refused")!["message"]).toContain("was revoked");
      expect(peer.closed).toBe(true);
    }
    manager.close();
  });
});
