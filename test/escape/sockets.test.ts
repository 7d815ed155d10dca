/** Functions that leave what they send in the kernel's memory, where their room has sockets: their lease ends, and is told so. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, OutOfMemory, invoker } from "../../src/index.ts";
import { buildLibrary } from "../support/compilers.ts";
import { RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 60_000;
const scratch = new Scratch();
let library: string;
let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  const source = readFileSync(join(import.meta.dir, "native", "hoard.c"), "utf8");
  library = buildLibrary(scratch, "hoard", source, ["-fvisibility=hidden"]);
  rf = await invoker({ cores: 2, memory: "256MiB" });
}, LIMIT_MS);
afterAll(async () => {
  await rf?.close();
  scratch[Symbol.dispose]();
});

async function hoard(how: string, count: number, freedom: string): Promise<unknown> {
  const options = { memory: "16MiB", heap: "48MiB", polling: "warm" } as const;
  await using lease = await rf.allocate(library, { ...options, [freedom]: true });
  const text = new TextEncoder().encode(String(count));
  const input = lease.input(Uint8Array, text.length);
  input.set(text);
  const output = lease.output(Uint8Array, 8);
  return await lease.submit(how, input, output, { deadlineMs: LIMIT_MS }).then(
    () => output[0],
    (error: unknown) => error,
  );
}

const WAYS: [how: string, freedom: "processes" | "network"][] = [
  ["pairs", "processes"],
  ["pairs", "network"],
  ["passed", "processes"],
  ["connections", "network"],
];
describe("a lease that leaves more in sockets than its heap", () => {
  test.each(WAYS)(
    "as %s, with %s, ends with OutOfMemory, and less of it does not",
    async (how, freedom) => {
      const error = await hoard(how, 500, freedom);
      expect(error).toBeInstanceOf(OutOfMemory);
      expect((error as OutOfMemory).message).toContain("of it data in its sockets");
      expect(await hoard(how, 4, freedom)).toBe(1);
    },
    LIMIT_MS,
  );
});
