/**
 * What a module has still going on in its thread: timers, child processes, sockets, operations of the system. The engine protects an
 * object from its garbage collector for as long as the event loop may call back for it, whether or not it keeps the loop alive. So
 * what is protected at rest, and was not before the module loaded, is the module's. Asking takes some microseconds.
 */
import { getProtectedObjects } from "bun:jsc";
import { UnseenOperations } from "./unseen.ts";

/** By what the engine calls an object. */
const WORDS: Readonly<Record<string, string>> = {
  Timeout: "a timer",
  Immediate: "a timer",
  Subprocess: "a child process",
};

export class ThreadTraces {
  readonly #before: ReadonlySet<unknown>;
  readonly #operations: number;
  readonly #unseen = new UnseenOperations();
  /** What others see this process as: one for all of its threads. */
  readonly #title = process.title;
  /** What the module itself listens to, by event of `process`. */
  #listeners = new Map<string | symbol, ReadonlySet<unknown>>();

  /** To be made before the module loads. */
  constructor() {
    const objects = getProtectedObjects();
    this.#before = new Set(objects);
    this.#operations = objects.filter(isOperation).length;
  }

  /** The module has loaded: it may go on to listen to what it listens to, as its variables stay. */
  loaded(): void {
    for (const event of process.eventNames())
      this.#listeners.set(event, new Set(process.rawListeners(event)));
  }

  /** What functions have done to `process`, where each lease would add to it. */
  #undo(): void {
    if (process.title !== this.#title) process.title = this.#title;
    for (const event of process.eventNames())
      for (const listener of process.rawListeners(event))
        if (!this.#listeners.get(event)?.has(listener))
          process.removeListener(event, listener as () => void);
  }

  /** What is still there, in words; null where nothing was found. What can be undone is. */
  left(): string | null {
    this.#undo();
    const unseen = this.#unseen.left();
    if (unseen !== null) return unseen;
    let operations = 0;
    for (const object of getProtectedObjects()) {
      if (isOperation(object)) operations++;
      else if (!this.#before.has(object) && !(object instanceof Event)) return described(object);
    }
    return operations > this.#operations ? "an operation that has not ended" : null;
  }
}

/** A promise that the system will settle. */
const isOperation = (object: unknown): boolean => object instanceof Promise;

function described(object: unknown): string {
  const kind = Object.prototype.toString.call(object).slice("[object ".length, -1);
  return WORDS[kind] ?? `an open handle (${kind})`;
}
