/** Errors of the library name options as a program has them; a command tells them by its flags. */
import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { defineCommand } from "../../src/commands/shared/command.ts";
import { inTerms } from "../../src/commands/shared/terms.ts";
import { limit, texts, whole } from "../../src/options/fields.ts";

const about = { description: "" };
const command = defineCommand({
  usage: "invoke <FILE>",
  summary: "",
  description: "",
  options: Type.Object({
    workers: Type.Optional(whole(1, 9, about)),
    deadlineMs: Type.Optional(limit(about)),
    coresPerWorker: Type.Optional(whole(1, 9, about)),
    include: Type.Optional(texts("a path", about)),
  }),
  examples: [],
  terms: { "{ memory }": "a larger --output-size" },
  async run() {},
});

test.each([
  ["raise deadlineMs or wait", "raise --deadline or wait"],
  ["raise deadlineMs; see coresPerWorker", "raise --deadline; see --cores-per-worker"],
  ['include: "nope" names no file', '--include: "nope" names no file'],
  ["ask for more with { memory }", "ask for more with a larger --output-size"],
  ["4 workers include: two that wait", "4 workers include: two that wait"],
  ["my-deadlineMs and deadlineMsNow are names", "my-deadlineMs and deadlineMsNow are names"],
])("%p is told as %p", (message, told) => {
  expect(inTerms(command, message)).toBe(told);
});
