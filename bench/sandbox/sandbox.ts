/**
 * What a room costs a lease and its calls: `bun bench/sandbox/sandbox.ts [--beside none] [--sandbox process] [--seconds 60] [--measure hot,waiting,new] [--module FILE] [--json]`.
 *
 * There are private nodes with one sandbox and with the other, and another one with the first, which shows what is noise. Leases of all of them
 * take turns, one at a time, so the worker has the same core; the client has another. A hot call is measured in a short window on each
 * lease, since a mapping keeps its level, through the same delays before each store (`sweep.ts`). A lease is timed on a host that waits
 * and on a new one, of a module that is part of the node, or of `--module`, whose package is linked into the room. Medians are of pairs that follow each other. It runs from the sources, unless `RFAAS_EXECUTABLE` names an executable.
 */
import { parseArgs } from "node:util";
import { ticksPerNs } from "../../ffi/system.ts";
import { LOCAL_FABRIC } from "../../src/fabric/registry.ts";
import { type Invoker, type InvokerOptions, invoker } from "../../src/index.ts";
import { EchoClient } from "../clients/echo-client.ts";
import { environment } from "../environment.ts";
import { floorOf } from "../floor.ts";
import { busyUsers } from "../machine/busy.ts";
import { benchCpus, placeClient } from "../placement.ts";
import { median, quartiles } from "../statistics.ts";
import { type Swept, compareAtEqualDelay, delaysOf, sweptSummary } from "../sweep.ts";

const MODULE = "rfaas:paced";
const FUNCTION = "pacedEcho";
const BYTES = 8;
const CALLS = 10_000;
/** How long a node has had nothing to do when a lease is timed. */
const REST_MS = 30;
/** Pairs that load and first run the code of both sides. */
const FIRST_PAIRS = 2;
const ALL = ["hot", "waiting", "new"] as const;
type What = (typeof ALL)[number];

const { values } = parseArgs({
  options: {
    beside: { type: "string", default: "none" },
    sandbox: { type: "string", default: "process" },
    seconds: { type: "string", default: "60" },
    measure: { type: "string", default: ALL.join() },
    module: { type: "string", default: MODULE },
    json: { type: "boolean", default: false },
  },
});
const chosen = ALL.filter((what) => values.measure.split(",").includes(what));
const cpus = benchCpus();
/** The one that is compared with, the one that is measured, and the first once more. */
const SIDES = ["beside", "measured", "again"] as const;
type Side = (typeof SIDES)[number];
const sandboxOf = (side: Side): string => (side === "measured" ? values.sandbox : values.beside);
type Nodes = Record<Side, Invoker>;

await using ending = new AsyncDisposableStack();

async function open(prewarm: number): Promise<Nodes> {
  const nodes: Partial<Nodes> = {};
  for (const side of SIDES) {
    const sandbox = sandboxOf(side) as NonNullable<InvokerOptions["sandbox"]>;
    nodes[side] = ending.use(await invoker({ prewarm, sandbox }));
  }
  return nodes as Nodes;
}

const floor = await floorOf(LOCAL_FABRIC, {});
const delays = delaysOf(floor.delaysNs);
const ticks = new Uint32Array(
  new ArrayBuffer(4 * delays.ns.length * Math.ceil(CALLS / delays.ns.length)),
);

async function hotCall(node: Invoker): Promise<Swept> {
  await using lease = await node.allocate(MODULE, { polling: "hot", memory: "64KiB" });
  const client = new EchoClient(lease, {
    ...{ bytes: BYTES, name: FUNCTION, copies: true, ratePerS: 0, delays },
    ...{ warmUpMs: floor.warmUpMs(BYTES), callerOf: undefined },
  });
  const { warning } = placeClient(lease.cpus, cpus);
  if (warning !== undefined) throw new Error(`${warning}; end other nodes of this machine`);
  client.warmUp();
  client.window(ticks);
  return sweptSummary(ticks, delays.calls.took, 1 / ticksPerNs());
}

