/** What users may hold over a cluster, with a real manager, nodes and clients: kept while the manager is there, and while it is away. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  type AllocateOptions,
  type Invoker,
  type Lease,
  type LeaseEvent,
  type LeaseRefused,
  invoker,
} from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Heals = typeof import("../functions/heals.ts");
const GOOD = `${FUNCTIONS}/good.ts`;
const HEALS = `${FUNCTIONS}/heals.ts`;
const LIMIT_MS = 120_000;
const NODES = ["n1", "n2", "n3"];

let scratch: Scratch;
let manager: RunningManager;
let nodes: ServedNode[] = [];
let admin: string;

const state = (): string => scratch.join("state");

async function run(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await rfaas(args);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout.trim();
}
const token = (...args: string[]): Promise<string> =>
  run("token", "create", ...args, "--state", state());

beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  scratch = new Scratch();
  admin = await token("--user", "root", "--scope", "admin");
  manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  nodes = await Promise.all(
    NODES.map(async (name) => {
      const shown = await token("--user", name, "--scope", "node", "--node", name);
      const args = ["--manager", manager.address, "--name", name, "--cores", "2", "--prewarm", "0"];
      return await ServedNode.start(
        "127.0.0.1:0",
        [...args, "--state", scratch.join(name)],
        ["env", `RFAAS_TOKEN=${shown}`],
      );
    }),
  );
  for (const node of nodes)
    await until(() => node.stderr.includes("knows this node"), "the manager knows all");
}, LIMIT_MS);
afterAll(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  await manager?.[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

const take = (rf: Invoker, workers = 1, more: AllocateOptions = { wait: false }): Promise<Lease> =>
  rf.allocate(GOOD, { workers, memory: "1MiB", polling: "warm", ...more });
const placeOf = ({ stderr }: ServedNode): string => / at (127\.0\.0\.1:\d+) /.exec(stderr)![1]!;

test(
  "a token for one core holds one in the whole cluster, however it is asked for",
  async () => {
    const text = await token("--user", "ada", "--max-cores", "1");
    await using rf = await invoker({ manager: manager.address, token: text });
    const lease = await take(rf);
    const why = await take(rf).catch((error: Error) => error.message);
    expect(why).toContain("ada may hold 1 core at a time in this cluster, by the token");
    expect(why).toMatch(/1 core is held \(n[123]: 1 core\), and 1 core is asked for/);
    await lease.release();
    // Three nodes are asked at once for one core each.
    await expect(take(rf, 3)).rejects.toThrow("ada may hold 1 core");
    // The manager hears of what is given back a moment after its client.
    let again: Lease | undefined;
    await until(
      async () => (again = await take(rf).catch(() => undefined)) !== undefined,
      "its core is given to it again",
    );
    expect(again!.workers).toBe(1);
    await again!.release();
  },
  LIMIT_MS,
);

test(
  "a request waits for its user's other leases, leaves room to others meanwhile, and says so when its time is up",
  async () => {
    const text = await token("--user", "dora", "--max-cores", "2");
    await using rf = await invoker({ manager: manager.address, token: text });
    await using other = await invoker({ node: placeOf(nodes[0]!), token: text });
    await using frank = await invoker({
      manager: manager.address,
      token: await token("--user", "frank"),
    });
    const held = await take(other, 2);
    const timely = await take(rf, 1, { timeoutMs: 500 }).catch((error: LeaseRefused) => error);
    expect(timely).toMatchObject({ code: "RFAAS_TOKEN_LIMIT", limit: { passes: true, cores: 2 } });
    expect((timely as LeaseRefused).message).toMatch(
      /within 500 ms: .*dora may hold 2 cores .*2 cores are held \(n1: 2 cores\).*release some/,
    );
    // Over a list, and at one node, it is the same.
    const places = nodes.map(placeOf);
    await using listed = await invoker({ nodes: places, token: text });
    await using single = await invoker({ node: places[1]!, token: text });
    for (const one of [listed, single])
      await expect(take(one, 1, { wait: true, timeoutMs: 300 })).rejects.toMatchObject({
        code: "RFAAS_TOKEN_LIMIT",
        message: expect.stringContaining("within 300 ms"),
      });
    const waiting = [rf, listed, single].map((one) =>
      take(one, one === rf ? 2 : 1, { wait: true, timeoutMs: LIMIT_MS }),
    );
    // All of the cores that dora may not have.
    const rest = await take(frank, 4, { timeoutMs: LIMIT_MS });
    await rest.release();
    await held.release();
    const granted: Lease[] = [];
    for (const one of waiting)
      void one.then(async (lease) => {
        granted.push(lease);
        expect(lease.waited).toBeGreaterThan(0);
        await lease.release();
      });
    await Promise.all(waiting);
    await until(() => granted.length === 3, "each has had its turn");
    await expect(take(rf, 3, { timeoutMs: LIMIT_MS })).rejects.toThrow("dora may hold 2 cores");
  },
  LIMIT_MS,
);

test(
  "pools grow, and leases heal, once their user's limit has room",
  async () => {
    const text = await token("--user", "gus", "--max-cores", "2");
    await using rf = await invoker({ manager: manager.address, token: text });
    await using other = await invoker({ manager: manager.address, token: text });
    const held = await take(other, 2);
    await using pool = await rf.pool<Heals>(HEALS, { min: 0, max: 2, memory: "1MiB" });
    const first = pool.function("slow")(1);
    // It waits, and no node holds a worker for it.
    await until(async () => pool.queued === 1, "it is in the pool's queue");
    await held.release();
    expect(await first).toBe(2);
    const slow = pool.function("slow");
    await until(async () => {
      await Promise.all(Array.from({ length: 4 }, (_, n) => slow(n)));
      return pool.workers === 2;
    }, "the pool has all that its user may hold");
    await pool.close();

    await using healed = await take(rf, 2, { onLoss: "replace", timeoutMs: 1_000 });
    const back = Promise.withResolvers<void>();
    healed.on("replaced", () => back.resolve());
    process.kill(healed.parts[0]!.hostPid, "SIGKILL");
    await back.promise;
    expect(healed.workers).toBe(2);
  },
  LIMIT_MS,
);

test(
  "the manager's table counts for tokens that say nothing, from the moment on that it is changed",
  async () => {
    await using rf = await invoker({
      manager: manager.address,
      token: await token("--user", "bob"),
    });
    await using _first = await take(rf);
    await run(
      "user",
      "set",
      "bob",
      "--max-leases",
      "2",
      "--max-memory",
      "1TiB",
      "--state",
      state(),
    );
    const shown = async () => {
      const http = ["--http", manager.url, "--token", admin, "--json"];
      const { users } = JSON.parse(await run("user", "show", "bob", ...http)) as {
        users: { held: object; limits: object }[];
      };
      return users[0]!;
    };
    await until(async () => "maxLeases" in (await shown()).limits, "the manager has it");
    await using _second = await take(rf);
    expect(await shown()).toMatchObject({
      user: "bob",
      limits: { maxLeases: 2, maxMemoryBytes: 2 ** 40 },
      held: { cores: 2, leases: 2 },
    });
    await expect(take(rf)).rejects.toThrow(
      "bob may hold 2 leases at a time in this cluster, by the manager's table",
    );
    await run("user", "set", "bob", "--max-leases", "none", "--state", state());
    await until(async () => !("maxLeases" in (await shown()).limits), "the manager has it");
    await using third = await take(rf);
    expect(third.workers).toBe(1);
  },
  LIMIT_MS,
);

test(
  "core-hours that are used up end leases, which hear of it first, and are given again to nobody",
  async () => {
    // 7.2 core-seconds.
    await run("user", "set", "eve", "--core-hours", "0.002/month", "--state", state());
    await using rf = await invoker({
      manager: manager.address,
      token: await token("--user", "eve"),
    });
    const lease = await take(rf);
    const events: LeaseEvent[] = [];
    for (const type of ["revoking", "lost"] as const)
      lease.on(type, (event) => void events.push(event));
    await until(() => events.some(({ type }) => type === "lost"), "it ends", 60_000);
    expect(events[0]).toMatchObject({ type: "revoking", cause: "over-quota" });
    expect(events.at(-1)).toMatchObject({ message: expect.stringContaining("core-hours") });
    const used = (await lease.usage()).allocationCoreNs / 3600e9;
    expect(used).toBeGreaterThan(0.0015);
    await until(
      async () =>
        /of the 0.002 core-hours of this month/.test(
          await take(rf).then(
            async (granted) => (await granted.release(), ""),
            (error: Error) => error.message,
          ),
        ),
      "nothing more is granted",
      60_000,
    );
  },
  LIMIT_MS,
);

test(
  "while the manager is away nodes that are asked at once let a user hold no more than its quota",
  async () => {
    const text = await token("--user", "carol", "--max-cores", "2");
    const rfs = await Promise.all(
      nodes.map((node) => invoker({ node: placeOf(node), token: text })),
    );
    const first = await take(rfs[0]!);
    await manager.kill();
    for (const node of nodes)
      await until(() => node.stderr.includes("no connection to the manager"), "it is away");
    const more = await Promise.allSettled(rfs.flatMap((rf) => [take(rf), take(rf)]));
    const granted = more.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    const reasons = more.flatMap((one) => (one.status === "rejected" ? [String(one.reason)] : []));
    expect(granted.length).toBeLessThanOrEqual(1);
    expect(reasons.join("\n")).toContain("while its manager is away");
    await first.release();
    await Promise.all(granted.map((lease) => lease.release()));
    await manager.restart();
    for (const node of nodes)
      await until(
        () => node.stderr.split("knows this node").length > 2,
        "the manager knows it again",
      );
    // All of the quota can be had of one node again.
    const all = await take(rfs[2]!, 2);
    await expect(take(rfs[0]!)).rejects.toThrow("by the token");
    await all.release();
    await Promise.all(rfs.map((rf) => rf.close()));
  },
  LIMIT_MS,
);
