/** The benchmark of counts and checks, whose shim is compiled for it alone. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { compiler } from "../../ffi/build.ts";
import { ROOT } from "../support/executable.ts";

const RUNS = compiler() !== null;
if (!RUNS) console.log("skipped: there is no C compiler");

test.skipIf(!RUNS)(
  "calls are timed with counts and checks, and without either",
  async () => {
    const script = join(ROOT, "bench/unchecked/unchecked.ts");
    const args = [script, "--rounds", "1", "--calls", "31", "--json"];
    const child = Bun.spawn([process.execPath, ...args], { stdout: "pipe", stderr: "inherit" });
    const { rows } = JSON.parse(await child.stdout.text()) as { rows: Record<string, unknown>[] };
    expect(rows.map(({ call }) => call)).toEqual([
      "counts and checks",
      "no counts",
      "no checks",
      "neither",
    ]);
    for (const { p50_ns } of rows) expect(p50_ns).toBeGreaterThan(0);
    expect(rows.at(-1)).toMatchObject({ above_p50_ns: 0, ratio_p50: 1 });
    expect(await child.exited).toBe(0);
  },
  120_000,
);
