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
    const { p50_ns, rows } = JSON.parse(await child.stdout.text()) as {
      p50_ns: number;
      rows: { without: string; p50_ns: number; ratio_p50: number }[];
    };
    expect(rows.map(({ without }) => without)).toEqual(["checks", "counts", "either"]);
    for (const ns of [p50_ns, ...rows.flatMap((row) => [row.p50_ns, row.ratio_p50])])
      expect(ns).toBeGreaterThan(0);
    expect(await child.exited).toBe(0);
  },
  120_000,
);
