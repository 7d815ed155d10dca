import { UsageError } from "../../../src/base/errors.ts";
import { AllocateOptions } from "../../../src/client/options/allocate-options.ts";
import { InvokerOptions } from "../../../src/client/options/connect-options.ts";
import { invoke } from "../../../src/commands/invoke.ts";
import { serve } from "../../../src/commands/serve.ts";
import { test } from "../../../src/commands/test.ts";
import { token } from "../../../src/commands/token.ts";
import { readCommandLine } from "../../../src/commands/shared/command-line.ts";
import { readOptions } from "../../../src/options/read.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same, textOf } from "./outcome.ts";

const commands = [serve, invoke, token, test];
const schemas = [AllocateOptions, InvokerOptions];
const lines = [
  "0--cores\n4\n--memory=2GiB\n--listen\n:1",
  "0--listen\n/run/x.sock\n--manager\nh:1\n--drain\n30s\n--polling\nhot",
  "0--manager\n/a/b\n--include\na\n--include\nb",
  "1module\nfn\n--env\nA=1\n--env\nB=\n-n\n5",
  "1--env\n=x",
  "2create\n--user\nada\n--expires\n30d\n--max-memory\n0",
  "0--unknown",
  "0--cores",
  "0--cores\n1\n--cores\n2",
  "0--cores\n999999",
  "1a\n--\nb",
  "3a\n--\nb",
  "0--allow-remote",
  "0--allow-remote=1",
  "2create",
  "2create\n--bearer",
];
const objects = [
  'o{"workers":4,"memory":"1GiB","ttlMs":100,"budget":{"calls":5}}',
  'o{"environment":{"A":"1"},"polling":"hot","include":["a"]}',
  'o{"environment":{"1":"1"},"polling":"cold","wrokers":5,"ttlMs":"30s"}',
  'p{"cores":2,"memory":-1,"node":"h:1"}',
  'o{"include":[5]}',
  'o{"polling":null,"ttlMs":"soon"}',
  'o{"ttlMs":"1h"}',
  "o",
  "o5",
  "p[]",
];

/** The words of a command line, a line each, or the options of a program. The first character says whose. */
export const subject: Subject = {
  seeds: [...lines, ...objects].map(bytesOf),
  tokens: ["--", "-n", "=", "\n", "1GiB", "30s", "0", "null", "{}", "[]", '"', "\\u0000"],
  maxBytes: 300,
  run(input) {
    const text = textOf(input);
    if (/^[op]/.test(text)) {
      let given: unknown;
      const schema = schemas[text.startsWith("o") ? 0 : 1]!;
      if (text.length === 1) return same(readOptions("it", schema, undefined), {}, "gives some");
      try {
        given = JSON.parse(text.slice(1));
      } catch {
        return;
      }
      const options = outcome(() => readOptions("it", schema, given), UsageError);
      if (options) same(readOptions("it", schema, options), options, "is read otherwise");
      return;
    }
    const command = commands[text.charCodeAt(0) % commands.length] ?? serve;
    const words = text.slice(1).split("\n");
    const read = outcome(() => readCommandLine(command, words), UsageError);
    if (read) must(read.args.length + read.rest.length <= words.length, "has words of its own");
  },
};
