/**
 * What a module has still going on in its thread: timers, child processes, sockets, operations of the system. The engine protects an
 * object from its garbage collector for as long as the event loop may call back for it, whether or not it keeps the loop alive. So
 * what is protected at rest, and was not before the module loaded, is the module's. Asking takes some microseconds.
 */
import { getProtectedObjects } from "bun:jsc";

/** By what the engine calls an object. */
const WORDS: Readonly<Record<string, string>> = {
  Timeout: "a timer",
  Immediate: "a timer",
  Subprocess: "a child process",
};

export class ThreadTraces {
  readonly #before: ReadonlySet<unknown>;
  readonly #operations: number;

  /** To be made before the module loads. */
  constructor() {
    const objects = getProtectedObjects();
    this.#before = new Set(objects);
    this.#operations = objects.filter(isOperation).length;
  }

  /** What is still there, in words; null where nothing was found. */
  left(): string | null {
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
