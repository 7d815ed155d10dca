/**
 * Leases from a node, calls, and compares what the manager's HTTP interface says while the lease lives. The manager is killed and
 * started again by whoever runs this, when it is told to on stdout:
 *
 *     bun test/softroce/ledger-client.ts NODE HTTP-URL CALLS
 */
import { join } from "node:path";
import { invoker } from "../../src/index.ts";
import type { NodeStatus } from "../../src/manager/http/schemas.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Usage } from "../../src/protocol/usage.ts";
import { until } from "../support/until.ts";

/** What was found while the lease lived. */
export interface Counted {
  /** Told by this program: calls that have come back. */
  called: number;
  /** Told by the node. */
  usage: Usage;
  /** Told by the manager, which had these calls at that moment. */
  ledger: Usage;
  /** The node's, before the last of the calls and when the manager had them. */
  before: NodeStatus;
  after: NodeStatus;
}

/** The bill, when the lease has ended. */
export interface Settled {
  called: number;
  /** A bound: the lease was held for less. */
  heldNs: number;
  rows: (Usage & { leases: number; live: number })[];
}

type Good = typeof import("../functions/good.ts");
const MODULE = join(import.meta.dir, "..", "functions", "good.ts");
const LIMIT_MS = 30_000;

const [node, http, text] = process.argv.slice(2) as [string, string, string];
const calls = Number(text);
let called = 0;

/** Undefined while there is no manager. */
async function ask<T>(path: string): Promise<T | undefined> {
  try {
    return (await (await fetch(`${http}${path}`)).json()) as T;
  } catch {
    return undefined;
  }
}

const status = (): Promise<NodeStatus | undefined> => ask<NodeStatus>("/v1/nodes/n1");

async function usageInLedger(): Promise<Usage | undefined> {
  const answer = await ask<{ leases: UsageReport[] }>("/v1/leases");
  return answer?.leases?.[0]?.usage;
}

/** The lease's row is in use: what it uses does not come by message any more, and the last one, which is slower than an add, has come. */
async function byAtomics(): Promise<NodeStatus> {
  let found: NodeStatus | undefined;
  await until(
    async () => {
      const former = found;
      found = await status();
      if (found?.ledger !== "verbs" || former?.ledger !== "verbs") return false;
      return (
        former.ledgerAdds > 0 &&
        found.ledgerAdds > former.ledgerAdds &&
        found.usageMessages === former.usageMessages
      );
    },
    "the node adds to the ledger over verbs",
    LIMIT_MS,
  );
  return found!;
}

const startedAtMs = performance.now();
await using rf = await invoker({ node });
const lease = await rf.allocate<Good>(MODULE, { memory: "256KiB", polling: "adaptive" });
const input = lease.input(Uint8Array, 64).fill(1);
const output = lease.output(Uint8Array, 64);
function call(): void {
  for (let i = 0; i < calls; i++) {
    if (lease.invoke("echo", input, output) !== 64) throw new Error("a wrong answer");
    called++;
  }
}

async function countedByAtomics(): Promise<Counted> {
  const before = await byAtomics();
  call();
  let ledger: Usage | undefined;
  // Each number is added by itself, calls before bytes.
  await until(
    async () => {
      ledger = await usageInLedger();
      const bytes = called * (input.byteLength + output.byteLength);
      return ledger?.calls === called && ledger.bytes === bytes;
    },
    "the manager has all calls, and their bytes",
    LIMIT_MS,
  );
  const usage = await lease.usage();
  return { called, usage, ledger: ledger!, before, after: (await status())! };
}

call();
console.info(`counted ${JSON.stringify(await countedByAtomics())}`);
await until(async () => (await status()) === undefined, "the manager is gone", LIMIT_MS);
call();
console.info("called without a manager");
console.info(`counted again ${JSON.stringify(await countedByAtomics())}`);
await lease.release();
const heldNs = (performance.now() - startedAtMs) * 1e6;
let bill: Pick<Settled, "rows"> | undefined;
await until(
  async () => (bill = await ask("/v1/bill"))?.rows?.[0]?.live === 0,
  "the bill is settled",
  LIMIT_MS,
);
const settled: Settled = { called, heldNs, rows: bill!.rows };
console.info(`settled ${JSON.stringify(settled)}`);
