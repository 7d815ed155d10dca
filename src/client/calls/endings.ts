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
  /** A call with its bytes, or a failure: its result is negative. */
  readonly #ends: (Flight | Failure)[] = [];
  readonly #results: number[] = [];
  readonly #errorOf: (failure: Failure) => RfaasError;

  constructor(errorOf: (failure: Failure) => RfaasError) {
    this.#errorOf = errorOf;
  }

  /** How many there are: where a sweep begins. */
  get length(): number {
    return this.#ends.length;
  }

  succeeded(call: Flight, bytes: number): void {
    this.#ends.push(call);
    this.#results.push(bytes);
  }

  failed(failure: Failure): void {
    this.#ends.push(failure);
    this.#results.push(-1);
  }

  /** Tells the calls from `begin` on. Callbacks of the program may run. */
  tellFrom(begin: number): void {
    const ends = this.#ends;
    const end = ends.length;
    for (let i = begin; i < end; i++) {
      const bytes = this.#results[i]!;
      if (bytes >= 0) (ends[i] as Flight).endAttempt(bytes);
      else this.#fail(ends[i] as Failure);
    }
    ends.length = this.#results.length = begin;
  }

  #fail(failure: Failure): void {
    failure.end(failure.error ?? this.#errorOf(failure));
  }
}
