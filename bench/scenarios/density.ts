/**
 * Many idle leases on one node: what memory each host and each further worker of a host takes, what CPU time they use while nothing
 * happens, and how long the first call after that takes. Beside it, the echo that sleeps on a futex.
 */
import { Type } from "@sinclair/typebox";
import { tickCounter, ticksPerNs } from "../../ffi/system.ts";
import { countOf, formatDuration } from "../../src/base/units.ts";
import { openNode } from "../../src/client/invoker.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { AllocateOptions } from "../../src/client/options/allocate-options.ts";
import { duration, worded } from "../../src/options/fields.ts";
import { cpuTimeNs, environment } from "../environment.ts";
import { leasesField } from "../fields.ts";
import { floorOf } from "../floor.ts";
import { type Memory, allProcesses, descends, memoryOf, sleepsOf } from "../machine/processes.ts";
import { benchCpus, isHere } from "../placement.ts";
import { type Row, pairedFields } from "../rows.ts";
import { type Bench, type Measured, defineScenario } from "../scenario.ts";
import { summarize } from "../statistics.ts";
import { NO_DELAYS } from "../sweep.ts";

const DEFAULT_LEASES = 8;
const DEFAULT_WORKERS = 8;
const DEFAULT_IDLE_MS = 5000;
/** Of a private node. */
const WAITING_HOSTS = 2;

const Options = Type.Object({
  ...leasesField({ default: DEFAULT_LEASES }),
  workers: worded(AllocateOptions.properties.workers, {
    description: "workers",
    default: DEFAULT_WORKERS,
  }),
  idleMs: Type.Optional(
    duration(100, 3600_000, {
      description: "how long they are idle",
      default: DEFAULT_IDLE_MS,
    }),
  ),
});

interface DensityRow extends Row {
  leases: number;
  /** Leases that were refused or lost. */
  failed: number;
  /** From the requests, made at once, to the last grant. */
  granted_ns: number;
  /** Of an idle host with one worker; its proportional share of what it shares, and what is its alone. Undefined on another machine. */
  host_pss_bytes?: number;
  host_private_bytes?: number;
  /** Of each further worker of a host. */
  worker_pss_bytes?: number;
  worker_private_bytes?: number;
  /** Of a host that waits for its lease; private nodes only. */
  waiting_host_pss_bytes?: number;
  /** Of each worker, while nothing happens: of one core, and how often a thread of its host wakes. */
  idle_cpu_percent?: number;
  idle_wakeups_per_s?: number;
}

export const density = defineScenario<typeof Options, DensityRow>({
  name: "density",
  summary: "many idle leases on one node: memory and CPU time of each",
  options: Options,
  columns: (row) => [
    ["leases", String(row.leases)],
    ["failed", String(row.failed)],
    ["granted[msec]", (row.granted_ns / 1e6).toFixed(1)],
    ["host[MiB]", mib(row.host_pss_bytes)],
    ["worker[MiB]", mib(row.worker_pss_bytes)],
    ["waiting[MiB]", mib(row.waiting_host_pss_bytes)],
    ["idle[cpu %]", row.idle_cpu_percent?.toFixed(3) ?? "-"],
    ["wakeups[1/s]", row.idle_wakeups_per_s?.toFixed(2) ?? "-"],
  ],
  async *run(bench, options) {
    const { leases = DEFAULT_LEASES, workers = DEFAULT_WORKERS } = options;
    const { idleMs = DEFAULT_IDLE_MS } = options;
    const { node } = bench.where;
    bench.tell(
      `density: ${countOf(leases, "lease")} of one worker and one of ${workers}, idle for ${formatDuration(idleMs)}`,
    );
    await using rf =
      node === undefined
        ? await openNode({ ...bench.where, cores: leases + workers, prewarm: 0 })
        : await bench.open();
    yield await measure(bench, rf, { leases, workers, idleMs });
  },
});

const mib = (bytes: number | undefined): string =>
  bytes === undefined ? "-" : (bytes / 2 ** 20).toFixed(2);

interface DensityOptions {
  leases: number;
  workers: number;
  idleMs: number;
}

type Echo = typeof import("../../functions/echo/echo.ts");
const LEASE = { polling: "warm", memory: 4096 } as const;
/** Workers that have just got their lease do a little more while they are idle. */
const SETTLE_MS = 2000;
const FLOOR = { warmup: 30, samples: 300, gapNs: 200_000 };

