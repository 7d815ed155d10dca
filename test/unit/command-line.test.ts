import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../src/base/errors.ts";
import { readCommandLine, splitWords } from "../../src/commands/shared/command-line.ts";
import { defineCommand } from "../../src/commands/shared/command.ts";
import { duration, text, truth, whole } from "../../src/options/fields.ts";

const about = { description: "" };
const command = defineCommand({
  usage: "invoke <FILE>",
  summary: "",
  description: "",
  options: Type.Object({
    repeat: Type.Optional(whole(1, 9, { ...about, short: "n" })),
    all: Type.Optional(truth({ ...about, short: "a" })),
    outputSize: Type.Optional(text("a size", { ...about, placeholder: "size" })),
    output: Type.Optional(text("a file", { ...about, placeholder: "file" })),
    json: Type.Optional(truth(about)),
    deadlineMs: Type.Optional(duration(0, 5000, about)),
  }),
  examples: [],
  async run() {},
});
const split = (...words: string[]) => splitWords(command, words);

describe("the words of a command line", () => {
  test.each<[string[], Record<string, (string | true)[]>, string[]]>([
    [[], {}, []],
    [["fn.ts"], {}, ["fn.ts"]],
    [["--output-size", "2MiB", "fn.ts"], { outputSize: ["2MiB"] }, ["fn.ts"]],
    [["fn.ts", "--output-size=2MiB"], { outputSize: ["2MiB"] }, ["fn.ts"]],
    [["--output=a=b"], { output: ["a=b"] }, []],
    [["-n", "5"], { repeat: ["5"] }, []],
    [["-n5"], { repeat: ["5"] }, []],
    [["-an", "5"], { all: [true], repeat: ["5"] }, []],
    [["--json", "fn.ts"], { json: [true] }, ["fn.ts"]],
    [["--output", "-"], { output: ["-"] }, []],
    [["--output", "-5"], { output: ["-5"] }, []],
    [["--output=--json"], { output: ["--json"] }, []],
    [["-n", "007"], { repeat: ["007"] }, []],
    [["-n", "1e9"], { repeat: ["1e9"] }, []],
    [["-n", "12345678901234567890"], { repeat: ["12345678901234567890"] }, []],
    [["--output", "constructor"], { output: ["constructor"] }, []],
    [["--deadline", "5s", "--json", "--deadline=1"], { deadlineMs: ["5s", "1"], json: [true] }, []],
    [["--", "--json", "-x"], {}, ["--json", "-x"]],
    [["-"], {}, ["-"]],
    [["-n", "1", "--repeat=2"], { repeat: ["1", "2"] }, []],
    [["--json", "--json"], { json: [true, true] }, []],
  ])("%j are split, and every text stays as it was written", (words, written, args) => {
    expect(split(...words)).toEqual({ written, args, rest: [] });
  });

  test.each<[string[], string]>([
    [["--output"], "--output needs a value: --output <file>"],
    [["--output="], "--output needs a value: --output <file>"],
    [["--output", ""], "--output needs a value: --output <file>"],
    [["-n"], "-n needs a value: -n <n>"],
    [
      ["--output", "--json"],
      "--output needs a value: --output <file>, or --output=--json if it begins",
    ],
    [["--output", "-a"], "--output needs a value: --output <file>, or --output=-a if it begins"],
    [["--json=yes"], '--json takes no value; it is "yes"'],
    [["--json="], '--json takes no value; it is ""'],
    [["--outptu", "x"], "unknown option --outptu; did you mean --output? See: rfaas help invoke"],
    [["--out", "x"], "unknown option --out; did you mean --output-size or --output?"],
    [["--rep=3"], "unknown option --rep; did you mean --repeat?"],
    [["--no-json"], "unknown option --no-json"],
    [["--outputSize", "1"], "unknown option --outputSize; did you mean --output-size?"],
    [["--Json"], "unknown option --Json; did you mean --json?"],
    [["-z"], "unknown option -z"],
    [["-5"], "unknown option -5"],
    [["--__proto__", "x"], "unknown option --__proto__; see: rfaas help invoke"],
    [["--constructor", "x"], "unknown option --constructor"],
    [["--output.x", "1"], "unknown option --output.x; did you mean --output?"],
  ])("refuses %j: %s", (words, message) => {
    expect(() => split(...words)).toThrow(UsageError);
    expect(() => split(...words)).toThrow(message);
  });

  test("behind -- are for another program, where a command passes them on", () => {
    const passing = { ...command, passesRest: true };
    expect(splitWords(passing, ["a", "--json", "--", "-x", "b"])).toEqual({
      args: ["a"],
      written: { json: [true] },
      rest: ["-x", "b"],
    });
  });
});

describe("a command line", () => {
  test("gives arguments and the values that the schema makes of texts", () => {
    expect(readCommandLine(command, ["fn.ts", "--deadline=2s", "-n", "3", "-a"])).toEqual({
      args: ["fn.ts"],
      options: { deadlineMs: 2000, repeat: 3, all: true },
      rest: [],
    });
  });

  test("has no argument where the usage names none", () => {
    const without = { ...command, usage: "doctor" };
    expect(readCommandLine(without, []).args).toEqual([]);
    expect(() => readCommandLine(without, ["now"])).toThrow(
      'doctor takes no argument "now"; see: rfaas help doctor',
    );
  });
});
