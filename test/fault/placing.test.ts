/** Where the agent puts the threads of a host, which in a room do not move themselves, whatever they are called. */
import { afterAll, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { placeThreads } from "../../ffi/children.ts";
import { usableCpus } from "../../ffi/system.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
/** Has a thread for each of two workers, and one that is neither. */
const HOST = `
  const waits = URL.createObjectURL(new Blob(["setInterval(() => {}, 1e6)"]));
  for (const name of ["rfaas-worker-0", "rfaas-worker-1", "another"]) new Worker(waits, { name });
`;

const host = Bun.spawn([process.execPath, "-e", HOST], { stdio: ["ignore", "ignore", "inherit"] });
afterAll(async () => {
  host.kill("SIGKILL");
  await host.exited;
});

/** The CPUs of each thread, by its name, in the kernel's words. */
function masks(): [name: string, cpus: string][] {
  return readdirSync(`/proc/${host.pid}/task`).flatMap((thread): [string, string][] => {
    try {
      const status = readFileSync(`/proc/${host.pid}/task/${thread}/status`, "utf8");
      const cpus = /^Cpus_allowed_list:\s*(\S+)/m.exec(status)![1]!;
      return [[/^Name:\s*(.*)$/m.exec(status)![1]!, cpus]];
    } catch {
      return [];
    }
  });
}
const isEngines = (name: string): boolean => /^(JITWorker|HeapHelper|mi-scavenger)/.test(name);

const cpus = usableCpus();
const [first, second] = [cpus[0]!, cpus.at(-1)!];
if (first === second) console.error("SKIPPED: places of threads: there is one CPU");

test.skipIf(first === second)(
  "workers get their own CPUs, the engine all of the lease, and others no more than these",
  async () => {
    const there = (name: string): boolean => masks().some(([one]) => one === name);
    await until(
      () => ["rfaas-worker-0", "rfaas-worker-1", "another"].every(there),
      "its threads are there",
    );
    expect(placeThreads(host.pid, [second], [[second], [second]])).toBeGreaterThan(3);
    const confined = masks();
    expect(confined.filter(([, cpus]) => cpus !== String(second))).toEqual([]);
    expect(placeThreads(host.pid, [first, second], [[second], [first]])).toBeGreaterThan(0);
    const placed = masks();
    const of = (wanted: string) =>
      placed.filter(([name]) => name === wanted).map(([, cpus]) => cpus);
    expect(of("rfaas-worker-0")).toEqual([String(second)]);
    expect(of("rfaas-worker-1")).toEqual([String(first)]);
    // It has what it had: the lease has got more since.
    expect(of("another")).toEqual([String(second)]);
    const engines = placed.filter(([name]) => isEngines(name));
    expect(engines.length).toBeGreaterThan(0);
    expect(engines.filter(([, cpus]) => cpus === String(second))).toEqual([]);
    // What is right stays.
    expect(placeThreads(host.pid, [first, second], [[second], [first]])).toBe(0);
  },
  LIMIT_MS,
);
