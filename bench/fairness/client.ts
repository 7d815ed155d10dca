/** A process with some clients of the benchmark: each asks for a lease, holds it, gives it back, and asks again. */
import { invoker } from "../../src/index.ts";
import type { Got, Task } from "./tasks.ts";

const MODULE = "rfaas:paced";

async function run(task: Task, at: number): Promise<Got> {
  const { manager, holdMs, fromMs, untilMs } = task;
  const got: Got = { grants: 0, waitsMs: [], coreMs: 0 };
  const workers = task.workers[at]!;
  await using rf = await invoker({ manager, token: task.tokens[at]! });
  await Bun.sleep(Math.max(0, fromMs - Date.now()));
  const end = AbortSignal.timeout(Math.max(0, untilMs - Date.now()));
  while (!end.aborted) {
    const askedMs = performance.now();
    const options = { workers, memory: "64KiB", polling: "warm", signal: end } as const;
    const lease = await rf
      .allocate(MODULE, { ...options, timeoutMs: untilMs - fromMs })
      .catch((error: unknown) => {
        if (!end.aborted) throw error;
        return undefined;
      });
    const grantedMs = performance.now();
    got.waitsMs.push(grantedMs - askedMs);
    if (!lease) break;
    got.grants++;
    await Bun.sleep(Math.min(holdMs, Math.max(0, untilMs - Date.now())));
    got.coreMs += workers * (performance.now() - grantedMs);
    await lease.release();
  }
  return got;
}

process.on("message", (task: Task) => {
  const all = task.tokens.map((_, at) => run(task, at));
  Promise.all(all).then(
    (got) => process.send!(got),
    (error: Error) => process.send!({ failed: error.message }),
  );
});
process.on("disconnect", () => process.exit(0));
