/** Options objects of the library: each has one schema, which says what is wrong, where, and what to do. */
import { describe, expect, test } from "bun:test";
import { type TObject, type TSchema, Kind } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import * as allocating from "../../src/client/options/allocate-options.ts";
import * as calling from "../../src/client/options/call-options.ts";
import * as connecting from "../../src/client/options/connect-options.ts";
import { fabrics } from "../../src/fabric/registry.ts";
import { quickCheck } from "../../src/options/quick-check.ts";
import { readOptions } from "../../src/options/read.ts";
import { show } from "../../src/base/show.ts";
import { UsageError } from "../../src/base/errors.ts";
import * as testing from "../../src/testing/test-options.ts";

const ofFabrics = fabrics.map(({ name, options }) => [name, options]);
const exported: Record<string, unknown> = {
  ...{ ...allocating, ...calling, ...connecting, ...testing },
  ...Object.fromEntries(ofFabrics),
};
const schemas = Object.entries(exported).filter((entry): entry is [string, TObject] => {
  const [, value] = entry;
  return typeof value === "object" && value !== null && Kind in value && value[Kind] === "Object";
});

/** The error that options are refused with. */
function refusal(schema: TObject, given: unknown, what = "allocate"): UsageError {
  try {
    readOptions(what, schema, given);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return error as UsageError;
  }
  throw new Error(`was not refused: ${Bun.inspect(given)}`);
}

const { AllocateOptions, RenewOptions } = allocating;
const { InvokerOptions } = connecting;

describe("a schema of options", () => {
  test("is there for every options object, with a title, and a description of each field", () => {
    expect(schemas.length).toBeGreaterThan(14);
    const undescribed = schemas.flatMap(([name, schema]) => [
      ...(schema.title === undefined ? [`${name} has no title`] : []),
      ...Object.entries(schema.properties as Record<string, TSchema>)
        .filter(([, field]) => !(field.description ?? field.title))
        .map(([field]) => `${name}.${field}`),
    ]);
    expect(undescribed).toEqual([]);
  });

  test("has defaults that it would accept itself", () => {
    for (const [name, schema] of schemas)
      for (const [field, part] of Object.entries(schema.properties as Record<string, TSchema>))
        if (part.default !== undefined)
          expect([name, field, Value.Check(part, part.default)]).toEqual([name, field, true]);
  });

  test("says in which unit a number is whose name ends with one", () => {
    const units: Record<string, string> = { Ms: "ms", Ns: "ns", Bytes: "bytes" };
    for (const [name, { properties }] of schemas)
      for (const [field, part] of Object.entries(properties as Record<string, TSchema>)) {
        const unit = units[/(Ms|Ns|Bytes)$/.exec(field)?.[1] ?? ""];
        if (unit !== undefined && part[Kind] !== "Union")
          expect([name, field, part["unit"]]).toEqual([name, field, unit]);
      }
  });
});

/** What is no number of anything. */
const NO_NUMBERS = [
  NaN,
  Infinity,
  -Infinity,
  1e400,
  -1,
  1.5,
  2 ** 53,
  "5",
  "many",
  5n,
  null,
  true,
  {},
  [],
  [5],
  () => 5,
  Symbol("five"),
  new Date(),
];

describe("a number of an option", () => {
  const numbers = schemas.flatMap(([name, schema]) =>
    Object.entries(schema.properties as Record<string, TSchema>)
      .filter(([, field]) => field[Kind] === "Integer" || field[Kind] === "Number")
      .map(
        ([field, { minimum, exclusiveMinimum }]) =>
          [name, field, schema, minimum ?? exclusiveMinimum] as const,
      ),
  );

  test.each(numbers)("%s.%s is refused when it is none, by its path", (_, field, schema) => {
    for (const wrong of NO_NUMBERS) {
      // What may be a fraction, may be one.
      if (wrong === 1.5 && schema.properties[field]![Kind] === "Number") continue;
      const { path, message } = refusal(schema, { [field]: wrong });
      // One that asks for several fields may miss another one first.
      if (path !== field) expect(message).toContain("it is missing");
      else expect(message).toContain(`it is ${show(wrong)}`);
    }
  });

  test.each(numbers)("%s.%s is taken at its least", (_, field, schema, least) => {
    const at = schema.properties[field]!;
    const value = at["exclusiveMinimum"] === undefined ? least : 0.001;
    expect(Value.Check(at, value)).toBe(true);
    expect(Value.Check(at, at["maximum"])).toBe(true);
    expect(Value.Check(at, at["maximum"] * 2)).toBe(false);
  });
});

