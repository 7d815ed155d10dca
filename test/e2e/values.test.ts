/** The battery of values through a real lease, in both directions, and what errors and promises come to. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  FunctionError,
  InvalidValue,
  type Invoker,
  type Lease,
  OutOfLeaseMemory,
  invoker,
} from "../support/library.ts";
import * as definitions from "../functions/values.ts";
import { SAMPLES } from "../support/battery/battery.ts";
import { difference } from "../support/battery/difference.ts";
import type { Sample } from "../support/battery/sample.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

/** Hundreds of values go there and back in each test. */
setDefaultTimeout(120_000);

type Values = typeof import("../functions/values.ts");

let rf: Invoker;
let lease: Lease<Values>;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
  lease = await rf.allocate<Values>(join(FUNCTIONS, "values.ts"), { polling: "warm", workers: 2 });
});
afterAll(async () => await rf.close());

const EQUAL = SAMPLES.filter(({ refused }) => refused === undefined);
const REFUSED = SAMPLES.filter(({ refused }) => refused !== undefined);

async function caught(run: () => unknown): Promise<Error> {
  try {
    await run();
  } catch (error) {
    return error as Error;
  }
  return new Error("nothing was thrown");
}

/** What is wrong with how a value that must be refused was. */
function wrongRefusal(sample: Sample, side: InvalidValue["side"], error: unknown): string[] {
  if (!(error instanceof InvalidValue)) return [`${sample.name}: ${String(error)}`];
  const right =
    error.code === "RFAAS_INVALID_VALUE" &&
    error.side === side &&
    (sample.refused === "anywhere" || error.path === sample.refused);
  return right ? [] : [`${sample.name}: ${error.side} ${error.path}`];
}

async function each(
  samples: readonly Sample[],
  tryOne: (sample: Sample) => Promise<string[]>,
): Promise<string[]> {
  const wrong: string[] = [];
  for (const sample of samples) wrong.push(...(await tryOne(sample)));
  return wrong;
}

const told = ({ name }: Sample, different: string | null | undefined): string[] =>
  different ? [`${name}: ${different}`] : [];

describe("a value that travels arrives equal", () => {
  test("at the function", async () => {
    const compare = lease.function("compare");
    const wrong = await each(EQUAL, async (sample) =>
      told(sample, await compare({ name: sample.name, value: sample.make() })),
    );
    expect(wrong).toEqual([]);
  });

  test("at the caller, from functions of both kinds", async () => {
    const give = lease.function("give");
    const later = lease.function("giveLater");
    const wrong = await each(EQUAL, async (sample) => [
      ...told(sample, difference(sample.make(), await give(sample.name))),
      ...told(sample, difference(sample.make(), await later(sample.name))),
    ]);
    expect(wrong).toEqual([]);
  });

  test("there and back, on the spot", () => {
    const mirror = lease.function("mirror");
    const wrong = EQUAL.flatMap((sample) =>
      told(sample, difference(sample.make(), mirror.invoke(sample.make()))),
    );
    expect(wrong).toEqual([]);
  });
});

describe("a value that does not travel is refused, with its path", () => {
  test("before it is sent", async () => {
    const mirror = lease.function("mirror");
    const { calls } = await lease.usage();
    const wrong = await each(REFUSED, async (sample) => [
      ...wrongRefusal(sample, "input", await caught(() => mirror(sample.make()))),
      ...wrongRefusal(sample, "input", await caught(() => mirror.invoke(sample.make()))),
    ]);
    expect(wrong).toEqual([]);
    expect((await lease.usage()).calls).toBe(calls);
  });

  test("when a function returns it", async () => {
    const give = lease.function("give");
    // A promise that is returned is waited for.
    const samples = REFUSED.filter(({ name }) => !/^a (settled )?promise$/.test(name));
    const wrong = await each(samples, async (sample) =>
      wrongRefusal(sample, "output", await caught(() => give(sample.name))),
    );
    expect(wrong).toEqual([]);
  });
});

