/** A cluster with a manager: who is there is learned from it, and nothing else needs it. */
import { afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { type Invoker, LeaseRefused, NodeUnreachable, invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { FABRIC, nodeAddress } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");

let scratch: Scratch;
let manager: RunningManager;
let nodes: Map<string, ServedNode>;
beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});
beforeEach(async () => {
  scratch = new Scratch();
  nodes = new Map();
  manager = await RunningManager.start(scratch.path);
});
afterEach(async () => {
  await manager[Symbol.asyncDispose]();
  await Promise.all([...nodes.values()].map((node) => node[Symbol.asyncDispose]()));
  scratch[Symbol.dispose]();
});

async function serve(name: string, cores: number): Promise<void> {
  const args = ["--manager", manager.address, "--name", name, "--cores", String(cores)];
  const node = await ServedNode.start(scratch.join(`${name}.sock`), [...args, "--fabric", FABRIC]);
  nodes.set(name, node);
}

async function kill(name: string): Promise<void> {
  nodes.get(name)!.kill("SIGKILL");
  await nodes.get(name)!.exited;
}

const allocate = (rf: Invoker, workers: number, options: object = {}) =>
  rf.allocate<Good>(GOOD, { workers, memory: "1MiB", ...options });

/** The free cores of each node that is up, as the cluster shows them. */
const free = (rf: Invoker): Record<string, number | undefined> =>
  Object.fromEntries(
    rf
      .nodes()
      .filter(({ state }) => state === "up")
      .map(({ name, freeCores }) => [name, freeCores])
      .toSorted(),
  );

const shows = (rf: Invoker, expected: Record<string, number>): Promise<void> =>
  until(() => Bun.deepEquals(free(rf), expected), `${JSON.stringify(expected)} is known`);

test("nodes that join, fill up and die are news; what is leased comes from all of them", async () => {
  await using rf = await invoker({ manager: manager.address });
  expect(rf.nodes()).toEqual([]);
  let news = 0;
  rf.on("capacity", () => news++);
  await serve("a", 2);
  await shows(rf, { a: 2 });
  await serve("b", 3);
  await shows(rf, { a: 2, b: 3 });
  const group = await allocate(rf, 5);
  expect(group.parts.map(({ node }) => node).toSorted()).toEqual(["a", "b"]);

  await using watcher = await invoker({ manager: manager.address });
  await shows(watcher, { a: 0, b: 0 });
  await group.release();
  await shows(watcher, { a: 2, b: 3 });
  const before = news;
  await kill("a");
  await shows(rf, { b: 3 });
  await shows(watcher, { b: 3 });
  expect(news).toBeGreaterThan(before);
  expect((await allocate(rf, 3)).parts.map(({ node }) => node)).toEqual(["b"]);
});

test("a request waits for a node that joins", async () => {
  await using rf = await invoker({ manager: manager.address });
  const waiting = allocate(rf, 2);
  await serve("a", 2);
  expect((await waiting).workers).toBe(2);
});

test("with the manager killed, leases, calls and allocations go on; when it is back, so are its nodes", async () => {
  await serve("a", 2);
  await serve("b", 2);
  await using rf = await invoker({ manager: manager.address });
  await shows(rf, { a: 2, b: 2 });
  const first = await allocate(rf, 2);
  await manager.kill();
  for (const { firstWorker: worker } of first.parts) {
    const view = first.input(Uint8Array, 8, { worker });
    expect(first.invoke("echo", view, view)).toBe(8);
  }
  await first.renew();
  const second = await allocate(rf, 2);
  expect((await allocate(rf, 1, { wait: false }).catch((error) => error)).code).toBe(
    "RFAAS_CLUSTER_FULL",
  );
  await first.release();
  await using third = await allocate(rf, 2);
  expect([second.workers, third.workers]).toEqual([2, 2]);

  await manager.restart();
  await using other = await invoker({ manager: manager.address });
  await shows(other, { a: 0, b: 0 });
  await second.release();
  await until(
    () => Object.values(free(other)).reduce<number>((sum, cores) => sum + (cores ?? 0), 0) === 2,
    "the release is known to others",
  );
  await using fourth = await allocate(rf, 2);
  expect(fourth.workers).toBe(2);
});

test("RFAAS_MANAGER leads programs and commands that name no node to one of its nodes", async () => {
  await serve("a", 2);
  await using watcher = await invoker({ manager: manager.address });
  await shows(watcher, { a: 2 });
  process.env["RFAAS_MANAGER"] = manager.address;
  try {
    await using rf = await invoker();
    expect(rf.address).toBe(nodeAddress(scratch.join("a.sock")));
    await using lease = await rf.allocate(GOOD);
    expect(lease.functions).toContain("echo");
  } finally {
    delete process.env["RFAAS_MANAGER"];
  }
  const args = ["invoke", `${GOOD}#echo`, "--json", "21"];
  const named = await rfaas([...args, "--manager", manager.address]);
  expect([named.stdout, named.exitCode]).toEqual(["21\n", 0]);
  const found = await rfaas(args, { env: { RFAAS_MANAGER: manager.address } });
  expect([found.stdout, found.exitCode]).toEqual(["21\n", 0]);
  await shows(watcher, { a: 2 });
});

test("a manager that does not answer, or has no nodes, is said to", async () => {
  await expect(invoker({ manager: "127.0.0.1:1" })).rejects.toBeInstanceOf(NodeUnreachable);
  await using rf = await invoker({ manager: manager.address });
  const error: unknown = await allocate(rf, 1, { wait: false }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(LeaseRefused);
  expect((error as Error).message).toContain("no node is known");
  process.env["RFAAS_MANAGER"] = manager.address;
  try {
    await expect(invoker()).rejects.toThrow("knows of no node that is up");
  } finally {
    delete process.env["RFAAS_MANAGER"];
  }
});
