/**
 * A client of a run: `rfaas run client.ts CONFIG`. Takes leases and calls in its way, ends them in every way, and writes down what it is
 * told of each call, until the file `stop` is there: then it waits for what it has begun, and ends.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "rfaas";
import { Random } from "../../sim/random.ts";
import { Journal } from "../journal.ts";
import { KINDS, type Session } from "./kinds.ts";
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
}

const config = JSON.parse(process.argv[2]!) as ClientConfig;
const { client } = config;
const journal = new Journal(config.folder, `client-${client}`);
const random = new Random(config.seed);
const kind = KINDS[config.kind]!;
const stopping = (): boolean => existsSync(join(config.folder, "stop"));

let leases = 0;
let calls = 0;

/** What becomes of calls on a lease that goes on, and how it ends. */
const ENDS = ["released", "released", "released", "released in flight", "closed in flight"];

function sessionOf(lease: Lease<Functions>, project: string): Session {
  return {
    lease,
    random,
    client,
    begin: (name, idempotent) => {
      const call = ++calls;
      const mark = idempotent ? { idempotent } : {};
      journal.say({ e: "call", client, call, project, kind: name, ...mark });
      return call;
    },
    ended: (call, right) => journal.say({ e: "end", client, call, outcome: "result", right }),
    failed: (call, error) => journal.say({ e: "end", client, call, ...outcomeOf(error) }),
  };
}

async function takeLease(rf: Invoker, project: string): Promise<Lease<Functions> | undefined> {
  const workers = kind.workers ?? 1;
  journal.say({ e: "ask", client, project, workers });
  try {
    const lease = await rf.allocate<Functions>(config.module, {
      ...{ workers, memory: "1MiB", slots: 16, network: true, project },
      ...{ polling: "warm", ttlMs: random.pick([3000, 10_000, 60_000]), timeoutMs: 5000 },
      ...kind.lease,
    });
    const parts = lease.parts.map(({ node, workers, fabric }) => ({ node, workers, fabric }));
    journal.say({ e: "lease", project, parts });
    return lease;
  } catch (error) {
    const { code, message } = outcomeOf(error);
    journal.say({ e: "no-lease", project, code: code ?? "none", message: message ?? "" });
    return undefined;
  }
}

async function oneLease(rf: Invoker): Promise<"closed" | "open"> {
  const project = `c${client}-${++leases}`;
  const lease = await takeLease(rf, project);
  if (lease === undefined) return "open";
  let lost = false;
  lease.on("lost", () => (lost = true));
  const session = sessionOf(lease, project);
  const rounds = random.between(1, 25);
  for (let round = 0; round < rounds && !lost && !stopping(); round++) {
    await kind.round(session);
    await Bun.sleep(random.between(1, 20));
  }
  const how = lost ? "lost" : stopping() ? "released" : random.pick(ENDS);
  const inFlight = how.endsWith("in flight") ? kind.round(session) : undefined;
  if (inFlight) await Bun.sleep(random.between(0, 20));
  await (how === "closed in flight" ? rf.close() : lease.release());
  await inFlight;
  journal.say({ e: "lease-over", project, how });
  return how === "closed in flight" ? "closed" : "open";
}

/** Leases of one invoker. */
async function leasesInTurn(): Promise<void> {
  await using rf = await invoker({ manager: config.manager, connectTimeoutMs: 5000 });
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
