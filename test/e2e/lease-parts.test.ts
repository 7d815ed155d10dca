/** A lease with parts on two nodes: where memory lies, where calls go, and what is left when a part is lost. */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
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
import { FABRIC, nodeAddress } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
type Typed = typeof import("../functions/typed.ts");
const GOOD = join(FUNCTIONS, "good.ts");

let scratch: Scratch;
let nodes: ServedNode[];
let rf: Invoker;
/** Two workers on node `a`, one on node `b`. */
let lease: Lease<Good>;
beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});
beforeEach(async () => {
  scratch = new Scratch();
  nodes = await Promise.all([start("a", 2), start("b", 1)]);
  const list = ["a", "b"].map((name) => ({
    name,
    address: nodeAddress(scratch.join(`${name}.sock`)),
  }));
  rf = await invoker({ nodes: scratch.file("nodes.json", JSON.stringify({ nodes: list })) });
});
afterEach(async () => {
  await rf.close();
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  scratch[Symbol.dispose]();
});

const start = (name: string, cores: number): Promise<ServedNode> =>
  ServedNode.start(scratch.join(`${name}.sock`), ["--cores", String(cores), "--fabric", FABRIC]);

const allocate = async (): Promise<void> => {
  lease = await rf.allocate<Good>(GOOD, { workers: 3, memory: "1MiB" });
};

/** The part on a node. */
const on = (name: string) => lease.parts.find(({ node }) => node === name)!;

async function kill(name: string): Promise<void> {
  const node = nodes[["a", "b"].indexOf(name)]!;
  const gone = until(() => on(name).state === "lost", "the part is lost");
  node.kill("SIGKILL");
  await node.exited;
  await gone;
}

const refusal = (work: () => unknown): UsageError => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return error as UsageError;
  }
  throw new Error("it was not refused");
};

describe("the parts of a lease", () => {
  beforeEach(allocate);

  test("say where they are", () => {
    expect(lease.workers).toBe(3);
    expect(on("a")).toMatchObject({
      address: nodeAddress(scratch.join("a.sock")),
      workers: 2,
      state: "up",
      fabric: FABRIC,
    });
    expect(on("b")).toMatchObject({ address: nodeAddress(scratch.join("b.sock")), workers: 1 });
    const firsts = lease.parts.map(({ firstWorker }) => firstWorker);
    expect(firsts).toEqual([0, lease.parts[0]!.workers]);
    const ends = lease.parts.map(({ expiresAt }) => expiresAt.getTime());
    expect(lease.expiresAt.getTime()).toBeLessThanOrEqual(Math.max(...ends));
    expect(new Set(lease.parts.map(({ hostPid }) => hostPid)).size).toBe(2);
  });

  test("cannot be changed, and show nothing of the leases that they are", () => {
    expect(Object.isFrozen(lease.parts)).toBe(true);
    for (const part of lease.parts) {
      expect(Object.isFrozen(part)).toBe(true);
      expect(Object.keys(part).toSorted()).toEqual([
        ...["address", "cpus", "encrypted", "expiresAt", "fabric", "firstWorker"],
        ...["hostPid", "node", "phases", "state", "workers"],
      ]);
    }
  });

  test("have memory of their own, which calls do not leave", () => {
    const { firstWorker: a } = on("a");
    const { firstWorker: b } = on("b");
    const [atA, atB] = [a, b].map((worker) => lease.input(Uint8Array, 8, { worker }));
    expect(lease.submit("echo", atB!, atB!).worker).toBe(b);
    expect(lease.invoke("echo", atA!, atA!, { worker: a + 1 })).toBe(8);
    expect(refusal(() => lease.invoke("echo", atA!, atA!, { worker: b })).message).toContain(
      `allocate it with { worker: ${b} }`,
    );
    expect(refusal(() => lease.submit("echo", atA!, atB!)).message).toContain("same { worker }");
    expect(refusal(() => lease.trySubmit("echo", atB!, atB!, { worker: a })).message).toContain(
      "is on node a",
    );
    lease.free(atB!);
    expect(() => lease.invoke("echo", atB!, atB!)).toThrow(UsageError);
    expect(() => lease.free(atB!)).toThrow("free each buffer once");
  });

  test("share memory of the program's own, until its registration is disposed of", () => {
    const before = lease.freeBytes;
    const own = new Uint8Array([1, 2, 3]);
    const outputs = [0, 1, 2].map((worker) => lease.output(Uint8Array, 3, { worker }));
    {
      using _ = lease.register(own);
      for (const [worker, output] of outputs.entries()) {
        expect(lease.invoke("echo", own, output, { worker })).toBe(3);
        expect([...output]).toEqual([1, 2, 3]);
      }
      // With both its own, a call goes to any part.
      expect(lease.invoke("echo", own, own)).toBe(3);
    }
    expect(() => lease.invoke("echo", own, outputs[0]!)).toThrow("register it");
    for (const output of outputs) lease.free(output);
    expect(lease.freeBytes).toBe(before);
    const { firstWorker: worker } = on("b");
    using _ = lease.register(own, { worker });
    expect(lease.invoke("echo", own, own, { worker })).toBe(3);
    expect(() => lease.invoke("echo", own, own, { worker: on("a").firstWorker })).toThrow(
      "register it",
    );
  });

  test("get the pairs of a map that lie with them, whatever its concurrency", async () => {
    const buffers = [0, 1, 2].map((worker) => {
      const input = lease.input(Uint32Array, 2, { worker });
      return [input.fill(worker), lease.output(Uint32Array, 2, { worker })] as const;
    });
    for (const concurrency of [1, 2, 64])
      for (const ordered of [true, false]) {
        const inputs = Array.from({ length: 30 }, (_, i) => buffers[i % 3]!);
        const results = await Array.fromAsync(lease.map("echo", inputs, { concurrency, ordered }));
        const seen = results.map(({ index, bytes, output }) => [index, bytes, ...output]);
        expect(seen.toSorted((x, y) => x[0]! - y[0]!)).toEqual(
          inputs.map((_, i) => [i, 8, i % 3, i % 3]),
        );
      }
    const mixed = [buffers[0]![0], buffers[2]![1]] as const;
    await expect(Array.fromAsync(lease.map("echo", [mixed]))).rejects.toBeInstanceOf(UsageError);
  });

  test("all take calls that copy", async () => {
    const input = new Uint32Array([0]);
    const counts = await Array.fromAsync(
      lease.map(
        "count",
        Array.from({ length: 60 }, () => input),
      ),
    );
    const ones = counts.filter(({ output }) => output[0] === 1);
    expect(ones).toHaveLength(3);
    const everywhere = await lease.broadcast("whoAmI", new Uint32Array(2));
    expect(everywhere.map(({ worker, status }) => [worker, status])).toEqual(
      [0, 1, 2].map((worker) => [worker, "fulfilled"]),
    );
  });
});

