/** Leases that keep their number of workers: what is lost is replaced, and all that the program holds goes on. */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  type FabricName,
  type Lease,
  type LeaseEventOf,
  LeaseLost,
  WorkerLost,
  invoker,
} from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { nodeAddress } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Heals = typeof import("../functions/heals.ts");
const HEALS = join(FUNCTIONS, "heals.ts");
const LIMIT_MS = 60_000;
const FABRICS: FabricName[] = ["shm", "tcp"];
const MEMORY = "1MiB";

let scratch: Scratch;
let nodes: ServedNode[];
beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});
beforeEach(() => {
  scratch = new Scratch();
  nodes = [];
});
afterEach(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  scratch[Symbol.dispose]();
});

/** Kills the host of a part, and resolves when others have its place. */
async function lose<Module>(lease: Lease<Module>, part = 0): Promise<LeaseEventOf<"replaced">> {
  const replaced = Promise.withResolvers<LeaseEventOf<"replaced">>();
  const end = lease.on("replaced", replaced.resolve);
  process.kill(lease.parts[part]!.hostPid, "SIGKILL");
  const event = await replaced.promise;
  end();
  return event;
}

const addressOf = (name: string): string => nodeAddress(scratch.join(`${name}.sock`));

const serve = async (address: string, cores: number): Promise<ServedNode> => {
  const node = await ServedNode.start(address, ["--cores", String(cores), "--prewarm", "1"]);
  nodes.push(node);
  return node;
};

