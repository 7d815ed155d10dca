/**
 * What counts and checks take of a hot call: `bun bench/unchecked/unchecked.ts [--rounds 20] [--calls 20000] [--json]`.
 *
 * Nothing switches them off, so there are two of each end. A node is as programs have it, or has a shim without a worker's counts: calls,
 * bytes and the call that runs, on which bills, metrics and renewals go. The client calls the lease, or the shim itself: then
 * it looks for calls in flight, a lost worker and a lease that ends no more than for a sleeping event loop. Windows of
 * both clients alternate on one lease, and leases of both nodes; all go through the same delays before each store (`sweep.ts`). The
 * nodes run from the sources.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compileShim } from "../../ffi/build.ts";
import type { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { ticksPerNs } from "../../ffi/system.ts";
import type { PartLease } from "../../src/client/lease/part.ts";
import type { LeaseBuffer } from "../../src/client/memory/lease-memory.ts";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { type Caller, EchoClient, type EchoOptions } from "../clients/echo-client.ts";
import { environment } from "../environment.ts";
import { floorOf } from "../floor.ts";
import { LOCAL_FABRIC } from "../../src/fabric/registry.ts";
import { benchCpus, placeClient } from "../placement.ts";
import { median, quartiles } from "../statistics.ts";
import { type Swept, compareAtEqualDelay, delaysOf, sweptSummary } from "../sweep.ts";

const MEASURED = "pacedEcho";
const BYTES = 8;
/** Of each client on a lease. */
const WINDOWS = 4;

type Side = "all" | "unchecked" | "uncounted" | "neither";

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

/** Calls of the last function on the last buffers, as `lease.invoke` makes them but for the state of worker and lease. */
class UncheckedCalls implements Caller {
  readonly #call: ClientEndpoint["call"];
  readonly #name: string;
  readonly #index: number;
  readonly #input: LeaseBuffer;
  readonly #inputOffset: number;
  #inputLength: number;
  readonly #output: LeaseBuffer;
  readonly #outputOffset: number;
  #outputCapacity: number;

  constructor(lease: Lease, name: string, input: LeaseBuffer, output: LeaseBuffer) {
    const { lanes, functions, memory } = (lease as PartLease).core;
    const place = (buffer: LeaseBuffer) => memory.placeOf(buffer, "a buffer").offsetOf(buffer);
    this.#call = lanes[0]!.endpoint.call;
    this.#name = name;
    this.#index = functions.indexOf(name);
    this.#input = input;
    this.#inputOffset = place(input);
    this.#inputLength = input.byteLength;
    this.#output = output;
    this.#outputOffset = place(output);
    this.#outputCapacity = output.byteLength;
  }

  invoke(name: string, input: LeaseBuffer, output: LeaseBuffer, options?: object): number {
    if (
      name !== this.#name ||
      input !== this.#input ||
      output !== this.#output ||
      input.byteLength !== this.#inputLength ||
      output.byteLength !== this.#outputCapacity ||
      options !== undefined
    )
      throw new Error("the call is another one");
    return this.#call(
      this.#index,
      this.#inputOffset,
      this.#inputLength,
      this.#outputOffset,
      this.#outputCapacity,
      0,
    );
  }
}

/** Windows of both clients, in turn, on a fresh lease. */
async function windowsOn(node: Invoker): Promise<Record<"checked" | "unchecked", Swept[]>> {
  await using lease = await node.allocate("rfaas:paced", { polling: "hot", memory: "64KiB" });
  const clientOf = (callerOf: EchoOptions["callerOf"]) =>
    new EchoClient(lease, {
      ...{ bytes: BYTES, name: MEASURED, copies: true, ratePerS: 0, delays },
      ...{ warmUpMs: floor.warmUpMs(BYTES), callerOf },
    });
  const clients = {
    checked: clientOf(() => lease),
    unchecked: clientOf((...buffers) => new UncheckedCalls(lease, MEASURED, ...buffers)),
  };
  for (const client of Object.values(clients)) client.warmUp();
  placeClient(lease.cpus, cpus);
  const window = (client: EchoClient) => {
    client.window(ticks);
    return sweptSummary(ticks, delays.calls.took, 1 / ticksPerNs());
  };
  const seen = { checked: [] as Swept[], unchecked: [] as Swept[] };
  for (let i = 0; i < WINDOWS; i++)
    for (const name of ["checked", "unchecked"] as const) seen[name].push(window(clients[name]));
  return seen;
}

const floor = await floorOf(LOCAL_FABRIC, {});
const delays = delaysOf(floor.delaysNs);
const ticks = new Uint32Array(
  new ArrayBuffer(4 * delays.ns.length * Math.ceil(Number(values.calls) / delays.ns.length)),
);
const folder = mkdtempSync(join(tmpdir(), "rfaas-unchecked-"));
using _ = { [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
await using counted = await invoker({ prewarm: 0 });
await using uncounted = await uncountedNode(folder);
const sides: Record<Side, Swept[]> = { all: [], unchecked: [], uncounted: [], neither: [] };
const measureCounted = async () => {
  const { checked, unchecked } = await windowsOn(counted);
  sides.all.push(...checked);
  sides.unchecked.push(...unchecked);
};
const measureUncounted = async () => {
  const { checked, unchecked } = await windowsOn(uncounted);
  sides.uncounted.push(...checked);
  sides.neither.push(...unchecked);
};
for (let round = 0; round < rounds; round++) {
  const order = [measureCounted, measureUncounted];
  // Another one begins each time.
  for (const measure of round % 2 === 0 ? order : order.toReversed()) await measure();
}

const WITHOUT = { checks: "unchecked", counts: "uncounted", either: "neither" } as const;
const p50 = (side: Side) => Math.round(median(sides[side].map(({ all }) => all.p50)));
const rows = Object.entries(WITHOUT).map(([without, side]) => {
  const compared = sides.all.map((each, i) => compareAtEqualDelay(each, sides[side][i]!));
  const ratios = compared.map(({ ratio_p50 }) => ratio_p50);
  return {
    without,
    p50_ns: p50(side),
    above_p50_ns: Number(median(compared.map(({ overhead_p50 }) => overhead_p50)).toFixed(1)),
    ratio_p50: Number(median(ratios).toFixed(4)),
    ratio_p50_quartiles: quartiles(ratios).map((ratio) => Number(ratio.toFixed(4))),
  };
});
if (values.json) {
  const result = { benchmark: "unchecked", rounds, calls: ticks.length, p50_ns: p50("all"), rows };
  process.stdout.write(`${JSON.stringify({ ...result, environment: environment() })}\n`);
} else {
  process.stdout.write(`with counts and checks ${p50("all")} ns\n`);
  for (const { without, p50_ns, above_p50_ns, ratio_p50, ratio_p50_quartiles } of rows)
    process.stdout.write(
      `without ${without.padEnd(6)} ${p50_ns} ns: it takes ${above_p50_ns} ns more with them, ${ratio_p50} x (${ratio_p50_quartiles.join(" to ")})\n`,
    );
}
