/** What a lease may have of memory, processes and threads, by what the kernel says: played, and of real processes. */
import { expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
} from "node:fs";
import { type TreeUsage, killDescendants, treeUsage } from "../../ffi/children.ts";
import { defaultHeapBytes, tasksFor } from "../../src/executor/limits/bounds.ts";
import { LeaseWatch } from "../../src/executor/limits/lease-watch.ts";
import { limiterFor } from "../../src/executor/limits/registry.ts";
import { NO_FILES, filesOf } from "../../src/executor/limits/scratch.ts";
import { WatchLimiter } from "../../src/executor/limits/watch.ts";
import type { Excess } from "../../src/lease/lease.ts";
import { describeExcess, packExcess, unpackExcess } from "../../src/protocol/ends/excess.ts";
import { TestClock } from "../support/clock.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const MIB = 2 ** 20;
const BARE: TreeUsage = {
  ...{ processes: 1, threads: 8, descriptors: 20 },
  ...{ privateBytes: 10 * MIB, sharedBytes: 0 },
};

/** A host of 10 MiB with a lease of 16 MiB of memory and 48 MiB of heap. `exact` is what several looks count once. */
function watched() {
  const clock = new TestClock();
  const usage: TreeUsage = { ...BARE };
  const exact: Partial<TreeUsage> = {};
  const asked = { looks: 0, exact: 0 };
  const limiter = new WatchLimiter((_, exactly) => {
    asked[exactly ? "exact" : "looks"]++;
    return exactly ? { ...usage, ...exact } : { ...usage };
  });
  const held = limiter.hold(1);
  const ends: Excess[] = [];
  const lease = {
    // Processes have other numbers: it has no descendants.
    host: { pid: 2 ** 30, held },
    ...{ heapBytes: 48 * MIB, cpus: [-1], coresPerWorker: 1 },
    end: ({ what, used, bound }: Excess) => void ends.push({ what, used, bound }),
  };
  const begin = () => LeaseWatch.of(lease, 16 * MIB, clock)!;
  return { clock, usage, exact, asked, ends, begin };
}

test("a lease ends when it has more than its heap besides what its host had before, and its registered memory", () => {
  const { clock, usage, ends, begin } = watched();
  begin();
  usage.privateBytes = 58 * MIB;
  usage.sharedBytes = 16 * MIB;
  clock.pass(1000);
  expect(ends).toEqual([]);
  usage.privateBytes += 1;
  clock.pass(200);
  expect(ends).toEqual([{ what: "heap", used: 48 * MIB + 1, bound: 48 * MIB }]);
  expect(clock.waiting).toBe(0);
});

test("files in memory count beyond the size of the registered memory", () => {
  const { clock, usage, ends, begin } = watched();
  begin();
  usage.sharedBytes = 65 * MIB;
  clock.pass(200);
  expect(ends).toMatchObject([{ what: "heap", used: 49 * MIB }]);
});

test("files in its scratch folder count with all else, and the end says how much they were", () => {
  let files = 0;
  const usage = { ...BARE };
  const held = new WatchLimiter(() => ({ ...usage })).hold(1, {
    ...NO_FILES,
    memoryBytes: () => files,
  });
  held.begin({ heapBytes: 48 * MIB, registeredBytes: 0, tasks: 10, cores: 1 });
  usage.privateBytes = 30 * MIB;
  files = 28 * MIB;
  expect(held.look().excess).toBeUndefined();
  files = 29 * MIB;
  const { excess } = held.look();
  expect(excess).toEqual({ what: "heap", used: 49 * MIB, bound: 48 * MIB, files });
  expect(describeExcess(excess!)).toContain("49 MiB (29 MiB of it files in its scratch folder)");
});

test("places in memory are those that a process has of its own", () => {
  const inMemory = (places: string[]) => filesOf(process.pid, { inMemory: places }).memoryBytes();
  expect(inMemory(["/dev/shm", "/nowhere"])).toBe(0);
  // Whatever keeps it from looking at one ends no lease.
  expect(inMemory([`/${"x".repeat(300)}`])).toBe(0);
});

/** Looks until the folder of a process has so much, by what the agent has found. */
async function foundIn(folder: string, atLeast: number, most = 2 ** 40): Promise<number> {
  const files = filesOf(process.pid, { onDisk: folder });
  try {
    let found = 0;
    await until(() => (found = files.diskBytes(most)) >= atLeast, "a look has found it");
    return found;
  } finally {
    files.close();
  }
}

