/** Nodes that enrol at a manager, over memory: what they are answered, and what no connection may say in clear. */
import { afterEach, describe, expect, test } from "bun:test";
import { TokenRefused } from "../../src/base/errors.ts";
import { Manager } from "../../src/manager/manager.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import type { Enrolling } from "../../src/manager/peers/newcomer-desk.ts";
import type { Way } from "../../src/manager/peers/peer.ts";
import { NoTokens } from "../../src/manager/tokens/keys.ts";
import { type Enrol, MANAGER_PROTOCOL_VERSION } from "../../src/protocol/manager-messages.ts";
import { TestClock } from "../support/clock.ts";
import { MemoryPeer } from "../support/memory-peer.ts";
import { until } from "../support/until.ts";

const CA = `sha256:${"1a".repeat(32)}`;
const FAR: Way = { reachedAt: "10.0.0.1", comesFrom: "10.0.0.2" };
const SECURE: Way = { ...FAR, secure: true };
const ANSWER = { certificate: "certificate", ca: "ca", token: "token" };

const running: Manager[] = [];
afterEach(() => {
  for (const manager of running.splice(0)) manager.close();
});

function cluster(authority: Enrolling | undefined) {
  const log: string[] = [];
  const manager = new Manager({
    ...{ registry: new Registry(), tokens: new NoTokens(), clock: new TestClock(), authority },
    ledger: { record() {} },
    log: (level, message) => log.push(`${level}: ${message}`),
  });
  running.push(manager);
  return { manager, log };
}

/** One that lets in who shows the token `good`, and keeps what it was asked. */
function authority(): Enrolling & { asked: Enrol[] } {
  const asked: Enrol[] = [];
  return {
    asked,
    fingerprint: CA,
    async enrol(one) {
      asked.push(one);
      if (one.joinToken === "good") return ANSWER;
      if (one.joinToken === "broken") throw new Error("a mistake of ours");
      throw new TokenRefused("used", "the join token was used; make a new one");
    },
  };
}

const greeting = { protocol: MANAGER_PROTOCOL_VERSION, version: "1" };
const enrol = (joinToken: string | null, more: object = {}): object => ({
  ...{ t: "enrol", ...greeting, name: "n1", request: "request", joinToken, certificate: null },
  ...more,
});
const subscribe = (token: string | null): object => ({ t: "subscribe", ...greeting, token });
const announce = (token: string | null): object => ({
  ...{ t: "announce", ...greeting, name: "n1", instance: "i1", address: "10.0.0.2:7700", token },
  ...{ cores: 1, memoryBytes: 2 ** 30, fabrics: [], machine: "m", settling: false },
});

async function answered(peer: MemoryPeer): Promise<Record<string, unknown>> {
  await until(() => peer.heard.length > 0, "it is answered");
  return peer.heard[0]!;
}

