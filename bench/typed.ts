/**
 * What a typed call costs above a raw one: `bun bench/typed.ts [--rounds 15] [--calls 20000] [--json]`.
 *
 * Each round has a lease of its own, on which windows of raw calls, of calls on an object of ten fields and of struct calls
 * alternate. So they share mapping and cores, and the medians over rounds are of differences within a round. Every result is
 * checked. A call of few bytes tells whether the round's cores are near each other or far apart, and an object both ways is told for
 * each. The node runs from the sources, unless `RFAAS_EXECUTABLE` names an executable.
 */
import { countOf } from "../src/base/units.ts";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { tickCounter, ticksPerNs } from "../ffi/system.ts";
import { type Lease, invoker } from "../src/index.ts";
import { environment } from "./environment.ts";
import { benchCpus, placeClient } from "./placement.ts";
import { median, quartiles, summarize } from "./statistics.ts";
import type { Level } from "./sweep.ts";

type Functions = typeof import("./typed-functions.ts");
type Window = (ticks: Uint32Array) => void;

const WARMUP_CALLS = 60_000;
/** Windows of each kind in a round, of which the median counts. */
const WINDOWS = 5;
/** The payload of the raw calls: as many bytes as the others have, by their shape. */
const VALUE_BYTES = 74;
const STRUCT_BYTES = [72, 8] as const;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "15" },
    calls: { type: "string", default: "20000" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const ticks = new Uint32Array(new ArrayBuffer(4 * Number(values.calls)));
const nsPerTick = 1 / ticksPerNs();
const tick = tickCounter();

/** Times a call over and over, from one result to the next. */
function windowOf(call: (i: number) => void): Window {
  return (into) => {
    let before = tick();
    for (let i = 0; i < into.length; i++) {
      call(i);
      const now = tick();
      into[i] = now - before;
      before = now;
    }
  };
}

function order(i: number) {
  return {
    id: "order-000117",
    spot: 42.5,
    strike: 40,
    rate: 0.05,
    volatility: 0.2,
    years: 0.5,
    steps: i,
    kind: "call" as const,
    american: (i & 1) === 0,
    desk: "equities",
  };
}

function check(right: boolean): void {
  if (!right) throw new Error("a result is wrong");
}

function windowsOn(lease: Lease<Functions>): Record<string, Window> {
  const rawOf = (name: "raw" | "rawFew", inputBytes: number, outputBytes: number) => {
    const input = lease.input(Uint8Array, inputBytes);
    const output = lease.output(Uint8Array, outputBytes);
    return windowOf((i) => {
      input[0] = i;
      lease.invoke(name, input, output);
      check(output[0] === input[0]);
    });
  };
  const mirror = lease.function("mirror");
  const steps = lease.function("steps");
  const inPlace = lease.function("inPlace");
  return {
    raw: rawOf("raw", VALUE_BYTES, VALUE_BYTES),
    [FEW]: rawOf("rawFew", ...STRUCT_BYTES),
    "object to object": windowOf((i) => check(mirror.invoke(order(i)).steps === i)),
    "object to number": windowOf((i) => check(steps.invoke(order(i)) === i)),
    struct: windowOf((i) => {
      inPlace.input.spot = 0.5;
      inPlace.input.steps = i;
      inPlace.invoke();
      check(inPlace.output.value === i + 0.5);
    }),
  };
}

const FEW = "raw, few bytes";
/** Of a call of few bytes: the floor, and what rfaas adds to it on near cores. */
const NEAR_NS = 300;

const BASE: Record<string, string> = {
  "object to object": "raw",
  "object to number": "raw",
  struct: FEW,
};

await using rf = await invoker({ prewarm: 0 });
const cpus = benchCpus();
const seen = new Map<string, number[]>();
for (let round = 0; round < rounds; round++) {
  await using lease = await rf.allocate<Functions>(join(import.meta.dir, "typed-functions.ts"), {
    polling: "hot",
    memory: "1MiB",
  });
  const windows = Object.entries(windowsOn(lease));
  for (const [, window] of windows) window(new Uint32Array(WARMUP_CALLS));
  placeClient(lease.cpus, cpus);
  const medians = new Map<string, number[]>();
  for (let i = 0; i < WINDOWS; i++)
    for (const [name, window] of windows) {
      window(ticks);
      medians.set(name, [...(medians.get(name) ?? []), summarize(ticks, nsPerTick).p50]);
    }
  for (const [name, found] of medians) seen.set(name, [...(seen.get(name) ?? []), median(found)]);
}

const rows = [...seen].map(([name, medians]) => {
  const base = BASE[name];
  const above = base === undefined ? undefined : medians.map((ns, i) => ns - seen.get(base)![i]!);
  return {
    call: name,
    p50_ns: Math.round(median(medians)),
    ...(above === undefined
      ? {}
      : {
          above: base,
          above_p50_ns: Math.round(median(above)),
          above_quartiles_ns: quartiles(above).map(Math.round),
        }),
  };
});
/** An object both ways, above a raw call, in the rounds of each level that there were. */
const levels = (["near", "far"] satisfies Level[]).flatMap((level) => {
  const of = [...seen.get(FEW)!.keys()].filter(
    (i) => seen.get(FEW)![i]! < NEAR_NS === (level === "near"),
  );
  const above = of.map((i) => seen.get("object to object")![i]! - seen.get("raw")![i]!);
  return of.length === 0
    ? []
    : [{ level, rounds: of.length, above_p50_ns: Math.round(median(above)) }];
});

if (values.json) {
  const result = {
    benchmark: "typed",
    rounds,
    calls: ticks.length,
    rows,
    object_to_object: levels,
    environment: environment(),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} else {
  for (const { call, p50_ns, above, above_p50_ns, above_quartiles_ns } of rows)
    process.stdout.write(
      `${call.padEnd(18)} ${String(p50_ns).padStart(7)} ns${above ? `  ${above_p50_ns} ns above ${above} (${above_quartiles_ns!.join(" to ")})` : ""}\n`,
    );
  for (const { level, rounds, above_p50_ns } of levels)
    process.stdout.write(
      `object to object, cores ${level}: ${above_p50_ns} ns above raw (${countOf(rounds, "round")})\n`,
    );
}
