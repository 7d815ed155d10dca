/** Turns names, arrays of buffers and options into batches on the workers of one part of a lease. */
import { UsageError } from "../../base/errors.ts";
import { show } from "../../base/show.ts";
import { reasonOf } from "../../base/waiting.ts";
import { NO_OPTIONS } from "../calls/deadline.ts";
import { Picking } from "../calls/picking.ts";
import type { LeaseCore } from "../calls/submission.ts";
import type { LeaseBuffer } from "../memory/lease-memory.ts";
import { type SubmitManyOptions, checkSubmitManyOptions } from "../options/call-options.ts";
import { Batch } from "./batch.ts";
import { BatchTable } from "./table.ts";

/** A program that has one batch in flight while it looks at another needs two. */
const KEPT_TABLES = 4;

export class Batches {
  readonly #core: LeaseCore;
  readonly #picking: Picking;
  /** The last ones, the very last first. */
  #tables: BatchTable[] = [];

  constructor(core: LeaseCore) {
    this.#core = core;
    this.#picking = new Picking(core.lanes);
  }

  /** Returns what begins the batch. `rows` are its places in a batch that it is a part of. Throws what is wrong with it: nothing of it has begun then. */
  prepare(
    name: string,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    options: SubmitManyOptions = NO_OPTIONS,
    rows?: readonly number[],
  ): () => Batch {
    if (options !== NO_OPTIONS) checkSubmitManyOptions(options);
    // A getter of the program's must not throw once calls are in flight.
    const { signal, worker, durationMs, deadlineMs } = options;
    const core = this.#core;
    const fn = core.functions.indexOf(name);
    requirePairs(inputs, outputs);
    const lanes = worker === undefined ? core.lanes : [this.#picking.pick(worker)];
    const table = this.#tableFor(fn, inputs, outputs, rows);
    const batch = new Batch(core, table, lanes, options);
    const refused = core.term.endsSoon
      ? core.term.refusal(durationMs || deadlineMs || 0)
      : undefined;
    return () => {
      if (signal?.aborted) batch.refuse(reasonOf(signal));
      else if (refused) batch.refuse(refused);
      else batch.begin(signal);
      return batch;
    };
  }

  /** Buffers may have moved: the next batch asks all of its own where they lie. */
  forget(): void {
    this.#tables = [];
  }

  #tableFor(
    fn: number,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    rows: readonly number[] | undefined,
  ): BatchTable {
    for (const table of this.#tables) if (table.fits(fn, inputs, outputs)) return table;
    const table = new BatchTable(fn, this.#core.memory, inputs, outputs, rows);
    this.#tables.unshift(table);
    if (this.#tables.length > KEPT_TABLES) this.#tables.pop();
    return table;
  }
}

/** Throws {@link UsageError} for anything but two arrays of the same length. */
export function requirePairs(inputs: unknown, outputs: unknown): void {
  for (const [what, array] of [
    ["inputs", inputs],
    ["outputs", outputs],
  ] as const)
    if (!Array.isArray(array))
      throw new UsageError(
        `the ${what} of submitMany must be an array of buffers of the lease; they are ${show(array)}`,
      );
  const [many, room] = [(inputs as unknown[]).length, (outputs as unknown[]).length];
  if (many !== room)
    throw new UsageError(
      `submitMany needs an output for each input; it was given ${many} inputs and ${room} outputs`,
    );
}
