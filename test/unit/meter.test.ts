/** What a host says of its lease's use, forged: none of it lowers what the agent itself has measured. */
import { afterAll, describe, expect, test } from "bun:test";
import { compiler } from "../../ffi/build.ts";
import { type DescendantTime, descendantTimes, descendantsTimeNs } from "../../ffi/children.ts";
import type { WorkerCounts } from "../../ffi/region.ts";
import { cpuTimeNs } from "../../ffi/system.ts";
import { Descendants } from "../../src/executor/metering/descendants.ts";
import { Meter } from "../../src/executor/metering/meter.ts";
import type { LeaseState } from "../../src/lease/lease.ts";
import { type Usage, possibleCounts } from "../../src/protocol/usage.ts";
import { run } from "../support/compilers.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const [WORKERS, CORES] = [2, 4];
const SECOND_NS = 1e9;
const BUSY_NS = 300e6;
/** More than any of these hosts has used. */
const LONG_NS = 1000 * SECOND_NS;

/** Computes for so many milliseconds, has a child that does, and waits. */
const HOST = `
  const [own, childs] = process.argv.slice(-2).map(Number);
  const computing = (ms) => "while (process.cpuUsage().user / 1000 < " + ms + ") for (let i = 0; i < 1e6; i++);";
  const withParent = "process.stdin.on('end', () => process.exit()).resume();";
  if (childs) Bun.spawn([process.execPath, "-e", computing(childs) + withParent], { stdio: ["pipe", "ignore", "ignore"] });
  (0, eval)(computing(own));
  setInterval(() => {}, 1e6);
`;

const HONEST: WorkerCounts = { calls: 10, bytes: 100, polledNs: 40e6, running: 0 };
const FORGED: [what: string, says: Partial<WorkerCounts>][] = [
  ["that it has only polled", { polledNs: LONG_NS }],
  ["that it has polled for ever", { polledNs: Infinity }],
  ["that it has done nothing", { calls: 0, bytes: 0, polledNs: 0 }],
  ["that it has polled less than before", { polledNs: 1 }],
  ["that it has undone calls", { calls: 3, bytes: -1e9 }],
  ["that it has answered calls without end", { calls: 2 ** 53, bytes: 2 ** 63 }],
];

const ACTIVE: LeaseState = {
  ...{ phase: "active", grantedAtNs: 0, activeAtNs: 0, redeemed: true },
  ...{ ttlNs: LONG_NS, expiresAtNs: LONG_NS, untilNs: LONG_NS },
};

