/** Options as a command line has them: texts become values by the schema, and what is wrong is told by the flag. */
import { afterEach, describe, expect, test } from "bun:test";
import { type TSchema, Type } from "@sinclair/typebox";
import { UsageError } from "../../src/base/errors.ts";
import { flagSentence } from "../../src/options/describe.ts";
import {
  type FromText,
  address,
  bytes,
  choice,
  duration,
  limit,
  milliseconds,
  moment,
  readAs,
  size,
  tcpAddress,
  text,
  texts,
  truth,
  whole,
  variables,
  worded,
} from "../../src/options/fields.ts";
import {
  flagsOf,
  inherited,
  marked,
  optionsFor,
  readFlags,
  usageOf,
} from "../../src/options/flags.ts";
import { readOptions } from "../../src/options/read.ts";

const about = { description: "what it is for" };
const read = (field: TSchema, ...words: (string | true)[]) =>
  readFlags(Type.Object({ at: Type.Optional(field) }), { at: words } as never);
const valueOf = (field: TSchema, ...words: (string | true)[]) =>
  (read(field, ...words) as { at?: unknown }).at;

const DAY_MS = 86_400_000;

describe("a text", () => {
  test.each<[string, TSchema, string, unknown]>([
    ["a whole number", whole(-5, 1024, about), "1024", 1024],
    ["a negative number", whole(-5, 1024, about), "-5", -5],
    ["a duration", duration(0, DAY_MS, about), "5m", 300_000],
    ["seconds", duration(0, DAY_MS, { ...about, bare: "s" }), "5", 5_000],
    ["milliseconds", milliseconds(0, DAY_MS, about), "5", 5],
    ["a time limit", limit(about), "0.5s", 500],
    ["a size", bytes(0, 4096, about), "2k", 2048],
    ["no bytes at all", bytes(0, 4096, about), "0", 0],
    ["a size of the library", size(4096, "4 KiB", about), "2KiB", 2048],
    ["a word", choice(["hot", "warm"], about), "hot", "hot"],
    ["a path", text("a path", about), "007", "007"],
    ["a socket", address(about), "./a.sock", "./a.sock"],
    ["a host and port", tcpAddress("HOST:PORT", about), "a:1", "a:1"],
    ["a date", moment(about), "2026-03-01", Date.UTC(2026, 2, 1)],
    ["a variable", variables(about), "A=1=2", { A: "1=2" }],
    ["what a reader makes of it", readAs((text) => text.split(","), about), "a,b", ["a", "b"]],
  ])("is read as %s", (_, field, word, value) => {
    expect(valueOf(field, word)).toEqual(value);
  });

  test("is one of a list, as often as it is given", () => {
    const field = texts("a pattern", about);
    expect([valueOf(field, "a"), valueOf(field, "a", "7")]).toEqual([["a"], ["a", "7"]]);
  });

  test("is one of several variables, each given by itself, and the library takes what they make", () => {
    const schema = Type.Object({ at: Type.Optional(variables(about)) });
    const options = readFlags(schema, { at: ["A=1", "B="] });
    expect(options).toEqual({ at: { A: "1", B: "" } });
    expect(readOptions("the call", schema, options)).toEqual(options);
    const given = { A: "1" };
    const taken = readOptions("the call", schema, { at: given });
    given.A = "2";
    expect(taken).toEqual({ at: { A: "1" } });
    expect(flagSentence(variables(about))).toContain("repeatable");
  });

  test("gives a value that the library takes, too", () => {
    for (const [field, word] of [
      [size(4096, "4 KiB", about), "2KiB"],
      [limit(about), "5s"],
      [bytes(0, 4096, about), "1KiB"],
      [address(about), "a:1"],
    ] as const) {
      const schema = Type.Object({ at: Type.Optional(field) });
      const options = readFlags(schema, { at: [word] });
      expect(readOptions("the call", schema, options)).toEqual(options);
    }
  });

  test.each<[TSchema, string, string]>([
    [whole(1, 1024, about), "0", "--at must be a whole number from 1 to 1024; it is 0"],
    [whole(1, 1024, about), "1.5", "from 1 to 1024; it is 1.5"],
    [whole(1, 1024, about), "many", 'from 1 to 1024; it is "many"'],
    [duration(0, DAY_MS, about), "2d", '--at must be from 0ms to 1d; it is "2d"'],
    [duration(0, DAY_MS, about), "5", "--at must be a duration such as 500ms, 30s, 5m, 2h or 30d;"],
    [duration(0, DAY_MS, { ...about, bare: "s" }), "soon", "or 30d, or a number of seconds"],
    [milliseconds(0, DAY_MS, about), "-1", "or 30d, or a number of milliseconds"],
    [limit(about), "0", "--at must be from 1ms to"],
    [bytes(0, 4096, about), "8KiB", '--at is at most 4 KiB; it is "8KiB"'],
    [bytes(1024, 4096, about), "1", '--at is at least 1 KiB; it is "1"'],
    [bytes(1, 4096, about), "0", "--at must be a size such as 512MiB"],
    [size(4096, "4 KiB (take two)", about), "1MiB", "--at is at most 4 KiB (take two)"],
    [
      size(4096, "4 KiB", about),
      "lots",
      '--at must be a size such as 512MiB, 2GiB or 4096; it is "',
    ],
    [
      choice(["hot", "warm", "adaptive"], about),
      "cold",
      "--at must be hot, warm or adaptive; it is",
    ],
    [size(4096, "4 KiB", about, 64), "63", '--at is at least 64 B; it is "63"'],
    [variables(about), "LEVEL", '--at must be NAME=VALUE; it is "LEVEL"'],
    [variables(about), "a b=1", "--at must be an object such as"],
    [address(about), "tcp://a:1", '--at: "tcp://a:1" is no address'],
    [tcpAddress("HOST:PORT", about), "./a.sock", "--at must be HOST:PORT; it is the path ./a.sock"],
    [moment(about), "5", "--at must be a date, a time such as"],
  ])("that is wrong is refused, %#: %s", (field, word, message) => {
    expect(() => read(field, word)).toThrow(UsageError);
    expect(() => read(field, word)).toThrow(message);
  });

  test.each(["007", "1e9", "0x10", "+5", "5.0", "1_000", "NaN", "Infinity"])(
    "%p is not how a number is written",
    (word) => {
      expect(() => read(whole(1, 1024, about), word)).toThrow(
        `--at must be a whole number from 1 to 1024; it is ${JSON.stringify(word)}`,
      );
    },
  );
});

