/** The functions of a lease's module, by name. */
import { NoSuchFunction, UsageError } from "../../base/errors.ts";
import { leaseReleased } from "../failures/fate.ts";
import type { FunctionKindName } from "../../function/define-function.ts";
import { kindNamed } from "../../kinds/registry.ts";
import type { Exports, FunctionDescription } from "../../protocol/module-report.ts";
import { nearNames } from "../../base/near-names.ts";
import { show } from "../../base/show.ts";

/** The internal name by which a handle calls a function on values: no export has such a name. */
export const hiddenName = (name: string): string => `\0${name}`;
/** The function that hands out results that did not fit; behind all others where there is one on values. */
export const FETCH = "\0";

export class FunctionTable {
  readonly names: readonly string[];
  readonly #module: string;
  readonly #others: Record<string, string>;
  readonly #described: Record<string, FunctionDescription>;
  readonly #indexes: Map<string, number>;
  #lastName: string | undefined;
  #lastIndex = -1;
  #closed = false;

  constructor(module: string, exports: Exports) {
    this.#module = module;
    this.#others = exports.others;
    this.#described = exports.described ?? {};
    this.names = Object.freeze(exports.functions);
    this.#indexes = new Map(
      this.names.map((name, index) => [this.#isRaw(name) ? name : hiddenName(name), index]),
    );
    this.#indexes.set(FETCH, this.names.length);
  }

  /** How a function is called: with buffers, or as its kind is. Throws {@link UsageError} for a kind that is not known here. */
  kindOf(name: string): "raw" | FunctionKindName {
    requireName(name);
    return this.#isRaw(name) ? "raw" : kindNamed(this.#described[name]!.kind).name;
  }

  /** The function's index in requests. Throws {@link NoSuchFunction}, or {@link LeaseLost} after the lease's release. */
  indexOf(name: string): number {
    if (name === this.#lastName) return this.#lastIndex;
    this.#throwIfClosed();
    const index = this.#indexes.get(name);
    if (index === undefined) {
      requireName(name);
      if (this.#isRaw(name)) throw this.#noSuchFunction(name);
      throw new UsageError(
        `"${name}" of ${this.#module} works on values, not on buffers; call it with lease.function("${name}")`,
      );
    }
    this.#lastName = name;
    this.#lastIndex = index;
    return index;
  }

  /** What the node says of a function on values or structs. Throws as {@link indexOf} does, and {@link UsageError} for one on buffers. */
  describe(name: string): FunctionDescription {
    this.#throwIfClosed();
    requireName(name);
    if (!this.names.includes(name)) throw this.#noSuchFunction(name);
    if (this.#isRaw(name))
      throw new UsageError(
        `"${name}" of ${this.#module} works on buffers; call it with lease.invoke("${name}", input, output)`,
      );
    return this.#described[name]!;
  }

  /** Forgets all functions: the lease is over. */
  close(): void {
    this.#closed = true;
    this.#lastName = undefined;
  }

  #isRaw(name: string): boolean {
    return !Object.hasOwn(this.#described, name);
  }

  #throwIfClosed(): void {
    if (this.#closed) throw leaseReleased();
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

function requireName(name: unknown): void {
  if (typeof name === "string") return;
  throw new UsageError(
    `a function is named by a string; it is ${show(name)}; see lease.functions for the names`,
  );
}
