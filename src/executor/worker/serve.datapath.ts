/**
 * The worker's hot loop. Per call: one FFI call that answers the last request and finds the next, two cached views, the
 * function. It allocates nothing while callers reuse their buffers, logs nothing, and throws nothing.
 *
 * No variable of the loop is assigned a constant of the module. In the executable, whose bytecode is made ahead of time, the engine
 * takes a read of such a constant that has not run yet for one of no type, and then treats the variable as of any type: each sum and
 * each look into an array with it cost three times as long, 20 ns a call.
 */
import { LAYOUT, STATUS } from "../../../ffi/layout.ts";
import type { Region } from "../../../ffi/region.ts";
import {
  FUNCTION_MASK,
  INPUT_INLINE,
  OUTPUT_INLINE,
  REQUEST,
  type WorkerEndpoint,
} from "../../../ffi/worker-endpoint.ts";
import type { RawFunction } from "../../function/raw.ts";
import { CallContext, type WorkerScope } from "./call-context.ts";
import { toErrorRecord, wrongResult, writeErrorRecord } from "../results/error-record.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Views of the arena are kept by place and length, as many of inputs as of outputs; a power of two. */
const VIEW_CACHE = 512;
/** From none to the longest inline payload. */
const INLINE_LENGTHS = LAYOUT.inlineOutputBytes + 1;
/** Words of a request, as constants that the JIT can fold. */
const {
  function: FUNCTION_WORD,
  inputOffset: INPUT_OFFSET_WORD,
  inputLength: INPUT_LENGTH_WORD,
  outputOffset: OUTPUT_OFFSET_WORD,
  outputCapacity: OUTPUT_CAPACITY_WORD,
} = REQUEST;

const placeOf = (offset: number, length: number): number =>
  ((offset >>> 6) ^ length) & (VIEW_CACHE - 1);

export class CallServer {
  /** Calls whose promise has not settled. */
  pending = 0;
  /** No call came in the last {@link run}. */
  idle = false;
  /** Called when {@link pending} falls to zero. */
  onAllSettled: () => void = () => {};
  /** Called with an error that the caller does not receive, because the call's deadline has passed. */
  onLate: (slot: number, sequence: number) => void = () => {};

  readonly #endpoint: WorkerEndpoint;
  readonly #functions: readonly RawFunction[];
  readonly #names: readonly string[];
  readonly #scope: WorkerScope;
  /** By slot. */
  readonly #contexts: CallContext[];
  readonly #region: Region;
  readonly #errors: Uint8Array;
  /** Sequences of the calls that go on as promises, by slot. */
  readonly #deferred = new Map<number, number>();
  /** Aborts of calls that had not begun, or had ended already, by slot. */
  readonly #early = new Map<number, { sequence: number; reason: Error }>();
  /** Of inputs, then of outputs: a call's own two take no place of each other, however far apart they lie. */
  readonly #views: (Bytes | undefined)[] = new Array(2 * VIEW_CACHE).fill(undefined);
  /** Where in the arena each of them lies. */
  readonly #offsets = new Array<number>(2 * VIEW_CACHE).fill(0);
  /** By slot and length. */
  readonly #inlineInputs: (Bytes | undefined)[];
  readonly #inlineOutputs: (Bytes | undefined)[];

  constructor(
    endpoint: WorkerEndpoint,
    functions: readonly RawFunction[],
    names: readonly string[],
    scope: WorkerScope,
    region: Region,
    errors: Uint8Array,
    slots: number,
  ) {
    this.#endpoint = endpoint;
    this.#functions = functions;
    this.#names = names;
    this.#scope = scope;
    this.#contexts = Array.from({ length: slots }, (_, i) => new CallContext(scope, endpoint, i));
    this.#region = region;
    this.#errors = errors;
    this.#inlineInputs = new Array(slots * INLINE_LENGTHS).fill(undefined);
    this.#inlineOutputs = new Array(slots * INLINE_LENGTHS).fill(undefined);
  }

  /** Runs calls until none comes within the endpoint's bounded wait. Returns `IDLE` or `STOPPED`. */
  run(): number {
    const { turn, requests, slotWords } = this.#endpoint;
    const functions = this.#functions;
    const contexts = this.#contexts;
    const scope = this.#scope;
    // -1 where there is nothing to answer.
    let slot = -1;
    let length = 0;
    let calls = 0;
    for (;;) {
      slot = turn(slot, length, this.pending);
      if (slot < 0) {
        this.idle = calls === 0;
        return slot;
      }
      calls++;
      const base = slot * slotWords;
      const flags = requests[base + FUNCTION_WORD]!;
      const inputLength = requests[base + INPUT_LENGTH_WORD]!;
      const capacity = requests[base + OUTPUT_CAPACITY_WORD]!;
      const input =
        flags & INPUT_INLINE
          ? this.#inlineInput(slot, inputLength)
          : this.#view(0, requests[base + INPUT_OFFSET_WORD]!, inputLength);
      const output =
        flags & OUTPUT_INLINE
          ? this.#inlineOutput(slot, capacity)
          : this.#view(VIEW_CACHE, requests[base + OUTPUT_OFFSET_WORD]!, capacity);
      let result: number | Promise<number>;
      try {
        result = functions[flags & FUNCTION_MASK]!(input, output, contexts[slot]!);
      } catch (error) {
        this.#fail(slot, error);
        slot = -1;
        continue;
      }
      // One comparison accepts what nearly every call returns: an integer from 0 to the capacity.
      if (typeof result === "number" && result >>> 0 === result && result <= capacity) {
        length = result;
        scope.cold = false;
      } else {
        this.#finishOddly(slot, flags & FUNCTION_MASK, input, output, result);
        slot = -1;
      }
    }
  }

