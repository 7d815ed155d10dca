/** Waiting that ends early: because a program's signal aborts, or by a timeout. */
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { notify } from "./notify.ts";

/** Timeout for connecting to a node or a manager, and for its greeting. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/** How long a program waits for a connection. */
export interface Patience {
  timeoutMs: number;
  /** And for answers that its peer has at hand. Default {@link DEFAULT_ANSWER_TIMEOUT_MS}. */
  answerTimeoutMs?: number;
  signal?: AbortSignal | undefined;
}

/** What a peer has at hand comes later only where that hangs, or the way to it is cut: the kernel would try for a quarter of an hour. */
export const DEFAULT_ANSWER_TIMEOUT_MS = 30_000;

export const DEFAULT_PATIENCE: Patience = { timeoutMs: DEFAULT_CONNECT_TIMEOUT_MS };

/** The error of a promise whose program has aborted the wait. */
export const reasonOf = (signal: AbortSignal): unknown =>
  signal.reason ?? new DOMException("the operation was aborted", "AbortError");

/** The callbacks of each signal, behind one listener: the engine takes longer to add a listener the more the signal has. */
const hearing = new WeakMap<AbortSignal, Hearing>();

interface Hearing {
  readonly listeners: Set<() => void>;
  readonly hear: () => void;
}

/**
 * Calls `listener` when the signal aborts. Returns a function that ends this. The signal may be an object of the program's own: an
 * error that its methods throw is the program's, and must not disturb a call.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const { listeners, hear } = hearing.get(signal) ?? startHearing(signal);
  listeners.add(listener);
  return () => {
    if (!listeners.delete(listener) || listeners.size > 0) return;
    hearing.delete(signal);
    notify(() => signal.removeEventListener("abort", hear));
  };
}

function startHearing(signal: AbortSignal): Hearing {
  const listeners = new Set<() => void>();
  const hear = (): void => {
    for (const listener of listeners) notify(listener);
  };
  const started = { listeners, hear };
  hearing.set(signal, started);
  notify(() => signal.addEventListener("abort", hear));
  return started;
}

/** Throws the reason of a signal that has aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}

/**
 * The promise's value, or a rejection with the signal's reason as soon as it aborts. A value that comes later goes to `undo`.
 */
export async function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  undo: (value: T) => unknown = () => {},
): Promise<T> {
  if (!signal) return await promise;
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(reasonOf(signal));
  const end = onAbort(signal, abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([aborted.promise, promise]);
  } catch (error) {
    promise.then(undo).catch(() => {});
    throw error;
  } finally {
    end();
  }
}

/** The promise's value, or the error that `late` makes when `limitMs` have passed. A value that comes later goes to `undo`. */
export async function within<T>(
  promise: Promise<T>,
  limitMs: number,
  late: () => Error,
  undo: (value: T) => unknown = () => {},
  clock: Clock = SYSTEM_CLOCK,
): Promise<T> {
  const overdue = new AbortController();
  const timer = clock.after(limitMs, () => overdue.abort(late()));
  try {
    return await untilAborted(promise, overdue.signal, undo);
  } finally {
    timer.clear();
  }
}

/** A signal that aborts when one of several does, with its reason. Dispose of it, or they keep it. */
export class LinkedSignal implements Disposable {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
  readonly #ends: readonly (() => void)[];
  readonly #abort = (): void => {
    const first = this.#sources.find(({ aborted }) => aborted);
    if (first) this.#controller.abort(reasonOf(first));
  };

  constructor(...sources: readonly (AbortSignal | undefined)[]) {
    this.#sources = sources.filter((source) => source !== undefined);
    this.#ends = this.#sources.map((source) => onAbort(source, this.#abort));
    this.#abort();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    for (const end of this.#ends) end();
  }
}