/** Milliseconds from the request to the lease, on a host that waits, or on a new one. */
async function leaseMs(node: Invoker, waits: boolean): Promise<number> {
  while (waits && (await node.status()).prewarmedHosts === 0) await Bun.sleep(5);
  await Bun.sleep(REST_MS);
  const startedMs = performance.now();
  await using lease = await node.allocate(values.module, { polling: "warm", memory: "64KiB" });
  const tookMs = performance.now() - startedMs;
  if (lease.phases.prewarmed !== waits) throw new Error("the lease got a host of another kind");
  return tookMs;
}

/** Takes turns for so long; another side begins each time. */
async function turns<Measured>(
  seconds: number,
  measure: (side: Side) => Promise<Measured>,
): Promise<Record<Side, Measured[]>> {
  const seen: Record<Side, Measured[]> = { beside: [], measured: [], again: [] };
  let endMs = Infinity;
  for (let turn = -FIRST_PAIRS; performance.now() < endMs; turn++) {
    if (turn === 0) endMs = performance.now() + 1000 * seconds;
    for (let i = 0; i < SIDES.length; i++) {
      const side = SIDES[(i + turn + FIRST_PAIRS) % SIDES.length]!;
      const found = await measure(side);
      if (turn >= 0) seen[side].push(found);
    }
  }
  return seen;
}

interface Row {
  what: What;
  sandbox: string;
  pairs: number;
  beside: number;
  measured: number;
  /** Of a hot call a ratio, of a lease a difference. */
  compared: number;
  quartiles: [number, number];
}

const rounded = (value: number): number => Number(value.toFixed(4));

function row(
  what: What,
  sandbox: string,
  values: readonly [beside: number, measured: number][],
  compared: readonly number[],
): Row {
  return {
    ...{ what, sandbox, pairs: values.length },
    beside: rounded(median(values.map(([first]) => first))),
    measured: rounded(median(values.map(([, second]) => second))),
    compared: rounded(median(compared)),
    quartiles: quartiles(compared).map(rounded) as [number, number],
  };
}

async function rowsOf(what: What, seconds: number): Promise<Row[]> {
  const nodes = await open(what === "waiting" ? 1 : 0);
  const names: [Exclude<Side, "beside">, string][] = [
    ["measured", values.sandbox],
    ["again", `${values.beside} itself`],
  ];
  if (what === "hot") {
    const seen = await turns(seconds, (side) => hotCall(nodes[side]));
    return names.map(([side, name]) => {
      const pairs = seen[side].map((calls, i) => [seen.beside[i]!, calls] as const);
      const p50s = pairs.map(([a, b]) => [a.all.p50, b.all.p50] as [number, number]);
      const ratios = pairs.map(([a, b]) => compareAtEqualDelay(b, a).ratio_p50);
      return row(what, name, p50s, ratios);
    });
  }
  const seen = await turns(seconds, (side) => leaseMs(nodes[side], what === "waiting"));
  return names.map(([side, name]) => {
    const pairs = seen[side].map((ms, i) => [seen.beside[i]!, ms] as [number, number]);
    return row(
      what,
      name,
      pairs,
      pairs.map(([a, b]) => b - a),
    );
  });
}

for (const { name, cores } of await busyUsers())
  process.stderr.write(
    `the machine is busy, and the figures will tell of it: ${name}, ${cores.toFixed(2)} cores\n`,
  );
const rows: Row[] = [];
for (const what of chosen) {
  const found = await rowsOf(what, Number(values.seconds) / chosen.length);
  rows.push(...found);
  if (!values.json) process.stdout.write(found.map(lineOf).join(""));
}
if (values.json) {
  const result = { benchmark: "sandbox", beside: values.beside, rows, environment: environment() };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function lineOf({ what, sandbox, pairs, beside, measured, compared, quartiles }: Row): string {
  const [unit, by] = what === "hot" ? ["ns", "x"] : ["ms", "ms more"];
  const [low, high] = quartiles.map((value) => value.toFixed(3));
  return `${what.padEnd(7)} ${sandbox}: ${measured.toFixed(2)} ${unit} beside ${values.beside}: ${beside.toFixed(2)} ${unit}; ${compared.toFixed(3)} ${by} (${low} to ${high}), ${pairs} pairs\n`;
}
