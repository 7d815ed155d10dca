/**
 * Falling asleep and waking, as `ffi/shim/shm/sleep.h` does it, in every order in which a machine may show stores: `wake-ups.pml` is
 * the model, spin tries all of it. What is left out of the protocol must be found to matter.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { compiler } from "../../ffi/build.ts";
import { run } from "../support/compilers.ts";
import { Scratch } from "../support/scratch.ts";

const MODEL = join(import.meta.dir, "wake-ups.pml");
const there = Bun.which("spin") !== null;
if (!there) console.error("SKIPPED: the model of wake-ups: no spin; apt-get install spin");

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

interface Outcome {
  errors: number;
  /** How many states of the model were tried. */
  states: number;
}

/** Tries all of the model, or until something fails in it. */
function tried(...macros: string[]): Outcome {
  const folder = scratch.join(["model", ...macros].join("-"));
  run(["mkdir", folder], "/");
  run(["spin", "-a", ...macros.map((macro) => `-D${macro}`), MODEL], folder);
  run([compiler()!, "-O2", "-DSAFETY", "-w", "-o", "pan", "pan.c"], folder);
  const said = Bun.spawnSync(["./pan", "-m100000"], { cwd: folder }).stdout.toString();
  const [, errors] = /errors: (\d+)/.exec(said) ?? [];
  const [, states] = /^\s*(\d+) states, stored/m.exec(said) ?? [];
  if (errors === undefined || states === undefined || /search depth too small/.test(said))
    throw new Error(said);
  return { errors: Number(errors), states: Number(states) };
}

describe.skipIf(!there)("a side that sleeps", () => {
  test.each<string[]>([
    ["posts with a fence"],
    ["posts without", "UNFENCED"],
    ["a poster that lies, of which alone it may miss posts", "UNFENCED", "LYING_POSTER"],
    [
      "no barriers although it says so, when its sleeps are bounded",
      "UNFENCED",
      "LYING_SLEEPER",
      "TIMEOUTS",
    ],
  ])("misses no post: %s", (_, ...macros) => {
    const { errors, states } = tried(...macros);
    expect(errors).toBe(0);
    expect(states).toBeGreaterThan(10_000);
  });

  test.each<string[]>([
    ["its own fence", "NO_FENCE_OF_SLEEPER"],
    ["the poster's fence", "NO_FENCE_OF_POSTER"],
    ["the barrier", "UNFENCED", "NO_BARRIER"],
    ["the fence after the declaration", "UNFENCED", "NO_FENCE_AT_DECLARATION"],
    ["the order of the last posts and the withdrawal", "UNFENCED", "EARLY_WITHDRAWAL"],
    ["a barrier that it has promised", "UNFENCED", "LYING_SLEEPER"],
  ])("may sleep through a post without %s", (_, ...macros) => {
    expect(tried(...macros).errors).toBeGreaterThan(0);
  });
});
