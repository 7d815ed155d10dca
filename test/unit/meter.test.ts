/** What a host says of its lease's use, forged: none of it lowers what the agent itself has measured. */
import { afterAll, describe, expect, test } from "bun:test";
import { descendantsTimeNs } from "../../ffi/children.ts";
import type { WorkerCounts } from "../../ffi/region.ts";
import { cpuTimeNs } from "../../ffi/system.ts";
import { Meter } from "../../src/executor/agent/meter.ts";
import type { LeaseState } from "../../src/lease/lease.ts";
import { type Usage, possibleCounts } from "../../src/protocol/usage.ts";
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
