/**
 * The states of a host's workers: a pure state machine. Its events are what threads report and timeouts; it returns effects, in
 * order. A table has the next state of a worker for each event; an event that it does not name changes nothing.
 *
 *     first -> serving -> leaving -> ending -> again -> serving ...      rested | lost
 */
import type { ErrorRecord } from "../../protocol/failed.ts";

/** What a thread loads: a path, and what its client calls it. */
export interface Build {
  path: string;
  name: string;
}

export type WorkerPhase =
  /** Its first thread loads the module that the lease is granted with. */
  | "first"
  | "serving"
  /** It goes over to another build when its calls have ended. */
  | "leaving"
  /** Its thread is ended; another one follows. */
  | "ending"
  /** Another thread loads its module. */
  | "again"
  /** Its loop has ended, with the lease. */
  | "rested"
  /** No thread of it answers any more. */
  | "lost";

export interface WorkerState {
  readonly phase: WorkerPhase;
  readonly build: Build;
}

export interface HostState {
  /** Until the host has answered the agent that the module has loaded, or cannot be loaded. */
  readonly phase: "loading" | "serving" | "failed";
  /** Whether its client could connect now. */
  readonly listening: boolean;
  /** The build that the lease was granted with, and the build that threads load from now on. */
  readonly granted: Build;
  readonly newest: Build;
  /** The agent waits until all workers have gone over to the newest build. */
  readonly reloading: boolean;
  readonly workers: readonly WorkerState[];
}

export type WorkerEvent =
  | { kind: "loaded" }
  | { kind: "load-failed"; code: string; error: ErrorRecord }
  /** Its loop has ended. */
  | { kind: "rested" }
  /** Its thread ended that was not asked to. */
  | { kind: "crashed"; error: ErrorRecord }
  /** The thread that was to end has ended. */
  | { kind: "ended" }
  /** Its timeout has passed before it has done what it was told. */
  | { kind: "overdue"; limitMs: number }
  /** An aborted call still runs. */
  | { kind: "stuck" }
  /** There is another build than the one that it runs. */
  | { kind: "outdated" };

export type HostEvent =
  | ({ worker: number } & WorkerEvent)
  | { kind: "listening" }
  /** It cannot listen, or the time to load is over. */
  | { kind: "cannot-serve"; code: string; error: ErrorRecord }
  | { kind: "reload"; build: Build };

export type HostEffect =
  /** Tells the agent that all workers have loaded, */
  | { kind: "answer" }
  /** or why not. */
  | { kind: "fail-load"; code: string; error: ErrorRecord }
  | { kind: "answer-reload" }
  | { kind: "fail-reload"; code: string; error: ErrorRecord }
  /** Lets the loop end once its calls have; to be told `overdue`. */
  | { kind: "leave"; worker: number }
  /** Ends the thread; with `abort` at once, and then its calls. To be told `ended`. */
  | { kind: "end-thread"; worker: number; abort: boolean }
  /** Another thread loads the build; to be told `overdue`. */
  | { kind: "start-thread"; worker: number; build: Build }
  | { kind: "lose"; worker: number; why: string }
  | { kind: "exit" };

/** What an event makes of one worker. */
interface Step {
  to: WorkerPhase;
  build?: Build;
  effects?: readonly HostEffect[];
}

type Transition<Event> = (event: Event, worker: number, host: HostState) => Step;
type Table = {
  readonly [Phase in WorkerPhase]: {
    readonly [Kind in WorkerEvent["kind"]]?: Transition<Extract<WorkerEvent, { kind: Kind }>>;
  };
};

const end =
  (abort: boolean) =>
  (_: WorkerEvent, worker: number): Step => ({
    to: "ending",
    effects: [{ kind: "end-thread", worker, abort }],
  });

const lose = (worker: number, why: string): Step => ({
  to: "lost",
  effects: [{ kind: "lose", worker, why }],
});

/** Before the lease is granted, a worker's end is the end of all. */
const crashed: Transition<Extract<WorkerEvent, { kind: "crashed" }>> = ({ error }, worker, host) =>
  host.phase === "loading"
    ? { to: "lost", effects: [{ kind: "fail-load", code: "RFAAS_MODULE_FAILED", error }] }
    : lose(worker, `an uncaught error ended the worker: ${error.message}`);

const rested = (): Step => ({ to: "rested" });

