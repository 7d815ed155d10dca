/** How long leases last, what they cost, and who may have them: the executable's node, with clients of this process. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Invoker,
  type Lease,
  type LeaseEvent,
  LeaseLost,
  LeaseRefused,
  UsageError,
  WorkerLost,
  invoker,
} from "../support/library.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { APART, onOneMachine } from "../support/fabric.ts";
import { alive } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");

process.env["RFAAS_EXECUTABLE"] = RFAAS;
const MODULE = join(FUNCTIONS, "good.ts");
const BYTES = 64;

interface Held {
  lease: Lease<Good>;
  call(): number;
}

async function hold(rf: Invoker, options: Parameters<Invoker["allocate"]>[1] = {}): Promise<Held> {
  const lease = await rf.allocate<Good>(MODULE, { memory: "1MiB", polling: "hot", ...options });
  const input = lease.input(Uint8Array, BYTES).fill(7);
  const output = lease.output(Uint8Array, BYTES);
  return { lease, call: () => lease.invoke("echo", input, output) };
}

/** Keeps this thread from its event loop, so that nothing is renewed in the background, until the condition holds. */
function block(until: () => boolean): void {
  const limitMs = performance.now() + 30_000;
  while (!until()) if (performance.now() > limitMs) throw new Error("it never came true");
}

describe("a lease's time", () => {
  let rf: Invoker;
  beforeAll(async () => {
    rf = await invoker({ cores: 2 });
  });
  afterAll(() => rf?.close());

  test("is renewed in the background, and on request by as much as is asked for", async () => {
    await using lease = await rf.allocate<Good>(MODULE, { ttlMs: 1_500 });
    const renewals: Date[] = [];
    const stop = lease.on("renewed", ({ expiresAt }) => renewals.push(expiresAt));
    const first = lease.expiresAt.getTime();
    await until(() => renewals.length >= 2, "two renewals");
    stop();
    expect(lease.expiresAt.getTime()).toBeGreaterThan(first);
    await lease.renew({ ttlMs: 60_000 });
    expect(lease.expiresAt.getTime() - Date.now()).toBeGreaterThan(30_000);
  });

  test("ends when its client neither renews nor calls, and the cores are free again", async () => {
    const { lease, call } = await hold(rf, { ttlMs: 500 });
    const events = collect(lease);
    expect(call()).toBe(BYTES);
    // The agent must find it idle once before it lets go; then it ends the lease's process.
    block(() => !alive(lease.hostPid));
    expect(call).toThrow(WorkerLost);
    expect(call).toThrow(APART ? "the other side disconnected" : "expired");
    expect((await events).at(-1)).toEqual({
      type: "lost",
      part: 0,
      message: expect.stringContaining("expired"),
    });
    expect(lease.renew()).rejects.toThrow(LeaseLost);
    expect(await lease.usage()).toMatchObject({ state: "final", calls: 1 });
    expect(call).toThrow("expired");
    await lease.release();
    await until(async () => (await rf.status()).freeCores === 2, "its core is free");
  });

  test("is long enough for whoever only calls, without a turn of the event loop", async () => {
    const { lease, call } = await hold(rf, { ttlMs: 1_000 });
    await using _ = lease;
    const untilMs = performance.now() + 3_000;
    block(() => {
      call();
      return performance.now() > untilMs;
    });
    expect(call()).toBe(BYTES);
  });

  test("does not end while a call runs", async () => {
    const { lease } = await hold(rf, { ttlMs: 1_000 });
    await using _ = lease;
    const input = lease.input(Uint32Array, 1).fill(3_000);
    expect(lease.invoke("busy", input, lease.output(Uint8Array, 8))).toBe(0);
    expect(lease.invoke("busy", input.fill(1), lease.output(Uint8Array, 8))).toBe(0);
  });

  test("ends with its budget, which is told beforehand", async () => {
    const { lease, call } = await hold(rf, { budget: { calls: 1_000 } });
    const events = collect(lease);
    for (let i = 0; i < 1_000; i++) expect(call()).toBe(BYTES);
    expect((await events).at(-1)).toEqual({
      type: "lost",
      part: 0,
      message: expect.stringContaining("budget is spent"),
    });
    expect(call).toThrow("budget is spent");
    await lease.release();
    const wrong = { seconds: 1 } as unknown as { calls: number };
    expect(rf.allocate(MODULE, { budget: wrong })).rejects.toThrow(UsageError);
    expect(rf.allocate(MODULE, { ttlMs: 1 })).rejects.toThrow("ttlMs must be");
  });

  test("ends its events when it is released", async () => {
    const { lease } = await hold(rf);
    const events = collect(lease);
    await lease.release();
    expect((await events).at(-1)).toEqual({ type: "released" });
    expect(await collect(lease)).toEqual([{ type: "released" }]);
  });

  test("costs what was called and how long its cores were held", async () => {
    const { lease, call } = await hold(rf, { workers: 2 });
    await using _ = lease;
    const CALLS = 10_000;
    const startedNs = Bun.nanoseconds();
    for (let i = 0; i < CALLS; i++) call();
    const heldNs = Bun.nanoseconds() - startedNs;
    const usage = await lease.usage();
    expect(usage.calls).toBe(CALLS);
    expect(usage.bytes).toBe(2 * BYTES * CALLS);
    expect(usage.allocationCoreNs).toBeGreaterThanOrEqual(2 * heldNs);
    expect(usage.executionNs + usage.pollingNs).toBeGreaterThan(0);
    const later = await lease.usage();
    expect(later.allocationCoreNs).toBeGreaterThan(usage.allocationCoreNs);
  });
});