describe.each(FABRICS)("over %s, a lease that replaces its workers", (fabric) => {
  test(
    "has as many, by the same numbers, that are cold, and says so",
    async () => {
      await using rf = await invoker({ cores: 2, fabric });
      await using lease = await rf.allocate<Heals>(HEALS, { workers: 2, onLoss: "replace" });
      const where = lease.function("where");
      await where.broadcast(null);
      const before = await where(null, { worker: 1 });
      expect(before.cold).toBe(false);
      const event = await lose(lease);
      expect(event).toMatchObject({ part: 0, firstWorker: 0, workers: 2, cold: true });
      const after = await where(null, { worker: 1 });
      expect(after.cold).toBe(true);
      expect(after.id).not.toBe(before.id);
      expect([lease.workers, lease.parts.length, lease.parts[0]!.state]).toEqual([2, 1, "up"]);
    },
    LIMIT_MS,
  );

  test(
    "ends calls in flight with what may have happened, and makes those again that may run twice",
    async () => {
      await using rf = await invoker({ cores: 1, fabric });
      await using lease = await rf.allocate<Heals>(HEALS, { slots: 128, onLoss: "replace" });
      const { id } = await lease.function("where")(null);
      const input = lease.input(Float64Array, 1).fill(id);
      const calls = Array.from({ length: 100 }, () =>
        lease.submit("elsewhere", input, lease.output(Uint8Array, 8)),
      );
      const outputs = [1, 2, 3].map(() => lease.output(Float64Array, 1));
      const again = outputs.map((output) =>
        lease.submit("elsewhere", input, output, { idempotent: true }),
      );
      const value = lease.function("slow")(21, { idempotent: true });
      const ends = Promise.allSettled(calls);
      await lose(lease);
      const reasons = (await ends).map((end) => (end.status === "rejected" ? end.reason : end));
      for (const reason of reasons) {
        expect(reason).toBeInstanceOf(WorkerLost);
        expect((reason as WorkerLost).mayHaveRun).toBeBoolean();
      }
      expect(await Promise.all(again)).toEqual([8, 8, 8]);
      expect(outputs.map(([echoed]) => echoed)).toEqual([id, id, id]);
      expect(await value).toBe(42);
    },
    LIMIT_MS,
  );

  test(
    "ends the calls of a batch on lost workers, or makes them again where they may run twice",
    async () => {
      await using rf = await invoker({ cores: 1, fabric });
      await using lease = await rf.allocate<Heals>(HEALS, {
        ...{ slots: 16, memory: MEMORY, onLoss: "replace" },
      });
      const { id } = await lease.function("where")(null);
      const input = lease.input(Float64Array, 1).fill(id);
      const inputs = Array.from({ length: 40 }, () => input);
      const room = () => inputs.map(() => lease.output(Float64Array, 1));
      const ended = lease.submitMany("elsewhere", inputs, room(), { settled: true });
      const outputs = room();
      const again = lease.submitMany("elsewhere", inputs, outputs, { idempotent: true });
      const late = lease.submitMany("elsewhere", inputs, room(), {
        ...{ idempotent: true, deadlineMs: 1, settled: true },
      });
      expect([...(await late)]).toEqual(inputs.map(() => -1));
      expect(late.failures[0]!.error).toBeInstanceOf(DeadlineExceeded);
      await lose(lease);
      expect([...(await ended)]).toEqual(inputs.map(() => -1));
      for (const { error } of ended.failures) {
        expect(error).toBeInstanceOf(WorkerLost);
        expect((error as WorkerLost).message).toContain("call again: others take its place");
      }
      expect([...(await again)]).toEqual(inputs.map(() => 8));
      expect([again.done, again.ended, again.failures.length]).toEqual([true, 40, 0]);
      expect(outputs.map(([echoed]) => echoed)).toEqual(inputs.map(() => id));
    },
    LIMIT_MS,
  );

  test(
    "goes on with the buffers, handles and views that the program has",
    async () => {
      await using rf = await invoker({ cores: 1, fabric });
      await using lease = await rf.allocate<Heals>(HEALS, { memory: MEMORY, onLoss: "replace" });
      const input = lease.input(Float64Array, 100).fill(0.5);
      const output = lease.output(Float64Array, 1);
      const double = lease.function("double");
      double.input.value = 21;
      for (const losses of [0, 1, 2]) {
        if (losses > 0) await lose(lease);
        output[0] = 0;
        expect(await lease.submit("sum", input, output)).toBe(8);
        expect(output[0]).toBe(50);
        output[0] = 0;
        lease.invoke("sum", input, output);
        expect(output[0]).toBe(50);
        await lease.submitMany("sum", [input, input], [output, lease.output(Float64Array, 1)]);
        expect(double.invoke().value).toBe(42);
        expect((await double({ value: 4 })).value).toBe(8);
        const fresh = lease.output(Float64Array, 1);
        lease.invoke("sum", input, fresh);
        expect(fresh[0]).toBe(50);
        lease.free(fresh);
      }
      lease.free(input);
      expect(() => lease.invoke("sum", input, output)).toThrow("not in the lease's memory");
    },
    LIMIT_MS,
  );

  test(
    "maps all inputs, though its host dies in their middle",
    async () => {
      await using rf = await invoker({ cores: 1, fabric });
      await using lease = await rf.allocate<Heals>(HEALS, { memory: MEMORY, onLoss: "replace" });
      const inputs = Array.from({ length: 200 }, (_, i) => Float64Array.of(i, 1));
      const results: number[] = [];
      let lost: Promise<unknown> | undefined;
      for await (const { output } of lease.map("sum", inputs, {
        idempotent: true,
        concurrency: 8,
      })) {
        results.push(new Float64Array(output.buffer)[0]!);
        if (results.length === 50) lost = lose(lease);
      }
      await lost;
      expect(results).toEqual(inputs.map(([i]) => i! + 1));
      const slow = lease.function("slow");
      const values = [...inputs.keys()].slice(0, 40);
      const mapped: number[] = [];
      for await (const value of slow.map(values, { idempotent: true, concurrency: 4 })) {
        mapped.push(value);
        if (mapped.length === 10) lost = lose(lease);
      }
      await lost;
      expect(mapped).toEqual(values.map((n) => 2 * n));
    },
    LIMIT_MS,
  );
});

