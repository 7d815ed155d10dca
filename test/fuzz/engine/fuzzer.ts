/**
 * Feeds a parser with inputs: those that are known first, then changed ones. An input that takes a way that none has taken before, or a
 * known way so much more often, is kept, and changed further.
 */
import type { Counters } from "./counters.ts";
import { Mutator } from "./mutate.ts";
import { Random } from "./random.ts";

/** A parser, as it is fed. */
export interface Subject {
  /** Sound inputs, and some that are nearly so. */
  seeds: readonly Uint8Array[];
  /** Texts that the parser looks for, besides those that stand in its sources. */
  tokens?: readonly (string | Uint8Array)[];
  /** No input is longer. Default: 2,048. */
  maxBytes?: number;
  /** Statements that any input may make it run. Default: 100,000. */
  work?: number;
  /** Throws, or rejects, unless the input was read as it should be or refused by the parser's own error. */
  run(input: Uint8Array<ArrayBuffer>): void | Promise<void>;
}

/** What an input did that it should not. */
export interface Finding {
  input: Uint8Array;
  error: unknown;
}

/** More statements than these, and so many for each byte, are no bounded time. */
const DEFAULT_WORK = 100_000;
const WORK_FOR_A_BYTE = 1000;
const DEFAULT_MAX_BYTES = 2048;
/** More of them than anyone needs are no help. */
const MAX_KEPT = 5000;

export class Fuzzer {
  readonly #subject: Subject;
  readonly #counters: Counters;
  readonly #random: Random;
  readonly #mutator: Mutator;
  /** How often each way was taken, at most, as a power of two: one bit each. */
  readonly #seen: Uint32Array;
  /** Called before each input. */
  readonly #before: (input: Uint8Array) => void;
  readonly kept: Uint8Array[] = [];
  inputs = 0;

  constructor(
    subject: Subject,
    counters: Counters,
    {
      seed,
      tokens,
      before,
    }: { seed: number; tokens: readonly Uint8Array[]; before(input: Uint8Array): void },
  ) {
    this.#subject = subject;
    this.#counters = counters;
    this.#random = new Random(seed);
    this.#mutator = new Mutator(this.#random, subject.maxBytes ?? DEFAULT_MAX_BYTES, tokens);
    this.#seen = new Uint32Array(counters.counts.length);
    this.#before = before;
  }

  /** Tries one input. Resolves to what is wrong with what it did. */
  async feed(input: Uint8Array): Promise<Finding | undefined> {
    const { counts } = this.#counters;
    counts.fill(0);
    this.inputs++;
    this.#before(input);
    try {
      const done = this.#subject.run(new Uint8Array(input));
      if (done !== undefined) await done;
    } catch (error) {
      return { input, error };
    }
    return this.#look(input);
  }

  /** Goes on until `until` says that it is enough, which it is asked now and then. */
  async run(until: (inputs: number) => boolean): Promise<Finding | undefined> {
    const { counts } = this.#counters;
    const random = this.#random;
    for (let i = 0; (i & 63) !== 0 || !until(this.inputs); i++) {
      const { kept } = this;
      // Half of the time one of those that were found last.
      const recent = kept.length - 1 - random.below(Math.min(kept.length, 1 + (kept.length >> 3)));
      const base = kept[random.below(2) === 0 ? recent : random.below(kept.length)]!;
      const input = this.#mutator.mutate(base, kept[random.below(kept.length)]!);
      counts.fill(0);
      this.inputs++;
      this.#before(input);
      try {
        const done = this.#subject.run(new Uint8Array(input));
        if (done !== undefined) await done;
      } catch (error) {
        return { input, error };
      }
      const finding = this.#look(input);
      if (finding) return finding;
    }
    return undefined;
  }

  /** Whether a branch was taken by any input. */
  isTaken(index: number): boolean {
    return this.#seen[index] !== 0;
  }

  /** Keeps an input that has shown something new. */
  #look(input: Uint8Array): Finding | undefined {
    const { counts } = this.#counters;
    const seen = this.#seen;
    let isNew = false;
    let work = 0;
    for (let i = 0; i < counts.length; i++) {
      const count = counts[i]!;
      if (count === 0) continue;
      work += count;
      const bit = 1 << (31 - Math.clz32(count));
      if ((seen[i]! & bit) !== 0) continue;
      seen[i]! |= bit;
      isNew = true;
    }
    if (work > (this.#subject.work ?? DEFAULT_WORK) + WORK_FOR_A_BYTE * input.length)
      return { input, error: new Error(`${work} steps for ${input.length} bytes`) };
    if (isNew || this.kept.length === 0) {
      if (this.kept.length >= MAX_KEPT) this.kept.splice(this.#random.below(MAX_KEPT), 1);
      this.kept.push(input);
    }
    return undefined;
  }
}
