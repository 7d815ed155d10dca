/** Calls on buffers of a lease, with a fast path for a call that uses the same buffers as the one before. */
import { STATUS } from "../../../ffi/layout.ts";
import { fatesOf } from "../failures/fate.ts";
import type { LeaseBuffer, LeaseMemory, MemoryUse } from "../memory/lease-memory.ts";
import type { InvokeOptions, SubmitOptions } from "../options/call-options.ts";
import type { Call } from "./call.ts";
import { NO_OPTIONS, deadlineOf } from "./deadline.ts";
import type { Reactor } from "./reactor.ts";
import { type LeaseCore, Submission } from "./submission.ts";
import type { WorkerLane } from "./worker-lane.ts";

/** A private buffer that equals no buffer of a call: the cache is empty. */
const NO_BUFFER: LeaseBuffer = new Uint8Array(0);

export class DirectCalls {
  readonly core: LeaseCore;
  protected readonly submission: Submission;
  readonly #memory: LeaseMemory;
  readonly #reactor: Reactor;
  readonly #lane: WorkerLane;
  /** The function that calls the only worker without further looks; undefined for none. */
  #directName: string | undefined;
  #directWord = 0;
  #lastName: string | undefined;
  #lastIndex = -1;
  #lastInput = NO_BUFFER;
  #lastOutput = NO_BUFFER;
  /** Where those two lie. */
  #places: MemoryUse | undefined;
  #inputOffset = 0;
  #inputLength = 0;
  #flags = 0;
  #outputOffset = 0;
  #outputCapacity = 0;

  constructor(core: LeaseCore) {
    this.core = core;
    this.submission = new Submission(core);
    this.#memory = core.memory;
    this.#reactor = core.reactor;
    this.#lane = core.lanes[0]!;
  }

  invoke(name: string, input: LeaseBuffer, output: LeaseBuffer, options?: InvokeOptions): number {
    const lane = this.#lane;
    // Most calls use the function and the buffers of the call before; asking a view where it lies costs as much as all the rest here.
    // Those that were transferred since have become empty. What is rarer is in another method: only one as short as this becomes a
    // part of the loop that calls it.
    if (
      name !== this.#directName ||
      input !== this.#lastInput ||
      output !== this.#lastOutput ||
      input.byteLength !== this.#inputLength ||
      output.byteLength !== this.#outputCapacity ||
      options !== undefined ||
      !lane.idle
    )
      return this.#invoke(name, input, output, options);
    const result = lane.endpoint.call(
      this.#directWord,
      this.#inputOffset,
      this.#inputLength,
      this.#outputOffset,
      this.#outputCapacity,
      0,
    );
    this.#reactor.rouse();
    return result >= 0 ? result : this.#directFailed(result, name, input, output);
  }

  #invoke(
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: InvokeOptions | undefined,
  ): number {
    const fn = name === this.#lastName ? this.#lastIndex : this.#indexOf(name, options);
    if (
      (input !== this.#lastInput ||
        output !== this.#lastOutput ||
        input.byteLength !== this.#inputLength ||
        output.byteLength !== this.#outputCapacity) &&
      !this.#enter(input, output)
    )
      return this.submit(name, input, output, options).get();
    const isDirect = name === this.#lastName && this.core.lanes.length === 1;
    this.#directName = isDirect ? name : undefined;
    this.#directWord = fn | this.#flags;
    const deadlineMs = options === undefined ? 0 : deadlineOf(options);
    const lane = this.submission.pick(options?.worker);
    if (!lane.idle) return this.submit(name, input, output, options).get();
    const result = lane.endpoint.call(
      this.#directWord,
      this.#inputOffset,
      this.#inputLength,
      this.#outputOffset,
      this.#outputCapacity,
      deadlineMs,
    );
    this.#reactor.rouse();
    if (result >= 0) return result;
    return this.#failed(lane, result, deadlineMs, () => this.submit(name, input, output, options));
  }

  submit(
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions = NO_OPTIONS,
  ): Call {
    return this.submission.submit(name, input, output, options);
  }

  trySubmit(
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions = NO_OPTIONS,
  ): Call | null {
    return this.submission.trySubmit(name, input, output, options);
  }

  /** Turns the fast path off: from then on every call is checked against the lease's end. */
  protected forgetName(): void {
    this.#lastName = this.#directName = undefined;
  }

  /** Clears the cache: the buffers of the last call may have moved. */
  protected forgetPlaces(): void {
    this.#lastInput = this.#lastOutput = NO_BUFFER;
    this.#places = undefined;
  }

  /** Remembers where buffers lie. Returns whether they lie in the lease's memory, where nothing need be done for a call. */
  #enter(input: LeaseBuffer, output: LeaseBuffer): boolean {
    const places = {
      input: this.#memory.placeOf(input, "the input"),
      output: this.#memory.outputPlaceOf(output),
    };
    if (!this.#memory.has(input) || !this.#memory.has(output)) return false;
    this.#inputOffset = places.input.offsetOf(input);
    this.#inputLength = input.byteLength;
    this.#outputOffset = places.output.offsetOf(output);
    this.#outputCapacity = output.byteLength;
    this.#flags = this.#memory.flagsOf(places, this.#inputOffset);
    this.#places = places;
    // The length of a `DataView` whose memory was transferred throws, so it is read on each call.
    const lasting = !(input instanceof DataView) && !(output instanceof DataView);
    this.#lastInput = lasting ? input : NO_BUFFER;
    this.#lastOutput = lasting ? output : NO_BUFFER;
    return true;
  }

  /** Remembers a name, unless every call must be checked. */
  #indexOf(name: string, options: InvokeOptions | undefined): number {
    const index = this.core.functions.indexOf(name);
    const refused = this.core.term.refusal(options?.durationMs ?? options?.deadlineMs ?? 0);
    if (refused) throw refused;
    if (this.core.term.endsSoon) return index;
    this.#lastName = name;
    this.#lastIndex = index;
    return index;
  }

  #directFailed(result: number, name: string, input: LeaseBuffer, output: LeaseBuffer): number {
    return this.#failed(this.#lane, result, 0, () => this.submit(name, input, output));
  }

  #failed(lane: WorkerLane, result: number, deadlineMs: number, retry: () => Call): number {
    // Slots still held by abandoned calls: wait for one as any other call does.
    if (result === STATUS.ringFull) return retry().get();
    const slot = lane.endpoint.lastSlot();
    if (result === STATUS.deadline) this.#abandon(lane, slot);
    const error = lane.errorFor(result, slot, deadlineMs);
    // Of a worker that goes on, the call had begun.
    throw result === STATUS.workerLost && lane.lost ? fatesOf(error, lane.endpoint)(slot) : error;
  }

  #abandon(lane: WorkerLane, slot: number): void {
    lane.abortSlot(slot, false);
    const abandoned = { slot, sequence: lane.endpoint.sequence(slot) };
    this.#memory.leave(this.#places!, () => lane.holds({ abandoned }));
  }
}
