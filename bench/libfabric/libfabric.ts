/**
 * A hot call over libfabric beside `fi_pingpong`, libfabric's own: `bun bench/libfabric/libfabric.ts [--provider shm] [--rounds 15] [--calls 50000] [--json]`.
 *
 * In each round windows follow each other, with a connection and memory of their own: of rfaas on a fresh lease, of our floor in C, of
 * `fi_pingpong` with the 8 bytes of the payload alone, and of it with as many bytes as a call's message has. All have the same two cores. What
 * `fi_pingpong` tells is a mean of all round trips, stalls of the machine too; of rfaas and of our C the median of a window is told as well.
 * Ratios are medians over rounds.
 */
import { parseArgs } from "node:util";
import { ticksPerNs } from "../../ffi/system.ts";
import { invoker } from "../../src/index.ts";
import { EchoClient } from "../clients/echo-client.ts";
import { environment } from "../environment.ts";
import { floorOf } from "../floor.ts";
import { benchCpus, placeClient } from "../placement.ts";
import { median, quartiles, summarize } from "../statistics.ts";
import { NO_DELAYS } from "../sweep.ts";

const BYTES = 8;
/** `rfaas_ofi_head`. */
const HEAD_BYTES = 48;
const FLOOR_WARMUP = 2_000;
const TRIES = 100;
const PAUSE_MS = 20;

const { values } = parseArgs({
  options: {
    provider: { type: "string", default: "shm" },
    rounds: { type: "string", default: "15" },
    calls: { type: "string", default: "50000" },
    json: { type: "boolean", default: false },
  },
});
const { provider } = values;
const name = `ofi:${provider}` as "ofi:shm";
const calls = Number(values.calls);
const ticks = new Uint32Array(new ArrayBuffer(4 * calls));
const nsPerTick = 1 / ticksPerNs();
const cpus = benchCpus();

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

/** The mean round trip in nanoseconds. */
async function pingPong(bytes: number, clientCpu: number, serverCpu: number): Promise<number> {
  const port = String(freePort());
  const run = (cpu: number, ...at: string[]) =>
    Bun.spawn(
      [
        ...["taskset", "-c", String(cpu), "fi_pingpong", "-p", provider, "-e", "rdm"],
        ...["-I", String(calls), "-S", String(bytes), ...at],
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "ignore" },
    );
  const server = run(serverCpu, "-B", port);
  try {
    // It does not say when it listens.
    for (let tries = 0; tries < TRIES; tries++) {
      const client = run(clientCpu, "-P", port, "127.0.0.1");
      const told = (await new Response(client.stdout).text()).trim().split("\n");
      const us = Number(told.at(-1)!.trim().split(/\s+/)[6]);
      if ((await client.exited) === 0 && us > 0) return 2000 * us;
      await Bun.sleep(PAUSE_MS);
    }
    throw new Error("fi_pingpong does not run; install libfabric-bin");
  } finally {
    server.kill();
    await server.exited;
  }
}

/** Round trips in nanoseconds. */
interface Trips {
  mean: number;
  p50?: number;
}
interface Round {
  rfaas: Required<Trips>;
  floor: Trips;
  pingPong: Trips;
  pingPongWithHead: Trips;
}
const rounds: Round[] = [];
await using rf = await invoker({ fabric: name });
const floor = await floorOf(name, {});
const wanted = Number(values.rounds);
for (let tries = 0; rounds.length < wanted && tries < 3 * wanted; tries++) {
  await using lease = await rf.allocate("rfaas:echo", { memory: 2 * BYTES + 4096 });
  const client = new EchoClient(lease, {
    ...{ bytes: BYTES, name: "echo", copies: true },
    ...{ ratePerS: 0, delays: NO_DELAYS, warmUpMs: floor.warmUpMs(BYTES) },
  });
  client.warmUp();
  const { clientCpu, workerCpu, warning } = placeClient(lease.cpus, cpus);
  if (warning !== undefined) {
    process.stderr.write(`left out: ${warning}\n`);
    continue;
  }
  client.window(ticks);
  const rfaas = summarize(ticks, nsPerTick);
  await lease.release();
  const options = { bytes: BYTES, warmup: FLOOR_WARMUP, samples: calls, block: false, gapNs: 0 };
  const at = { delays: NO_DELAYS.floor.asked, clientCpu, echoCpu: workerCpu };
  rounds.push({
    rfaas,
    floor: summarize(await floor.measure({ ...options, ...at }, ticks), nsPerTick),
    pingPong: { mean: await pingPong(BYTES, clientCpu, workerCpu) },
    pingPongWithHead: { mean: await pingPong(BYTES + HEAD_BYTES, clientCpu, workerCpu) },
  });
}

if (rounds.length < wanted)
  throw new Error(
    `${rounds.length} of ${wanted} rounds had cores of their own; run it again when no lease has them`,
  );

const NAMES: Record<keyof Round, string> = {
  rfaas: "rfaas",
  floor: "our C, with a call's head",
  pingPong: `fi_pingpong, ${BYTES} B`,
  pingPongWithHead: `fi_pingpong, ${BYTES + HEAD_BYTES} B`,
};
const rows = (Object.keys(NAMES) as (keyof Round)[]).map((what) => {
  const means = rounds.map((round) => round.rfaas.mean / round[what].mean);
  const typical = rounds.map(({ rfaas, [what]: other }) => rfaas.p50 / (other.p50 ?? other.mean));
  return {
    what: NAMES[what],
    mean_ns: Math.round(median(rounds.map((round) => round[what].mean))),
    p50_ns: Math.round(median(rounds.map((round) => round[what].p50 ?? NaN))),
    mean_ratio: median(means),
    mean_ratio_quartiles: quartiles(means),
    typical_ratio: median(typical),
    typical_ratio_quartiles: quartiles(typical),
  };
});
if (values.json) {
  const result = {
    ...{ benchmark: "libfabric", provider, rounds: rounds.length, calls, rows },
    environment: environment(),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} else {
  const told = (ratio: number, of: readonly number[]) =>
    `${ratio.toFixed(2)} x (${of.map((one) => one.toFixed(2)).join(" to ")})`;
  for (const { what, mean_ns, p50_ns, ...ratios } of rows)
    process.stdout.write(
      `${what.padEnd(26)} mean ${mean_ns} ns, median ${Number.isNaN(p50_ns) ? "not told" : `${p50_ns} ns`}; rfaas by means ${told(ratios.mean_ratio, ratios.mean_ratio_quartiles)}, its median to this ${told(ratios.typical_ratio, ratios.typical_ratio_quartiles)}\n`,
    );
}
