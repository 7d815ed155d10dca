/**
 * Hot calls on one lease for long: neither process grows, and a call costs at the end what it cost at the beginning, beside the floor of the same
 * moment. Ends after a billion calls, or after 20 minutes. Needs two cores to itself: what others use of them is in the figures.
 *
 *     bun test/hot/run.ts [--minutes 20] [--calls 1e9]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { measureFloor } from "../../ffi/floor.ts";
import { ticksPerNs } from "../../ffi/system.ts";
import { benchCpus, placeClient } from "../../bench/placement.ts";
import { median } from "../../bench/statistics.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS } from "../support/executable.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "20" },
    calls: { type: "string", default: "1e9" },
  },
});
const [minutes, most] = [Number(values.minutes), Number(values.calls)];

const BATCH = 10_000;
const BATCHES_PER_LOOK = 200;
const FLOOR_SAMPLES = 20_000;
const WARMUP_CALLS = 2_000_000;
/** What is compared: the first and the last of these. */
const PERIOD_MS = 60_000;
const MAX_DRIFT = 0.05;
const MAX_GROWTH_BYTES = 2 * 2 ** 20;

interface Look {
  atMs: number;
  /** Nanoseconds of a call and of the floor's round trip, medians. */
  call: number;
  floor: number;
  /** Memory that only the client has, and only the host. */
  client: number;
  host: number;
}

const ownBytes = (pid: number | "self"): number => {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
};

await using rf = await invoker({ cores: 1 });
// It spins as a hot one does, and leaves its core to the floor where it has no call.
await using lease = await rf.allocate(`${FUNCTIONS}/good.ts`, { polling: "adaptive" });
const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
// The client's CPU, and for the floor's other side the worker's: they take turns there.
const { clientCpu, workerCpu: echoCpu } = placeClient(lease.cpus, benchCpus());
const ticks = new Uint32Array(new ArrayBuffer(4 * FLOOR_SAMPLES));
const nsPerTick = 1 / ticksPerNs();

function floorNs(): number {
  const samples = measureFloor(
    {
      ...{ bytes: 8, warmup: 2000, samples: FLOOR_SAMPLES, clientCpu, echoCpu },
      ...{ block: false, gapNs: 0, delays: Uint32Array.of(0) },
    },
    ticks,
  );
  return samples.toSorted()[FLOOR_SAMPLES >> 1]! * nsPerTick;
}

function callNs(): number {
  const each: number[] = [];
  for (let batch = 0; batch < BATCHES_PER_LOOK; batch++) {
    const began = Bun.nanoseconds();
    for (let i = 0; i < BATCH; i++) lease.invoke("echo", input, output);
    each.push((Bun.nanoseconds() - began) / BATCH);
  }
  return median(each);
}

for (let i = 0; i < WARMUP_CALLS; i++) lease.invoke("echo", input, output);
const began = performance.now();
const looks: Look[] = [];
let calls = 0;
while (calls < most && performance.now() - began < minutes * 60_000) {
  const call = callNs();
  calls += BATCH * BATCHES_PER_LOOK;
  looks.push({
    ...{ atMs: performance.now() - began, call, floor: floorNs() },
    ...{ client: ownBytes("self"), host: ownBytes(lease.hostPid) },
  });
  // Renewals and the node's news.
  await Bun.sleep(0);
}
const lastMs = looks.at(-1)!.atMs;
const period = Math.min(PERIOD_MS, lastMs / 3);
const of = (some: readonly Look[]) => ({
  call: median(some.map((look) => look.call)),
  floor: median(some.map((look) => look.floor)),
  client: median(some.map((look) => look.client)),
  host: median(some.map((look) => look.host)),
});
const first = of(looks.filter(({ atMs }) => atMs <= period));
const last = of(looks.filter(({ atMs }) => atMs >= lastMs - period));
const drift = (last.call - last.floor) / (first.call - first.floor) - 1;
const [clientGrew, hostGrew] = [last.client - first.client, last.host - first.host];
const line = (name: string, { call, floor, client, host }: typeof first): string =>
  `${name}: ${call.toFixed(1)} ns a call, floor ${floor.toFixed(1)} ns; client ${(client / 2 ** 20).toFixed(1)} MiB, host ${(host / 2 ** 20).toFixed(1)} MiB`;
console.error(`${calls} calls in ${(lastMs / 60_000).toFixed(1)} minutes on one lease`);
console.error(line(`first ${(period / 1000).toFixed(0)} s`, first));
console.error(line(`last ${(period / 1000).toFixed(0)} s`, last));
console.error(`overhead over the floor: ${(100 * drift).toFixed(1)} % more at the end`);
const grown = Math.max(clientGrew, hostGrew) > MAX_GROWTH_BYTES;
if (grown) console.error("a process has grown");
if (drift > MAX_DRIFT) console.error(`a call has become slower by more than ${100 * MAX_DRIFT} %`);
process.exitCode = grown || drift > MAX_DRIFT ? 1 : 0;