describe("when a part is lost", () => {
  beforeEach(allocate);

  test("its calls in flight end with its loss, its numbers stay, and the rest of the lease goes on", async () => {
    const events: LeaseEvent[] = [];
    for (const type of ["part-lost", "lost", "released"] as const)
      lease.on(type, (event) => void events.push(event));
    const [gone, left] = [on("a"), on("b")];
    const worker = gone.firstWorker + 1;
    const view = lease.input(Uint8Array, 8, { worker });
    const other = lease.input(Uint8Array, 8, { worker: left.firstWorker });
    const pending = lease
      .submit("pending", view, view, { worker })
      .catch((error: unknown) => error);
    const elsewhere = lease.submit("later", other.fill(0), other);
    await kill("a");
    const error = await pending;
    expect(error).toBeInstanceOf(WorkerLost);
    expect((error as WorkerLost).worker).toBe(worker);
    expect(await elsewhere).toBe(8);
    expect(events).toMatchObject([{ type: "part-lost", part: lease.parts.indexOf(gone) }]);
    expect(lease.workers).toBe(3);
    expect(lease.submit("echo", other, other).worker).toBe(left.firstWorker);
    expect(() => lease.invoke("echo", view, view)).toThrow(WorkerLost);

    // What names no worker lies with a part that is left.
    const fresh = lease.input(Uint8Array, 8);
    expect(lease.invoke("echo", fresh, fresh)).toBe(8);
    await lease.renew();
    const { calls } = await lease.usage();
    expect(calls).toBeGreaterThan(0);
    expect(await Array.fromAsync(lease.map("echo", [new Uint8Array(8)]))).toHaveLength(1);
    const settled = await Array.fromAsync(
      lease.map("echo", [[view, view] as const, [other, other] as const], { settled: true }),
    );
    expect(settled.map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
    const everywhere = await lease.broadcast("echo", new Uint8Array(8));
    expect(everywhere.filter(({ status }) => status === "fulfilled")).toHaveLength(1);

    await kill("b");
    expect(events.slice(1)).toMatchObject([{ type: "lost", part: lease.parts.indexOf(left) }]);
    // Both nodes were killed, after they had been asked.
    const last = await lease.usage();
    expect(last.state).toBe("last-known");
    expect(last.calls).toBeGreaterThanOrEqual(calls);
    await expect(lease.renew()).rejects.toBeInstanceOf(LeaseLost);
    await lease.release();
    expect(events).toHaveLength(2);
    expect(lease.parts.map(({ state }) => state)).toEqual(["lost", "lost"]);
  });

  test("readers of its events hear all parts, and come to an end with the last", async () => {
    const seen: LeaseEvent[] = [];
    const read = (async () => {
      for await (const event of lease.events()) seen.push(event);
    })();
    await lease.renew();
    await until(() => seen.length >= 2, "both renewals are told");
    expect(new Set(seen.map((event) => event.type !== "released" && event.part))).toEqual(
      new Set([0, 1]),
    );
    await kill("b");
    await kill("a");
    await read;
    const types = seen.map(({ type }) => type);
    expect(types.slice(types.indexOf("part-lost"))).toEqual(["part-lost", "lost"]);
  });
});

describe("functions on values", () => {
  let typed: Lease<Typed>;
  const logs: string[] = [];
  beforeEach(async () => {
    logs.length = 0;
    typed = await rf.allocate<Typed>(join(FUNCTIONS, "typed.ts"), {
      workers: 3,
      memory: "1MiB",
      onLog: ({ part, worker, message }) => logs.push(`${part} ${worker} ${message}`),
    });
  });

  test("go to the worker that is named, by the numbers of the lease, which their logs have, too", async () => {
    using where = typed.function("whereAndWho");
    for (const { firstWorker, workers } of typed.parts)
      for (let index = 0; index < workers; index++) {
        const told = await where(null, { worker: firstWorker + index });
        expect(told).toMatchObject({ worker: index, workers });
        expect(where.invoke(null, { worker: firstWorker + index })).toMatchObject({
          worker: index,
        });
      }
    await until(() => logs.length === 3, "all workers have logged");
    const second = typed.parts[1]!.firstWorker;
    expect(logs.toSorted()).toEqual(
      [0, 1, 2].map((worker) => `${worker < second ? 0 : 1} ${worker} initialised`),
    );
    using produce = typed.function("produce");
    // Results that do not fit are fetched from the worker that keeps them.
    for (const worker of [0, 1, 2])
      expect((await produce(10_000, { worker })).bytes).toHaveLength(10_000);
    using talk = typed.function("talk");
    const heard: number[] = [];
    await talk(2, { worker: 2, onProgress: ({ worker }) => heard.push(worker) });
    expect(new Set(heard)).toEqual(new Set([2]));
  });

  test("leave a part that is lost to the others, where retries allow it", async () => {
    using mirror = typed.function("mirror");
    process.kill(typed.parts[0]!.hostPid, "SIGKILL");
    const values = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => mirror(n, { retries: 2 })));
    expect(values).toEqual([1, 2, 3, 4, 5, 6]);
    await expect(mirror(1, { worker: 0, retries: 2 })).rejects.toBeInstanceOf(WorkerLost);
    expect(await mirror(7)).toBe(7);
  });
});

