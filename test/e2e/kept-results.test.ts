/** Results that are longer than their callers expected, in any number. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Invoker,
  type Lease,
  DeadlineExceeded,
  LeaseLost,
  WorkerLost,
  invoker,
} from "../support/library.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { residentBytes } from "../support/processes.ts";
import { until } from "../support/until.ts";

type Module = typeof import("../functions/big-results.ts");
const MODULE = join(FUNCTIONS, "big-results.ts");
const KIB = 1024;
const MIB = 1024 * KIB;

let rf: Invoker;
beforeAll(async () => {
  rf = await invoker({ cores: 2 });
});
afterAll(() => rf.close());
/** With room for results that the engine has not collected yet. */
const lease = (memory: string, workers = 1): Promise<Lease<Module>> =>
  rf.allocate<Module>(MODULE, { memory, workers, heap: "1GiB" });

function expectBlob(got: Uint8Array, mark: number, bytes: number): void {
  if (got.length === bytes && got[0] === (mark & 255) && got[bytes - 1] === (mark & 255)) return;
  throw new Error(`${bytes} bytes of ${mark & 255} became ${got.length} of ${got[0]}`);
}

/** On a slow machine 20 MiB may take longer than a call may occupy its worker after its deadline. */
const restarted = (error: unknown): boolean =>
  error instanceof WorkerLost && error.message.includes("was restarted");

/** What the functions keep themselves: their values, and room to write them. */
const OVERHEAD = 350 * MIB;

describe("results that did not fit are all fetched", () => {
  for (const [count, bytes, memory] of [
    [300, 5 * KIB, "64MiB"],
    [2000, 5 * KIB, "1MiB"],
    [300, 300 * KIB, "4MiB"],
    [70, 4 * MIB, "64MiB"],
    [100, 10 * MIB, "64MiB"],
    [5, 60 * MIB, "16MiB"],
  ] as const)
    // Asynchronous ones hold their results all at once, whoever fetches them.
    for (const name of count * bytes < 300 * MIB
      ? (["blob", "blobLater"] as const)
      : ["blob" as const])
      test(`${count} at once of ${bytes} bytes from ${name}, with ${memory} for them`, async () => {
        await using held = await lease(memory);
        const blob = held.function(name);
        for (let round = 0; round < 2; round++) {
          let ended = 0;
          await Promise.all(
            Array.from({ length: count }, async (_, mark) => {
              expectBlob(await blob({ mark, bytes }), mark, bytes);
              ended++;
            }),
          );
          expect(ended).toBe(count);
        }
      }, 120_000);

  test("when they are mapped, broadcast, or waited for on the spot beside others", async () => {
    await using held = await lease("8MiB", 2);
    const blob = held.function("blob");
    const bytes = 5 * MIB;
    let mark = 0;
    for await (const got of blob.map(Array.from({ length: 40 }, (_, i) => ({ mark: i, bytes }))))
      expectBlob(got, mark++, bytes);
    for (const got of await blob.broadcast({ mark: 9, bytes })) {
      if (got.status === "rejected") throw got.reason;
      expectBlob(got.value, 9, bytes);
    }
    const others = Array.from({ length: 30 }, (_, mark) => blob({ mark, bytes }));
    for (let i = 0; i < 10; i++) expectBlob(blob.invoke({ mark: i, bytes }), i, bytes);
    expectBlob(blob.invoke({ mark: 3, bytes }, { deadlineMs: 60_000 }), 3, bytes);
    for (const [mark, got] of (await Promise.all(others)).entries()) expectBlob(got, mark, bytes);
  }, 120_000);

  test("from several functions, which may wait for each other's", async () => {
    await using held = await lease("8MiB");
    const [blob, later] = [held.function("blob"), held.function("blobLater")];
    const bytes = 6 * MIB;
    await Promise.all(
      Array.from({ length: 60 }, async (_, mark) => {
        const got = await (mark % 2 ? blob : later)({ mark, bytes, ms: mark % 5 });
        expectBlob(got, mark, bytes);
      }),
    );
  }, 120_000);
});

test("a value that waits for room travels as it was when it was given", async () => {
  await using held = await lease("256KiB");
  const blob = held.function("blob");
  const bytes = 5 * KIB;
  const value = { mark: 0, bytes };
  const calls = Array.from({ length: 1000 }, (_, mark) => {
    value.mark = mark;
    return blob(value);
  });
  value.mark = -1;
  for (const [mark, got] of (await Promise.all(calls)).entries()) expectBlob(got, mark, bytes);
});

test("what is abandoned is not kept, whenever that was", async () => {
  await using held = await lease("16MiB");
  const [blob, later] = [held.function("blob"), held.function("blobLater")];
  const bytes = 20 * MIB;
  for (let round = 0; round < 12; round++) {
    const giveUp = new AbortController();
    const calls = [blob, later, blob, later].map((fn, mark) =>
      fn({ mark, bytes }, mark < 2 ? { signal: giveUp.signal } : { deadlineMs: 1 + 5 * round }),
    );
    setTimeout(() => giveUp.abort(new Error("enough")), 3 * round);
    for (const [mark, end] of (await Promise.allSettled(calls)).entries())
      if (end.status === "fulfilled") expectBlob(end.value, mark, bytes);
      else if (!restarted(end.reason))
        if (mark < 2) expect(end.reason.message).toBe("enough");
        else expect(end.reason).toBeInstanceOf(DeadlineExceeded);
  }
  expectBlob(await blob({ mark: 1, bytes }, { retries: 10 }), 1, bytes);
  // 48 results of 20 MiB would be a gigabyte.
  await until(
    () => residentBytes(held.hostPid) < OVERHEAD,
    `the worker has less than ${OVERHEAD} bytes`,
    30_000,
  );
}, 120_000);

test("those of a worker that is restarted are lost with it, which their callers hear", async () => {
  // Its module writes a file here.
  await using open = await invoker({ cores: 1, sandbox: "none" });
  await using held = await open.allocate<typeof import("../functions/loads.ts")>(
    join(FUNCTIONS, "loads.ts"),
  );
  const loads = join(tmpdir(), `rfaas-loads-${held.hostPid}`);
  const buffer = held.output(Uint8Array, 8);
  // Long enough for the worker to begin it: one that is not begun by its deadline costs no worker.
  const given = held.submit("never", buffer, buffer, { deadlineMs: 1000 });
  expect(await given.catch((error) => error)).toBeInstanceOf(DeadlineExceeded);
  const call = held.function("blob")(5 * KIB);
  // Nobody fetches its result until the worker is another.
  for (let waits = 0; readFileSync(loads, "utf8") !== ".."; waits++) {
    if (waits > 6000) throw new Error("the worker is not restarted");
    Bun.sleepSync(5);
  }
  const error = await call.catch((thrown) => thrown);
  rmSync(loads);
  expect(error).toBeInstanceOf(WorkerLost);
  expect(error.message).toContain("was restarted because a call did not end by its deadline");
}, 60_000);

test("calls that wait for room end with the lease, each of them", async () => {
  const held = await lease("64KiB");
  const later = held.function("blobLater");
  const calls = Array.from({ length: 500 }, (_, mark) => later({ mark, bytes: 10, ms: 30_000 }));
  const ends = Promise.allSettled(calls);
  const aborted = new AbortController();
  const given = later({ mark: 0, bytes: 10 }, { signal: aborted.signal });
  aborted.abort(new Error("enough"));
  expect(await given.catch((error) => error.message)).toBe("enough");
  await held.release();
  for (const end of await ends)
    expect(end.status === "rejected" && end.reason).toBeInstanceOf(LeaseLost);
});
