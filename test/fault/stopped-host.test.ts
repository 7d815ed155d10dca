/** Hosts that are stopped, frozen or slow: their node notices those that are gone, and leaves alone those that compute. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  DeadlineExceeded,
  type FabricName,
  type Lease,
  WorkerLost,
  invoker,
} from "../../src/index.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const PENDS = join(FUNCTIONS, "pends.ts");
const BAD = join(FUNCTIONS, "bad.ts");
const HOST_TIMEOUT_MS = 400;
const FABRICS: FabricName[] = ["shm", "tcp"];

/** Where version 2 of control groups can stop processes in another way than by a signal. */
const FREEZER = "/sys/fs/cgroup/unified";
const freezes = process.getuid?.() === 0 && existsSync(join(FREEZER, "cgroup.procs"));
if (!freezes) console.warn(`no process can be frozen here: not root, or no ${FREEZER}`);

/** How many calls ended in which way. */
async function endsOf(calls: readonly PromiseLike<unknown>[]): Promise<unknown[]> {
  const ends = await Promise.allSettled(calls);
  return ends.map((end) => (end.status === "rejected" ? end.reason : "a result"));
}

const lostWith =
  (pattern: RegExp) =>
  (error: unknown): boolean =>
    error instanceof WorkerLost && pattern.test(error.message);

describe.each(FABRICS)("over %s, a host that is stopped", (fabric) => {
  test(
    "is lost with its calls, which have no deadline, and its cores are free for another lease",
    async () => {
      await using rf = await invoker({ cores: 1, fabric });
      await using lease = await rf.allocate(PENDS, { hostTimeoutMs: HOST_TIMEOUT_MS });
      const input = lease.input(Uint8Array, 8);
      const calls = Array.from({ length: 8 }, () =>
        lease.submit("never", input, lease.output(Uint8Array, 8)),
      );
      const ends = endsOf(calls);
      process.kill(lease.hostPid, "SIGSTOP");
      const lost = lostWith(/was stopped by a signal.* 400 ms/);
      expect((await ends).filter((end) => !lost(end))).toEqual([]);
      await lease.release();
      await using next = await rf.allocate(PENDS, { wait: true });
      expect(next.workers).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    "is lost though no call is in flight",
    async () => {
      await using rf = await invoker({ cores: 1, fabric });
      await using lease = await rf.allocate(PENDS, { hostTimeoutMs: HOST_TIMEOUT_MS });
      const lost = Promise.withResolvers<string>();
      lease.on("lost", ({ message }) => lost.resolve(message));
      process.kill(lease.hostPid, "SIGSTOP");
      expect(await lost.promise).toContain("its host process was stopped");
    },
    LIMIT_MS,
  );
});

test(
  "a host that is stopped for a moment loses nothing",
  async () => {
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate(BAD, { hostTimeoutMs: 10_000 });
    const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
    process.kill(lease.hostPid, "SIGSTOP");
    const call = lease.submit("fine", input, output);
    process.kill(lease.hostPid, "SIGCONT");
    expect(await call).toBe(0);
  },
  LIMIT_MS,
);

test(
  "a function that computes for many times the host's timeout is ended by its deadline alone",
  async () => {
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate(BAD, { hostTimeoutMs: 100 });
    const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
    const error = await lease.submit("spins", input, output, { deadlineMs: 1500 }).catch((e) => e);
    expect(error).toBeInstanceOf(DeadlineExceeded);
  },
  LIMIT_MS,
);

test.skipIf(!freezes)(
  "a host that is frozen, as no signal does it, is lost with the calls that it has begun",
  async () => {
    await using frozen = new Frozen();
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate(PENDS, { hostTimeoutMs: HOST_TIMEOUT_MS });
    const calls = [begun(lease), begun(lease)];
    await lease.submit("fine", lease.input(Uint8Array, 8), lease.output(Uint8Array, 8));
    const ends = endsOf(calls);
    frozen.take(lease.hostPid);
    const silent = lostWith(/gave no sign of life for the 400 ms/);
    expect((await ends).filter((end) => !silent(end))).toEqual([]);
    await lease.release();
  },
  LIMIT_MS,
);

test.skipIf(!freezes).each(FABRICS)(
  "over %s, a host that was frozen while it was idle is lost with the call that comes then",
  async (fabric) => {
    await using frozen = new Frozen();
    await using rf = await invoker({ cores: 1, fabric });
    await using lease = await rf.allocate(PENDS, { hostTimeoutMs: HOST_TIMEOUT_MS });
    frozen.take(lease.hostPid);
    const error = await lease
      .submit("fine", lease.input(Uint8Array, 8), lease.output(Uint8Array, 8))
      .catch((caught: unknown) => caught);
    expect(String(error)).toContain("gave no sign of life for the 400 ms");
    expect((error as WorkerLost).mayHaveRun).toBe(fabric !== "shm");
    await lease.release();
  },
  LIMIT_MS,
);

test.skipIf(!freezes)(
  "a host that was frozen while it was idle ends a call on the spot",
  async () => {
    await using frozen = new Frozen();
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate(PENDS, { hostTimeoutMs: HOST_TIMEOUT_MS });
    const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
    frozen.take(lease.hostPid);
    expect(() => lease.invoke("fine", input, output)).toThrow("gave no sign of life");
    await lease.release();
  },
  LIMIT_MS,
);

const begun = (lease: Lease): PromiseLike<number> =>
  lease.submit("never", lease.input(Uint8Array, 8), lease.output(Uint8Array, 8));

/** A control group whose processes stand still. */
class Frozen implements AsyncDisposable {
  readonly #group = join(FREEZER, `rfaas-test-${process.pid}`);

  constructor() {
    mkdirSync(this.#group);
  }

  take(pid: number): void {
    writeFileSync(join(this.#group, "cgroup.procs"), String(pid));
    writeFileSync(join(this.#group, "cgroup.freeze"), "1");
  }

  /** Waits until those that were in it are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await until(() => removed(this.#group), "the group is empty");
  }
}

function removed(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch {
    return false;
  }
}