const started: Bun.Subprocess[] = [];
afterAll(async () => {
  for (const child of started) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

/** A host that has computed, as its kernel says, and the meter that has run since it was started. */
async function metered(own: number, childs = 0) {
  const words = [String(own / 1e6), String(childs / 1e6)];
  const stdio = ["ignore", "ignore", "inherit"] as const;
  const child = Bun.spawn([process.execPath, "-e", HOST, ...words], { stdio: [...stdio] });
  started.push(child);
  const { pid } = child;
  let says = HONEST;
  const meter = new Meter({ counts: () => says }, pid, WORKERS, CORES, 0);
  const beforeNs = cpuTimeNs(pid) ?? 0;
  meter.begin();
  await until(() => (cpuTimeNs(pid) ?? 0) - beforeNs >= own, "the host has computed");
  await until(() => descendantsTimeNs(pid) >= childs, "its child has computed");
  return {
    /** By the kernel, since the meter began. */
    usedNs: () => (cpuTimeNs(pid) ?? 0) - beforeNs + descendantsTimeNs(pid),
    /** Reads the meter as if the lease had lasted so long. */
    read(forged: Partial<WorkerCounts>, lastedNs = LONG_NS): Usage {
      says = { ...HONEST, ...forged };
      return meter.read(ACTIVE, lastedNs);
    },
  };
}

/** Starts a child that computes until it has used `argv[1]` ms and ends at the next line, then another one. With `ignore`, it waits for none. */
const STARTS = `
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
  int ignores = strcmp(words[2], "ignore") == 0;
  (void)count;
  if (ignores) signal(SIGCHLD, SIG_IGN);
  for (int round = 0; round < 2; round++) {
    int lines[2];
    char line[2];
    if (pipe(lines) != 0) return 1;
    pid_t child = fork();
    if (child == 0) {
      close(lines[1]);
      while (clock() * 1000.0 / CLOCKS_PER_SEC < atof(words[1])) continue;
      return read(lines[0], line, 1) < 0;
    }
    close(lines[0]);
    if (read(0, line, 1) != 1) return 0;
    close(lines[1]);
    if (!ignores) waitpid(child, NULL, 0);
  }
  pause();
}`;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

test.each(["ignore", "wait"])(
  "the bill has what each child has computed once, where their parent is to %s",
  async (how) => {
    const program = scratch.join("starts");
    run([compiler()!, "-O1", "-o", program, scratch.file("starts.c", STARTS)], "/");
    const child = Bun.spawn([program, String(BUSY_NS / 1e6), how], { stdin: "pipe" });
    started.push(child);
    const meter = new Meter({ counts: () => HONEST }, child.pid, WORKERS, CORES, 0);
    meter.begin();
    let nowNs = 0;
    const read = (): number => {
      const { executionNs, pollingNs } = meter.read(ACTIVE, (nowNs += SECOND_NS));
      return executionNs + pollingNs;
    };
    for (const round of [1, 2]) {
      await until(
        () => descendantsTimeNs(child.pid) >= (how === "wait" ? round : 1) * 0.9 * BUSY_NS,
        "it has computed",
      );
      read();
      const before = descendantTimes(child.pid).at(-1)!.id;
      void child.stdin.write("\n");
      void child.stdin.flush();
      await until(() => !descendantTimes(child.pid).some(({ id }) => id === before), "it is gone");
      for (let looks = 0; looks < 3; looks++) read();
    }
    expect(read()).toBeGreaterThanOrEqual(1.7 * BUSY_NS);
    expect(read()).toBeLessThan(2.3 * BUSY_NS);
  },
  LIMIT_MS,
);

test("a look that misses a process, or the sum of its parent, bills nothing twice", () => {
  let looks: DescendantTime[] = [];
  const all = new Descendants(1, () => looks);
  const look = (...now: [id: string, ownNs: number, waitedNs: number][]): number => {
    looks = now.map(([id, ownNs, waitedNs]) => ({ id, ownNs, waitedNs }));
    return (all.readNs() ?? 0) + all.lostNs;
  };
  expect(look(["host", 0, 0], ["a", SECOND_NS, 0])).toBe(SECOND_NS);
  // Not listed once.
  expect(look(["host", 0, 0])).toBe(0);
  expect(look(["host", 0, 0], ["a", 2 * SECOND_NS, 0])).toBe(2 * SECOND_NS);
  expect(all.lostNs).toBe(0);
  // It is waited for after its parent was read.
  look(["host", 0, 0]);
  expect(look(["host", 0, 2 * SECOND_NS])).toBe(2 * SECOND_NS);
  expect([all.lostNs, all.startedNs]).toEqual([0, 2 * SECOND_NS]);
  // No one waits for it.
  look(["host", 0, 2 * SECOND_NS], ["b", SECOND_NS, SECOND_NS]);
  look(["host", 0, 2 * SECOND_NS]);
  expect(look(["host", 0, 2 * SECOND_NS])).toBe(4 * SECOND_NS);
  expect([all.lostNs, look()]).toEqual([2 * SECOND_NS, 2 * SECOND_NS]);
});

describe("a host", () => {
  test(
    "that is honest is believed what it has polled",
    async () => {
      const { read } = await metered(BUSY_NS);
      const usage = read({});
      expect(usage.pollingNs).toBe(40e6);
      expect(usage).toMatchObject({ calls: 10, bytes: 100 });
    },
    LIMIT_MS,
  );

  test(
    "lowers no sum, whatever it says",
    async () => {
      const { usedNs, read } = await metered(BUSY_NS);
      let before = read({});
      for (const [what, says] of FORGED) {
        const kernelNs = usedNs();
        const usage = read(says);
        const wrong = Object.entries(usage).filter(
          ([name, sum]) => !(sum >= before[name as keyof Usage]),
        );
        expect([what, wrong]).toEqual([what, []]);
        expect(usage.executionNs + usage.pollingNs).toBeGreaterThanOrEqual(kernelNs - 1);
        expect(usage.allocationCoreNs).toBe(CORES * LONG_NS);
        // No manager takes more for possible.
        const { calls, bytes } = usage;
        expect(possibleCounts(usage, WORKERS * LONG_NS)).toEqual({ calls, bytes });
        before = usage;
      }
    },
    LIMIT_MS,
  );

  test(
    "does not pass off as polling what its children have computed",
    async () => {
      const { read } = await metered(50e6, BUSY_NS);
      const { executionNs } = read({ polledNs: LONG_NS });
      expect(executionNs).toBeGreaterThanOrEqual(BUSY_NS);
    },
    LIMIT_MS,
  );

  test(
    "has polled no longer than its workers were there, whatever its other threads have computed",
    async () => {
      const { usedNs, read } = await metered(BUSY_NS);
      const lastedNs = BUSY_NS / 10;
      const { pollingNs, executionNs } = read({ polledNs: LONG_NS }, lastedNs);
      expect(pollingNs).toBe(WORKERS * lastedNs);
      expect(executionNs).toBeGreaterThanOrEqual(BUSY_NS - WORKERS * lastedNs);
      expect(usedNs()).toBeGreaterThanOrEqual(executionNs + pollingNs);
    },
    LIMIT_MS,
  );
});