  // User code gets a view with a buffer of its own, through which it can reach the payload alone. A view that user code has detached
  // has no length, and is made anew.

  #view(from: number, offset: number, length: number): Bytes {
    const at = from + placeOf(offset, length);
    const known = this.#views[at];
    if (known !== undefined && this.#offsets[at] === offset && known.length === length)
      return known;
    this.#offsets[at] = offset;
    return (this.#views[at] = this.#region.payload(offset, length));
  }

  #inlineInput(slot: number, length: number): Bytes {
    const at = slot * INLINE_LENGTHS + length;
    const known = this.#inlineInputs[at];
    if (known !== undefined && known.length === length) return known;
    return (this.#inlineInputs[at] = this.#endpoint.inlineInput(slot, length));
  }

  #inlineOutput(slot: number, length: number): Bytes {
    const at = slot * INLINE_LENGTHS + length;
    const known = this.#inlineOutputs[at];
    if (known !== undefined && known.length === length) return known;
    return (this.#inlineOutputs[at] = this.#endpoint.inlineOutput(slot, length));
  }

  // ---- not hot: promises, wrong results, errors ----

  #finishOddly(slot: number, fn: number, input: Bytes, output: Bytes, result: unknown): void {
    const base = slot * this.#endpoint.slotWords;
    const words = this.#endpoint.requests;
    const capacity = words[base + OUTPUT_CAPACITY_WORD]!;
    if (typeof result !== "object" || result === null)
      return this.#fail(slot, wrongResult(this.#names[fn]!, capacity, result));
    // These views end with this call: a later call on the same memory gets views of its own.
    this.#forget(0, words[base + INPUT_OFFSET_WORD]!, input);
    this.#forget(VIEW_CACHE, words[base + OUTPUT_OFFSET_WORD]!, output);
    this.pending++;
    const sequence = this.#endpoint.sequence(slot);
    this.#deferred.set(slot, sequence);
    this.#endpoint.defer(slot);
    const early = this.#early.size === 0 ? undefined : this.#early.get(slot);
    if (early !== undefined) {
      this.#early.delete(slot);
      if (early.sequence === sequence) this.abort(slot, sequence, early.reason);
    }
    // Any thenable, however odd, becomes a promise that settles once.
    Promise.resolve(result).then(
      (length) => {
        this.#settle(slot, input, output);
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
        this.#settle(slot, input, output);
        this.#fail(slot, error);
      },
    );
  }

  /** The caller has aborted an asynchronous call: the function is told. Slot and memory are the call's until it settles. */
  abort(slot: number, sequence: number, reason: Error): void {
    if (this.#deferred.get(slot) === sequence) this.#contexts[slot]!.abort(reason);
    else this.#early.set(slot, { sequence, reason });
  }

  /** No call is in flight, and the next one is of another lease, whose sequences begin anew. */
  renew(): void {
    this.#early.clear();
    for (const context of this.#contexts) context.renew();
  }

  /** A timer that an asynchronous function has left behind must not write to memory that later calls get. */
  #settle(slot: number, input: Bytes, output: Bytes): void {
    detach(input);
    detach(output);
    this.#deferred.delete(slot);
    this.#contexts[slot]!.ended();
    if (--this.pending === 0) this.onAllSettled();
  }

  /** A view of the arena is no longer kept. */
  #forget(from: number, offset: number, view: Bytes): void {
    const at = from + placeOf(offset, view.length);
    if (this.#views[at] === view) this.#views[at] = undefined;
  }

  #fail(slot: number, error: unknown): void {
    const length = writeErrorRecord(this.#errors, slot, toErrorRecord(error));
    const sequence = this.#endpoint.sequence(slot);
    if (this.#endpoint.answer(slot, STATUS.functionError, length) === STATUS.deadline)
      this.onLate(slot, sequence);
  }
}

/** Unless it is of nothing, or user code has done so. */
function detach(view: Bytes): void {
  if (view.length > 0) view.buffer.transfer(0);
}
