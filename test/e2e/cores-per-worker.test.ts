/** What a lease with several cores for each worker gets, sees, holds and pays. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseCpuList } from "../../src/base/machine/cgroup.ts";
import { usableCpus } from "../../ffi/system.ts";
import { type Invoker, type Lease, LeaseRefused, UsageError, invoker } from "../support/library.ts";
import { buildLibrary } from "../support/compilers.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { FABRIC } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Cores = typeof import("../functions/cores.ts");
const CORES = join(FUNCTIONS, "cores.ts");
const scratch = new Scratch();
let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4, memory: "64MiB" });
});
afterAll(async () => {
  await rf.close();
  scratch[Symbol.dispose]();
});

const allocate = (options: object) =>
  rf.allocate<Cores>(CORES, { memory: "1MiB", processes: true, ...options });

async function ask(lease: Lease<Cores>, name: "cores" | "thread", worker = 0) {
  const output = lease.output(Uint8Array, 1024);
  const written = await lease.submit(name, lease.input(Uint8Array, 1), output, { worker });
  return JSON.parse(new TextDecoder().decode(output.subarray(0, written)));
}

const isPinned = (lease: Lease<Cores>): boolean => {
  if (lease.cpus.every((cpu) => cpu >= 0)) return true;
  console.error("SKIPPED: another node of this machine has the CPU that this test needs");
  return false;
};

describe("a worker of one core", () => {
  test("lets what its functions start run on its CPU, and says that there is one", async () => {
    await using lease = await allocate({});
    const seen = await ask(lease, "cores");
    expect(seen).toMatchObject({ context: 1, navigator: 1, os: 1, openMp: "1" });
    if (!isPinned(lease)) return;
    const cpu = String(lease.cpus[0]);
    expect(seen).toMatchObject({ nproc: 1, childAllowed: cpu, allowed: cpu, atLoad: cpu });
  }, 60_000);
});

test("the engine's own threads do not wait behind a loop that spins, whoever has started them", async () => {
  // What it does while it loads makes the engine compile and collect.
  const busy = scratch.file(
    "busy.ts",
    `let kept: number[][] = [];
    const step = (i: number) => { kept.push(new Array(100).fill(i)); if (kept.length > 1000) kept = []; return kept.length % 7; };
    let sum = 0;
    for (let i = 0; i < 300_000; i++) sum += step(i);
    export function total(_: Uint8Array, output: Uint8Array): number { output[0] = sum & 255; return 1; }`,
  );
  await using lease = await rf.allocate(busy, { memory: "1MiB", polling: "hot" });
  if (lease.cpus[0]! < 0 || usableCpus().length < 2)
    return console.error("SKIPPED: another node of this machine has the CPU that this test needs");
  const masks = (): string[] =>
    readdirSync(`/proc/${lease.hostPid}/task`).flatMap((thread) => {
      try {
        const status = readFileSync(`/proc/${lease.hostPid}/task/${thread}/status`, "utf8");
        const name = /^Name:\s*(.*)$/m.exec(status)![1]!;
        const mask = /^Cpus_allowed_list:\s*(\S+)/m.exec(status)![1]!;
        return /^(JITWorker|HeapHelper|ollector Thread)/.test(name) ? [mask] : [];
      } catch {
        return [];
      }
    });
  await until(
    () => masks().length > 0 && !masks().includes(String(lease.cpus[0])),
    "the engine's threads may run elsewhere",
  );
}, 60_000);

describe("a worker of two cores", () => {
  test("sees two, and so does what its functions start", async () => {
    await using lease = await allocate({ workers: 2, coresPerWorker: 2 });
    expect(lease.coresPerWorker).toBe(2);
    expect(lease.cpus).toHaveLength(4);
    const usable = usableCpus().length;
    for (const worker of [0, 1]) {
      const seen = await ask(lease, "cores", worker);
      expect(seen).toMatchObject({ context: 2, navigator: 2, os: 2, openMp: "2" });
      expect(seen.nproc).toBe(Math.min(2, usable));
      expect(parseCpuList(seen.allowed)).toHaveLength(Math.min(2, usable));
      expect(seen.childAllowed).toBe(seen.allowed);
      expect(seen.atLoad).toBe(seen.allowed);
    }
  }, 60_000);

  test("lets OpenMP use two, whatever the node's own environment says", async () => {
    const source = `#define _GNU_SOURCE
      #include <sched.h>
      #include <stdint.h>
      #include <omp.h>
      uint32_t cpus(void *in, uint32_t n, void *out) {
        cpu_set_t s; sched_getaffinity(0, sizeof s, &s);
        int *o = out; o[0] = CPU_COUNT(&s); o[1] = omp_get_num_procs(); o[2] = omp_get_max_threads(); o[3] = 0;
        #pragma omp parallel
        { _Pragma("omp atomic") o[3]++; }
        return 16;
      }`;
    let library: string;
    try {
      library = buildLibrary(scratch, "openmp", source, ["-fopenmp"]);
    } catch (error) {
      return console.error(`SKIPPED: no OpenMP on this machine: ${(error as Error).message}`);
    }
    const before = process.env["OMP_NUM_THREADS"];
    process.env["OMP_NUM_THREADS"] = "7";
    await using own = await invoker({ cores: 2, prewarm: 0 });
    if (before === undefined) delete process.env["OMP_NUM_THREADS"];
    else process.env["OMP_NUM_THREADS"] = before;
    const counts = async (coresPerWorker: number): Promise<number[]> => {
      await using lease = await own.allocate(library, { memory: "1MiB", coresPerWorker });
      const output = lease.output(Int32Array, 4);
      lease.invoke("cpus", lease.input(Uint8Array, 1), output);
      return [...output];
    };
    const usable = Math.min(2, usableCpus().length);
    expect(await counts(2)).toEqual([usable, usable, 2, 2]);
    expect((await counts(1)).slice(2)).toEqual([1, 1]);
  }, 60_000);

  test("spins where it is: its thread does not wander between them", async () => {
    await using lease = await allocate({ coresPerWorker: 2, polling: "hot" });
    const { pid, tid } = await ask(lease, "thread");
    const migrations = (): number | undefined => {
      try {
        const text = readFileSync(`/proc/${pid}/task/${tid}/sched`, "utf8");
        return Number(/nr_migrations\s*:\s*(\d+)/.exec(text)?.[1]);
      } catch {
        return undefined;
      }
    };
    const before = migrations();
    if (before === undefined) return console.error("SKIPPED: the kernel counts no migrations");
    const [input, output] = [lease.input(Uint8Array, 1), lease.output(Uint8Array, 64)];
    const calls = 20_000;
    for (let i = 0; i < calls; i++) lease.invoke("thread", input, output);
    // A loaded machine moves it now and then; a loop that gave itself up between calls would move thousands of times.
    expect(migrations()! - before).toBeLessThan(calls / 100);
  }, 60_000);
});

describe("the cores of a lease", () => {
  test("are all taken from the node, and come back", async () => {
    const free = async () => (await rf.status()).freeCores;
    await until(async () => (await free()) === 4, "the node is free");
    const lease = await allocate({ workers: 1, coresPerWorker: 3 });
    expect(await free()).toBe(1);
    const refused = await allocate({ coresPerWorker: 2 }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LeaseRefused);
    expect((refused as Error).message).toContain("2 are asked for, 2 for each worker");
    await lease.release();
    await until(async () => (await free()) === 4, "the cores are back");
  }, 60_000);

  test("are billed, each of them", async () => {
    await using lease = await allocate({ coresPerWorker: 3 });
    const times = [Bun.nanoseconds()];
    const first = (await lease.usage()).allocationCoreNs;
    times.push(Bun.nanoseconds());
    await until(() => Bun.nanoseconds() - times[1]! > 50e6, "some time has passed");
    times.push(Bun.nanoseconds());
    const second = (await lease.usage()).allocationCoreNs;
    times.push(Bun.nanoseconds());
    const [a, b, c, d] = times as [number, number, number, number];
    expect(second - first).toBeGreaterThanOrEqual(3 * (c - b));
    expect(second - first).toBeLessThanOrEqual(3 * (d - a) + 1000);
  }, 60_000);

  test("are a whole number of 1 to 1024, and no string of it", async () => {
    for (const coresPerWorker of [0, 1.5, 1025, "2", Number.NaN])
      expect(await allocate({ coresPerWorker }).catch((error: unknown) => error)).toBeInstanceOf(
        UsageError,
      );
  });

  test("are asked for on the command line", async () => {
    const done = await rfaas([
      ...["invoke", `${CORES}#cores`, "--cores-per-worker", "2", "--processes"],
    ]);
    expect(done.stderr).not.toContain("error");
    expect(JSON.parse(done.stdout)).toMatchObject({ context: 2, navigator: 2, openMp: "2" });
    const wrong = await rfaas(["invoke", `${CORES}#cores`, "--cores-per-worker", "0"]);
    expect(wrong.exitCode).not.toBe(0);
    expect(wrong.stderr).toContain("--cores-per-worker");
  }, 60_000);
});

describe("in a cluster", () => {
  test("workers of several cores go where there are so many, and are shown", async () => {
    await using manager = await RunningManager.start(scratch.path);
    const serve = (name: string, cores: number) =>
      ServedNode.start(scratch.join(`${name}.sock`), [
        ...["--manager", manager.address, "--name", name, "--cores", String(cores)],
        ...["--fabric", FABRIC, "--prewarm", "0"],
      ]);
    await using _small = await serve("small", 3);
    await using _large = await serve("large", 5);
    await using cluster = await invoker({ manager: manager.address });
    await until(
      () => cluster.nodes().filter(({ freeCores = 0 }) => freeCores > 0).length === 2,
      "both nodes are known",
    );
    const group = await cluster.allocate(CORES, { workers: 3, coresPerWorker: 2, memory: "1MiB" });
    const found = Object.fromEntries(group.parts.map(({ node, workers }) => [node, workers]));
    expect(found).toEqual({ small: 1, large: 2 });
    const full = cluster.allocate(CORES, { coresPerWorker: 2, memory: "1MiB", wait: false });
    const refusal = await full.catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(LeaseRefused);
    expect((refusal as Error).message).toContain("1 worker of 2 cores");
    const shown = async (): Promise<string> =>
      (await rfaas(["ps", "--manager", manager.address])).stdout;
    await until(
      async () => /large\/\d+\s+\S+\s+2\s+4\s/.test(await shown()),
      "ps shows workers and cores",
      30_000,
    );
    await group.release();
  }, 120_000);
});
