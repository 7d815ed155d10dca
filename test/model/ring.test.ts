/**
 * A channel's ring as client and worker use it: `ring.pml` is the model, spin tries every order of steps, of stores that are seen late, and of
 * deaths. What is left out of the protocol must be found to matter.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { Scratch } from "../support/scratch.ts";
import { spinIsThere, tried } from "./tried.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

describe.skipIf(!spinIsThere())("a ring", () => {
  test.each<string[]>([
    ["answers that come in any order"],
    ["calls that are abandoned", "ABANDONS"],
    ["more calls than slots, of which some are skipped", "ABANDONS", "SLOTS=3", "CALLS=4"],
    ["a worker that dies at any step", "ABANDONS", "WORKER_DIES"],
    ["a client that dies at any step", "ABANDONS", "CLIENT_DIES"],
    ["a worker's thread that is replaced", "ABANDONS", "THREAD_DIES"],
    ["a client that writes what it likes", "LYING_CLIENT"],
    ["a worker that writes what it likes", "ABANDONS", "LYING_WORKER"],
  ])("loses no wake-up, takes no stale slot and uses none twice: %s", (_, ...macros) => {
    const { errors, states } = tried(scratch, "ring.pml", ...macros);
    expect(errors).toBe(0);
    expect(states).toBeGreaterThan(500);
  });

  test.each<string[]>([
    ["the order of a request and its word", "REQUEST_WORD_FIRST"],
    ["the order of an answer and its word", "ANSWER_WORD_FIRST"],
    ["looking for exactly the next sequence", "ANY_REQUEST", "ABANDONS"],
    ["looking for exactly the call's own answer", "ANY_ANSWER"],
    ["leaving slots of calls that go on alone", "NO_ACTIVE", "LYING_CLIENT"],
    ["saying that slots were skipped", "NO_SKIPPED"],
    ["saying so before the request", "SKIPPED_LATE"],
    [
      "saying so until nothing is in flight",
      "SKIPPED_WITHDRAWN_EARLY",
      "ABANDONS",
      "SLOTS=3",
      "CALLS=4",
    ],
    ["keeping the slot of an abandoned call", "ABANDONED_IS_FREE", "ABANDONS"],
    ["a poster's fence", "NO_FENCE_OF_POSTER"],
    ["a sleeper's fence", "NO_FENCE_OF_SLEEPER"],
    ["a worker's look before it sleeps", "NO_LOOK_BEFORE_SLEEP"],
    ["a client's look after it has said that it sleeps", "CLIENT_LOOKS_FIRST"],
    ["a last look for answers of a worker that died", "NO_LAST_LOOK", "WORKER_DIES"],
    ["waiting for what a dead worker has stored", "END_TOLD_EARLY", "WORKER_DIES"],
    ["ending the calls of a thread that is gone", "NO_ABORT", "THREAD_DIES"],
  ])("fails without %s", (_, ...macros) => {
    expect(tried(scratch, "ring.pml", ...macros).errors).toBeGreaterThan(0);
  });
});
