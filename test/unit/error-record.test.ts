import { describe, expect, test } from "bun:test";
import { LAYOUT } from "../../ffi/layout.ts";
import {
  toErrorRecord,
  toLoadErrorRecord,
  writeErrorRecord,
} from "../../src/executor/results/error-record.ts";
import type { ErrorRecord } from "../../src/protocol/failed.ts";

const SLOTS = 4;

/** Writes into slot 2 of four and reads it back; the bytes around it must stay as they were. */
function throughSharedMemory(record: ErrorRecord): { length: number; read: ErrorRecord } {
  const records = new Uint8Array(SLOTS * LAYOUT.errorBytes).fill(0xee);
  const length = writeErrorRecord(records, 2, record);
  const start = 2 * LAYOUT.errorBytes;
  const untouched = (bytes: Uint8Array) => bytes.every((byte) => byte === 0xee);
  expect(untouched(records.subarray(0, start))).toBe(true);
  expect(untouched(records.subarray(start + length))).toBe(true);
  const text = new TextDecoder("utf-8", { fatal: true }).decode(
    records.subarray(start, start + length),
  );
  return { length, read: JSON.parse(text) };
}

describe("toErrorRecord", () => {
  test("keeps name, message, code and stack of an Error", () => {
    const error = Object.assign(new RangeError("too far"), { code: "E_FAR" });
    const record = toErrorRecord(error);
    expect(record).toMatchObject({ name: "RangeError", message: "too far", code: "E_FAR" });
    expect(record.stack).toBe(error.stack!);
  });

  test("leaves out a code or a stack that is neither text nor a number", () => {
    const error = Object.assign(new Error("m"), { code: () => 1, stack: undefined });
    expect(toErrorRecord(error)).toEqual({ name: "Error", message: "m" });
  });

  test("keeps the name of a class of the user's own", () => {
    class Diverged extends Error {
      override readonly name = "Diverged";
    }
    expect(toErrorRecord(new Diverged("residual 3"))).toMatchObject({
      name: "Diverged",
      message: "residual 3",
    });
  });

  test.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["42", 42],
    ['"out of ideas"', "out of ideas"],
    ['reason: "none"', { reason: "none" }],
    ["Symbol(s)", Symbol("s")],
    ["10n", 10n],
  ])("shows a thrown value that is no Error as it would be printed: %s", (shown, thrown) => {
    const record = toErrorRecord(thrown);
    expect(record.name).toBe("NonErrorThrown");
    expect(record.message).toStartWith("a value that is not an Error was thrown: ");
    expect(record.message).toContain(shown);
    expect(record.stack).toBeUndefined();
  });

  test("shortens a thrown value whose text is long", () => {
    expect(toErrorRecord("x".repeat(10_000)).message.length).toBeLessThan(600);
  });

  test("says so when even reading the error takes more memory than there is", () => {
    const unreadable = (failure: unknown): Error => {
      const error = new Error();
      Object.defineProperty(error, "message", {
        get() {
          throw failure;
        },
      });
      return error;
    };
    const said = "an error that cannot be read was thrown";
    expect(toErrorRecord(unreadable(new RangeError("Out of memory")))).toEqual({
      ...{ name: "RangeError", message: `${said}: the worker has no memory left` },
    });
    for (const failure of [new Error("no"), "memory", unreadable("again")])
      expect(toErrorRecord(unreadable(failure))).toEqual({
        ...{ name: "NonErrorThrown", message: said },
      });
  });

  test("names the type of a thrown value that cannot be printed", () => {
    const unprintable = { [Symbol.for("nodejs.util.inspect.custom")]: () => JSON.parse("{") };
    expect(toErrorRecord(unprintable).message).toEndWith(": object");
  });
});

describe("the causes of an error", () => {
  test("travel with it, and so does whether it may be tried again", () => {
    const root = Object.assign(new RangeError("root"), { code: "E_ROOT" });
    const error = Object.assign(new Error("effect", { cause: new Error("why", { cause: root }) }), {
      retryable: true,
    });
    expect(toErrorRecord(error)).toMatchObject({
      message: "effect",
      retryable: true,
      cause: { message: "why", cause: { name: "RangeError", message: "root", code: "E_ROOT" } },
    });
    expect(toErrorRecord(new Error("m", { cause: "text" })).cause!.message).toContain('"text"');
    expect(
      toErrorRecord(Object.assign(new Error("m"), { retryable: 1 })).retryable,
    ).toBeUndefined();
  });

  test("are cut off at the fifth error, also when they go round in a circle", () => {
    const error = new Error("round") as Error & { cause: unknown };
    error.cause = error;
    let record: ErrorRecord | undefined = toErrorRecord(error);
    for (let i = 0; i < 5; i++) record = record!.cause;
    expect(record).toBeUndefined();
  });

  test("give way to the error itself when there is no room for both", () => {
    const cause = { name: "E", message: "c".repeat(3000), stack: "s".repeat(3000) };
    const record = { name: "Error", message: "m".repeat(1000), stack: "    at f", cause };
    const { read } = throughSharedMemory(record);
    expect([read.message, read.stack]).toEqual([record.message, record.stack]);
    expect(read.cause).toEqual({ name: "E", message: cause.message } as ErrorRecord);
    const longer = { ...record, message: "m".repeat(2500) };
    const short = throughSharedMemory(longer).read;
    expect(short.message).toBe(longer.message);
    expect(short.cause!.message).toStartWith("ccc");
  });

  test("do not hide that the error may be tried again, however long it is", () => {
    const record = { name: "E", message: "m".repeat(9000), retryable: true };
    expect(throughSharedMemory(record).read.retryable).toBe(true);
  });
});