async function measure(
  bench: Bench,
  rf: NodeInvoker,
  { leases, workers, idleMs }: DensityOptions,
): Promise<Measured<DensityRow>> {
  bench.at(1, 3);
  const startedNs = Bun.nanoseconds();
  const asked = await Promise.allSettled([
    ...Array.from({ length: leases }, () => rf.allocate<Echo>("rfaas:echo", LEASE)),
    rf.allocate<Echo>("rfaas:echo", { ...LEASE, workers }),
  ]);
  const grantedNs = Bun.nanoseconds() - startedNs;
  const held = asked.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
  const refused = asked.find((each) => each.status === "rejected");
  try {
    const echoes = held.map((lease) => new IdleEcho(lease));
    for (const echo of echoes) echo.call();
    await Bun.sleep(SETTLE_MS);
    bench.at(2, 3);
    const hosts = held.filter((lease) => isHere(rf, lease)).map((lease) => lease.hostPid);
    const idle = await idleFor(hosts, idleMs, leases + workers);
    const memories = hosts.map(memoryOf);
    bench.at(3, 3);
    const tick = tickCounter();
    const calls = Float64Array.from(echoes, (echo) => {
      const before = tick();
      echo.call();
      return ((tick() - before) >>> 0) / ticksPerNs();
    });
    const large = memories.length === leases + 1 ? memories.pop() : undefined;
    return {
      row: {
        benchmark: "density",
        fabric: rf.fabric,
        polling: LEASE.polling,
        bytes: 8,
        iterations: calls.length,
        ...(await besideFloor(bench, rf, calls)),
        leases,
        failed: asked.length - held.length,
        granted_ns: grantedNs,
        ...memoryFields(memories, large, workers),
        ...(await waitingHosts(bench)),
        ...idle,
        environment: environment(),
      },
      warning: refused && `a lease was refused: ${(refused.reason as Error).message}`,
    };
  } finally {
    await Promise.all(held.map((lease) => lease.release()));
  }
}

/** A call of 8 bytes, its result checked. */
class IdleEcho {
  readonly #lease: Lease<Echo>;
  readonly #input: Uint8Array<ArrayBuffer>;
  readonly #output: Uint8Array<ArrayBuffer>;

  constructor(lease: Lease<Echo>) {
    this.#lease = lease;
    this.#input = lease.input(Uint8Array, 8).fill(7);
    this.#output = lease.output(Uint8Array, 8);
  }

  call(): void {
    this.#output.fill(0);
    if (this.#lease.invoke("echo", this.#input, this.#output) !== 8 || this.#output[7] !== 7)
      throw new Error("an idle worker's echo is wrong");
  }
}

/** CPU time and wake-ups of the hosts over some time, for each of so many workers. Nothing is known of another machine's. */
async function idleFor(
  hosts: readonly number[],
  idleMs: number,
  workers: number,
): Promise<Pick<DensityRow, "idle_cpu_percent" | "idle_wakeups_per_s">> {
  const total = (of: (pid: number) => number | undefined): number =>
    hosts.reduce((sum, pid) => sum + (of(pid) ?? Number.NaN), 0);
  const [cpuNs, sleeps, startedNs] = [total(cpuTimeNs), total(sleepsOf), Bun.nanoseconds()];
  await Bun.sleep(idleMs);
  const seconds = (Bun.nanoseconds() - startedNs) / 1e9;
  if (hosts.length === 0) return {};
  return {
    idle_cpu_percent: (100 * (total(cpuTimeNs) - cpuNs)) / 1e9 / seconds / workers,
    idle_wakeups_per_s: (total(sleepsOf) - sleeps) / seconds / workers,
  };
}

function memoryFields(
  ofOne: readonly (Memory | undefined)[],
  large: Memory | undefined,
  workers: number,
): Partial<DensityRow> {
  const known = ofOne.flatMap((memory) => memory ?? []);
  if (known.length === 0) return {};
  const mean = (key: keyof Memory) =>
    known.reduce((sum, memory) => sum + memory[key], 0) / known.length;
  const [pss, own] = [mean("pssBytes"), mean("privateBytes")];
  return {
    host_pss_bytes: Math.round(pss),
    host_private_bytes: Math.round(own),
    ...(large === undefined || workers === 1
      ? {}
      : {
          worker_pss_bytes: Math.round((large.pssBytes - pss) / (workers - 1)),
          worker_private_bytes: Math.round((large.privateBytes - own) / (workers - 1)),
        }),
  };
}

/** On a private node of its own, beside the leases: as many share the executable's pages as would on a full node. */
async function waitingHosts(bench: Bench): Promise<Pick<DensityRow, "waiting_host_pss_bytes">> {
  if (bench.where.node !== undefined) return {};
  const before = new Set(allProcesses().keys());
  await using rf = await openNode({ prewarm: WAITING_HOSTS });
  const until = Date.now() + 10_000;
  while ((await rf.status()).prewarmedHosts < WAITING_HOSTS) {
    if (Date.now() > until) return {};
    await Bun.sleep(20);
  }
  await Bun.sleep(SETTLE_MS);
  const processes = allProcesses();
  const started = [...processes.keys()].filter(
    (pid) => !before.has(pid) && descends(pid, process.pid, processes),
  );
  // The node is this process's child, its hosts are the node's.
  const hosts = started.filter((pid) => processes.get(pid)!.parent !== process.pid);
  const memories = hosts.flatMap((pid) => memoryOf(pid) ?? []);
  if (memories.length !== WAITING_HOSTS) return {};
  const pss = memories.reduce((sum, { pssBytes }) => sum + pssBytes, 0);
  return { waiting_host_pss_bytes: Math.round(pss / memories.length) };
}

async function besideFloor(bench: Bench, rf: NodeInvoker, calls: Float64Array) {
  const floor = await floorOf(rf.fabric, bench.where);
  const [clientCpu = -1, echoCpu = -1] = benchCpus();
  const ticks = await floor.measure(
    { ...FLOOR, bytes: 8, clientCpu, echoCpu, block: true, delays: NO_DELAYS.floor.asked },
    new Uint32Array(new ArrayBuffer(4 * FLOOR.samples)),
  );
  return pairedFields([summarize(calls)], [summarize(ticks, 1 / ticksPerNs())], floor.name(true));
}
