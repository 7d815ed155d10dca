/** Clients that wait for room at real nodes, each with a connection of its own: in which order they are served, and what is told of it. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { FUNCTIONS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const GOOD = `${FUNCTIONS}/good.ts`;
const LIMIT_MS = 120_000;

let scratch: Scratch;
let ending: AsyncDisposableStack;
beforeEach(() => {
  scratch = new Scratch();
  ending = new AsyncDisposableStack();
});
afterEach(async () => {
  await ending.disposeAsync();
  scratch[Symbol.dispose]();
});

async function run(args: readonly string[], env = {}): Promise<string> {
  const { exitCode, stdout, stderr } = await rfaas(args, { env });
  if (exitCode !== 0) throw new Error(stderr);
  return stdout.trim();
}

const allocate = (rf: Invoker, workers = 1): Promise<Lease> =>
  rf.allocate(GOOD, { workers, memory: "1MiB", polling: "warm", timeoutMs: 60_000 });

/** The node as a client of its own sees it, and so many clients, each with its own connection. */
async function serve(cores: number, clients: number): Promise<{ look: Invoker; all: Invoker[] }> {
  const { address } = ending.use(
    await ServedNode.start(scratch.join("n.sock"), ["--cores", String(cores)]),
  );
  const open = async () => ending.use(await invoker({ nodes: [address] }));
  const all = await Promise.all(Array.from({ length: clients }, open));
  return { look: ending.use(await invoker({ node: address })), all };
}

const waiting = async (look: Invoker, count: number): Promise<void> =>
  await until(async () => (await look.status()).waiting === count, `${count} wait`);

test(
  "clients on one core are served in turns, and learn how long they have waited",
  async () => {
    const { look, all } = await serve(1, 4);
    const order: number[] = [];
    const waited: number[] = [];
    await Promise.all(
      all.map(async (rf, client) => {
        for (let turn = 0; turn < 4; turn++) {
          await using lease = await allocate(rf);
          waited.push(lease.waited);
          order.push(client);
          // Who has had all its turns waits no more.
          if (turn < 3) await waiting(look, all.length - 1);
        }
      }),
    );
    const first = order.slice(0, 4);
    expect(first.toSorted()).toEqual([0, 1, 2, 3]);
    expect(order).toEqual([...first, ...first, ...first, ...first]);
    expect(waited[0]).toBe(0);
    for (const ms of waited.slice(1)) expect(ms).toBeGreaterThan(0);
    expect(await look.status()).toMatchObject({ waiting: 0, longestWaitMs: 0 });
  },
  LIMIT_MS,
);

test(
  "a request of many workers is not starved by small ones of other programs",
  async () => {
    const { look, all } = await serve(2, 4);
    const held = [await allocate(all[0]!), await allocate(all[1]!)];
    const order: string[] = [];
    const note = (name: string) => (lease: Lease) => {
      order.push(name);
      return lease;
    };
    const large = allocate(all[2]!, 2).then(note("large"));
    await waiting(look, 1);
    const small = allocate(all[3]!).then(note("small"));
    await waiting(look, 2);
    await held[0]!.release();
    // The core is set aside for the large one.
    await until(async () => (await look.status()).freeCores === 0, "the core is offered");
    await held[1]!.release();
    await (await large).release();
    await (await small).release();
    expect(order).toEqual(["large", "small"]);
  },
  LIMIT_MS,
);

test(
  "users have cores by the weights of their tokens, and their wait is shown",
  async () => {
    const state = scratch.join("state");
    const token = (user: string, ...more: string[]): Promise<string> =>
      run(["token", "create", "--user", user, "--state", state, ...more]);
    const [ada, bob, root, node] = [
      await token("ada"),
      await token("bob", "--weight", "3"),
      await token("root", "--scope", "admin,client"),
      await token("n", "--scope", "node", "--node", "n"),
    ];
    expect(await run(["token", "show", bob])).toContain('"weight": 3');
    const manager = ending.use(await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]));
    const args = ["--cores", "1", "--name", "n", "--state", scratch.join("n")];
    const served = ending.use(
      await ServedNode.start(
        "127.0.0.1:0",
        [...args, "--manager", manager.address],
        ["env", `RFAAS_TOKEN=${node}`],
      ),
    );
    await until(() => served.stderr.includes("knows this node"), "the manager knows it");
    const open = async (own: string) =>
      ending.use(await invoker({ manager: manager.address, token: own }));
    const look = await open(root);
    const clients = await Promise.all([ada, ada, bob, bob].map(open));
    const coreNs = [0, 0];
    let left = 60;
    let shown = "";
    await Promise.all(
      clients.map(async (rf, i) => {
        while (left > 0) {
          await using lease = await allocate(rf);
          if (left-- <= 0) return;
          await waiting(look, clients.length - 1);
          if (left === 30)
            shown = await run(["ps", "--node", `127.0.0.1:${served.port}`], { RFAAS_TOKEN: root });
          coreNs[i < 2 ? 0 : 1]! += (await lease.usage()).allocationCoreNs;
        }
      }),
    );
    const share = coreNs[1]! / (coreNs[0]! + coreNs[1]!);
    // Of 60 leases one more or less.
    expect(share).toBeGreaterThan(0.7);
    expect(share).toBeLessThan(0.8);
    expect(shown).toMatch(
      /3 wait for room, the longest for [\d.]+ s; \d+ have waited before, [\d.]+ s on average/,
    );
    // The manager tells it, too, and it grows while there is no news.
    const held = await allocate(clients[0]!);
    const asked = allocate(clients[2]!);
    await waiting(look, 1);
    const longest = async () => (await look.status()).longestWaitMs;
    const told = await longest();
    await until(async () => (await longest()) > told, "it grows");
    const listed = await run(["node", "ls", "--http", manager.url], { RFAAS_TOKEN: root });
    expect(listed).toMatch(/1 \([\d.]+ s\)/);
    await held.release();
    await (await asked).release();
  },
  LIMIT_MS,
);
