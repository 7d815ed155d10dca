/** What becomes of the workers of a host, event by event. */
import { describe, expect, test } from "bun:test";
import {
  type HostEffect,
  type HostEvent,
  type HostState,
  advanceHost,
  startHostState,
} from "../../src/executor/host/host-machine.ts";

const A = { path: "/a", name: "a" };
const B = { path: "/b", name: "b" };
const C = { path: "/c", name: "c" };
const ERROR = { name: "Error", message: "it broke" };

/** A host of two workers; `tell` returns what is to be done. */
class Played {
  state: HostState;

  constructor(listening = true) {
    this.state = startHostState(2, A, listening);
  }

  static serving(): Played {
    const host = new Played();
    host.tell({ kind: "loaded", worker: 0 });
    host.tell({ kind: "loaded", worker: 1 });
    return host;
  }

  tell(event: HostEvent): HostEffect[] {
    const [state, effects] = advanceHost(this.state, event);
    this.state = state;
    return effects;
  }

  get phases(): string[] {
    return this.state.workers.map(({ phase }) => phase);
  }

  /** Lets a worker go over to the newest build. */
  goOver(worker: number): HostEffect[] {
    const effects = this.tell({ kind: "rested", worker });
    return [
      ...effects,
      ...this.tell({ kind: "ended", worker }),
      ...this.tell({ kind: "loaded", worker }),
    ];
  }
}

describe("the agent is answered", () => {
  test("once, when all workers have loaded and the client can connect", () => {
    const host = new Played(false);
    expect(host.tell({ kind: "loaded", worker: 0 })).toEqual([]);
    expect(host.tell({ kind: "loaded", worker: 1 })).toEqual([]);
    expect(host.tell({ kind: "listening" })).toEqual([{ kind: "answer" }]);
    expect(host.tell({ kind: "listening" })).toEqual([]);
    expect(host.state.phase).toBe("serving");
  });

  test.each([
    { kind: "load-failed", worker: 1, code: "RFAAS_MODULE_FAILED", error: ERROR },
    { kind: "crashed", worker: 1, error: ERROR },
    { kind: "crashed", worker: 0, error: ERROR },
    { kind: "cannot-serve", code: "RFAAS_MODULE_FAILED", error: ERROR },
  ] satisfies HostEvent[])(
    "with the reason when it cannot serve, and then of nothing more: %j",
    (event) => {
      const host = new Played();
      host.tell({ kind: "loaded", worker: 0 });
      expect(host.tell(event)).toEqual([
        { kind: "fail-load", code: "RFAAS_MODULE_FAILED", error: ERROR },
      ]);
      expect(host.tell({ kind: "loaded", worker: 1 })).toEqual([]);
      expect(host.tell({ kind: "crashed", worker: 0, error: ERROR })).toEqual([]);
    },
  );

  test("and a time to load that is over later changes nothing", () => {
    const host = Played.serving();
    expect(host.tell({ kind: "cannot-serve", code: "RFAAS_MODULE_TIMEOUT", error: ERROR })).toEqual(
      [],
    );
    expect(host.state.phase).toBe("serving");
  });
});

describe("a call that goes on though it was aborted", () => {
  test("costs its thread: calls are aborted, another thread loads the module and serves", () => {
    const host = Played.serving();
    expect(host.tell({ kind: "stuck", worker: 1 })).toEqual([
      { kind: "end-thread", worker: 1, abort: true },
    ]);
    // Others that are stuck, and the loop's end, are part of the same end.
    expect(host.tell({ kind: "stuck", worker: 1 })).toEqual([]);
    expect(host.tell({ kind: "rested", worker: 1 })).toEqual([]);
    expect(host.tell({ kind: "ended", worker: 1 })).toEqual([
      { kind: "start-thread", worker: 1, build: A },
    ]);
    expect(host.tell({ kind: "loaded", worker: 1 })).toEqual([]);
    expect(host.phases).toEqual(["serving", "serving"]);
  });

  test.each([
    [{ kind: "overdue", worker: 1, limitMs: 900 }, "its module did not load again within 900 ms"],
    [{ kind: "load-failed", worker: 1, code: "X", error: ERROR }, "it broke"],
    [{ kind: "crashed", worker: 1, error: ERROR }, "an uncaught error ended the worker: it broke"],
  ] satisfies [HostEvent, string][])(
    "costs its worker when the next thread does not load: %j",
    (event, why) => {
      const host = Played.serving();
      host.tell({ kind: "stuck", worker: 1 });
      host.tell({ kind: "ended", worker: 1 });
      expect(host.tell(event)).toEqual([{ kind: "lose", worker: 1, why }]);
      expect(host.phases).toEqual(["serving", "lost"]);
      expect(host.tell({ kind: "stuck", worker: 1 })).toEqual([]);
    },
  );
});

