/**
 * Whether a host is there, by looks at it: pure, so that looks are all the time there is. An agent that was stopped itself, with its hosts, has
 * not looked meanwhile, and takes none of them for lost.
 */

/** Looks within the time that a host has. */
export const LOOKS_PER_TIMEOUT = 4;

/** What a look finds. */
export interface HostLook {
  /** The kernel says that the process is stopped. */
  stopped: boolean;
  /** It has a thread that answers questions. */
  beats: boolean;
  /** All questions have been answered. */
  answered: boolean;
  /** Calls are in flight, as far as can be seen: in user code, begun and pending as it answered last, or asked after by their client. */
  inFlight: number;
  /** Changes when calls begin or end, or wait for long. */
  moved: number;
}

export interface Liveness {
  /** Looks in a row that found it stopped, */
  readonly stopped: number;
  /** and without an answer to the last question. */
  readonly silent: number;
  readonly moved: number;
}

export const ALIVE: Liveness = { stopped: 0, silent: 0, moved: 0 };

/** What is to be done: ask it, or take it for lost. */
export type Verdict = "ask" | "stopped" | "silent" | undefined;

/** An idle host is not asked: it need not wake. What is done about a lost one is done once. */
export function lookAt(before: Liveness, look: HostLook): [Liveness, Verdict] {
  const after: Liveness = {
    stopped: look.stopped ? before.stopped + 1 : 0,
    silent: look.beats && !look.answered ? before.silent + 1 : 0,
    moved: look.moved,
  };
  if (after.stopped === LOOKS_PER_TIMEOUT) return [after, "stopped"];
  // Why a stopped one is silent is known.
  if (after.silent === LOOKS_PER_TIMEOUT && !look.stopped) return [after, "silent"];
  const busy = look.inFlight > 0 || look.moved !== before.moved;
  return [after, look.beats && look.answered && busy ? "ask" : undefined];
}