const TABLE: Table = {
  first: {
    loaded: () => ({ to: "serving" }),
    "load-failed": ({ code, error }) => ({
      to: "lost",
      effects: [{ kind: "fail-load", code, error }],
    }),
    crashed,
    rested,
  },
  serving: {
    outdated: (_, worker) => ({ to: "leaving", effects: [{ kind: "leave", worker }] }),
    stuck: end(true),
    crashed,
    rested,
  },
  leaving: {
    rested: end(false),
    overdue: end(true),
    stuck: end(true),
    crashed,
  },
  ending: {
    ended: (_, worker, { newest: build }) => ({
      to: "again",
      build,
      effects: [{ kind: "start-thread", worker, build }],
    }),
  },
  again: {
    loaded: () => ({ to: "serving" }),
    // When a build fails that has loaded before, the worker is at fault; when a new build fails, its author is.
    "load-failed": ({ code, error }, worker, { granted, workers }) =>
      workers[worker]!.build.path === granted.path
        ? lose(worker, error.message)
        : { to: "lost", effects: [{ kind: "fail-reload", code, error }] },
    overdue: ({ limitMs }, worker) =>
      lose(worker, `its module did not load again within ${limitMs} ms`),
    stuck: end(true),
    crashed,
    rested,
  },
  rested: {},
  lost: {},
};

/** A host whose threads load the module of its lease; one whose client needs no connection listens already. */
export function startHostState(workers: number, granted: Build, listening: boolean): HostState {
  return {
    phase: "loading",
    listening,
    granted,
    newest: granted,
    reloading: false,
    workers: Array.from({ length: workers }, () => ({ phase: "first", build: granted })),
  };
}

/** The next state and what to do. A host that could not load its module waits for its end; one that loads it runs no calls. */
export function advanceHost(host: HostState, event: HostEvent): [HostState, HostEffect[]] {
  if (host.phase === "failed") return [host, []];
  if (host.phase === "loading" && event.kind === "stuck") return [host, []];
  const [state, effects] =
    "worker" in event ? stepWorker(host, event.worker, event) : stepHost(host, event);
  if (state === host) return [host, []];
  if (effects.some(({ kind }) => kind === "fail-load"))
    return [{ ...state, phase: "failed" }, effects];
  const [settled, more] = settle(state);
  return [settled, [...effects, ...more]];
}

function stepWorker(
  host: HostState,
  worker: number,
  event: WorkerEvent,
): [HostState, HostEffect[]] {
  const before = host.workers[worker];
  // The table's entry takes the event that it is named by.
  const transition =
    before && (TABLE[before.phase][event.kind] as Transition<WorkerEvent> | undefined);
  if (!transition) return [host, []];
  const { to, build = before.build, effects = [] } = transition(event, worker, host);
  const workers = host.workers.with(worker, { phase: to, build });
  const reloading = host.reloading && !effects.some(({ kind }) => kind === "fail-reload");
  return [{ ...host, workers, reloading }, [...effects]];
}

function stepHost(
  host: HostState,
  event: Exclude<HostEvent, { worker: number }>,
): [HostState, HostEffect[]] {
  switch (event.kind) {
    case "listening":
      return [{ ...host, listening: true }, []];
    case "cannot-serve":
      if (host.phase !== "loading") return [host, []];
      return [{ ...host }, [{ ...event, kind: "fail-load" }]];
    case "reload":
      return [{ ...host, newest: event.build, reloading: true }, []];
  }
}

/** Adds the transitions and effects that follow once an event has changed the state. */
function settle(host: HostState): [HostState, HostEffect[]] {
  const effects: HostEffect[] = [];
  let state = host;
  if (state.phase === "loading") {
    if (!state.listening || state.workers.some(({ phase }) => phase === "first"))
      return [state, effects];
    state = { ...state, phase: "serving" };
    effects.push({ kind: "answer" });
  }
  for (const [worker, { phase, build }] of state.workers.entries()) {
    if (phase !== "serving" || build.path === state.newest.path) continue;
    const [outdated, leaving] = stepWorker(state, worker, { kind: "outdated" });
    state = outdated;
    effects.push(...leaving);
  }
  const living = state.workers.filter(({ phase }) => phase !== "lost");
  const serves = ({ phase, build }: WorkerState): boolean =>
    (phase === "serving" || phase === "rested") && build.path === state.newest.path;
  if (state.reloading && living.every(serves)) {
    state = { ...state, reloading: false };
    effects.push({ kind: "answer-reload" });
  }
  if (living.length > 0 && living.every(({ phase }) => phase === "rested"))
    effects.push({ kind: "exit" });
  return [state, effects];
}