test("a value that no schema can look at is refused by its schema or by its path, on both sides", async () => {
  const { UNSEEN } = definitions;
  const problem = async (run: () => unknown) => {
    const error = (await caught(run)) as InvalidValue;
    expect(error).toBeInstanceOf(InvalidValue);
    return [error.side, error.path.slice(0, 10)];
  };
  const numbered = lease.function("numbered");
  const chain = lease.function("chain");
  expect(await problem(() => numbered(UNSEEN["getter"]!() as never))).toEqual(["input", "/n"]);
  expect(await problem(() => chain.invoke(UNSEEN["circle"]!() as never))).toEqual([
    "input",
    "/next",
  ]);
  expect(await problem(() => chain(UNSEEN["depth"]!() as never))).toEqual(["input", "/next/next"]);
  for (const name of ["circle", "depth"])
    expect((await problem(() => lease.function("giveChain")(name)))[0]).toBe("output");
  expect((await problem(() => lease.function("giveNumbered")("getter")))[0]).toBe("output");
  expect(await chain({ next: { next: {} } })).toEqual({ next: { next: {} } });
});

test("many values at once, of both kinds: each comes to what it would come to alone", async () => {
  const outcomes = lease.function("mirror").map(
    SAMPLES.map(({ make }) => make()),
    { settled: true },
  );
  const wrong: string[] = [];
  for await (const outcome of outcomes) {
    const sample = SAMPLES[outcome.index]!;
    if (sample.refused !== undefined)
      wrong.push(
        ...wrongRefusal(
          sample,
          "input",
          outcome.status === "rejected" ? outcome.reason : "fulfilled",
        ),
      );
    else if (outcome.status === "rejected") wrong.push(`${sample.name}: ${String(outcome.reason)}`);
    else wrong.push(...told(sample, difference(sample.make(), outcome.value)));
  }
  expect(wrong).toEqual([]);
});

test("a value for all workers arrives equal from each, or is refused for each", async () => {
  const mirror = lease.function("mirror");
  for (const sample of SAMPLES.filter((_, i) => i % 10 === 0)) {
    const results = await mirror.broadcast(sample.make());
    expect(results).toHaveLength(2);
    for (const result of results)
      if (result.status === "rejected")
        expect(wrongRefusal(sample, "input", result.reason)).toEqual([]);
      else {
        expect(sample.refused).toBeUndefined();
        expect(difference(sample.make(), result.value)).toBeUndefined();
      }
  }
});

describe("parts that are in several places", () => {
  const pairs = (levels: number): unknown => {
    let value: unknown = "x";
    for (let i = 0; i < levels; i++) value = [value, value];
    return value;
  };

  test("arrive as copies", async () => {
    const result = (await lease.function("mirror")(pairs(2))) as unknown[][];
    expect(result).toEqual([
      ["x", "x"],
      ["x", "x"],
    ]);
    expect(result[0]).not.toBe(result[1]);
  });

  test("are refused as soon as their copies would take more than can travel, on both sides", async () => {
    for (const levels of [30, 40, 200]) {
      const sent = (await caught(() => lease.function("mirror")(pairs(levels)))) as InvalidValue;
      const made = (await caught(() => lease.function("pairs")(levels))) as InvalidValue;
      expect([sent.code, made.code]).toEqual(["RFAAS_INVALID_VALUE", "RFAAS_INVALID_VALUE"]);
      expect([sent.side, made.side]).toEqual(["input", "output"]);
      for (const { path, problem } of [sent, made]) {
        expect(path).toStartWith("/0/0/0");
        expect(problem).toContain("send each part once");
      }
    }
  });

  test("and a value that is larger than the lease's memory says where it became so", async () => {
    await using small = await rf.allocate<Values>(join(FUNCTIONS, "values.ts"), {
      polling: "warm",
      memory: "256KiB",
    });
    const many = Array.from({ length: 100_000 }, (_, id) => ({ id }));
    const error = (await caught(() => small.function("mirror")({ many }))) as OutOfLeaseMemory;
    expect(error).toBeInstanceOf(OutOfLeaseMemory);
    expect(error.path).toMatch(/^\/many\/\d+\/id$/);
    expect(error.requestedBytes).toBeGreaterThan(256 * 1024);
    expect(await small.function("mirror")({ many: many.slice(0, 100) })).toEqual({
      many: many.slice(0, 100),
    });
  });
});