onOneMachine("an answer costs its worker nothing but a store").test(
  "waits between hot calls are polling on the bill, however short each is",
  async () => {
    await using hot = await invoker({ cores: 1 });
    const { lease, call } = await hold(hot, { polling: "hot" });
    await using _ = lease;
    for (let i = 0; i < 200_000; i++) call();
    const { executionNs, pollingNs } = await lease.usage();
    // The function copies eight bytes; a call's way there and back takes several times as long.
    expect(pollingNs).toBeGreaterThan(executionNs);
  },
);

test("a node that stops tells its clients by when, and ends what is left then", async () => {
  using scratch = new Scratch();
  await using node = await ServedNode.start(scratch.join("node.sock"), ["--drain", "4"]);
  await using rf = await invoker({ node: node.address });
  const { lease, call } = await hold(rf);
  const revoking = new Promise<Date>((resolve) =>
    lease.on("revoking", ({ deadline }) => resolve(deadline)),
  );
  const events = collect(lease);
  node.kill("SIGTERM");
  const deadline = await revoking;
  expect(deadline.getTime() - Date.now()).toBeLessThanOrEqual(4_001);
  // Each is counted from when its message arrives; the lease had two minutes before.
  expect(lease.expiresAt.getTime()).toBeLessThanOrEqual(deadline.getTime() + 10_000);
  expect(call()).toBe(BYTES);
  expect(rf.allocate(MODULE)).rejects.toThrow("draining");
  expect((await events).at(-1)).toMatchObject({ type: "lost" });
  expect(call).toThrow(WorkerLost);
  expect(await node.exited).toBe(0);
});

