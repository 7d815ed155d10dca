/**
 * What counts and checks take of a hot call: `bun bench/unchecked/unchecked.ts [--rounds 20] [--calls 20000] [--json]`.
 *
 * Nothing switches them off, so there are two of each end. A node is as programs have it, or has a shim without a worker's counts: calls,
 * bytes and the call that runs, on which bills, metrics and renewals go. The client calls the lease, or the shim itself: then
 * it looks for calls in flight, a lost worker and a lease that ends no more than for a sleeping event loop. Windows of all four
 * alternate, each on a lease of its own, and go through the same delays before each store (`sweep.ts`). The nodes run from the sources.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compileShim } from "../../ffi/build.ts";
import { ticksPerNs } from "../../ffi/system.ts";
import type { PartLease } from "../../src/client/lease/part.ts";
import type { LeaseBuffer } from "../../src/client/memory/lease-memory.ts";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { type Caller, EchoClient } from "../clients/echo-client.ts";
import { environment } from "../environment.ts";
import { floorOf } from "../floor.ts";
import { benchCpus, placeClient } from "../placement.ts";
import { median, quartiles } from "../statistics.ts";
import { type Swept, compareAtEqualDelay, delaysOf, sweptSummary } from "../sweep.ts";

const MEASURED = "pacedEcho";
const BYTES = 8;
const ALL = "counts and checks";
const NEITHER = "neither";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "20" },
    calls: { type: "string", default: "20000" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const cpus = benchCpus();

/** A node whose workers count nothing. Its hosts open the shim as they start. */
async function uncountedNode(folder: string): Promise<Invoker> {
  const shim = join(folder, "librfaas.so");
  compileShim(join(import.meta.dir, "../../ffi/shim"), shim, process.arch, ["RFAAS_UNCOUNTED"]);
  process.env["RFAAS_SHIM"] = shim;
  try {
    return await invoker({ prewarm: 0 });
  } finally {
    delete process.env["RFAAS_SHIM"];
  }
}

/** Calls of one function on one pair of buffers, as `lease.invoke` makes them but for the state of worker and lease. */
function unchecked(lease: Lease, input: LeaseBuffer, output: LeaseBuffer): Caller {
  const { core } = lease as PartLease;
  const { call } = core.lanes[0]!.endpoint;
  const place = (buffer: LeaseBuffer) => core.memory.placeOf(buffer, "a buffer").offsetOf(buffer);
  const [index, from, to] = [core.functions.indexOf(MEASURED), place(input), place(output)];
  return {
    invoke(name, into, out, options) {
      const known = name === MEASURED && into === input && out === output;
      if (!known || into.byteLength !== BYTES || out.byteLength !== BYTES || options !== undefined)
        throw new Error("a call is another one");
      return call(index, from, BYTES, to, BYTES, 0);
    },
  };
}

/** A window on a fresh lease. */
async function windowOn(node: Invoker, isBare: boolean): Promise<Swept> {
  await using lease = await node.allocate("rfaas:paced", { polling: "hot", memory: "64KiB" });
  const client = new EchoClient(lease, {
    ...{ bytes: BYTES, name: MEASURED, copies: true, ratePerS: 0, delays },
    warmUpMs: floor.warmUpMs,
    callerOf: (input, output) => (isBare ? unchecked(lease, input, output) : lease),
  });
  client.warmUp();
  placeClient(lease.cpus, cpus);
  client.window(ticks);
  return sweptSummary(ticks, delays.calls.took, 1 / ticksPerNs());
}

const floor = await floorOf("shm", {});
const delays = delaysOf(floor.delaysNs);
const ticks = new Uint32Array(
  new ArrayBuffer(4 * delays.ns.length * Math.ceil(Number(values.calls) / delays.ns.length)),
);
const folder = mkdtempSync(join(tmpdir(), "rfaas-unchecked-"));
using _ = { [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
await using counted = await invoker({ prewarm: 0 });
await using uncounted = await uncountedNode(folder);
const SIDES: Record<string, () => Promise<Swept>> = {
  [ALL]: () => windowOn(counted, false),
  "no counts": () => windowOn(uncounted, false),
  "no checks": () => windowOn(counted, true),
  [NEITHER]: () => windowOn(uncounted, true),
};
const names = Object.keys(SIDES);
const seen = new Map(names.map((name) => [name, [] as Swept[]]));
for (let round = 0; round < rounds; round++)
  // Another one begins each time.
  for (let i = 0; i < names.length; i++) {
    const name = names[(round + i) % names.length]!;
    seen.get(name)!.push(await SIDES[name]!());
  }

const rows = names.map((name) => {
  const all = seen.get(name)!;
  const compared = all.map((each, i) => compareAtEqualDelay(each, seen.get(NEITHER)![i]!));
  const ratios = compared.map(({ ratio_p50 }) => ratio_p50);
  return {
    call: name,
    p50_ns: Math.round(median(all.map((each) => each.all.p50))),
    above_p50_ns: Number(median(compared.map(({ overhead_p50 }) => overhead_p50)).toFixed(1)),
    ratio_p50: Number(median(ratios).toFixed(4)),
    ratio_p50_quartiles: quartiles(ratios).map((ratio) => Number(ratio.toFixed(4))),
  };
});
if (values.json) {
  const result = { benchmark: "unchecked", rounds, calls: ticks.length, rows };
  process.stdout.write(`${JSON.stringify({ ...result, environment: environment() })}\n`);
} else
  for (const { call, p50_ns, above_p50_ns, ratio_p50, ratio_p50_quartiles } of rows)
    process.stdout.write(
      `${call.padEnd(18)} ${String(p50_ns).padStart(5)} ns  ${String(above_p50_ns).padStart(5)} ns above ${NEITHER}, ${ratio_p50} x (${ratio_p50_quartiles.join(" to ")})\n`,
    );