test("a folder on the disk has the blocks of all that is below it, by whichever names, and of what is open without one", async () => {
  using scratch = new Scratch();
  const full = Buffer.alloc(MIB, 1);
  mkdirSync(scratch.join("inner/deep"), { recursive: true });
  scratch.file("inner/deep/full", full);
  linkSync(scratch.join("inner/deep/full"), scratch.join("inner/again"));
  symlinkSync("/usr", scratch.join("elsewhere"));
  truncateSync(scratch.file("sparse", ""), 512 * MIB);
  const open = openSync(scratch.file("unnamed", full), "r");
  rmSync(scratch.join("unnamed"));
  try {
    const found = await foundIn(scratch.path, 2 * MIB);
    expect(found).toBeLessThan(2.1 * MIB);
    // It is told as soon as it is more than may be.
    expect(await foundIn(scratch.path, 1, 1000)).toBeLessThan(1.1 * MIB);
  } finally {
    closeSync(open);
  }
});

test("files cost more than their blocks, and none can be hidden in a folder that may not be read, or is nested too deep", async () => {
  using scratch = new Scratch();
  mkdirSync(scratch.join("empty"));
  mkdirSync(scratch.join("closed"));
  for (let i = 0; i < 600; i++) scratch.file(`empty/${i}`, "");
  expect(await foundIn(scratch.path, 600 * 1024)).toBeLessThan(3 * MIB);
  scratch.file("closed/full", Buffer.alloc(4 * MIB, 1));
  chmodSync(scratch.join("closed"), 0);
  expect(await foundIn(scratch.path, 4 * MIB)).toBeGreaterThan(4 * MIB);
  mkdirSync(scratch.join("d/".repeat(80)), { recursive: true });
  expect(await foundIn(scratch.path, 8 * MIB, 8 * MIB)).toBeGreaterThan(8 * MIB);
});

test("files on the disk count with all else where the agent watches, and alone where a control group bounds memory", async () => {
  using scratch = new Scratch();
  scratch.file("full", Buffer.alloc(3 * MIB, 1));
  const usage = { ...BARE };
  const files = filesOf(process.pid, { onDisk: scratch.path });
  const held = new WatchLimiter(() => usage).hold(process.pid, files);
  held.begin({ heapBytes: 4 * MIB, registeredBytes: 0, tasks: 10, cores: 1 });
  await until(() => files.diskBytes(MIB) > 0, "a look has ended");
  expect(held.look().excess).toBeUndefined();
  usage.privateBytes = 12 * MIB;
  let excess: Excess | undefined;
  await until(() => (excess = held.look().excess) !== undefined, "both are more than the heap");
  expect(excess).toMatchObject({ what: "heap", bound: 4 * MIB });
  expect(excess!.files).toBeGreaterThanOrEqual(3 * MIB);
  held.close();
});

test("the nearer a lease is to its heap, the sooner is the next look, and one that writes 4 GiB a second is seen as it crosses", () => {
  const { clock, usage, asked, ends, begin } = watched();
  begin();
  clock.pass(1000);
  const idle = asked.looks;
  for (let ms = 0; ends.length === 0; ms++) {
    usage.privateBytes += 4 * MIB;
    clock.pass(1);
    expect(ms).toBeLessThan(100);
  }
  expect(ends[0]!.used).toBeLessThanOrEqual(48 * MIB + 2 * 4 * MIB);
  expect(idle).toBeLessThan(1000 / 10);
});

test("pages that several processes share count once, which is asked for only where it matters", () => {
  const { clock, usage, exact, asked, ends, begin } = watched();
  begin();
  usage.processes = 5;
  usage.privateBytes = 30 * MIB;
  clock.pass(100);
  expect(asked.exact).toBe(0);
  usage.privateBytes = 100 * MIB;
  exact.privateBytes = 40 * MIB;
  clock.pass(100);
  expect(asked.exact).toBeGreaterThan(0);
  expect(ends).toEqual([]);
  exact.privateBytes = 60 * MIB;
  clock.pass(100);
  expect(ends).toMatchObject([{ what: "heap", used: 50 * MIB }]);
});

