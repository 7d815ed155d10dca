/** Schemas that throw, hang, answer nonsense or change what they are given, on either side of a call. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  InvalidValue,
  type Invoker,
  type Lease,
  type TypedFunction,
  UsageError,
  invoker,
} from "../support/library.ts";
import { type TestWorker, testWorker } from "../../src/testing/index.ts";
import * as odd from "../functions/odd-schemas.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

type Odd = typeof odd;
const MODULE = join(FUNCTIONS, "odd-schemas.ts");
type Name =
  "oddInput" | "oddOutput" | "hangingInput" | "hangingOutput" | "exclaim" | "count" | "orSeven";

let rf: Invoker;
let lease: Lease<Odd>;
let worker: TestWorker<Odd>;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 2 });
  lease = await rf.allocate<Odd>(MODULE, { polling: "warm" });
  worker = await testWorker<Odd>(odd);
});
afterAll(async () => await rf.close());

/** Where the schema is asked: by the worker alone, by the caller first, by a test's worker. */
const WAYS: Record<string, (name: Name, of: Lease<Odd>) => TypedFunction<unknown, unknown>> = {
  "a lease": (name, of) => of.function(name) as never,
  "a lease, with the definition": (name, of) =>
    of.function(name, { definition: odd[name] }) as never,
  "a test worker": (name) => worker.function(name) as never,
};

async function caught(call: PromiseLike<unknown>): Promise<unknown> {
  return await Promise.resolve(call).then(
    (value) => ({ returned: value }),
    (error: unknown) => error,
  );
}

test.each([
  ["the worker", (held: Lease<Odd>) => held.function("hangingInput")],
  [
    "the caller",
    (held: Lease<Odd>) => held.function("hangingInput", { definition: odd.hangingInput }),
  ],
])("a schema that never answers %s does not outlive the lease", async (_, handle) => {
  const held = await rf.allocate<Odd>(MODULE, { polling: "warm" });
  const call = caught(handle(held)(0));
  await held.release();
  expect(await call).toMatchObject({ code: "RFAAS_LEASE_LOST" });
});

describe.each(Object.entries(WAYS))("through %s, a schema", (way, open) => {
  const handle = (name: Name) => open(name, lease);

  test.each(odd.results)("that answers %s refuses the value", async (result) => {
    for (const side of ["input", "output"] as const) {
      const error = await caught(handle(side === "input" ? "oddInput" : "oddOutput")(result));
      expect(error).toBeInstanceOf(InvalidValue);
      expect(error).toMatchObject({ side, path: "/", code: "RFAAS_INVALID_VALUE" });
      if (result === "thrown" || result === "rejected")
        expect((error as Error).cause).toMatchObject({ name: "RangeError", code: "E_BROKEN" });
    }
    expect(await handle("oddInput")("fine as it is")).toBe("fine as it is");
  });

  test.each(odd.paths)("names what is wrong by %s", async (path) => {
    const error = await caught(handle("oddInput")(path));
    expect(error).toMatchObject({ path, problem: "it is wrong" });
    expect(await caught(handle("oddOutput")(path))).toMatchObject({ side: "output", path });
  });

  test("that never answers is ended by the call's deadline and by its signal", async () => {
    // Its worker is replaced when such a call does not end: what else it has begun is lost, and may be tried again.
    await using own = await rf.allocate<Odd>(MODULE, { polling: "warm" });
    const again = { retries: 10 };
    for (const name of ["hangingInput", "hangingOutput"] as const) {
      const call = open(name, own);
      expect(await caught(call(0, { deadlineMs: 20 }))).toBeInstanceOf(DeadlineExceeded);
      const stop = new AbortController();
      const stopped = call(0, { signal: stop.signal });
      stop.abort(new Error("enough"));
      expect(await caught(stopped)).toMatchObject({ message: "enough" });
      const none = call(0, { signal: AbortSignal.abort(new Error("never begun")) });
      expect(await caught(none)).toMatchObject({ message: "never begun" });
      const mapped = Array.fromAsync(
        call.map([1, 0, 2], { deadlineMs: 2000, settled: true, ...again }),
      );
      expect(await mapped).toMatchObject([
        { status: "fulfilled", value: 1 },
        { status: "rejected", reason: { code: "RFAAS_DEADLINE_EXCEEDED" } },
        { status: "fulfilled", value: 2 },
      ]);
      expect(await call.broadcast(0, { deadlineMs: 20 })).toMatchObject([{ status: "rejected" }]);
      expect(await call(3, { deadlineMs: 10_000, ...again })).toBe(3);
    }
  });

  test("that answers later has the time of the call, and converts once on each side", async () => {
    const exclaim = handle("exclaim");
    expect(await exclaim("a", { deadlineMs: 10_000 })).toBe("a!!");
    expect(await Array.fromAsync(exclaim.map(["a", "b"]))).toEqual(["a!!", "b!!"]);
    if (way === "a lease") expect(exclaim.invoke("on the spot")).toBe("on the spot!!");
    else expect(() => exclaim.invoke("on the spot")).toThrow(UsageError);
  });

  test("that changes what it is given changes nothing of the caller's", async () => {
    const value = { n: 1, list: [] };
    expect(await handle("count")(value)).toEqual({ n: 2, list: [2] });
    expect(handle("count").invoke(value)).toEqual({ n: 2, list: [2] });
    expect(value).toEqual({ n: 1, list: [] });
  });

  test("makes something of nothing", async () => {
    expect(await handle("orSeven")(undefined)).toBe(7);
    expect(await handle("orSeven")(0)).toBe(7);
    expect(handle("orSeven").invoke(3)).toBe(3);
  });
});
