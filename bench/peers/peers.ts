/**
 * What a hot call over TCP is to what others do with the same bytes on the same machine:
 * `bun bench/peers/peers.ts [--rounds 15] [--calls 500] [--sizes 8,1024] [--json]`.
 *
 * A round has a window of each, and another one begins each time. Client and answering program are two processes, NATS's server a third
 * one, all of which the kernel places; a client that spins has a CPU of its own. What is not dependencies of rfaas is installed
 * (`installed.ts`).
 */
import { parseArgs } from "node:util";
import { pinThread } from "../../ffi/system.ts";
import { environment } from "../environment.ts";
import { busyUsers } from "../machine/busy.ts";
import { benchCpus } from "../placement.ts";
import { median, quartiles, summarize } from "../statistics.ts";
import { openGrpc } from "./grpc.ts";
import { openFetch, openSpinning } from "./http.ts";
import { installPeers } from "./installed.ts";
import { openNats } from "./nats.ts";
import type { Peer } from "./peer.ts";
import { openFloor, openRfaas } from "./rfaas.ts";

/** Of each peer before the first round, at each size. */
const WARMUP_CALLS = 3000;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "15" },
    calls: { type: "string", default: "500" },
    sizes: { type: "string", default: "8,1024" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const calls = Number(values.calls);
const sizes = values.sizes.split(",").map(Number);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Row {
  peer: string;
  bytes: number;
  p50_us: number;
  p99_us: number;
  /** Medians over rounds of what a round trip takes to that of rfaas over TCP in the same round, and their quartiles. */
  ratio_p50: number;
  ratio_p50_quartiles: [number, number];
}

const installed = await installPeers(say);
for (const { name, cores } of await busyUsers())
  say(`the machine is busy, and the figures will tell of it: ${name}, ${cores.toFixed(2)} cores`);
const cpus = benchCpus();
const placement = { clientCpu: cpus[0] ?? -1, workerCpu: cpus[1] ?? -1 };

await using peers = new AsyncDisposableStack();
const rows: Row[] = [];
const all: Peer[] = [];
for (const open of [
  () => openRfaas("tcp", cpus),
  () => openRfaas("shm", cpus),
  () => openFloor(placement),
  ...(installed.natsServer === undefined ? [] : [() => openNats(installed)]),
  () => openGrpc(installed),
  () => openFetch(),
  () => openSpinning(installed.folder, placement.clientCpu),
])
  all.push(peers.use(await open()));
const [rfaas] = all;

for (const bytes of sizes) {
  const seen = new Map(all.map((peer) => [peer, { p50: [] as number[], p99: [] as number[] }]));
  const tookNs = new Float64Array(calls);
  for (const peer of all)
    await windowOf(peer, bytes, new Float64Array(Math.min(calls * rounds, WARMUP_CALLS)));
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < all.length; i++) {
      const peer = all[(i + round) % all.length]!;
      await windowOf(peer, bytes, tookNs);
      const { p50, p99 } = summarize(tookNs);
      seen.get(peer)!.p50.push(p50);
      seen.get(peer)!.p99.push(p99);
    }
  for (const [peer, { p50, p99 }] of seen) {
    const ratios = p50.map((ns, i) => ns / seen.get(rfaas!)!.p50[i]!);
    rows.push({
      peer: peer.name,
      bytes,
      p50_us: rounded(median(p50) / 1000),
      p99_us: rounded(median(p99) / 1000),
      ratio_p50: rounded(median(ratios)),
      ratio_p50_quartiles: quartiles(ratios).map(rounded) as [number, number],
    });
  }
}

/** Nothing that a window before has pinned stays so. */
async function windowOf(peer: Peer, bytes: number, tookNs: Float64Array): Promise<void> {
  pinThread(-1);
  await peer.window(bytes, tookNs);
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}

if (values.json) {
  const result = { benchmark: "peers", rounds, calls, rows, environment: environment() };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} else
  for (const { peer, bytes, p50_us, p99_us, ratio_p50, ratio_p50_quartiles } of rows)
    process.stdout.write(
      `${String(bytes).padStart(7)} B  ${peer.padEnd(38)} ${p50_us.toFixed(2).padStart(8)} us  99% ${p99_us.toFixed(2).padStart(8)} us  ${ratio_p50.toFixed(2).padStart(6)} x (${ratio_p50_quartiles.map((each) => each.toFixed(2)).join(" to ")})\n`,
    );
