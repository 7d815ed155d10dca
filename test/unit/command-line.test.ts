import { describe, expect, test } from "bun:test";
import type { Command } from "../../src/commands/shared/command.ts";
import { parseCommandLine } from "../../src/commands/shared/command-line.ts";
import { UsageError } from "../../src/base/errors.ts";

const command: Command = {
  usage: "invoke <FILE>",
  summary: "",
  description: "",
  options: [
    { flag: "-n, --repeat <n>", description: "" },
    { flag: "-a, --all", description: "" },
    { flag: "--output-size <size>", description: "" },
    { flag: "--output <file>", description: "" },
    { flag: "--json", description: "" },
  ],
  examples: [],
  async run() {},
};
const read = (...words: string[]) => parseCommandLine(command, words);

describe("parseCommandLine", () => {
  test.each<[string[], Record<string, unknown>, string[]]>([
    [[], {}, []],
    [["fn.ts"], {}, ["fn.ts"]],
    [["--output-size", "2MiB", "fn.ts"], { outputSize: "2MiB" }, ["fn.ts"]],
    [["fn.ts", "--output-size=2MiB"], { outputSize: "2MiB" }, ["fn.ts"]],
    [["--output=a=b"], { output: "a=b" }, []],
    [["-n", "5"], { repeat: "5" }, []],
    [["-n5"], { repeat: "5" }, []],
    [["-an", "5"], { all: true, repeat: "5" }, []],
    [["--json", "fn.ts"], { json: true }, ["fn.ts"]],
    [["--output", "-"], { output: "-" }, []],
    [["--output", "-5"], { output: "-5" }, []],
    [["--output=--json"], { output: "--json" }, []],
    [["-n", "007"], { repeat: "007" }, []],
    [["-n", "1e9"], { repeat: "1e9" }, []],
    [["-n", "12345678901234567890"], { repeat: "12345678901234567890" }, []],
    [["--output", "constructor"], { output: "constructor" }, []],
    [["--", "--json", "-x"], {}, ["--json", "-x"]],
    [["-"], {}, ["-"]],
    [["-n", "1", "--repeat=2"], { repeat: ["1", "2"] }, []],
    [["--json", "--json"], { json: [true, true] }, []],
  ])("reads %j", (words, options, args) => {
    expect(read(...words)).toEqual({ options, args });
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
    expect(() => read(...words)).toThrow(UsageError);
    expect(() => read(...words)).toThrow(message);
  });

  test("keeps what is for another program apart", () => {
    const passing = { ...command, passesRest: true };
    expect(parseCommandLine(passing, ["a", "--json", "--", "-x", "b"])).toEqual({
      args: ["a"],
      options: { json: true, "--": ["-x", "b"] },
    });
  });
});