describe("an invoker of several nodes", () => {
  test("tells what they have free together, and looks after the packages of all", async () => {
    expect(await rf.status()).toMatchObject({ freeCores: 3, leases: 0 });
    expect(rf.cores).toBe(3);
    await allocate();
    expect(await rf.status()).toMatchObject({ freeCores: 0, leases: 2 });
    await lease.release();
    const hash = await rf.packages.push(join(FUNCTIONS, "flaky.ts"));
    const found = (await rf.packages.list()).find((stored) => stored.hash === hash);
    expect(found).toMatchObject({ leases: 0 });
    for (const { address } of nodes) {
      await using one = await invoker({ node: address });
      expect((await one.packages.list()).map((stored) => stored.hash)).toContain(hash);
    }
    await rf.packages.remove(hash);
    expect((await rf.packages.list()).map((stored) => stored.hash)).not.toContain(hash);
    await expect(rf.packages.remove(hash)).rejects.toBeInstanceOf(UsageError);
  });
});

describe("an invoker of one node", () => {
  test("waits for room when it is told to, for as long as it is told to", async () => {
    await using one = await invoker({ node: nodes[1]!.address });
    const held = await one.allocate(GOOD, { memory: "1MiB" });
    const full = await one.allocate(GOOD, { memory: "1MiB" }).catch((error: unknown) => error);
    expect(full).toBeInstanceOf(LeaseRefused);
    const options = { memory: "1MiB", wait: true };
    const late = one.allocate(GOOD, { ...options, timeoutMs: 50 });
    expect((await late.catch((error: LeaseRefused) => error)) as LeaseRefused).toMatchObject({
      code: "RFAAS_NODE_FULL",
    });
    const stop = new AbortController();
    const aborted = one.allocate(GOOD, { ...options, signal: stop.signal });
    stop.abort("enough");
    expect(await aborted.catch((reason: unknown) => reason)).toBe("enough");
    const waiting = one.allocate(GOOD, options);
    await held.release();
    await using next = await waiting;
    expect(next.parts).toMatchObject([{ node: nodes[1]!.address, firstWorker: 0, workers: 1 }]);
  });

  test("tells of its node as a cluster does of many", async () => {
    await using other = await invoker({ node: nodes[0]!.address });
    const isReady = async (): Promise<boolean> => (await other.status()).prewarmedHosts > 0;
    await until(isReady, "the node has a host that waits, and has no more news");
    await using one = await invoker({ node: nodes[0]!.address });
    const seen: (number | undefined)[] = [];
    const end = one.on("capacity", ([node]) => void seen.push(node!.freeCores));
    await one.status();
    await one.status();
    expect(one.nodes()).toMatchObject([
      { name: nodes[0]!.address, state: "up", fabric: FABRIC, cores: 2, freeCores: 2 },
    ]);
    end();
    await using held = await one.allocate(GOOD, { memory: "1MiB" });
    await one.status();
    expect([seen, held.workers]).toEqual([[2], 1]);
    await expect(one.allocate(GOOD, { workers: 60_000 })).rejects.toMatchObject({
      path: "workers",
    });
  });
});
