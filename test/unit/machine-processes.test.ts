import { describe, expect, test } from "bun:test";
import {
  allProcesses,
  costOf,
  costsOfDescendants,
  descends,
  memoryOf,
  processEntry,
  sleepsOf,
} from "../../bench/machine/processes.ts";
import { until } from "../support/until.ts";

/** Its last words hold the words of the list that follows. */
const NAME = "a) S 1 (b";

async function sleeper(): Promise<Bun.Subprocess<"ignore", "pipe">> {
  const child = Bun.spawn(["sh", "-c", `printf '%s' '${NAME}' >/proc/$$/comm; echo up; read x`], {
    stdin: "pipe",
    stdout: "pipe",
  });
  await child.stdout.getReader().read();
  return child as unknown as Bun.Subprocess<"ignore", "pipe">;
}

describe("a process", () => {
  test("is found with its parent, whatever it calls itself", async () => {
    await using child = await sleeper();
    const entry = allProcesses().get(child.pid);
    expect(entry).toMatchObject({ name: NAME, parent: process.pid });
    expect(entry!.minorFaults).toBeGreaterThan(0);
    child.kill();
  });

  test("costs memory, faults and time of its own", async () => {
    await using child = await sleeper();
    const cost = costsOfDescendants().get(child.pid)!;
    for (const key of ["minor_faults", "cpu_ns", "private_bytes"] as const)
      expect(cost[key]).toBeGreaterThan(0);
    const { privateBytes, pssBytes } = memoryOf(child.pid)!;
    expect(pssBytes).toBeGreaterThanOrEqual(privateBytes);
    await until(() => (sleepsOf(child.pid) ?? 0) > 0, "it waits for its input");
    child.kill();
  });

  test("counts a page that is touched first", () => {
    // What earlier tests have left goes now, and not in between.
    Bun.gc(true);
    const before = costOf(process.pid)!;
    const bytes = new Uint8Array(256 * 2 ** 20).fill(1);
    const after = costOf(process.pid)!;
    expect(bytes[1]).toBe(1);
    // Pages may be huge ones.
    expect(after.minor_faults - before.minor_faults).toBeGreaterThanOrEqual(32);
    expect(after.private_bytes - before.private_bytes).toBeGreaterThan(32 * 2 ** 20);
  });

  test("that is gone has no figures", async () => {
    const child = await sleeper();
    child.kill("SIGKILL");
    await child.exited;
    for (const of of [processEntry, costOf, memoryOf, sleepsOf])
      expect(of(child.pid)).toBeUndefined();
  });
});

test("descent is through all that lie between", () => {
  const processes = new Map([
    [3, { parent: 2 }],
    [2, { parent: 1 }],
    [1, { parent: 0 }],
    [9, { parent: 1 }],
  ]);
  expect([1, 2, 3, 9].map((pid) => descends(pid, 2, processes))).toEqual([
    false,
    true,
    true,
    false,
  ]);
});
