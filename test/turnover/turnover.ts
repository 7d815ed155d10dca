/**
 * Many leases, one after another, of one node by one client: on hosts that wait, on kept and on new ones. Some end as they should, others
 * leave files and processes behind, die, take too much memory, hang, or lose their client. Between them, what node and client hold is
 * counted when the node has come to rest.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type AllocateOptions, type Invoker, type Lease, invoker } from "../../src/index.ts";
import { ServedNode } from "../support/executable.ts";
import { anonymousBytes } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { type Holdings, holdings } from "./holdings.ts";

type Functions = typeof import("./functions.ts");
type Leased = Lease<Functions>;

const MODULE = join(import.meta.dir, "functions.ts");
const SETTLED_MS = 60_000;
/** Waits for room: what its client has left may end a moment later. */
const SIZE = { memory: "256KiB", slots: 4, polling: "warm", wait: true } as const;

export interface TurnoverOptions {
  leases: number;
  /** A look before the first, which nothing is compared with, and after each of so many parts. */
  parts: number;
  sandbox: string;
  /** What stands before the node's command. */
  within?: readonly string[];
  /** Of what leases ask for, these kinds alone. */
  kinds?: readonly string[];
  onPart?: (look: TurnoverLook) => void;
}

/** Node and client at rest, after so many leases. */
export interface TurnoverLook {
  leases: number;
  node: Holdings;
  client: Holdings;
  nodeBytes: number;
  clientBytes: number;
}

export interface TurnoverResult {
  looks: TurnoverLook[];
  /** How many of each kind there were. */
  kinds: Record<string, number>;
}

/** One kind of lease. Throws where it does not end as it should. */
type Kind = (rf: Invoker, i: number, address: string) => Promise<void>;

async function leased(
  rf: Invoker,
  options: AllocateOptions,
  use: (lease: Leased) => Promise<void>,
): Promise<void> {
  await using lease = await rf.allocate<Functions>(MODULE, { ...SIZE, ...options });
  await use(lease);
}

async function answers(lease: Leased, name: "next" | "litter" | "beget", i: number): Promise<void> {
  const answer = await lease.function(name)(i);
  if (answer !== i + 1) throw new Error(`${name}(${i}) answered ${answer}`);
}

/** The call is to end with an error of this code. */
async function fails(call: Promise<unknown>, code: string): Promise<void> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown as { code?: string },
  );
  if (error?.code !== code) throw new Error(`not ${code}`, { cause: error });
}

const lost = (call: Promise<unknown>): Promise<void> => fails(call, "RFAAS_WORKER_LOST");

const next: (i: number) => (lease: Leased) => Promise<void> = (i) => (lease) =>
  answers(lease, "next", i);

/** Of any twenty in a row, so many are of each kind. */
const KINDS: Readonly<Record<string, readonly [often: number, kind: Kind]>> = {
  "on a host that waits": [5, (rf, i) => leased(rf, {}, next(i))],
  "on a host that is kept": [4, (rf, i) => leased(rf, { keepWarmMs: 60_000 }, next(i))],
  "on a new host": [1, (rf, i) => leased(rf, { env: { TURN: `${i}` } }, next(i))],
  "with files left": [2, (rf, i) => leased(rf, {}, (lease) => answers(lease, "litter", i))],
  "with processes left": [
    1,
    (rf, i) => leased(rf, { processes: true }, (lease) => answers(lease, "beget", i)),
  ],
  "over tcp": [
    1,
    async (_, i, node) => {
      await using own = await invoker({ node, fabric: "tcp" });
      await leased(own, { workers: 2 }, next(i));
    },
  ],
  "that exits": [1, (rf) => leased(rf, {}, (lease) => lost(lease.function("die")("exit")))],
  "that crashes": [1, (rf) => leased(rf, {}, (lease) => lost(lease.function("die")("crash")))],
  "that takes too much memory": [
    1,
    (rf, i) =>
      leased(rf, { heap: "32MiB" }, (lease) =>
        fails(lease.function("eat")(i), "RFAAS_OUT_OF_MEMORY"),
      ),
  ],
  "whose worker is replaced": [
    1,
    (rf, i) =>
      leased(rf, {}, async (lease) => {
        await fails(lease.function("hang")(i, { deadlineMs: 20 }), "RFAAS_DEADLINE_EXCEEDED");
        await answers(lease, "next", i);
      }),
  ],
  "given up before it came": [
    1,
    async (rf, i) => {
      const signal = AbortSignal.timeout(i % 40);
      await leased(rf, { signal }, async () => {}).catch((error: Error) => {
        if (!signal.aborted) throw error;
      });
    },
  ],
  "left by its client": [
    1,
    async (_, i, node) => {
      const own = await invoker({ node });
      await answers(await own.allocate<Functions>(MODULE, SIZE), "next", i);
      await own.close();
    },
  ],
};
export const KIND_NAMES = Object.keys(KINDS);

export async function turnover(options: TurnoverOptions): Promise<TurnoverResult> {
  const { leases, parts, sandbox, within = [], kinds, onPart } = options;
  using scratch = new Scratch();
  const folders = ["state", "cache", "tmp", "run"].map((name) => scratch.join(name));
  for (const folder of folders) mkdirSync(folder, { mode: 0o700 });
  const [state, cache, tmp, run] = folders as [string, string, string, string];
  const places = [`TMPDIR=${tmp}`, `XDG_RUNTIME_DIR=${run}`];
  const own = ["--cores", "2", "--memory", "2GiB", "--sandbox", sandbox, "--allow-processes"];
  const args = [...own, "--state", state, "--cache", cache, "--drain", "1s"];
  await using node = await ServedNode.start("127.0.0.1:0", args, ["env", ...places, ...within]);
  const address = `127.0.0.1:${node.port}`;
  await using rf = await invoker({ node: address });
  const turns = Object.entries(KINDS)
    .filter(([name]) => !kinds || kinds.includes(name))
    .flatMap(([name, [often, kind]]) => Array.from({ length: often }, () => ({ name, kind })));
  const counts: Record<string, number> = {};
  const looks: TurnoverLook[] = [];
  const look = async (done: number): Promise<void> => {
    await atRest(rf, node);
    // What it has said would grow here.
    node.stderr = "";
    Bun.gc(true);
    const found = {
      leases: done,
      ...{ node: holdings(node.pid, folders), client: holdings(process.pid, []) },
      ...{ nodeBytes: anonymousBytes(node.pid), clientBytes: anonymousBytes(process.pid) },
    };
    looks.push(found);
    onPart?.(found);
  };
  for (let part = 0, i = 0; part < parts; part++) {
    for (; i < ((part + 1) * leases) / parts; i++) {
      // Coprime with the length, so that kinds alternate.
      const { name, kind } = turns[(i * 7) % turns.length]!;
      counts[name] = (counts[name] ?? 0) + 1;
      try {
        await kind(rf, i, address);
      } catch (cause) {
        throw new Error(`lease ${i}, of the kind "${name}"`, { cause });
      }
    }
    await look(i);
  }
  // One that is killed leaves its groups to the next node.
  node.kill("SIGTERM");
  await node.exited;
  return { looks, kinds: counts };
}

/** No lease is left, and the node has the hosts that it keeps ready. */
async function atRest(rf: Invoker, node: ServedNode): Promise<void> {
  await until(
    async () => {
      const { leases, prewarmedHosts, keptHosts } = await rf.status();
      return leases === 0 && prewarmedHosts === 1 && keptHosts <= 1;
    },
    `the node is at rest: ${node.stderr.slice(-2000)}`,
    SETTLED_MS,
  );
}
