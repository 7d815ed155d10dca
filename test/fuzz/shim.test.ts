/** Whatever a peer writes into shared memory, says over a connection or hands over, the shim reads and writes nothing that it should not. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Scratch } from "../support/scratch.ts";
import { replayOf } from "./engine/campaign.ts";
import { FuzzedShim, SHIM_TARGETS, lackOfLibFuzzer } from "./engine/libfuzzer.ts";

const ROOT = join(import.meta.dir, "..", "..");
const SECONDS = 5;
const seed = Number(process.env["RFAAS_FUZZ_SEED"] ?? 1 + Math.floor(Math.random() * 2 ** 31));

const lack = lackOfLibFuzzer();
if (lack !== undefined) console.error(`SKIPPED: the shim was not fuzzed: ${lack}`);

describe.skipIf(lack !== undefined)("the shim", () => {
  const shim = new FuzzedShim();
  beforeAll(() => shim.build());
  afterAll(() => shim[Symbol.dispose]());

  test.each(SHIM_TARGETS)("takes anything that comes: %s", async (target) => {
    const { inputs, failure, input } = await shim.run(target, { seed, seconds: SECONDS });
    if (failure !== undefined)
      throw new Error(`seed ${seed}\n${failure}\ntry it again: ${replayOf(target, input ?? "")}`);
    expect(inputs).toBeGreaterThan(100);
  });

  test("would not, without one of its checks", async () => {
    using scratch = new Scratch();
    for (const folder of ["ffi/shim", "test/fuzz/shim"])
      cpSync(join(ROOT, folder), scratch.join(folder), { recursive: true });
    const worker = scratch.join("ffi/shim/core/worker.c");
    const check = "(!(r->function & RFAAS_INPUT_INLINE) || r->input_length <= RFAAS_INLINE_INPUT)";
    const source = readFileSync(worker, "utf8");
    expect(source).toContain(check);
    writeFileSync(worker, source.replace(check, "1"));
    using broken = new FuzzedShim(scratch.path);
    await broken.build();
    const { failure } = await broken.run("shim-slots-worker", { seed: 1, seconds: 30 });
    expect(failure).toContain("lease.h");
  }, 180_000);
});
