/**
 * What the memory of a lost part leaves to others: its buffers are still the program's, and lie where no worker reaches them. Others take each
 * over when a call first uses it, as they take memory of the program's own.
 */
import type { Registration } from "./registrations.ts";

/** A memory that no worker reaches. */
export interface FormerMemory {
  /** Whether a view was allocated there, and not freed. */
  has(view: ArrayBufferView): boolean;
}

export class Heritage {
  readonly #formers = new Set<FormerMemory>();
  readonly #taken = new Map<ArrayBufferLike, Registration>();
  readonly #register: (view: ArrayBufferView) => Registration;

  constructor(register: (view: ArrayBufferView) => Registration) {
    this.#register = register;
  }

  add(former: FormerMemory): void {
    this.#formers.add(former);
  }

  /** Registers all of the buffer that a view is a part of, if a former memory has it. Returns whether it did. Throws {@link OutOfLeaseMemory}. */
  takeOver(view: ArrayBufferView): boolean {
    const { buffer } = view;
    if (this.#taken.has(buffer) || buffer.byteLength === 0) return false;
    if (!this.#formers.values().some((former) => former.has(view))) return false;
    this.#taken.set(buffer, this.#register(new Uint8Array(buffer)));
    return true;
  }

  disown(buffer: ArrayBufferLike): void {
    this.#taken.get(buffer)?.[Symbol.dispose]();
    this.#taken.delete(buffer);
  }
}
