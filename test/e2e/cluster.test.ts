/** Several real nodes leased from as one: partial grants, waiting for room, nodes that die. */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Cluster } from "../../src/client/cluster/cluster.ts";
import { openNode } from "../../src/client/invoker.ts";
import { nodesFromAddresses } from "../../src/client/cluster/node-list.ts";
import {
  type AllocateOptions,
  FunctionError,
  type Invoker,
  type Lease,
  LeaseRefused,
  ModuleLoadError,
  NoSuchFunction,
  NodeUnreachable,
  UsageError,
  WorkerLost,
  invoker,
} from "../support/library.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { FABRIC, nodeAddress } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
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

const addressOf = (name: string): string => nodeAddress(scratch.join(`${name}.sock`));

/** Starts nodes named a, b, c .. with so many cores, and writes a list of them. */
async function serve(...cores: number[]): Promise<string> {
  const started = cores.map((count, i) => start("abcdefgh"[i]!, count));
  nodes = await Promise.all(started);
  return listOf(cores.map((_, i) => "abcdefgh"[i]!));
}

const start = (name: string, cores: number): Promise<ServedNode> =>
  ServedNode.start(addressOf(name), ["--cores", String(cores), "--fabric", FABRIC]);

const listOf = (names: string[]): string =>
  scratch.file(
    "nodes.json",
    JSON.stringify({ nodes: names.map((name) => ({ name, address: addressOf(name) })) }),
  );

const allocate = (rf: Invoker, workers: number, options: AllocateOptions = {}) =>
  rf.allocate<Good>(GOOD, { workers, memory: MEMORY, ...options });

/** How many workers of a lease are on which node. */
function shares({ parts }: Lease<Good>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { node, workers } of parts) counts[node] = (counts[node] ?? 0) + workers;
  return counts;
}

/** What the nodes themselves say, over connections of their own. */
async function freeCores(): Promise<number[]> {
  return await Promise.all(
    nodes.map(async ({ address }) => {
      await using rf = await invoker({ node: address });
      return (await rf.status()).freeCores;
    }),
  );
}

/** The capacity of a node comes back a moment after whoever held it is gone. */
async function expectFree(...cores: number[]): Promise<void> {
  await until(async () => Bun.deepEquals(await freeCores(), cores), `${cores} cores are free`);
}

const echo = {
  inputBytes: 8,
  outputBytes: 8,
  write: (n: number, input: Uint8Array<ArrayBuffer>) =>
    new DataView(input.buffer, input.byteOffset).setFloat64(0, n),
  read: (output: Uint8Array<ArrayBuffer>) =>
    new DataView(output.buffer, output.byteOffset).getFloat64(0),
};

async function refusal(promise: Promise<unknown>): Promise<LeaseRefused> {
  const error = await promise.then(
    () => new Error("it was granted"),
    (error: unknown) => error,
  );
  if (!(error instanceof LeaseRefused)) throw error;
  return error;
}

