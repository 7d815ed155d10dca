/** The functions of a lease's module, by name. */
import { LeaseLost, NoSuchFunction } from "../errors.ts";
import type { Exports } from "../protocol/messages.ts";
import { nearNames } from "./near-names.ts";

export class FunctionTable {
  readonly names: readonly string[];
  readonly #module: string;
  readonly #others: Record<string, string>;
  readonly #indexes: Map<string, number>;
  #lastName: string | undefined;
  #lastIndex = -1;
  #closed = false;

  constructor(module: string, exports: Exports) {
    this.#module = module;
    this.#others = exports.others;
    this.names = Object.freeze(exports.functions);
    this.#indexes = new Map(exports.functions.map((name, index) => [name, index]));
  }

  /** What requests call it. Throws {@link NoSuchFunction}, or {@link LeaseLost} after the lease's release. */
  indexOf(name: string): number {
    if (name === this.#lastName) return this.#lastIndex;
    if (this.#closed) throw new LeaseLost("the lease was released; take a new one");
    const index = this.#indexes.get(name);
    if (index === undefined) throw this.#noSuchFunction(name);
    this.#lastName = name;
    this.#lastIndex = index;
    return index;
  }

  /** No function is known from now on. */
  close(): void {
    this.#closed = true;
    this.#lastName = undefined;
  }

  #noSuchFunction(name: string): NoSuchFunction {
    const kind = Object.hasOwn(this.#others, name) ? this.#others[name] : undefined;
    const problem = kind
      ? `exports "${name}", but it is a ${kind}, which cannot be called`
      : `exports no function "${name}"`;
    return new NoSuchFunction(
      name,
      `${this.#module} ${problem}; it has: ${nearNames(name, this.names)}`,
    );
  }
}