describe("a node that enrols", () => {
  test("gets what the authority issues, and its connection ends", async () => {
    const issuing = authority();
    const { manager, log } = cluster(issuing);
    const peer = new MemoryPeer(manager, SECURE).send(enrol("good"));
    expect(await answered(peer)).toEqual({ t: "enrolled", ...ANSWER });
    expect([peer.closed, manager.connectionCount]).toEqual([true, 0]);
    expect(issuing.asked).toMatchObject([{ name: "n1", request: "request", joinToken: "good" }]);
    expect(log).toEqual(["info: node n1 has enrolled"]);
  });

  test("is told why it is refused, in the authority's words", async () => {
    const { manager } = cluster(authority());
    const peer = new MemoryPeer(manager, SECURE).send(enrol("bad"));
    const message = "the join token was used; make a new one";
    expect(await answered(peer)).toEqual({ t: "refused", code: "RFAAS_TOKEN", message });
    expect(peer.closed).toBe(true);
  });

  test("is let in by TLS only, and shows its token to none else", async () => {
    const issuing = authority();
    const { manager } = cluster(issuing);
    const peer = new MemoryPeer(manager, FAR).send(enrol("good"));
    expect(await answered(peer)).toMatchObject({ t: "refused", code: "RFAAS_TLS_REQUIRED" });
    expect(issuing.asked).toEqual([]);
  });

  test("is told of a manager that issues nothing", async () => {
    const { manager } = cluster(undefined);
    const peer = new MemoryPeer(manager, SECURE).send(enrol("good"));
    const { message } = await answered(peer);
    expect(message).toContain("this manager issues no certificates");
  });

  test("is told what to update when it speaks another protocol", async () => {
    const { manager } = cluster(authority());
    const peer = new MemoryPeer(manager, SECURE).send(enrol("good", { protocol: 1 }));
    expect(await answered(peer)).toMatchObject({ t: "refused", code: "RFAAS_PROTOCOL" });
    expect(peer.heard[0]!["message"]).toContain("update the node");
  });

  test("ends alone when the authority itself is wrong", async () => {
    const { manager, log } = cluster(authority());
    const peer = new MemoryPeer(manager, SECURE).send(enrol("broken"));
    await until(() => peer.closed, "the connection ends");
    expect(log).toEqual(["warn: a connection was disconnected: a mistake of ours"]);
    const other = new MemoryPeer(manager, SECURE).send(enrol("good"));
    expect(await answered(other)).toMatchObject({ t: "enrolled" });
  });

  test("says nothing else over this connection, and leaves when it likes", async () => {
    const { manager } = cluster(authority());
    const peer = new MemoryPeer(manager, SECURE).send(enrol("good"), subscribe(null));
    await until(() => peer.closed, "the connection ends");
    expect(peer.heard.map(({ t }) => t)).toEqual(["enrolled"]);
    const gone = new MemoryPeer(manager, SECURE).send(enrol("good"));
    gone.leave();
    await until(() => manager.connectionCount === 0, "it is gone");
  });
});

describe("in clear, over a network", () => {
  test("nothing that carries a token is heard", async () => {
    const { manager, log } = cluster(authority());
    for (const message of [enrol("good"), subscribe("secret"), announce("secret")]) {
      const peer = new MemoryPeer(manager, { ...FAR, overheard: true }).send(message);
      const refused = await answered(peer);
      expect(refused).toMatchObject({ t: "refused", code: "RFAAS_TOKEN" });
      expect(refused["message"]).toContain("a token came in clear from another machine");
      expect(peer.closed).toBe(true);
    }
    expect(log.join()).not.toContain("secret");
    const peer = new MemoryPeer(manager, { ...FAR, overheard: true }).send(subscribe(null));
    expect(await answered(peer)).toMatchObject({ t: "manager-key" });
  });

  test("nothing is heard by a manager that speaks TLS, which says so", async () => {
    const { manager } = cluster(authority());
    const way = { ...FAR, overheard: true, refused: "this manager speaks TLS" };
    for (const message of [subscribe(null), announce(null), subscribe("secret")]) {
      const peer = new MemoryPeer(manager, way).send(message);
      const refusal = { code: "RFAAS_TLS_REQUIRED", message: "this manager speaks TLS" };
      expect(await answered(peer)).toEqual({ t: "refused", ...refusal });
    }
  });
});

test("clients and nodes hear which authority issues the certificates of nodes", async () => {
  const { manager } = cluster(authority());
  const client = new MemoryPeer(manager, SECURE).send(subscribe(null));
  expect(await answered(client)).toEqual({ t: "manager-key", publicKey: null, ca: CA });
  const node = new MemoryPeer(manager, SECURE).send(announce(null));
  expect(await answered(node)).toEqual({ t: "accepted", name: "n1", publicKey: null, ca: CA });
  const { manager: alone } = cluster(undefined);
  const told = new MemoryPeer(alone).send(subscribe(null));
  expect(await answered(told)).toEqual({ t: "manager-key", publicKey: null });
});