describe("allocation over a list of nodes", () => {
  test("gathers partial grants, 4 workers here and 2 there, and every worker answers right", async () => {
    await using rf = await invoker({ nodes: await serve(4, 2) });
    await using group = await allocate(rf, 6);
    expect(shares(group)).toEqual({ a: 4, b: 2 });
    expect(group.workers).toBe(6);
    for (const { firstWorker, workers } of group.parts)
      for (let index = 0; index < workers; index++) {
        const worker = firstWorker + index;
        const output = group.output(Uint32Array, 2, { worker });
        group.invoke("whoAmI", group.input(Uint8Array, 0, { worker }), output, { worker });
        expect([...output]).toEqual([index, workers]);
      }
    expect(await freeCores()).toEqual([0, 0]);
    await group.release();
    await expectFree(4, 2);
  });

  test("spreads over the nodes, or packs the fullest that has room for all", async () => {
    await using rf = await invoker({ nodes: await serve(4, 3, 2) });
    await using spread = await allocate(rf, 9);
    expect(shares(spread)).toEqual({ a: 4, b: 3, c: 2 });
    await spread.release();
    await using packed = await allocate(rf, 2, { placement: "pack" });
    expect(shares(packed)).toEqual({ c: 2 });
    await using more = await allocate(rf, 5, { placement: "pack" });
    expect(shares(more)).toEqual({ a: 4, b: 1 });
    await using last = await allocate(rf, 2, { nodes: 1 });
    expect(shares(last)).toEqual({ b: 2 });
  });

  test("serves many requests at once, as many as there are cores", async () => {
    await using rf = await invoker({ nodes: await serve(4, 4) });
    const groups = await Promise.all(
      Array.from({ length: 8 }, () => allocate(rf, 1, { wait: false })),
    );
    const workers = groups.flatMap((group) => Object.entries(shares(group)));
    expect(workers).toHaveLength(8);
    expect(await freeCores()).toEqual([0, 0]);
    await rf.close();
    await expectFree(4, 4);
  });

  test("goes over TCP and takes addresses as they are", async () => {
    nodes = await Promise.all(
      [2, 2].map((cores) =>
        ServedNode.start("127.0.0.1:0", ["--cores", String(cores), "--fabric", FABRIC]),
      ),
    );
    const addresses = nodes.map(({ stderr }) => /at (127\.0\.0\.1:\d+)/.exec(stderr)![1]!);
    await using rf = await invoker({ nodes: addresses });
    await using group = await allocate(rf, 4);
    expect(shares(group)).toEqual({ [addresses[0]!]: 2, [addresses[1]!]: 2 });
  });

  test("fails as a whole when the module does, and gives everything back", async () => {
    await using rf = await invoker({ nodes: await serve(2, 2) });
    const missing = scratch.join("missing.ts");
    await expect(rf.allocate(missing, { workers: 4 })).rejects.toBeInstanceOf(ModuleLoadError);
    await expectFree(2, 2);
    await using group = await allocate(rf, 4);
    expect(group.workers).toBe(4);
  });

  test("refuses options that make no sense", async () => {
    await using rf = await invoker({ nodes: await serve(1) });
    for (const wrong of [
      { workers: 0 },
      { workers: 1.5 },
      { timeoutMs: -1 },
      { nodes: 0 },
      { memory: "lots" },
      { slots: 3 },
    ])
      await expect(rf.allocate(GOOD, wrong)).rejects.toBeInstanceOf(UsageError);
    await expectFree(1);
  });
});

describe("a full cluster", () => {
  test("refuses at once with wait: false, and says what was free", async () => {
    await using rf = await invoker({ nodes: await serve(2, 2) });
    await using group = await allocate(rf, 3);
    const error = await refusal(allocate(rf, 2, { wait: false }));
    expect(error.code).toBe("RFAAS_CLUSTER_FULL");
    expect(error.message).toMatch(/no room for 2 workers .* 1 core is free/);
    expect(group.workers).toBe(3);
    expect((await freeCores()).toSorted()).toEqual([0, 1]);
  });

  test("lets a request wait until another group is released", async () => {
    await using rf = await invoker({ nodes: await serve(2, 2) });
    const first = await allocate(rf, 4);
    const waiting = allocate(rf, 3);
    expect(await Promise.race([waiting, refusal(allocate(rf, 1, { wait: false }))])).toBeInstanceOf(
      LeaseRefused,
    );
    await first.release();
    await using second = await waiting;
    expect(second.workers).toBe(3);
  });

  test("lets a request of one client wait for the release of another client's", async () => {
    const list = await serve(2);
    await using one = await invoker({ nodes: list });
    await using two = await invoker({ nodes: list });
    const first = await allocate(one, 2);
    const waiting = allocate(two, 2);
    await first.release();
    await using second = await waiting;
    expect(second.workers).toBe(2);
  });

  test("serves waiting requests in their order: a large one is not starved by small ones", async () => {
    await using rf = await invoker({ nodes: await serve(4) });
    const first = await Promise.all([1, 2, 3, 4].map(() => allocate(rf, 1)));
    const order: number[] = [];
    const waiting = [4, 1, 1].map(async (workers) => {
      const group = await allocate(rf, workers);
      order.push(workers);
      return group;
    });
    // Together, since it gives a part back that it has held for long.
    await Promise.all(first.map((group) => group.release()));
    const large = await waiting[0]!;
    expect(order).toEqual([4]);
    await large.release();
    for (const small of await Promise.all(waiting.slice(1))) await small.release();
    expect(order).toEqual([4, 1, 1]);
  });

  test("ends the waiting after timeoutMs and gives back the part that was granted", async () => {
    const list = await serve(2, 2);
    await using other = await invoker({ nodes: list });
    await using held = await allocate(other, 2);
    await using rf = await invoker({ nodes: list });
    const error = await refusal(allocate(rf, 4, { timeoutMs: 100 }));
    expect(error.code).toBe("RFAAS_CLUSTER_FULL");
    expect(error.message).toContain("within 100 ms");
    await until(
      async () => (await freeCores()).reduce((a, b) => a + b) === 2,
      "the part is given back",
    );
    expect(held.workers).toBe(2);
  });

  test("lets two clients that each hold what the other waits for both finish", async () => {
    const list = await serve(2, 2);
    await using one = await invoker({ nodes: list });
    await using two = await invoker({ nodes: list });
    const both = [one, two].map(async (rf) => {
      await using group = await allocate(rf, 4);
      return group.workers;
    });
    expect(await Promise.all(both)).toEqual([4, 4]);
    await expectFree(2, 2);
  });

  test("gives nodes back at once that load a module for it, when the signal says so or the cluster is closed", async () => {
    await serve(1, 1);
    const nodes = ["a", "b"].map(addressOf);
    const endless = scratch.file(
      "endless.ts",
      "await new Promise(() => {}); export const f = () => 0;",
    );
    for (const end of ["abort", "close"] as const) {
      await using rf = await invoker({ nodes });
      const stop = new AbortController();
      const options = { workers: 2, loadTimeoutMs: 600_000, signal: stop.signal };
      const waiting = rf.allocate(endless, options).catch((error: unknown) => error);
      await expectFree(0, 0);
      if (end === "abort") stop.abort("enough");
      else await rf.close();
      expect(await waiting).toEqual(
        end === "abort" ? "enough" : expect.objectContaining({ code: "RFAAS_CLUSTER_CLOSED" }),
      );
      await expectFree(1, 1);
    }
  });

  test("stops waiting when the signal says so, and when the cluster is closed", async () => {
    await using rf = await invoker({ nodes: await serve(1) });
    const held = await allocate(rf, 1);
    const stop = new AbortController();
    const aborted = allocate(rf, 1, { signal: stop.signal });
    const closed = refusal(allocate(rf, 1));
    stop.abort(new Error("no longer wanted"));
    await expect(aborted).rejects.toThrow("no longer wanted");
    await rf.close();
    expect((await closed).code).toBe("RFAAS_CLUSTER_CLOSED");
    expect((await refusal(allocate(rf, 1))).code).toBe("RFAAS_CLUSTER_CLOSED");
    await held.release();
    await expectFree(1);
  });
});