test(
  "a call that is made while workers are replaced waits for them, and one on the spot says that it did not run",
  async () => {
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate<Heals>(HEALS, { onLoss: "replace" });
    const [input, output] = [lease.input(Float64Array, 1), lease.output(Float64Array, 1)];
    const where = lease.function("where");
    await where(null);
    const lost = Promise.withResolvers();
    lease.on("part-lost", lost.resolve);
    process.kill(lease.hostPid, "SIGKILL");
    await lost.promise;
    const error = (() => {
      try {
        return lease.invoke("sum", input, output);
      } catch (caught) {
        return caught;
      }
    })();
    expect(error).toBeInstanceOf(WorkerLost);
    expect((error as WorkerLost).message).toEndWith(
      "call again: others take its place; this call did not run",
    );
    const calls = [lease.submit("sum", input, output), where(null)] as const;
    const batch = lease.submitMany("sum", [input], [lease.output(Float64Array, 1)]);
    expect(() => batch.get()).toThrow("await it");
    expect(await calls[0]).toBe(8);
    expect((await calls[1]).cold).toBe(false);
    expect([...(await batch)]).toEqual([8]);
  },
  LIMIT_MS,
);

test(
  "a call that waits for new workers ends when its lease is released, and its buffers are freed without harm",
  async () => {
    const node = await serve(addressOf("a"), 1);
    await using rf = await invoker({ node: node.address });
    const lease = await rf.allocate<Heals>(HEALS, { memory: MEMORY, onLoss: "replace" });
    const [input, output] = [lease.input(Float64Array, 1), lease.output(Float64Array, 1)];
    const lost = Promise.withResolvers();
    lease.on("part-lost", lost.resolve);
    node.kill("SIGKILL");
    await lost.promise;
    const calls = [
      lease.submit("sum", input, output),
      lease.submitMany("sum", [input], [output]),
    ].map((call) => Promise.resolve(call).catch((error: unknown) => error));
    await lease.release();
    for (const error of await Promise.all(calls)) {
      expect(error).toBeInstanceOf(LeaseLost);
      expect((error as LeaseLost).mayHaveRun).toBe(false);
    }
    for (const buffer of [input, output]) expect(() => lease.free(buffer)).not.toThrow();
  },
  LIMIT_MS,
);

test(
  "a lost node's workers are replaced on other ones, in more parts",
  async () => {
    const addresses = ["a", "b", "c"].map(addressOf);
    const large = await serve(addresses[0]!, 2);
    await using rf = await invoker({ nodes: addresses });
    await using lease = await rf.allocate<Heals>(HEALS, {
      ...{ workers: 2, memory: MEMORY, onLoss: "replace" },
    });
    const [input, output] = [lease.input(Float64Array, 1).fill(3), lease.output(Float64Array, 1)];
    const where = lease.function("where");
    const replaced: number[] = [];
    lease.on("replaced", ({ firstWorker }) => replaced.push(firstWorker));
    for (const address of addresses.slice(1)) await serve(address, 1);
    large.kill("SIGKILL");
    await until(() => replaced.length === 2, "both workers are replaced");
    expect(replaced).toEqual([0, 1]);
    const ends = await where.broadcast(null, { deadlineMs: 20_000 });
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
    for (const worker of [0, 1]) {
      output[0] = 0;
      await lease.submit("sum", input, output, { worker });
      expect(output[0]).toBe(3);
    }
    expect(lease.parts.map(({ firstWorker }) => firstWorker)).toEqual([0, 1]);
  },
  LIMIT_MS,
);

test(
  "a lease of one node heals when the node is started again",
  async () => {
    const node = await serve(addressOf("a"), 1);
    await using rf = await invoker({ node: node.address });
    await using lease = await rf.allocate<Heals>(HEALS, { memory: MEMORY, onLoss: "replace" });
    const where = lease.function("where");
    await where(null);
    node.kill("SIGKILL");
    await node[Symbol.asyncDispose]();
    nodes = [await ServedNode.start(node.address, ["--cores", "1"])];
    expect((await where(null, { idempotent: true })).cold).toBe(true);
  },
  LIMIT_MS,
);