describe("a promise that never settles", () => {
  const endless = () => new Promise<unknown>(() => {});

  test("as a value, or in one, is refused: the call ends at once", async () => {
    const mirror = lease.function("mirror");
    for (const [value, path] of [
      [endless(), "/"],
      [{ a: [endless()] }, "/a/0"],
      [{ then: () => {} }, "/then"],
    ] as const) {
      expect(await caught(() => mirror(value))).toMatchObject({ side: "input", path });
      expect(await caught(() => mirror.invoke(value))).toMatchObject({ side: "input", path });
    }
    expect(await caught(() => lease.function("neverWithin")(null))).toMatchObject({
      side: "output",
      path: "/list/0",
    });
    const map = mirror.map([1, endless()], { deadlineMs: 60_000 });
    expect((await map.next()).value).toBe(1);
    expect(await caught(() => map.next())).toMatchObject({ path: "/", index: 1 });
  });

  const hangs: [string, (lease: Lease<Values>) => Hanging][] = [
    ["of a function", (held) => held.function("never")],
    ["of a schema for what comes in", (held) => held.function("neverIn")],
    [
      "of such a schema that the caller has, too",
      (held) => held.function("neverIn", { definition: definitions.neverIn }),
    ],
    ["of a schema for what goes out", (held) => held.function("neverOut")],
  ];
  interface Hanging {
    (value: unknown, options: { deadlineMs?: number; signal?: AbortSignal }): Promise<unknown>;
    map(
      values: unknown[],
      options: { deadlineMs?: number; signal?: AbortSignal },
    ): AsyncGenerator<unknown, void>;
  }

  test.each(hangs)("%s ends with the call's deadline or signal", async (_, open) => {
    await using held = await rf.allocate<Values>(join(FUNCTIONS, "values.ts"), {
      polling: "warm",
      memory: "1MiB",
      slots: 16,
    });
    const call = open(held);
    expect(await caught(() => call(1, { deadlineMs: 50 }))).toBeInstanceOf(DeadlineExceeded);
    expect(
      await caught(() => call(1, { signal: AbortSignal.abort("before") }).catch(named)),
    ).toEqual(new Error("before"));
    const controller = new AbortController();
    const pending = call(1, { signal: controller.signal });
    controller.abort(new Error("enough"));
    expect((await caught(() => pending)).message).toBe("enough");
    expect(await caught(() => call.map([1, 2], { deadlineMs: 50 }).next())).toBeInstanceOf(
      DeadlineExceeded,
    );
  });

  /** What was thrown, as an error. */
  const named = (reason: unknown): never => {
    throw new Error(String(reason));
  };

  test("where a map looks for its next value ends with the map's signal", async () => {
    const controller = new AbortController();
    const source = async function* () {
      yield 1;
      await endless();
    };
    const map = lease.function("mirror").map(source(), { signal: controller.signal });
    expect((await map.next()).value).toBe(1);
    const next = caught(() => map.next());
    controller.abort(new Error("enough"));
    expect((await next).message).toBe("enough");
  });
});

test("a result that cannot be read is an error with a code", async () => {
  await using held = await rf.allocate<Values>(join(FUNCTIONS, "values.ts"), {
    polling: "warm",
    memory: "64KiB",
  });
  const scribble = held.function("scribble");
  for (const run of [() => scribble(null), () => scribble.invoke(null)])
    expect(await caught(run)).toMatchObject({ name: "ProtocolError", code: "RFAAS_PROTOCOL" });
  expect(await held.function("mirror")([1])).toEqual([1]);
});

describe("an error arrives with what its thrower has put on it", () => {
  const thrownBy = async (name: "all" | "http" | "system" | "object"): Promise<FunctionError> => {
    const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
    const error = await caught(() => lease.submit(name, input, output));
    lease.free(input);
    lease.free(output);
    expect(error).toBeInstanceOf(FunctionError);
    return error as FunctionError;
  };

  test("its own properties", async () => {
    expect(await thrownBy("http")).toMatchObject({
      message: "not found",
      code: 404,
      status: 404,
      response: { body: "x" },
    });
    expect(await thrownBy("system")).toMatchObject({
      code: "ENOENT",
      errno: -2,
      path: "/nowhere/at/all",
    });
    expect(await thrownBy("object")).toMatchObject({
      name: "NonErrorThrown",
      reason: "an object",
      n: 3,
    });
  });

  test("the errors that it has gathered", async () => {
    for (const error of [
      await thrownBy("all"),
      (await caught(() => lease.function("gathered")(null))) as FunctionError,
    ]) {
      expect(error.name).toBe("AggregateError");
      expect(error.errors!.map(({ message }) => message)).toEqual(["disk full", "no route"]);
      expect(error.errors!.every((one) => one instanceof Error)).toBe(true);
    }
  });
});
