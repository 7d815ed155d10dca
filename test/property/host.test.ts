/** What holds of a host's workers, whatever happens to them, in any order. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type HostEffect,
  type HostEvent,
  type HostState,
  advanceHost,
  startHostState,
} from "../../src/executor/host/host-machine.ts";

const WORKERS = 3;
const error = { name: "Error", message: "it broke" };
const BUILDS = ["/a", "/b", "/c"].map((path) => ({ path, name: path }));

const worker = fc.nat(WORKERS - 1);
const ofWorker = (kind: "loaded" | "rested" | "ended" | "stuck"): fc.Arbitrary<HostEvent> =>
  worker.map((worker) => ({ kind, worker }));
const event: fc.Arbitrary<HostEvent> = fc.oneof(
  { weight: 6, arbitrary: ofWorker("loaded") },
  { weight: 3, arbitrary: ofWorker("rested") },
  { weight: 6, arbitrary: ofWorker("ended") },
  { weight: 3, arbitrary: ofWorker("stuck") },
  worker.map((worker): HostEvent => ({ kind: "crashed", worker, error })),
  worker.map((worker): HostEvent => ({ kind: "overdue", worker, limitMs: 1 })),
  worker.map((worker): HostEvent => ({ kind: "load-failed", worker, code: "X", error })),
  fc.constant<HostEvent>({ kind: "listening" }),
  fc.constant<HostEvent>({ kind: "cannot-serve", code: "X", error }),
  fc.constantFrom(...BUILDS).map((build): HostEvent => ({ kind: "reload", build })),
);

/** Runs the events, and calls back after each. */
function run(
  events: readonly HostEvent[],
  look: (state: HostState, effects: readonly HostEffect[], before: HostState) => void,
): void {
  let state = startHostState(WORKERS, BUILDS[0]!, false);
  for (const each of events) {
    const before = state;
    const [next, effects] = advanceHost(before, each);
    state = next;
    look(state, effects, before);
  }
}

const events = fc.array(event, { maxLength: 60 });

test("the agent is answered once, that the module has loaded or why not, and hears of workers only after the first", () => {
  fc.assert(
    fc.property(events, (all) => {
      let answers = 0;
      run(all, (state, effects) => {
        for (const { kind } of effects) {
          if (kind === "answer" || kind === "fail-load") answers++;
          else expect(answers).toBe(1);
        }
        expect(answers).toBe(state.phase === "loading" ? 0 : 1);
      });
    }),
  );
});

test("threads of a worker end and begin in turn, and of a lost one none begins again", () => {
  fc.assert(
    fc.property(events, (all) => {
      const ending = new Set<number>();
      const lost = new Set<number>();
      run(all, (state, effects) => {
        for (const effect of effects) {
          if (!("worker" in effect)) continue;
          const { kind, worker: of } = effect;
          expect(lost.has(of)).toBe(false);
          if (kind === "end-thread") {
            expect(ending.has(of)).toBe(false);
            ending.add(of);
          } else expect(ending.delete(of)).toBe(kind === "start-thread");
          if (kind === "lose") lost.add(of);
        }
        for (const [of, { phase }] of state.workers.entries())
          if (state.phase !== "failed") expect(phase === "ending").toBe(ending.has(of));
      });
    }),
  );
});

test("a reload is answered when every worker that is left runs the newest build, and none that serves runs another", () => {
  fc.assert(
    fc.property(events, (all) => {
      run(all, (state, effects) => {
        if (state.phase !== "serving") return;
        for (const { phase, build } of state.workers)
          if (phase === "serving") expect(build.path).toBe(state.newest.path);
        if (!effects.some(({ kind }) => kind === "answer-reload")) return;
        for (const { phase, build } of state.workers)
          if (phase !== "lost") expect(build.path).toBe(state.newest.path);
        expect(state.reloading).toBe(false);
      });
    }),
  );
});

test("a host whose workers are well again serves, and one that all have left ends", () => {
  fc.assert(
    fc.property(events, (all) => {
      run(all, (state, effects, before) => {
        if (effects.some(({ kind }) => kind === "exit"))
          expect(state.workers.some(({ phase }) => phase === "rested")).toBe(true);
        if (effects.length === 0 && state === before) return;
        const living = state.workers.filter(({ phase }) => phase !== "lost");
        const over = living.length > 0 && living.every(({ phase }) => phase === "rested");
        if (state.phase === "serving" && before.phase === "serving")
          expect(effects.some(({ kind }) => kind === "exit")).toBe(over);
      });
    }),
  );
});