describe("what is refused", () => {
  test.each<[string, TObject, unknown, string, string]>([
    [
      "renew",
      RenewOptions,
      { ttlMs: 0 },
      "ttlMs",
      "ttlMs must be a whole number of milliseconds from 100 to 86400000; it is 0; correct this option of renew, or leave it out",
    ],
    ["renew", RenewOptions, { ttlMs: "5s" }, "ttlMs", 'it is "5s"; write 5000'],
    [
      "renew",
      RenewOptions,
      { ttl: 500 },
      "ttl",
      "renew has no option ttl; did you mean ttlMs? It takes ttlMs, signal",
    ],
    [
      "allocate",
      AllocateOptions,
      { worker: 2 },
      "worker",
      "allocate has no option worker; did you mean workers?",
    ],
    ["allocate", AllocateOptions, { pollling: "hot" }, "pollling", "did you mean polling?"],
    [
      "allocate",
      AllocateOptions,
      { polling: "tepid" },
      "polling",
      'polling must be hot, warm or adaptive; it is "tepid"',
    ],
    [
      "allocate",
      AllocateOptions,
      { slots: 100 },
      "slots",
      "slots must be a power of two from 1 to 1024; it is 100",
    ],
    ["allocate", AllocateOptions, { slots: 2048 }, "slots", "it is 2048"],
    [
      "allocate",
      AllocateOptions,
      { memory: "many" },
      "memory",
      'memory must be a size such as "512MiB" or 4096',
    ],
    [
      "allocate",
      AllocateOptions,
      { memory: "4GiB" },
      "memory",
      "at most 4 GiB less 64 bytes (take several leases)",
    ],
    ["allocate", AllocateOptions, { memory: 0 }, "memory", "it is 0"],
    [
      "allocate",
      AllocateOptions,
      { budget: { calls: Infinity } },
      "budget.calls",
      "budget.calls must be a whole number",
    ],
    ["allocate", AllocateOptions, { budget: { calls: 1.5 } }, "budget.calls", "it is 1.5"],
    [
      "allocate",
      AllocateOptions,
      { budget: { executionNs: NaN } },
      "budget.executionNs",
      "it is NaN",
    ],
    ["allocate", AllocateOptions, { budget: { call: 5 } }, "budget.call", "did you mean calls?"],
    [
      "allocate",
      AllocateOptions,
      { budget: 5 },
      "budget",
      "budget must be an object such as { calls: 1000 }; it is 5",
    ],
    [
      "allocate",
      AllocateOptions,
      { include: "data" },
      "include",
      'must be a list, each of it a path, a folder or a glob; it is "data"',
    ],
    ["allocate", AllocateOptions, { include: ["a", 5] }, "include[1]", "it is 5"],
    [
      "allocate",
      AllocateOptions,
      { onLog: "log" },
      "onLog",
      'onLog must be a function; it is "log"',
    ],
    [
      "allocate",
      AllocateOptions,
      { signal: new AbortController() },
      "signal",
      "signal must be an AbortSignal",
    ],
    [
      "allocate",
      AllocateOptions,
      { placement: "spred" },
      "placement",
      "placement must be spread or pack",
    ],
    ["allocate", AllocateOptions, { wait: 1 }, "wait", "wait must be true or false; it is 1"],
    [
      "allocate",
      AllocateOptions,
      { nodes: 0 },
      "nodes",
      "nodes must be a whole number from 1; it is 0",
    ],
    [
      "invoker",
      InvokerOptions,
      { verbs: { inlineMax: 4097 } },
      "verbs.inlineMax",
      "from 0 to 4096; it is 4097",
    ],
    ["invoker", InvokerOptions, { verbs: { gid: 1 } }, "verbs.gid", "did you mean gidIndex?"],
    [
      "invoker",
      InvokerOptions,
      { node: 7700 },
      "node",
      "node must be a socket path or HOST:PORT; it is 7700",
    ],
    [
      "map",
      calling.CodecMapOptions,
      { write() {}, inputBytes: 8, outputBytes: 8 },
      "read",
      "read must be a function; it is missing: give it to map",
    ],
    [
      "map",
      calling.CodecMapOptions,
      { write() {}, read() {}, inputBytes: "8", outputBytes: 8 },
      "inputBytes",
      "or a function that says it of a value",
    ],
  ])("by %s, %#: it is told where and what to do", (what, schema, given, path, message) => {
    const error = refusal(schema, given, what);
    expect(error.message).toContain(message);
    expect(error.path).toBe(path);
  });

  test.each([null, 2, "hot", true, [], () => {}, 5n, Symbol("options")].map((given) => [given]))(
    "are options that are no object: %p",
    (given) => {
      expect(refusal(AllocateOptions, given).message).toContain(
        "the options of allocate must be an object such as { ",
      );
    },
  );

  test("is shown in short and on one line, whatever it does when it is looked at", () => {
    const hostile = {
      get [Bun.inspect.custom as never]() {
        throw new Error("do not look");
      },
    };
    for (const wrong of [
      hostile,
      "x".repeat(10_000),
      { a: "x".repeat(10_000) },
      new Map([[1, "a\nb"]]),
    ]) {
      const { message } = refusal(AllocateOptions, { polling: wrong });
      expect(message.length).toBeLessThan(300);
      expect(message).not.toContain("\n");
    }
  });
});