describe("a node that wants tokens", () => {
  const ours = new SigningCluster();
  const scratch = new Scratch();
  let node: ServedNode;
  beforeAll(async () => {
    const key = scratch.join("key.pub");
    writeFileSync(key, ours.publicKey);
    node = await ServedNode.start(scratch.join("node.sock"), ["--token-key", key, "--cores", "4"]);
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
    scratch[Symbol.dispose]();
  });

  const refusal = (shown: string): Promise<Error> =>
    invoker({ node: node.address, token: shown }).then(
      async (rf) => {
        await rf.close();
        throw new Error("it was let in");
      },
      (error) => error as Error,
    );

  test("lets whoever has one in, and the owner of its socket without", async () => {
    for (const shown of [await ours.token(), ""]) {
      await using rf = await invoker({ node: node.address, ...(shown ? { token: shown } : {}) });
      const { lease, call } = await hold(rf);
      expect(call()).toBe(BYTES);
      await lease.release();
    }
  });

  test.each<[string, () => Promise<string>, RegExp]>([
    ["expired", () => ours.token({ expiresAtMs: 1_000 }), /expired at 1970-01-01/],
    ["for something else", () => ours.token({ scopes: ["read"] }), /for read and not for client/],
    [
      "signed by somebody else",
      () => new SigningCluster().token(),
      /not signed with this manager's key/,
    ],
    [
      "for another cluster",
      () => new SigningCluster("other", ours.privateKey).token(),
      /the token of ada is for another cluster \(other\)/,
    ],
    ["no token at all", async () => "let me in", /HEADER\.CLAIMS\.SIGNATURE/],
    [
      "of an earlier rfaas",
      async () => "rfaas1.e30.e30",
      /an earlier rfaas.* ask .* for a new one \(rfaas token create\)/,
    ],
    [
      "altered",
      async () => (await ours.token()).replace(/\.(.)/, (_, c) => `.${c === "e" ? "f" : "e"}`),
      /token/,
    ],
  ])("refuses one that is %s, and says so", async (_, make, says) => {
    const shown = await make();
    const error = await refusal(shown);
    expect(error).toBeInstanceOf(LeaseRefused);
    expect((error as LeaseRefused).code).toBe("RFAAS_FORBIDDEN");
    expect(error.message).toMatch(says);
    expect(error.message).not.toContain(shown);
  });

  test("ends leases with the token that they were taken with, and grants no more for it", async () => {
    const expiresAtMs = Math.ceil(Date.now() / 1000) * 1000 + 5_000;
    const shown = await ours.token({ expiresAtMs });
    await using rf = await invoker({ node: node.address, token: shown });
    const { lease, call } = await hold(rf);
    expect(call()).toBe(BYTES);
    // What is left is counted from when the grant arrives; without the token it would be two minutes.
    expect(lease.expiresAt.getTime()).toBeLessThanOrEqual(expiresAtMs + 10_000);
    const events = collect(lease);
    void lease.renew({ ttlMs: 60_000 });
    expect((await events).at(-1)).toEqual({
      type: "lost",
      part: 0,
      message: expect.stringContaining("token that it was taken with has expired"),
    });
    expect(call).toThrow(WorkerLost);
    const refused = await rf.allocate(MODULE).catch((error) => error as LeaseRefused);
    expect(refused).toMatchObject({ code: "RFAAS_FORBIDDEN" });
    expect((refused as LeaseRefused).message).toContain("has expired");
  });

  test("shows users the packages that are theirs, and its owner all", async () => {
    await using alice = await invoker({
      node: node.address,
      token: await ours.token({ user: "alice" }),
    });
    await using bob = await invoker({
      node: node.address,
      token: await ours.token({ user: "bob" }),
    });
    await using owner = await invoker({ node: node.address });
    const module = scratch.file("own.ts", "export const own = () => 0;");
    const hash = await alice.packages.push(module);
    const has = async (rf: Invoker) => (await rf.packages.list()).some((one) => one.hash === hash);
    expect([await has(alice), await has(bob), await has(owner)]).toEqual([true, false, true]);
    expect(bob.packages.remove(hash)).rejects.toThrow("has no package");
    const lease = await bob.allocate(`package:${hash}`);
    await lease.release();
    expect(await has(bob)).toBe(true);
    await owner.packages.remove(hash);
    expect([await has(alice), await has(bob), await has(owner)]).toEqual([false, false, false]);
  });

  test("grants no more cores at a time than the token says, over all connections of its user", async () => {
    const shown = await ours.token({ user: "bob", maxCores: 2 });
    await using one = await invoker({ node: node.address, token: shown });
    await using two = await invoker({ node: node.address, token: shown });
    const { lease } = await hold(one, { workers: 2 });
    const refused = await two.allocate(MODULE).catch((error) => error as LeaseRefused);
    expect(refused).toMatchObject({ code: "RFAAS_TOKEN_LIMIT" });
    await using others = await invoker({ node: node.address, token: await ours.token() });
    const { lease: another } = await hold(others);
    await lease.release();
    const { lease: second } = await hold(two);
    await Promise.all([second.release(), another.release()]);
    // Each core of a worker counts.
    const both = await one.allocate(MODULE, { coresPerWorker: 2 });
    const third = await two.allocate(MODULE).catch((error) => error as LeaseRefused);
    expect(third).toMatchObject({ code: "RFAAS_TOKEN_LIMIT" });
    await both.release();
    const { lease: last } = await hold(two);
    await last.release();
  });
});

/** All events of a lease to its end. */
async function collect(lease: Lease<Good>): Promise<LeaseEvent[]> {
  const events: LeaseEvent[] = [];
  for await (const event of lease.events()) events.push(event);
  return events;
}
