/** Fuzzes a target in a process of its own, which may hang, take all memory or crash: then the input that did it is known, too. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Scratch } from "../../support/scratch.ts";

/** What the process is to do. */
export interface Orders {
  target: string;
  seed: number;
  seconds: number;
  maxInputs: number;
  /** Instead of the corpus and the seeds, in base64. */
  inputs?: readonly string[];
  /** Keeps the inputs that matter in the corpus. */
  save?: boolean;
  /** The file in which each input stands while it is tried. */
  box: string;
}

export interface Report {
  target: string;
  inputs: number;
  seconds: number;
  kept: number;
  branches: number;
  /** How many are not among them, since no input reaches them. */
  excepted: number;
  /** How many none of the known inputs, those of the corpus, have taken; */
  unreachedAtFirst: number;
  /** and which ones no input at all. */
  unreached: string[];
  finding?: { input: string; what: string };
}

const BOX_BYTES = 1024 * 1024;
const LOOK_MS = 500;
/** No input takes so long, even on a machine that does much else. */
const HANG_MS = 30_000;
const MEMORY_BYTES = 3 * 1024 ** 3;
const PAGE_BYTES = 4096;

/** How to try the input again. */
export const replayOf = (target: string, input: string): string =>
  `bun test/fuzz/run.ts ${target} --replay ${input}`;

export async function fuzz(orders: Omit<Orders, "box">, hangMs = HANG_MS): Promise<Report> {
  using scratch = new Scratch();
  const box = scratch.join("input");
  writeFileSync(box, new Uint8Array(BOX_BYTES));
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "child.ts"), JSON.stringify({ ...orders, box })],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit", cwd: join(import.meta.dir, "../../..") },
  );
  let wrong: string | undefined;
  let seen = { count: 0, atMs: performance.now() };
  const look = setInterval(() => {
    const count = new DataView(readFileSync(box).buffer).getUint32(0);
    const nowMs = performance.now();
    if (count !== seen.count) seen = { count, atMs: nowMs };
    // To load what is fuzzed takes a while.
    if (count > 0 && nowMs - seen.atMs > hangMs) wrong = `does not end within ${hangMs / 1000} s`;
    else if (memoryOf(child.pid) > MEMORY_BYTES) wrong = `takes ${MEMORY_BYTES} bytes and more`;
    if (wrong !== undefined) child.kill("SIGKILL");
  }, LOOK_MS);
  const output = await child.stdout.text();
  await child.exited;
  clearInterval(look);
  if (output !== "") return JSON.parse(output) as Report;
  const words = readFileSync(box);
  const view = new DataView(words.buffer, words.byteOffset);
  const input = words.subarray(8, 8 + view.getUint32(4)).toBase64();
  wrong ??= `ends the process: ${child.signalCode ?? `exit code ${child.exitCode}`}`;
  return {
    ...{ target: orders.target, inputs: view.getUint32(0), seconds: 0, kept: 0 },
    ...{
      branches: 0,
      excepted: 0,
      unreachedAtFirst: 0,
      unreached: [],
      finding: { input, what: wrong },
    },
  };
}

function memoryOf(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
