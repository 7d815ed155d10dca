/**
 * The worker's hot loop. Per call: one FFI call that answers the last request and finds the next, two cached views, the
 * function. It allocates nothing while callers reuse their buffers, logs nothing, and throws nothing.
 */
import { STATUS } from "../../ffi/layout.ts";
import {
  FUNCTION_MASK,
  INPUT_INLINE,
  OUTPUT_INLINE,
  REQUEST,
  SCRATCH_OUTPUT,
  type WorkerEndpoint,
} from "../../ffi/worker-endpoint.ts";
import type { RawFunction } from "../function/raw.ts";
import { CallContext, type WorkerScope } from "./call-context.ts";
import { toErrorRecord, wrongResult, writeErrorRecord } from "./error-record.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Views of the arena are kept by place and length; a power of two. */
const VIEW_CACHE = 256;
const NO_ANSWER = -1;
/** Words of a request, as constants that the JIT can fold. */
const {
  function: FUNCTION_WORD,
  inputOffset: INPUT_OFFSET_WORD,
  inputLength: INPUT_LENGTH_WORD,
  outputOffset: OUTPUT_OFFSET_WORD,
  outputCapacity: OUTPUT_CAPACITY_WORD,
} = REQUEST;

export class CallServer {
  /** Calls whose promise has not settled. */
  pending = 0;
  /** Called when {@link pending} falls to zero. */
  onAllSettled: () => void = () => {};

  readonly #endpoint: WorkerEndpoint;
  readonly #functions: readonly RawFunction[];
  readonly #names: readonly string[];
  readonly #scope: WorkerScope;
  /** By slot. */
  readonly #contexts: CallContext[];
  readonly #arena: ArrayBuffer;
  readonly #errors: Uint8Array;
  /** Sequences of the calls that go on as promises, by slot. */
  readonly #deferred = new Map<number, number>();
  readonly #views: (Bytes | undefined)[] = new Array(VIEW_CACHE).fill(undefined);
  readonly #inlineInputs: (Bytes | undefined)[];
  readonly #inlineOutputs: (Bytes | undefined)[];

  constructor(
    endpoint: WorkerEndpoint,
    functions: readonly RawFunction[],
    names: readonly string[],
    scope: WorkerScope,
    arena: ArrayBuffer,
    errors: Uint8Array,
    slots: number,
  ) {
    this.#endpoint = endpoint;
    this.#functions = functions;
    this.#names = names;
    this.#scope = scope;
    this.#contexts = Array.from({ length: slots }, (_, i) => new CallContext(scope, endpoint, i));
    this.#arena = arena;
    this.#errors = errors;
    this.#inlineInputs = new Array(slots).fill(undefined);
    this.#inlineOutputs = new Array(slots).fill(undefined);
  }

  /** Runs calls until none comes within the endpoint's bounded wait. Returns `IDLE` or `STOPPED`. */
  run(): number {
    const { turn, requests, slotWords } = this.#endpoint;
    const functions = this.#functions;
    const contexts = this.#contexts;
    const scope = this.#scope;
    let slot = -1;
    let length = 0;
    for (;;) {
      slot = turn(slot, length, this.pending);
      if (slot < 0) return slot;
      const base = slot * slotWords;
      const flags = requests[base + FUNCTION_WORD]!;
      const inputLength = requests[base + INPUT_LENGTH_WORD]!;
      const capacity = requests[base + OUTPUT_CAPACITY_WORD]!;
      const input =
        flags & INPUT_INLINE
          ? this.#inlineInput(slot, base, inputLength)
          : this.#view(requests[base + INPUT_OFFSET_WORD]!, inputLength);
      const output =
        flags & OUTPUT_INLINE
          ? this.#inlineOutput(slot, base, capacity)
          : this.#view(requests[base + OUTPUT_OFFSET_WORD]!, capacity);
      let result: number | Promise<number>;
      try {
        result = functions[flags & FUNCTION_MASK]!(input, output, contexts[slot]!);
      } catch (error) {
        this.#fail(slot, error);
        slot = NO_ANSWER;
        continue;
      }
      // One comparison accepts what nearly every call returns: an integer from 0 to the capacity.
      if (typeof result === "number" && result >>> 0 === result && result <= capacity) {
        length = result;
        scope.cold = false;
      } else {
        this.#finishOddly(slot, flags & FUNCTION_MASK, capacity, result);
        slot = NO_ANSWER;
      }
    }
  }

