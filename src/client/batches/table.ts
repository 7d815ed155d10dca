/**
 * Where the buffers of a batch lie, as the shim takes it. To ask views where they lie costs more than all else that is done for a
 * call, so a table is kept for the next batch that has the same ones.
 */
import { POSTING_WORDS } from "../../../ffi/client-endpoint.ts";
import type { LeaseBuffer, LeaseMemory, MemoryUse } from "../memory/lease-memory.ts";
import type { Place } from "../memory/place.ts";

export class BatchTable {
  readonly size: number;
  readonly words: Uint32Array<ArrayBuffer>;
  /** By row. */
  readonly inputs: readonly LeaseBuffer[];
  readonly outputs: readonly LeaseBuffer[];
  readonly uses: readonly MemoryUse[];
  /** Each of the pieces of memory that it uses. */
  readonly places: ReadonlySet<Place>;
  /** Whether results must be copied to where the caller wants them, or inputs from there. */
  readonly copies: boolean;
  readonly #fn: number;
  /** Whether it can be used again: a `DataView` whose memory is gone throws when it is asked for its length. */
  readonly #lasting: boolean;

  /** Throws {@link UsageError} for buffers that are not the lease's, and names them by `names`, else by their row. */
  constructor(
    fn: number,
    memory: LeaseMemory,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    names?: readonly number[],
  ) {
    const size = inputs.length;
    this.#fn = fn;
    this.size = size;
    // What the caller does to its arrays afterwards is nothing to the calls.
    this.inputs = [...inputs];
    this.outputs = [...outputs];
    this.words = new Uint32Array(new ArrayBuffer(4 * POSTING_WORDS * size));
    const uses: MemoryUse[] = [];
    const places = new Set<Place>();
    for (let row = 0; row < size; row++) {
      const input = this.inputs[row]!;
      const output = this.outputs[row]!;
      const use = {
        input: memory.placeOf(input, `input ${names?.[row] ?? row}`),
        output: memory.outputPlaceOf(output, `output ${names?.[row] ?? row}`),
      };
      const inputOffset = use.input.offsetOf(input);
      const flags = memory.flagsOf(use, inputOffset);
      const lengths = [input.byteLength, output.byteLength] as const;
      this.words.set(
        [fn | flags, inputOffset, lengths[0], use.output.offsetOf(output), lengths[1]],
        POSTING_WORDS * row,
      );
      uses.push(use);
      places.add(use.input).add(use.output);
    }
    this.uses = uses;
    this.places = places;
    this.copies = places.values().some(({ copy }) => copy !== undefined);
    const isView = (view: LeaseBuffer): boolean => view instanceof DataView;
    this.#lasting = !this.inputs.some(isView) && !this.outputs.some(isView);
  }

  /** Whether it is that of the same function with the same buffers. Those that were transferred since have become empty. */
  fits(fn: number, inputs: readonly LeaseBuffer[], outputs: readonly LeaseBuffer[]): boolean {
    const { size, words } = this;
    if (fn !== this.#fn || inputs.length !== size || !this.#lasting) return false;
    for (let row = 0, at = 0; row < size; row++, at += POSTING_WORDS) {
      const input = inputs[row]!;
      const output = outputs[row]!;
      if (input !== this.inputs[row] || output !== this.outputs[row]) return false;
      if (input.byteLength !== words[at + 2] || output.byteLength !== words[at + 4]) return false;
    }
    return true;
  }
}
