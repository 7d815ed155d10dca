/**
 * A client of a run: `rfaas run client.ts CONFIG`. Takes leases and calls in its way, ends them in every way, and writes down what it is
 * told of each call, until the file `stop` is there: then it waits for what it has begun, and ends.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, type LeasePart, type Pool, invoker } from "rfaas";
import { Random } from "../../sim/random.ts";
import { Journal } from "../journal.ts";
import { type Calling, KINDS, type LeaseKind, type PoolKind } from "./kinds.ts";
import { outcomeOf } from "./outcome.ts";

type Functions = typeof import("../functions/functions.ts");

export interface ClientConfig {
  client: number;
  kind: string;
  version: string;
  seed: number;
  manager: string;
  /** Where the history goes, and where the file `stop` is. */
  folder: string;
  module: string;
  /** How many times longer than others the machine takes for all. */
  slowness: number;
  /** Where the machine's clock is set in the run. */
  machineStartedMs?: number | undefined;
}

const config = JSON.parse(process.argv[2]!) as ClientConfig;
const { client } = config;
const journal = new Journal(config.folder, `client-${client}`, config.machineStartedMs);
const random = new Random(config.seed);
const kind = KINDS[config.kind]!;
const stopping = (): boolean => existsSync(join(config.folder, "stop"));

let leases = 0;
let calls = 0;

/** What becomes of calls on a lease that goes on, and how it ends. */
const ENDS = ["released", "released", "released", "released in flight", "closed in flight"];
const MOST_ROUNDS = 25;

const callingAs = (project: string): Calling => ({
  ...{ random, client },
  begin: (name, idempotent) => {
    const call = ++calls;
    const mark = idempotent ? { idempotent } : {};
    journal.say({ e: "call", client, call, project, kind: name, ...mark });
    return call;
  },
  ended: (call, right) => journal.say({ e: "end", client, call, outcome: "result", right }),
  failed: (call, error) => journal.say({ e: "end", client, call, ...outcomeOf(error) }),
});

/** What every lease of a client asks for. */
const usual = (project: string) => ({
  ...{ memory: "1MiB", slots: 16, network: true, project, polling: "warm" as const },
  ...{ ttlMs: random.pick([3000, 10_000, 60_000]), timeoutMs: 5000 * config.slowness },
});

const refused = (project: string, error: unknown): void => {
  const { code, message } = outcomeOf(error);
  journal.say({ e: "no-lease", project, code: code ?? "none", message: message ?? "" });
};

const seen = ({ node, workers, fabric }: LeasePart) => ({ node, workers, fabric });

async function takeLease(
  rf: Invoker,
  { workers = 1, lease: more }: LeaseKind,
  project: string,
): Promise<Lease<Functions> | undefined> {
  journal.say({ e: "ask", client, project, workers });
  try {
    const options = { workers, ...usual(project), ...more };
    const lease = await rf.allocate<Functions>(config.module, options);
    journal.say({ e: "lease", project, parts: lease.parts.map(seen) });
    if (more?.onLoss === "replace")
      lease.on("replaced", ({ part }) =>
        journal.say({ e: "replaced", project, part: seen(lease.parts[part]!) }),
      );
    return lease;
  } catch (error) {
    refused(project, error);
    return undefined;
  }
}

async function takePool(
  rf: Invoker,
  { pool: more }: PoolKind,
  project: string,
): Promise<Pool<Functions> | undefined> {
  journal.say({ e: "ask", client, project, workers: more.max ?? 1 });
  try {
    const pool = await rf.pool<Functions>(config.module, { ...usual(project), ...more });
    // Which nodes its leases are on is not a program's to know.
    journal.say({ e: "lease", project, parts: [] });
    return pool;
  } catch (error) {
    refused(project, error);
    return undefined;
  }
}

/** Rounds until it is time to end, perhaps with one in flight; returns whether the invoker was closed. */
async function rounds(
  rf: Invoker,
  project: string,
  { round, isLost, end }: { round(): Promise<void>; isLost(): boolean; end(): Promise<void> },
): Promise<"closed" | "open"> {
  const most = random.between(1, MOST_ROUNDS);
  for (let done = 0; done < most && !isLost() && !stopping(); done++) {
    await round();
    await Bun.sleep(random.between(1, 20));
  }
  const how = isLost() ? "lost" : stopping() ? "released" : random.pick(ENDS);
  const inFlight = how.endsWith("in flight") ? round() : undefined;
  if (inFlight) await Bun.sleep(random.between(0, 20));
  await (how === "closed in flight" ? rf.close() : end());
  await inFlight;
  journal.say({ e: "lease-over", project, how });
  return how === "closed in flight" ? "closed" : "open";
}

async function oneLease(rf: Invoker): Promise<"closed" | "open"> {
  const project = `c${client}-${++leases}`;
  const calling = callingAs(project);
  if ("pool" in kind) {
    const pool = await takePool(rf, kind, project);
    if (pool === undefined) return "open";
    return await rounds(rf, project, {
      round: () => kind.round({ ...calling, pool }),
      isLost: () => false,
      end: () => pool.close(),
    });
  }
  const lease = await takeLease(rf, kind, project);
  if (lease === undefined) return "open";
  let lost = false;
  lease.on("lost", () => (lost = true));
  return await rounds(rf, project, {
    round: () => kind.round({ ...calling, lease }),
    isLost: () => lost,
    end: () => lease.release(),
  });
}

/** Leases of one invoker. */
async function leasesInTurn(): Promise<void> {
  await using rf = await invoker({
    manager: config.manager,
    connectTimeoutMs: 5000 * config.slowness,
  });
  const most = random.between(1, 6);
  for (let i = 0; i < most && !stopping(); i++) if ((await oneLease(rf)) === "closed") return;
}

journal.say({ e: "client", client, kind: config.kind, version: config.version });
while (!stopping()) {
  try {
    await leasesInTurn();
  } catch (error) {
    const { code, message } = outcomeOf(error);
    journal.say({ e: "no-lease", project: "", code: code ?? "none", message: message ?? "" });
  }
  await Bun.sleep(random.between(10, 200));
}
journal.say({ e: "done", client });
