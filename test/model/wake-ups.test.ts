/**
 * Falling asleep and waking, as `ffi/shim/shm/sleep.h` does it, in every order in which a machine may show stores: `wake-ups.pml` is
 * the model, spin tries all of it. What is left out of the protocol must be found to matter.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { Scratch } from "../support/scratch.ts";
import { spinIsThere, tried } from "./tried.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

describe.skipIf(!spinIsThere())("a side that sleeps", () => {
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
    const { errors, states } = tried(scratch, "wake-ups.pml", ...macros);
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
    expect(tried(scratch, "wake-ups.pml", ...macros).errors).toBeGreaterThan(0);
  });
});