describe("flags", () => {
  const Options = Type.Object({
    parent: whole(1, 9, { ...about, placeholder: "pid" }),
    json: Type.Optional(truth(about)),
    outputSize: Type.Optional(bytes(0, 9, { ...about, short: "o" })),
    deadlineMs: Type.Optional(limit(about)),
    include: Type.Optional(texts("a path", { ...about, placeholder: "pattern" })),
    polling: Type.Optional(choice(["hot", "warm"], about)),
  });

  test("are called as their fields, in kebab case and without the unit", () => {
    expect(flagsOf(Options).map(usageOf)).toEqual([
      "--parent <pid>",
      "--json",
      "-o, --output-size <size>",
      "--deadline <duration>",
      "--include <pattern>",
      "--polling <hot|warm>",
    ]);
  });

  test("give the options that were written and no other", () => {
    expect(readFlags(Options, { parent: ["4"], json: [true] })).toEqual({ parent: 4, json: true });
  });

  test("that are needed are asked for", () => {
    expect(() => readFlags(Options, {})).toThrow("--parent is missing; give it: --parent <pid>");
  });

  test.each([
    ["--deadline", { deadlineMs: ["1", "2"] }],
    ["--json", { json: [true, true] as const }],
    ["--polling", { polling: ["hot", "hot"] }],
  ])("%s is refused when it is given twice", (flag, given) => {
    expect(() => readFlags(Options, { parent: ["4"], ...given })).toThrow(
      `${flag} is given more than once`,
    );
  });

  test("are told of in the schema's order when several are wrong", () => {
    expect(() => readFlags(Options, { polling: ["cold"], parent: ["0"] })).toThrow(/^--parent /);
  });
});

describe("options of the library", () => {
  const Library = Type.Object({
    workers: Type.Optional(whole(1, 64, { ...about, default: 1, flag: true })),
    ttlMs: Type.Optional(limit(about)),
  });

  test("are flags of a command when they are marked, and come back for the library", () => {
    const Options = Type.Object({ ...marked(Library), json: Type.Optional(truth(about)) });
    expect(flagsOf(Options).map(usageOf)).toEqual(["--workers <n>", "--json"]);
    const options = readFlags(Options, { workers: ["2"], json: [true] });
    expect(optionsFor(Library, options)).toEqual({ workers: 2 });
  });

  test("keep type and bounds where a command words them otherwise", () => {
    const field = worded(Library.properties.workers, { description: "threads", default: 4 });
    expect(flagSentence(field)).toBe("threads (1 to 64; default: 4)");
    expect(() => read(field, "65")).toThrow("--at must be a whole number from 1 to 64; it is 65");
    expect(readFlags(Type.Object({ at: field }), {})).toEqual({});
  });
});

