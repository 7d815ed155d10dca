/** Counting what a process uses while its threads come and go. */
import { expect, test } from "bun:test";
import { cpuTimeNs } from "../../bench/environment.ts";

/** Starts threads one after another, each of which computes for a moment. */
const THREADS = `
import { Worker } from "node:worker_threads";
for (let i = 0; i < 60; i++) {
  const worker = new Worker("for (let n = 0, end = performance.now() + 2; performance.now() < end; n++);", { eval: true });
  await new Promise((resolve) => worker.on("exit", resolve));
}
`;

test("CPU time never falls and is never an error while threads end; of a process that is gone there is none", async () => {
  const child = Bun.spawn([process.execPath, "-e", THREADS], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  let last = 0;
  let fell = 0;
  let counted = 0;
  while (child.exitCode === null) {
    for (let i = 0; i < 200; i++) {
      const ns = cpuTimeNs(child.pid);
      if (ns === undefined) break;
      if (ns < last) fell++;
      last = ns;
      counted++;
    }
    await Bun.sleep(1);
  }
  expect(child.exitCode).toBe(0);
  expect(fell).toBe(0);
  expect(counted).toBeGreaterThan(200);
  // Sixty threads of 2 ms have ended, and still count.
  expect(last).toBeGreaterThan(60e6);
  expect(cpuTimeNs(child.pid)).toBeUndefined();
}, 60_000);