describe("nodes that die", () => {
  test("between two allocations are passed over, and asked again when they are back", async () => {
    await using rf = await invoker({ nodes: await serve(2, 2) });
    await (await allocate(rf, 4)).release();
    nodes[0]!.kill("SIGKILL");
    await nodes[0]!.exited;
    const group = await allocate(rf, 2);
    expect(shares(group)).toEqual({ b: 2 });
    expect(rf.nodes().find(({ name }) => name === "a")!.state).toBe("down");
    const waiting = allocate(rf, 2);
    nodes[0] = await start("a", 2);
    expect(shares(await waiting)).toEqual({ a: 2 });
    expect(rf.nodes().find(({ name }) => name === "a")!.state).toBe("up");
  });

  test("while leased lose their leases; the others go on", async () => {
    await using rf = await invoker({ nodes: await serve(2, 2) });
    await using group = await allocate(rf, 4);
    const lost = Promise.withResolvers<number>();
    group.on("part-lost", ({ part }) => lost.resolve(part));
    nodes[0]!.kill("SIGKILL");
    expect(group.parts[await lost.promise]!.node).toBe("a");
    for (const { node, state, firstWorker: worker } of group.parts) {
      const view = group.input(Uint8Array, 8, { worker });
      expect(state).toBe(node === "a" ? "lost" : "up");
      if (node === "b") expect(group.invoke("echo", view, view)).toBe(8);
      else expect(() => group.invoke("echo", view, view)).toThrow(WorkerLost);
    }
    await until(() => rf.nodes()[0]!.state === "down", "the node is known to be down");
    await group.release();
    nodes.shift();
    await expectFree(2);
  });

  test("all of them are told at once, when none was ever there", async () => {
    await using rf = await invoker({ nodes: [addressOf("nobody"), "127.0.0.1:1"] });
    await expect(allocate(rf, 1)).rejects.toBeInstanceOf(NodeUnreachable);
  });
});

