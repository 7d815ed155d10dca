/** The shim with the fabric of this folder, compiled from a copy of the sources. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileShim } from "../../../ffi/build.ts";
import { ROOT } from "../../support/executable.ts";
import type { Scratch } from "../../support/scratch.ts";

/** Returns its path, and how many lines the registry of fabrics had and has. */
export function overtakingShim(scratch: Scratch, architecture?: string) {
  const sources = scratch.join("shim");
  cpSync(join(ROOT, "ffi", "shim"), sources, { recursive: true });
  cpSync(import.meta.dir, join(sources, "overtaking"), { recursive: true });
  const registry = join(sources, "core", "fabrics.c");
  const before = readFileSync(registry, "utf8");
  const after = before.replace("  X(ofi)\n", "  X(ofi) \\\n  X(overtaking)\n");
  writeFileSync(registry, after);
  const shim = scratch.join("librfaas.so");
  compileShim(sources, shim, architecture);
  const lines = { before: before.split("\n").length, after: after.split("\n").length };
  return { shim, lines };
}

/** Arguments of `bun test` that run all but the tests of wake-ups that could be lost: the fabric has none. */
export const CONFORMANCE = [
  ...["-t", "^(?!.*no wake-up is lost)"],
  "./test/fabric/overtaking/conformance.ts",
];