test(
  "a node that drains loses no call: others have its workers before it takes them back",
  async () => {
    const [a, b] = [await serve(addressOf("a"), 1), await serve(addressOf("b"), 1)];
    await using rf = await invoker({ nodes: [a.address, b.address] });
    await using lease = await rf.allocate<Heals>(HEALS, { memory: MEMORY, onLoss: "replace" });
    const where = lease.function("where");
    const first = await where(null);
    const replaced = Promise.withResolvers();
    lease.on("replaced", replaced.resolve);
    const slow = lease.function("slow");
    const calls = Array.from({ length: 8 }, (_, n) => slow(n));
    const drained = lease.parts[0]!.address === a.address ? a : b;
    drained.kill("SIGTERM");
    expect(await Promise.all(calls)).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    await replaced.promise;
    const second = await where(null);
    expect(second.id).not.toBe(first.id);
    expect(lease.parts[0]!.address).not.toBe(drained.address);
  },
  LIMIT_MS,
);

test(
  "a private node that is gone is started again",
  async () => {
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate<Heals>(HEALS, { onLoss: "replace" });
    const where = lease.function("where");
    await where(null);
    const status = await Bun.file(`/proc/${lease.hostPid}/status`).text();
    const replaced = Promise.withResolvers<LeaseEventOf<"replaced">>();
    lease.on("replaced", replaced.resolve);
    process.kill(Number(/^PPid:\s*(\d+)/m.exec(status)![1]), "SIGKILL");
    expect((await replaced.promise).cold).toBe(true);
    expect((await where(null)).cold).toBe(true);
  },
  LIMIT_MS,
);

test(
  "a lease whose budget is spent ends, nothing takes its place, and its calls are told to take another one",
  async () => {
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate<Heals>(HEALS, {
      ...{ onLoss: "replace", budget: { calls: 10 } },
    });
    const lost = Promise.withResolvers<LeaseEventOf<"lost">>();
    lease.on("lost", lost.resolve);
    const where = lease.function("where");
    for (let calls = 0; calls < 10; calls++) await where(null);
    expect((await lost.promise).message).toContain("its budget is spent");
    const end = await where(null).catch((error: Error) => error.message);
    expect(end).toContain("take a new lease");
  },
  LIMIT_MS,
);

test(
  "a single worker that is lost is replaced, and the others of its process stay as they are",
  async () => {
    await using rf = await invoker({ cores: 4 });
    await using lease = await rf.allocate<Heals>(HEALS, { workers: 2, onLoss: "replace" });
    const where = lease.function("where");
    const of = async (worker: number): Promise<number> => (await where(null, { worker })).id;
    const before = [await of(0), await of(1)];
    const replaced = Promise.withResolvers<LeaseEventOf<"replaced">>();
    const end = lease.on("replaced", replaced.resolve);
    const [input, output] = [lease.input(Float64Array, 1).fill(7), lease.output(Float64Array, 1)];
    await lease.submit("breaks", input, output, { worker: 1 });
    expect(await replaced.promise).toMatchObject({ firstWorker: 1, workers: 1 });
    end();
    expect(await of(0)).toBe(before[0]!);
    expect(await of(1)).not.toBe(before[1]!);
    expect([lease.workers, lease.cpus.length]).toEqual([2, 2]);
    const broadcast = await lease.broadcast("sum", Float64Array.of(1, 2));
    expect(broadcast.map(({ worker, status }) => [worker, status])).toEqual([
      [0, "fulfilled"],
      [1, "fulfilled"],
    ]);
    await lose(lease, 0);
    expect(await of(0)).not.toBe(before[0]!);
    for (const worker of [0, undefined]) {
      output[0] = 0;
      await lease.submit("sum", input, output, worker === undefined ? {} : { worker });
      expect(output[0]).toBe(7);
    }
  },
  LIMIT_MS,
);