describe("map over several nodes", () => {
  test("spreads chunks over all workers of all nodes and yields results in order", async () => {
    await using rf = await invoker({ nodes: await serve(2, 1) });
    await using group = await allocate(rf, 3);
    const chunks = Array.from({ length: 500 }, (_, i) => i * 1.5);
    expect(await Array.fromAsync(group.map("echo", chunks, echo))).toEqual(chunks);
    const counted = await Array.fromAsync(
      group.map("count", chunks, {
        ...echo,
        read: (output) => new DataView(output.buffer, output.byteOffset).getUint32(0, true),
      }),
    );
    // Each worker counts its own calls: all of them, together.
    expect(counted.filter((count) => count === 1)).toHaveLength(3);
  });

  test("yields what is there while more chunks are to come, and stops taking them when the reader does", async () => {
    await using rf = await invoker({ nodes: await serve(1) });
    await using group = await allocate(rf, 1);
    let taken = 0;
    function* endless(): Generator<number> {
      for (;;) yield taken++;
    }
    const before = group.freeBytes;
    for await (const n of group.map("echo", endless(), { ...echo, concurrency: 4 }))
      if (n === 20) break;
    expect(taken).toBeLessThanOrEqual(21 + 4 * 4);
    expect(group.freeBytes).toBe(before);
  });

  test("throws what the function threw, in its turn", async () => {
    await using rf = await invoker({ nodes: await serve(1, 1) });
    await using group = await rf.allocate(join(FUNCTIONS, "bad.ts"), {
      workers: 2,
      memory: MEMORY,
    });
    const results = group.map("throwsError", [1, 2, 3], echo);
    await expect(results.next()).rejects.toBeInstanceOf(FunctionError);
    await expect(Array.fromAsync(group.map("missing", [1], echo))).rejects.toBeInstanceOf(
      NoSuchFunction,
    );
  });

  test("gives the chunks of lost workers to others when told to", async () => {
    await using rf = await invoker({ nodes: await serve(1, 1) });
    await using group = await allocate(rf, 2);
    const chunks = Array.from({ length: 300 }, (_, i) => i);
    const results: number[] = [];
    for await (const n of group.map("echo", chunks, { ...echo, retries: 3 })) {
      if (results.push(n) === 10) nodes[0]!.kill("SIGKILL");
    }
    expect(results).toEqual(chunks);
  });

  test("without that throws the loss", async () => {
    await using rf = await invoker({ nodes: await serve(1, 1) });
    await using group = await allocate(rf, 2);
    // Long enough that each worker always has some.
    const oneMs = new Uint32Array([1]);
    function* endless(): Generator<Uint32Array<ArrayBuffer>> {
      for (;;) yield oneMs;
    }
    const calls = (async () => {
      for await (const { index } of group.map("busy", endless(), { concurrency: 8 }))
        if (index === 10) nodes[0]!.kill("SIGKILL");
    })();
    // `expect(..).rejects` would run microtasks only with timers.
    const error = await calls.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WorkerLost);
    expect((error as WorkerLost).index).toBeGreaterThan(10);
  });
});

describe("news of capacity", () => {
  test("comes with every grant and release, and ends when told to", async () => {
    await using rf = await invoker({ nodes: await serve(2) });
    const seen: (number | undefined)[] = [];
    const end = rf.on("capacity", ([node]) => void seen.push(node!.freeCores));
    const group = await allocate(rf, 2);
    await until(() => seen.at(-1) === 0, "the grant is news");
    await group.release();
    await until(() => seen.at(-1) === 2, "the release is news");
    end();
    const count = seen.length;
    await using again = await allocate(rf, 1);
    await until(() => rf.nodes()[0]!.freeCores === 1, "the node was asked");
    expect([seen.length, again.workers]).toEqual([count, 1]);
  });

  test("is not lost on a program that chooses by chance of its own", async () => {
    await serve(3, 3);
    await using rf = new Cluster(nodesFromAddresses(nodes.map(({ address }) => address)), {
      connect: (node) => openNode({ node }),
      defaultMemoryBytes: 1024 * 1024,
      random: () => 0,
    });
    await using group = await allocate(rf, 3);
    expect(shares(group)).toEqual({ [addressOf("a")]: 2, [addressOf("b")]: 1 });
  });
});

describe("rfaas invoke", () => {
  test("--nodes uses one of the nodes of a list", async () => {
    const list = await serve(1, 1);
    const args = ["invoke", `${GOOD}#echo`, "--json", "21", "--nodes", list];
    const { stdout, exitCode } = await rfaas(args);
    expect([stdout, exitCode]).toEqual(["21\n", 0]);
    await expectFree(1, 1);
  });

  test("says which field of the list is wrong", async () => {
    const list = scratch.file("nodes.json", '{"nodes": [{"name": "a"}]}');
    const { stderr, exitCode } = await rfaas(["invoke", GOOD, "--nodes", list]);
    expect(stderr).toContain("nodes[0].address must be an address");
    expect(exitCode).toBe(2);
  });

  test("refuses two answers to the question where", async () => {
    const list = await serve(1);
    const { stderr, exitCode } = await rfaas(["invoke", GOOD, "--nodes", list, "--node", "x.sock"]);
    expect(stderr).toContain("exclude each other");
    expect(exitCode).toBe(2);
  });
});