describe("what is taken", () => {
  test("is a copy: what the program changes afterwards changes nothing", () => {
    const include = ["data"];
    const budget = { calls: 5 };
    const given = { include, budget, workers: 2 };
    const read = readOptions("allocate", AllocateOptions, given);
    include.push("more");
    budget.calls = NaN;
    given.workers = -1;
    expect(read).toEqual({ include: ["data"], budget: { calls: 5 }, workers: 2 });
  });

  test("is read once, so that a getter cannot say two things", () => {
    let reads = 0;
    const given = {
      get workers() {
        return ++reads === 1 ? 2 : NaN;
      },
    };
    expect(readOptions("allocate", AllocateOptions, given)).toEqual({ workers: 2 });
    expect(reads).toBe(1);
  });

  test("throws what a getter throws", () => {
    const given = {
      get workers(): number {
        throw new RangeError("mine");
      },
    };
    expect(() => readOptions("allocate", AllocateOptions, given)).toThrow(RangeError);
  });

  test("are nothing, undefined, properties that are undefined, and those of a class or a prototype", () => {
    class Mine {
      get workers() {
        return 3;
      }
    }
    expect(readOptions("allocate", AllocateOptions, undefined)).toEqual({});
    expect(
      readOptions("allocate", AllocateOptions, { workers: undefined, nonsense: undefined }),
    ).toEqual({});
    expect(readOptions("allocate", AllocateOptions, new Mine())).toEqual({ workers: 3 });
    expect(readOptions("allocate", AllocateOptions, Object.create({ workers: 4 }))).toEqual({
      workers: 4,
    });
  });

  test("is any signal that can be listened to", () => {
    const own = { aborted: false, addEventListener() {}, removeEventListener() {} };
    for (const signal of [new AbortController().signal, AbortSignal.timeout(1), own])
      expect(readOptions("status", allocating.WaitOptions, { signal }).signal).toBe(
        signal as AbortSignal,
      );
  });
});

describe("the check of a call", () => {
  const check = quickCheck("the call", calling.SubmitOptions);
  const submit = (given: unknown) => () => check(given as calling.SubmitOptions);

  test("agrees with the schema about everything", () => {
    const values = [
      ...NO_NUMBERS,
      undefined,
      0,
      -0,
      1,
      7,
      1000,
      1001,
      2 ** 31 - 1,
      2 ** 31,
      false,
      AbortSignal.abort(),
    ];
    const names = [...Object.keys(calling.SubmitOptions.properties), "deadline", "toString"];
    let taken = 0;
    for (const name of names)
      for (const value of values) {
        const outcome = (run: () => void) => {
          try {
            run();
            return "taken";
          } catch (error) {
            return (error as Error).message;
          }
        };
        const quick = outcome(submit({ [name]: value }));
        const slow = outcome(
          () => void readOptions("the call", calling.SubmitOptions, { [name]: value }),
        );
        expect([name, show(value), quick]).toEqual([name, show(value), slow]);
        if (quick === "taken") taken++;
      }
    expect(taken).toBeGreaterThan(20);
  });

  test.each([null, 5, "x", [], [1]].map((given) => [given]))("refuses %p", (given) => {
    expect(submit(given)).toThrow(UsageError);
  });

  test("names what was meant", () => {
    expect(submit({ deadline: 5 })).toThrow(
      "the call has no option deadline; did you mean deadlineMs?",
    );
    expect(submit({ worker: 1.5 })).toThrow("worker must be a whole number from 0 to");
    expect(submit({ timeout: 5 })).toThrow(
      "the call has no option timeout; it takes deadlineMs, durationMs",
    );
  });
});
