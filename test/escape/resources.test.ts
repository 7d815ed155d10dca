/** Functions that take all that they can get: memory, threads, descriptors, room for files. Their own lease ends at worst, and no other one notices. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Lease, RfaasError } from "../../src/index.ts";
import { buildLibrary } from "../support/compilers.ts";
import { FUNCTIONS, Stage } from "./stage.ts";
import { onLease } from "./try.ts";
import { SANDBOX, sandboxIsThere } from "./which.ts";

const LIMIT_MS = 120_000;
const MODULE = join(FUNCTIONS, "misbehaves.ts");

let stage: Stage;
let library: string;
beforeAll(async () => {
  stage = await Stage.open(sandboxIsThere ? SANDBOX : "none");
  const source = readFileSync(join(import.meta.dir, "native", "misbehave.c"), "utf8");
  library = buildLibrary(stage.scratch, "misbehave", source, ["-fvisibility=hidden", "-pthread"]);
}, LIMIT_MS);
afterAll(async () => await stage?.[Symbol.asyncDispose]());

async function outcome(call: string, count: number): Promise<string> {
  const native = call === "threads";
  try {
    return await onLease(stage, stage.node, native ? library : MODULE, (lease) =>
      native ? startsThreads(lease, count) : takes(lease, call, count),
    );
  } catch (error) {
    if (!(error instanceof RfaasError)) throw error;
    return error.code === "EMFILE" ? error.code : error.constructor.name;
  }
}

const takes = async (lease: Lease, call: string, count: number): Promise<string> =>
  String(await lease.function(call)(String(count), { deadlineMs: LIMIT_MS }));

async function startsThreads(lease: Lease, count: number): Promise<string> {
  const words = new TextEncoder().encode(String(count));
  const input = lease.input(Uint8Array, words.length);
  input.set(words);
  const output = lease.output(Uint8Array, 8);
  await lease.submit("threads", input, output, { deadlineMs: LIMIT_MS });
  return output[0] === 1 ? "reached" : "refused";
}

const ENDED = ["OutOfMemory", "WorkerLost", "LeaseLost", "FunctionError"];
const TAKEN: [what: string, call: string, much: number, little: number, held: string[]][] = [
  ["memory", "eats", 4096, 16, ENDED],
  ["threads", "threads", 5000, 8, [...ENDED, "refused"]],
  ["descriptors", "opens", 5000, 900, ["EMFILE"]],
  ["its scratch folder", "fills", 4096, 64, ENDED],
  ["its scratch folder by files that have no name", "fillsUnseen", 4096, 64, ENDED],
  ["its scratch folder by small files", "scatters", 400_000, 1000, ENDED],
];

describe("a function that takes all that it can get", () => {
  test.each(TAKEN)(
    "of %s gets an error, or its lease ends, and no other one does",
    async (_, call, much, little, held) => {
      expect(held).toContain(await stage.beside(() => outcome(call, much)));
      expect(await outcome(call, little)).toBe("reached");
    },
    LIMIT_MS,
  );
});