  #view(offset: number, length: number): Bytes {
    const at = ((offset >>> 6) ^ length) & (VIEW_CACHE - 1);
    const known = this.#views[at];
    if (known !== undefined && known.byteOffset === offset && known.length === length) return known;
    return (this.#views[at] = new Uint8Array(this.#arena, offset, length));
  }

  #inlineInput(slot: number, base: number, length: number): Bytes {
    const known = this.#inlineInputs[slot];
    if (known !== undefined && known.length === length) return known;
    return (this.#inlineInputs[slot] = new Uint8Array(this.#endpoint.scratch, 4 * base, length));
  }

  #inlineOutput(slot: number, base: number, length: number): Bytes {
    const known = this.#inlineOutputs[slot];
    if (known !== undefined && known.length === length) return known;
    return (this.#inlineOutputs[slot] = new Uint8Array(
      this.#endpoint.scratch,
      4 * base + SCRATCH_OUTPUT,
      length,
    ));
  }

  // ---- not hot: promises, wrong results, errors ----

  #finishOddly(slot: number, fn: number, capacity: number, result: unknown): void {
    if (typeof result !== "object" || result === null)
      return this.#fail(slot, wrongResult(this.#names[fn]!, capacity, result));
    const call = this.#endpoint.sequence(slot);
    this.pending++;
    this.#deferred.set(slot, call);
    this.#endpoint.defer(slot);
    // Any thenable, however odd, becomes a promise that settles once.
    Promise.resolve(result).then(
      (length) => {
        if (!this.#settle(slot, call)) return;
        this.#scope.cold = false;
        if (
          typeof length === "number" &&
          Number.isInteger(length) &&
          length >= 0 &&
          length <= capacity
        )
          this.#endpoint.answer(slot, STATUS.ok, length);
        else this.#fail(slot, wrongResult(this.#names[fn]!, capacity, length));
      },
      (error) => {
        if (this.#settle(slot, call)) this.#fail(slot, error);
      },
    );
  }

  /** Nobody waits for this asynchronous call any more: its slot is given back, and what it settles to is ignored. */
  expire(slot: number, sequence: number): void {
    if (this.#deferred.get(slot) !== sequence) return;
    const context = this.#contexts[slot]!;
    // The function may go on: the slot's next call gets a context of its own.
    context.retire();
    this.#contexts[slot] = new CallContext(this.#scope, this.#endpoint, slot);
    context.abort(new Error("the call's deadline has passed"));
    this.#settle(slot, sequence);
    this.#endpoint.answer(slot, STATUS.deadline, 0);
  }

  /** Its caller has given up: the function is told, and ends as it likes. */
  abort(slot: number, sequence: number): void {
    if (this.#deferred.get(slot) !== sequence) return;
    this.#contexts[slot]!.abort(new Error("the caller has given up on the call"));
  }

  /** Whether the call was still pending; it no longer is. */
  #settle(slot: number, sequence: number): boolean {
    if (this.#deferred.get(slot) !== sequence) return false;
    this.#deferred.delete(slot);
    this.#contexts[slot]!.ended();
    if (--this.pending === 0) this.onAllSettled();
    return true;
  }

  #fail(slot: number, error: unknown): void {
    const length = writeErrorRecord(this.#errors, slot, toErrorRecord(error));
    this.#endpoint.answer(slot, STATUS.functionError, length);
  }
}