describe("the sentence of a flag", () => {
  const far = 2 ** 31 - 1;
  test.each<[TSchema, string]>([
    [whole(0, far, about), "what it is for"],
    [whole(1, 9, about), "what it is for (1 to 9)"],
    [whole(1, 9, { ...about, default: 5 }), "what it is for (1 to 9; default: 5)"],
    [whole(0, far, { ...about, otherwise: "the node's" }), "what it is for (default: the node's)"],
    [address({ ...about, variable: "A" }), "what it is for (default: $A)"],
    [address({ ...about, variable: "A", otherwise: "b" }), "what it is for (default: $A, else b)"],
    [duration(0, far, { ...about, default: 30_000 }), "what it is for (default: 30s)"],
    [
      duration(0, DAY_MS, { ...about, default: 30_000, bare: "s" }),
      "what it is for, as 5m or in seconds (at most 1d; default: 30s)",
    ],
    [limit(about), "what it is for, as 5s or in milliseconds"],
    [bytes(0, 4096, about), "what it is for (at most 4KiB)"],
    [bytes(0, 2 ** 53, { ...about, default: 2 ** 33 }), "what it is for (default: 8GiB)"],
    [size(2 ** 50, "", { ...about, default: "64MiB" }), "what it is for (default: 64MiB)"],
    [texts("a path", about), "what it is for (repeatable)"],
    [
      texts("a path", { ...about, otherwise: "none" }),
      "what it is for (repeatable; default: none)",
    ],
    [choice(["hot", "warm"], { ...about, default: "hot" }), "what it is for (default: hot)"],
    [moment(about), "what it is for"],
    [truth({ ...about, default: false }), "what it is for"],
  ])("has what the schema says, %#", (field, sentence) => {
    expect(flagSentence(field)).toBe(sentence);
  });
});

test("a file of settings can be read by the schema of a command, too", () => {
  const Options = Type.Object({
    cores: Type.Optional(whole(1, 1024, about)),
    memory: Type.Optional(size(2 ** 40, "1 TiB", about)),
    drainMs: Type.Optional(duration(0, DAY_MS, about)),
    polling: Type.Optional(choice(["hot", "warm"], about)),
    allowRemote: Type.Optional(truth(about)),
    include: Type.Optional(texts("a path", about)),
  });
  const settings = JSON.parse(
    '{"cores":4,"memory":"2GiB","drainMs":"5m","polling":"hot","allowRemote":true,"include":["a"]}',
  ) as Record<string, unknown>;
  const values = Object.entries(settings).map(([name, value]) => {
    const { fromText } = Options.properties[name as "cores"] as { fromText?: FromText };
    return [name, typeof value === "string" && fromText ? fromText(value, name) : value] as const;
  });
  expect(readOptions("the file", Options, Object.fromEntries(values))).toEqual({
    cores: 4,
    memory: 2 ** 31,
    drainMs: 300_000,
    polling: "hot",
    allowRemote: true,
    include: ["a"],
  });
  expect(() => readOptions("the file", Options, { cores: 0 })).toThrow("from 1 to 1024; it is 0");
});

describe("the environment", () => {
  const Options = Type.Object({
    node: Type.Optional(address({ ...about, variable: "RFAAS_TEST_NODE" })),
    name: Type.Optional(text("a name", about)),
  });
  afterEach(() => {
    delete process.env["RFAAS_TEST_NODE"];
  });

  test("speaks for an option that has a variable there, if it says anything", () => {
    expect(inherited(Options, "node")).toBeUndefined();
    process.env["RFAAS_TEST_NODE"] = "";
    expect(inherited(Options, "node")).toBeUndefined();
    process.env["RFAAS_TEST_NODE"] = "a:1";
    expect(inherited(Options, "node")).toBe("a:1");
    expect(inherited(Options, "name")).toBeUndefined();
  });

  test("is named by its variable when it is wrong", () => {
    process.env["RFAAS_TEST_NODE"] = "tcp://a:1";
    expect(() => inherited(Options, "node")).toThrow('RFAAS_TEST_NODE: "tcp://a:1" is no address');
  });
});
