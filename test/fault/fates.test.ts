/** What the end of a lease says of each call: it has a result, it may have run, or it did not. The functions count their runs themselves. */
import { afterAll, describe, expect, test } from "bun:test";
import { type FabricName, type Invoker, type Lease, invoker } from "../../src/index.ts";
import {
  EFFECTS,
  type Effects,
  type Outcomes,
  callAll,
  effectsIn,
  tellFile,
} from "../support/effects.ts";
import { ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const CALLS = 40;
const CALL_MS = 100;
/** Fewer than there are calls: the others wait in the client. */
const SLOTS = 16;

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
let nodes = 0;

interface Held {
  node: ServedNode;
  rf: Invoker;
  lease: Lease<Effects>;
}

/** The outcomes of calls whose lease is ended by `end` once some have run. */
async function endedBy(
  fabric: FabricName,
  args: readonly string[],
  end: (held: Held) => unknown,
): Promise<{ outcomes: Outcomes; effects: number[]; held: Held }> {
  const file = scratch.join(`effects-${nodes++}`);
  // Functions write to a file of the test's.
  const node = await ServedNode.start("127.0.0.1:0", [
    "--sandbox",
    "none",
    "--cores",
    "1",
    ...args,
  ]);
  const rf = await invoker({ node: `127.0.0.1:${node.port}`, fabric });
  try {
    const lease = await rf.allocate<Effects>(EFFECTS, { slots: SLOTS, polling: "warm" });
    await tellFile(lease, file);
    const all = callAll(lease, "effect", CALLS, CALL_MS);
    await until(() => effectsIn(file).length >= 3, "some calls have run");
    const held = { node, rf, lease };
    await end(held);
    const outcomes = await all;
    return { outcomes, effects: effectsIn(file), held };
  } finally {
    await rf.close().catch(() => {});
    await node[Symbol.asyncDispose]();
  }
}

/** Each call has one outcome, no more than one effect, and the effect that the outcome allows. */
function expectTold({ ran, mayHaveRun, didNotRun, others }: Outcomes, effects: number[]): void {
  expect(others).toEqual([]);
  expect(ran.length + mayHaveRun.length + didNotRun.length).toBe(CALLS);
  expect(new Set(effects).size).toBe(effects.length);
  expect(ran.filter((call) => !effects.includes(call))).toEqual([]);
  expect(didNotRun.filter((call) => effects.includes(call))).toEqual([]);
}

/** And what calls say of it over shm, unless the node is too slow to tell why the host is gone. */
const ENDS: [string, (held: Held) => unknown, RegExp][] = [
  ["its host is killed", ({ lease }) => process.kill(lease.hostPid, "SIGKILL"), /SIGKILL/],
  ["its host crashes", ({ lease }) => process.kill(lease.hostPid, "SIGSEGV"), /SIGSEGV/],
  ["its node is killed", ({ node }) => node.kill("SIGKILL"), /the node was killed/],
  [
    "its node is told twice to stop",
    async ({ node }) => {
      node.kill("SIGTERM");
      await until(() => node.stderr.includes("waiting for 1 lease"), "the node drains");
      node.kill("SIGTERM");
    },
    /the node stopped/,
  ],
];

const UNTOLD = "its host process or its node died";

describe.each(ENDS)("when %s", (_, end, said) => {
  test(
    "over shm, of one call at most it is not known whether it has run",
    async () => {
      const { outcomes, effects } = await endedBy("shm", [], end);
      expectTold(outcomes, effects);
      expect(outcomes.ran.length).toBeGreaterThan(0);
      expect(outcomes.didNotRun.length).toBeGreaterThan(CALLS / 2);
      expect(outcomes.mayHaveRun.length).toBeLessThanOrEqual(1);
      for (const { message } of outcomes.errors)
        if (!message.includes(UNTOLD)) expect(message).toMatch(said);
    },
    LIMIT_MS,
  );

  test(
    "over tcp, of calls that were not sent it is known that they did not run",
    async () => {
      const { outcomes, effects } = await endedBy("tcp", [], end);
      expectTold(outcomes, effects);
      expect(outcomes.didNotRun.length).toBeGreaterThanOrEqual(CALLS - SLOTS - effects.length);
      expect(outcomes.mayHaveRun.length).toBeLessThanOrEqual(SLOTS);
    },
    LIMIT_MS,
  );
});

describe.each(["shm", "tcp"] as const)("over %s", (fabric) => {
  test(
    "when the node is told to stop, every call ends before the deadline: it has a result, or it did not run",
    async () => {
      let deadline: Date | undefined;
      const { outcomes, effects } = await endedBy(
        fabric,
        ["--drain", "1500ms"],
        ({ node, lease }) => {
          lease.on("revoking", (event) => (deadline = event.deadline));
          node.kill("SIGTERM");
        },
      );
      expectTold(outcomes, effects);
      expect(deadline).toBeDefined();
      expect([outcomes.mayHaveRun, outcomes.ran.length > 3]).toEqual([[], true]);
      expect(outcomes.ran.toSorted()).toEqual(effects.toSorted());
      for (const { message } of outcomes.errors)
        expect(message).toMatch(/takes the lease back .*; this call did not run$/);
    },
    LIMIT_MS,
  );

  test.each<[string, (held: Held) => unknown]>([
    ["lease is released", ({ lease }) => lease.release()],
    ["invoker is closed", ({ rf }) => rf.close()],
  ])(
    "when the %s during calls, each of them ends, and those that waited did not run",
    async (_, end) => {
      const { outcomes, effects } = await endedBy(fabric, [], end);
      expectTold(outcomes, effects);
      expect(outcomes.didNotRun.length).toBeGreaterThanOrEqual(CALLS - SLOTS - effects.length);
    },
    LIMIT_MS,
  );
});

test.each(["shm", "tcp"] as const)(
  "over %s, calls that are found too late to begin are on no bill",
  async (fabric) => {
    const file = scratch.join(`effects-${nodes++}`);
    await using node = await ServedNode.start("127.0.0.1:0", ["--sandbox", "none", "--cores", "1"]);
    await using rf = await invoker({ node: `127.0.0.1:${node.port}`, fabric });
    await using lease = await rf.allocate<Effects>(EFFECTS, { polling: "warm" });
    await tellFile(lease, file);
    const { calls: before } = await lease.usage();
    const call = (number: number, ms: number, options = {}) => {
      const input = lease.input(Uint32Array, 2);
      input.set([number, ms]);
      return lease.submit("effect", input, lease.output(Uint8Array, 1), options);
    };
    const long = call(0, 200);
    const late = Array.from({ length: 5 }, (_, i) => call(i + 1, 0, { deadlineMs: 20 }));
    const ends = await Promise.allSettled(late);
    expect(ends.map(({ status }) => status)).toEqual(Array(5).fill("rejected"));
    await long;
    await call(6, 0);
    const ran = effectsIn(file);
    expect(ran).toEqual([0, 6]);
    expect((await lease.usage()).calls - before).toBe(ran.length);
  },
  LIMIT_MS,
);

test(
  "what is called on a lease that was released did not run",
  async () => {
    await using rf = await invoker({ cores: 1 });
    const lease = await rf.allocate<Effects>(EFFECTS);
    const view = lease.input(Uint8Array, 8);
    const out = lease.output(Uint8Array, 8);
    await lease.release();
    const ways: (() => unknown)[] = [
      () => lease.invoke("effect" as never, view, out),
      () => lease.submit("effect" as never, view, out),
      () => lease.input(Uint8Array, 8),
    ];
    for (const way of ways) {
      const error = await Promise.try(async () => await way()).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "RFAAS_LEASE_LOST", mayHaveRun: false });
    }
  },
  LIMIT_MS,
);

