/**
 * Calls that a sweep has taken out of their slots, until each has heard of its end. All slots are given back first, since what ends
 * may post again, and may sweep again: that sweep's calls come behind those of the one before.
 */
import type { RfaasError } from "../../base/errors.ts";
import type { Flight } from "./call.ts";

/** An attempt that has failed, and what that ends. */
export interface Failure {
  readonly result: number;
  /** Undefined until it is known: to ask whether a worker is lost may end other calls. */
  readonly error: RfaasError | undefined;
  readonly deadlineMs: number;
  end(error: RfaasError): void;
}

export class Endings {
  readonly #calls: (Flight | undefined)[] = [];
  readonly #results: number[] = [];
  readonly #failures: (Failure | undefined)[] = [];
  readonly #errorOf: (failure: Failure) => RfaasError;

  constructor(errorOf: (failure: Failure) => RfaasError) {
    this.#errorOf = errorOf;
  }

  /** How many there are: where a sweep begins. */
  get length(): number {
    return this.#calls.length;
  }

  succeeded(call: Flight, result: number): void {
    this.#add(call, result, undefined);
  }

  failed(failure: Failure): void {
    this.#add(undefined, 0, failure);
  }

  /** Tells the calls from `begin` on. Callbacks of the program may run. */
  tellFrom(begin: number): void {
    const end = this.#calls.length;
    for (let i = begin; i < end; i++) {
      const failure = this.#failures[i];
      if (failure === undefined) this.#calls[i]!.endAttempt(this.#results[i]!);
      else failure.end(failure.error ?? this.#errorOf(failure));
    }
    this.#calls.length = this.#results.length = this.#failures.length = begin;
  }

  #add(call: Flight | undefined, result: number, failure: Failure | undefined): void {
    this.#calls.push(call);
    this.#results.push(result);
    this.#failures.push(failure);
  }
}