describe("another build", () => {
  test("is gone over to by each worker when its calls have ended, and answered when all have", () => {
    const host = Played.serving();
    expect(host.tell({ kind: "reload", build: B })).toEqual([
      { kind: "leave", worker: 0 },
      { kind: "leave", worker: 1 },
    ]);
    expect(host.goOver(0)).toEqual([
      { kind: "end-thread", worker: 0, abort: false },
      { kind: "start-thread", worker: 0, build: B },
    ]);
    expect(host.goOver(1).at(-1)).toEqual({ kind: "answer-reload" });
  });

  test("waits for calls so long, and then ends them", () => {
    const host = Played.serving();
    host.tell({ kind: "reload", build: B });
    expect(host.tell({ kind: "overdue", worker: 0, limitMs: 10 })).toEqual([
      { kind: "end-thread", worker: 0, abort: true },
    ]);
  });

  test("that comes before the first has loaded is gone over to at once", () => {
    const host = new Played();
    expect(host.tell({ kind: "reload", build: B })).toEqual([]);
    host.tell({ kind: "loaded", worker: 0 });
    expect(host.tell({ kind: "loaded", worker: 1 })).toEqual([
      { kind: "answer" },
      { kind: "leave", worker: 0 },
      { kind: "leave", worker: 1 },
    ]);
  });

  test("that is not the newest any more is left again", () => {
    const host = Played.serving();
    host.tell({ kind: "reload", build: B });
    host.tell({ kind: "rested", worker: 0 });
    host.tell({ kind: "ended", worker: 0 });
    expect(host.tell({ kind: "reload", build: C })).toEqual([]);
    expect(host.tell({ kind: "loaded", worker: 0 })).toEqual([{ kind: "leave", worker: 0 }]);
    expect(host.goOver(0).filter(({ kind }) => kind === "start-thread")).toEqual([
      { kind: "start-thread", worker: 0, build: C },
    ]);
  });

  test("that does not load is the trouble of those who made it", () => {
    const host = Played.serving();
    host.tell({ kind: "reload", build: B });
    host.tell({ kind: "rested", worker: 0 });
    host.tell({ kind: "ended", worker: 0 });
    expect(host.tell({ kind: "load-failed", worker: 0, code: "X", error: ERROR })).toEqual([
      { kind: "fail-reload", code: "X", error: ERROR },
    ]);
  });

  test("is not waited for by a worker that is lost", () => {
    const host = Played.serving();
    host.tell({ kind: "crashed", worker: 1, error: ERROR });
    host.tell({ kind: "reload", build: B });
    expect(host.goOver(0).at(-1)).toEqual({ kind: "answer-reload" });
    // Nor is it started again when it was to leave.
    const late = Played.serving();
    late.tell({ kind: "reload", build: B });
    late.tell({ kind: "crashed", worker: 1, error: ERROR });
    expect(late.tell({ kind: "overdue", worker: 1, limitMs: 10 })).toEqual([]);
  });

  test("that all workers run already is answered at once", () => {
    expect(Played.serving().tell({ kind: "reload", build: A })).toEqual([
      { kind: "answer-reload" },
    ]);
  });
});

test("the process ends when all workers that there are have come to rest", () => {
  const host = Played.serving();
  expect(host.tell({ kind: "rested", worker: 0 })).toEqual([]);
  expect(host.tell({ kind: "rested", worker: 1 })).toEqual([{ kind: "exit" }]);
  const one = Played.serving();
  one.tell({ kind: "crashed", worker: 0, error: ERROR });
  expect(one.tell({ kind: "rested", worker: 1 })).toEqual([{ kind: "exit" }]);
});

test("what is said of a worker that there is not changes nothing", () => {
  const host = Played.serving();
  expect(host.tell({ kind: "stuck", worker: 7 })).toEqual([]);
});