describe("what hangs on an error besides", () => {
  test("travels with it: properties of its own, as JSON has them", () => {
    const error = Object.assign(new Error("not found"), {
      code: 404,
      status: 404,
      response: {
        body: "x",
        headers: Object.assign(Object.create(null), { a: ["b", null, true] }),
      },
      big: 10n,
      far: Infinity,
      at: new Date(0),
      retry: () => 1,
      [Symbol("s")]: 1,
      nothing: undefined,
    });
    const { code, own } = toErrorRecord(error);
    expect(code).toBe(404);
    expect(own).toEqual({
      status: 404,
      response: { body: "x", headers: { a: ["b", null, true] } },
      big: "10",
      far: "Infinity",
      at: expect.stringContaining("1970"),
    });
  });

  test("also from a value that is no error", () => {
    expect(toErrorRecord({ reason: "none", n: 3 }).own).toEqual({ reason: "none", n: 3 });
    expect(toErrorRecord({ code: 5 }).code).toBe(5);
    for (const list of [["a"], new Float64Array(1_000_000), "text"])
      expect(toErrorRecord(list).own).toBeUndefined();
  });

  test("are the errors that it gathers, and those that are properties of it", () => {
    const disk = Object.assign(new Error("disk full"), { errno: -28 });
    const error = Object.assign(new AggregateError([disk, 404], "all failed"), {
      original: new TypeError("t"),
    });
    expect(toErrorRecord(error)).toMatchObject({
      name: "AggregateError",
      errors: [
        { message: "disk full", own: { errno: -28 } },
        { name: "NonErrorThrown", message: expect.stringContaining("404") },
      ],
      held: { original: { name: "TypeError", message: "t" } },
    });
    const suppressed = new SuppressedError(new Error("a"), new Error("b"), "both");
    expect(toErrorRecord(suppressed).held).toMatchObject({
      error: { message: "a" },
      suppressed: { message: "b" },
    });
    const issues = Object.assign(new Error("invalid"), { errors: [{ path: "/a" }] });
    expect(toErrorRecord(issues)).toMatchObject({ own: { errors: [{ path: "/a" }] } });
  });

  test("is bounded, however much of it there is and wherever it leads", () => {
    const error = new AggregateError([], "round") as AggregateError & { [name: string]: unknown };
    error["errors"] = new Array(1000).fill(error);
    error.cause = error;
    error["self"] = error;
    error["text"] = "x".repeat(100_000);
    for (let i = 0; i < 5000; i++) error[`n${i}`] = i;
    error["deep"] = { a: { b: { c: { d: error } } } };
    error["round"] = error["deep"];
    const record = toErrorRecord(error);
    let records = 0;
    const count = (part: ErrorRecord | undefined): void => {
      if (part === undefined) return;
      records++;
      expect(JSON.stringify(part.own ?? {}).length).toBeLessThan(2500);
      [part.cause, ...(part.errors ?? []), ...Object.values(part.held ?? {})].forEach(count);
    };
    count(record);
    expect(records).toBeLessThanOrEqual(17);
    expect(record.own!["text"]).toEndWith("…");
    const { read } = throughSharedMemory(record);
    expect(read).toMatchObject({ name: "AggregateError", message: "round", own: record.own });
  });

  test("does no harm when it cannot be read", () => {
    const error = Object.defineProperty(new Error("m"), "odd", {
      enumerable: true,
      get: () => {
        throw new Error("no");
      },
    });
    expect(toErrorRecord(Object.assign(error, { fine: 1 })).own).toEqual({ fine: 1 });
    const proxied = Object.assign(new Error("m"), {
      odd: new Proxy({}, { ownKeys: () => [1] as never }),
    });
    expect(toErrorRecord(proxied)).toMatchObject({ message: "m" });
  });

  test("gives way to the error itself when there is no room for all", () => {
    const errors = Array.from({ length: 8 }, (_, i) => ({
      name: "E",
      message: `${i}${"\u0001".repeat(400)}`,
      stack: "s".repeat(3000),
    }));
    const record = {
      name: "AggregateError",
      message: "m".repeat(1500),
      own: { status: 404 },
      errors,
    };
    const { length, read } = throughSharedMemory(record);
    expect(length).toBeLessThanOrEqual(LAYOUT.errorBytes);
    expect(read).toMatchObject({ message: record.message, own: { status: 404 } });
    const short = {
      ...record,
      message: "m",
      errors: errors.map((e) => ({ ...e, message: "short" })),
    };
    expect(throughSharedMemory(short).read.errors!.map(({ message }) => message)).toEqual(
      new Array(8).fill("short"),
    );
  });
});