test("the looks at a lease of many processes take the agent a tenth of its time at most", () => {
  let nowMs = 0;
  const usage = { ...BARE, processes: 500, threads: 500 };
  const measure = (_: number, exact: boolean): TreeUsage => {
    nowMs += exact ? 50 : 3;
    return exact ? { ...usage, privateBytes: 40 * MIB } : usage;
  };
  const held = new WatchLimiter(measure, () => nowMs).hold(1);
  held.begin({ heapBytes: 48 * MIB, registeredBytes: 0, tasks: 1000, cores: 8 });
  expect(held.look().pauseMs).toBeGreaterThanOrEqual(30);
  usage.privateBytes = 500 * MIB;
  const { excess, pauseMs } = held.look();
  expect(excess).toBeUndefined();
  expect(pauseMs).toBeGreaterThanOrEqual(530);
  usage.processes = 1;
  usage.privateBytes = 40 * MIB;
  expect(held.look().pauseMs).toBeLessThan(30);
});

test("what a kept host has after its first lease is no new allowance", () => {
  const { clock, usage, ends, begin } = watched();
  begin().stop();
  usage.privateBytes = 50 * MIB;
  begin();
  usage.privateBytes = 60 * MIB;
  clock.pass(200);
  expect(ends).toMatchObject([{ what: "heap", used: 50 * MIB }]);
});

test("a lease with more processes and threads than it may have ends with their number", () => {
  const { clock, usage, ends, begin } = watched();
  begin();
  usage.threads = tasksFor(1) + 1;
  clock.pass(200);
  expect(ends).toEqual([{ what: "tasks", used: tasksFor(1) + 1, bound: tasksFor(1) }]);
});

test("a lease that is over is looked at no more", () => {
  const { clock, asked, begin } = watched();
  const watch = begin();
  watch.stop();
  const { looks } = asked;
  clock.pass(10_000);
  expect(asked.looks).toBe(looks);
  expect(clock.waiting).toBe(0);
});

test("a heap that is not asked for is as large as the memory, half a gigabyte at least, and more with more workers", () => {
  expect(defaultHeapBytes(1, 1)).toBe(544 * MIB);
  expect(defaultHeapBytes(1024 * MIB, 4)).toBe(1152 * MIB);
});

test("what a lease had travels as one number, and reads as a sentence", () => {
  const heap: Excess = { what: "heap", used: 50 * MIB, bound: 48 * MIB };
  expect(unpackExcess(packExcess(heap), 48 * MIB)).toEqual(heap);
  expect(describeExcess(heap)).toContain("it had 50 MiB, and its heap is 48 MiB");
  const tasks: Excess = { what: "tasks", used: 700, bound: 576 };
  expect(unpackExcess(packExcess(tasks), 0)).toEqual({ ...tasks, bound: 0 });
  expect(describeExcess(tasks)).toContain("it had 700 processes and threads, and may have 576");
  expect(packExcess({ ...heap, used: 2 ** 52 })).toBe(2 ** 31 - 1);
});

test("the kernel is asked for a process and all that it has started, which can be killed and the process left", async () => {
  const hold = `const held = Buffer.alloc(${32 * MIB}, 1); console.log("up"); setInterval(() => held, 1e6)`;
  const start = `Bun.spawn([process.execPath, "-e", ${JSON.stringify(hold)}], { stdout: "inherit" }); setInterval(() => {}, 1e6)`;
  const child = Bun.spawn([process.execPath, "-e", start], { stdout: "pipe" });
  try {
    await child.stdout.getReader().read();
    const both = treeUsage(child.pid)!;
    expect(both.processes).toBe(2);
    expect(both.threads).toBeGreaterThan(2);
    expect(both.privateBytes).toBeGreaterThan(32 * MIB);
    const shared = treeUsage(child.pid, true)!;
    expect(shared.privateBytes).toBeGreaterThan(32 * MIB);
    expect(shared.privateBytes).toBeLessThanOrEqual(both.privateBytes + MIB);
    killDescendants(child.pid);
    await until(() => treeUsage(child.pid)!.privateBytes < 32 * MIB, "the memory is given back");
    await until(() => treeUsage(child.pid)!.processes === 1, "its child is gone");
    const open = readdirSync(`/proc/${child.pid}/fd`).length;
    expect(treeUsage(child.pid)!.descriptors).toBe(open);
    expect(child.killed).toBe(false);
    expect(child.exitCode).toBeNull();
  } finally {
    killDescendants(child.pid);
    child.kill("SIGKILL");
    await child.exited;
  }
  expect(treeUsage(child.pid)).toBeUndefined();
});

test("a node watches where nothing else is said, and the superuser asks for control groups", () => {
  expect(limiterFor(undefined, true).name).toBe("watch");
  expect(limiterFor("", true).name).toBe("watch");
  expect(limiterFor("watch", false).name).toBe("watch");
  expect(() => limiterFor("docker", true)).toThrow(
    'RFAAS_LIMITS is "docker"; let it be watch or cgroup',
  );
});
