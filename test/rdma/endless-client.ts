/**
 * Calls without end, every payload checked, until something goes wrong: `bun endless-client.ts NODE sync|awaited [FABRIC]`.
 * Prints `calling PID`, the host's, once calls are answered, and at the end how the calls in flight and the next one have ended.
 */
import { join } from "node:path";
import { type FabricName, type RfaasError, invoker } from "../../src/index.ts";
import { FUNCTIONS } from "../support/executable.ts";

type Good = typeof import("../functions/good.ts");

export interface EndlessEnd {
  /** Calls answered, and by `Date.now()` when the last of them was. */
  answered: number;
  lastAnswerMs: number;
  /** When all that were in flight had ended. */
  endedMs: number;
  /** What those in flight, and after them a new one, ended with. */
  codes: string[];
  messages: string[];
  wrongPayloads: number;
}

const DEPTH = 8;
const WORDS = 100;

const [node, mode, fabric = "verbs"] = process.argv.slice(2) as [string, string, FabricName?];
const rf = await invoker({ node, fabric });
const lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
  memory: "1MiB",
  polling: "warm",
});
const end: EndlessEnd = {
  answered: 0,
  lastAnswerMs: 0,
  endedMs: 0,
  codes: [],
  messages: [],
  wrongPayloads: 0,
};

function answered(input: Uint32Array, output: Uint32Array): void {
  if (!output.every((word, i) => word === input[i])) end.wrongPayloads++;
  end.lastAnswerMs = Date.now();
  if (++end.answered === 50) console.log(`calling ${lease.hostPid}`);
}

function failed(error: unknown): void {
  const { code, message } = error as RfaasError;
  end.codes.push(String(code));
  end.messages.push(message);
}

/** One call after another; a synchronous one every time, or an awaited one. */
async function inTurn(lane: number): Promise<void> {
  const input = lease.input(Uint32Array, WORDS);
  const output = lease.output(Uint32Array, WORDS);
  try {
    for (let i = lane; ; i += DEPTH) {
      input.fill(Math.imul(i + 1, 0x9e3779b1));
      if (mode === "sync") lease.invoke("echo", input, output);
      else await lease.submit("echo", input, output);
      answered(input, output);
    }
  } catch (error) {
    failed(error);
  }
}

await Promise.all(Array.from({ length: mode === "sync" ? 1 : DEPTH }, (_, lane) => inTurn(lane)));
end.endedMs = Date.now();
try {
  lease.invoke("echo", lease.input(Uint8Array, 1), lease.output(Uint8Array, 1));
} catch (error) {
  failed(error);
}
console.log(JSON.stringify(end));
// What must work after a loss, too.
await lease.release();
await rf.close();