describe("toLoadErrorRecord", () => {
  test("says what the loader said", () => {
    expect(toLoadErrorRecord(new TypeError("no such module"))).toMatchObject({
      name: "TypeError",
      message: "no such module",
    });
  });

  test("shows file, line, text and column of a message that knows them", () => {
    const position = { file: "/tmp/fn.ts", line: 3, column: 5, lineText: "let = 1;" };
    const error = Object.assign(new SyntaxError("Expected identifier"), { position });
    expect(toLoadErrorRecord(error).message).toBe(
      "/tmp/fn.ts:3:5: Expected identifier\n    let = 1;\n        ^",
    );
  });

  test("lists the first ten of many messages, a line each", () => {
    const errors = Array.from({ length: 12 }, (_, i) => new SyntaxError(`mistake ${i}`));
    const lines = toLoadErrorRecord(new AggregateError(errors)).message.split("\n");
    expect(lines).toHaveLength(10);
    expect(lines[9]).toBe("mistake 9");
  });

  test("shows the aggregate itself when it is empty", () => {
    expect(toLoadErrorRecord(new AggregateError([], "nothing")).message).toBe("nothing");
  });
});

describe("writeErrorRecord", () => {
  test("writes a record that fits as it is", () => {
    const record = { name: "Error", message: "naïve ✓ 漢字", code: "E", stack: "Error\n    at f" };
    expect(throughSharedMemory(record).read).toEqual(record);
  });

  test.each<[string, string]>([
    ["one byte", "x"],
    ["two bytes", "é"],
    ["three bytes", "漢"],
    ["four bytes", "🧮"],
    ["six bytes when it is escaped", "\u0001"],
    ["six bytes as half of a character", "\ud83e"],
  ])("makes a long record of characters of %s fit and keeps the beginnings", (_, character) => {
    const long = character.repeat(20_000);
    const record = { name: `N${long}`, message: `M${long}`, code: `C${long}`, stack: `S${long}` };
    const { length, read } = throughSharedMemory(record);
    expect(length).toBeLessThanOrEqual(LAYOUT.errorBytes);
    expect(Object.keys(read).sort()).toEqual(["code", "message", "name", "stack"]);
    expect(read.name).toStartWith("N");
    expect(read.message).toStartWith(`M${character}`);
    expect(read.message).toEndWith("…");
    expect(read.stack).toStartWith("S");
    expect(read.stack!.length).toBeLessThanOrEqual(read.message.length);
  });

  test("keeps the message whole when only the stack is too long", () => {
    const record = { name: "Error", message: "short", stack: "    at f\n".repeat(2000) };
    const { length, read } = throughSharedMemory(record);
    expect(length).toBeLessThanOrEqual(LAYOUT.errorBytes);
    expect(read.message).toBe("short");
    expect(record.stack).toStartWith(read.stack!.slice(0, -1));
    expect(read.stack!.length).toBeGreaterThan(500);
  });

  test("does not change the record that it is given", () => {
    const record = { name: "Error", message: "m".repeat(9000) };
    throughSharedMemory(record);
    expect(record.message).toHaveLength(9000);
  });
});

test("a thrown value that cannot even be read still becomes a record", () => {
  const { proxy, revoke } = Proxy.revocable(new Error("gone"), {});
  revoke();
  const odd: unknown[] = [
    Object.defineProperty(new Error("x"), "message", {
      get: () => {
        throw new Error("no");
      },
    }),
    Object.assign(new Error("x"), { name: Symbol("s") }),
    Object.assign(new Error("x"), { name: Object.create(null) }),
    proxy,
  ];
  for (const thrown of odd) {
    const record = toErrorRecord(thrown);
    expect(typeof record.name).toBe("string");
    expect(typeof record.message).toBe("string");
    const error = new AggregateError([thrown], "the one around it", { cause: thrown });
    expect(toErrorRecord(error).message).toBe("the one around it");
  }
});

test("a message that fits is whole when only the stack is too long", () => {
  const record = { name: "Error", message: "m".repeat(2500), stack: "s".repeat(8000) };
  const { read } = throughSharedMemory(record);
  expect(read.message).toBe(record.message);
  expect(read.stack!.length).toBeLessThan(8000);
});