test(
  "a map over two nodes of which one is told to stop goes on with the other: each input has one result and one effect",
  async () => {
    const file = scratch.join("effects-of-map");
    const args = ["--sandbox", "none", "--cores", "1", "--drain", "1500ms"];
    await using first = await ServedNode.start("127.0.0.1:0", args);
    await using second = await ServedNode.start("127.0.0.1:0", args);
    const nodes = [first, second].map(({ port }, i) => ({
      ...{ name: `node-${i}`, address: `127.0.0.1:${port}` },
    }));
    const list = scratch.file("nodes-of-map.json", JSON.stringify({ nodes }));
    await using rf = await invoker({ nodes: list });
    await using lease = await rf.allocate<Effects>(EFFECTS, { workers: 2, polling: "warm" });
    expect(lease.parts).toHaveLength(2);
    await tellFile(lease, file);
    const inputs = Array.from({ length: CALLS }, (_, i) => new Uint32Array([i, CALL_MS]));
    let results = 0;
    for await (const _ of lease.map("effect", inputs, { concurrency: 4 }))
      if (++results === 4) first.kill("SIGTERM");
    expect(results).toBe(CALLS);
    expect(effectsIn(file).toSorted((a, b) => a - b)).toEqual(inputs.map((_, i) => i));
  },
  LIMIT_MS,
);
