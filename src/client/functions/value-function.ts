/** Calls on values: checked, encoded into the lease's memory, decoded out of it. */
import {
  InvalidValue,
  LeaseLost,
  OutOfLeaseMemory,
  ProtocolError,
  UsageError,
} from "../../base/errors.ts";
import { leaseReleased } from "../failures/fate.ts";
import type { ByValue } from "../../kinds/kind.ts";
import { isThenable } from "../../schema/checker.ts";
import { Refusal, TooLarge, messageOf } from "../../codec/refusal.ts";
import type { Call } from "../calls/call.ts";
import { type CallBuffers, CallBufferPool } from "./call-buffers.ts";
import {
  type InvokeOptions,
  type SubmitOptions,
  checkInvokeOptions,
  checkSubmitOptions,
} from "../options/call-options.ts";
import { type Began, KeptResult, outcomeOf, whenEnded } from "./kept-result.ts";
import { ResultWaits } from "../failures/remote-error.ts";
import type { FunctionHost } from "./host.ts";
import type { Members } from "./members.ts";
import { type ManyCalls, broadcastOf, mapOf } from "../map/values.ts";
import { withinCall } from "../calls/within-call.ts";

/**
 * A function on values, from {@link Lease.function}.
 *
 * @example
 * ```ts
 * const value = await price({ spot: 42, strike: 40 }, { deadlineMs: 100 });
 * ```
 */
export interface TypedFunction<Input, Output> extends Disposable, ManyCalls<Input, Output> {
  /**
   * Calls the function.
   *
   * @throws {InvalidValue} the value is not what the schema asks for, or cannot travel: `path` says which part
   * @throws {FunctionError} what the function threw
   * @throws {OutOfLeaseMemory} the lease has no room for the value
   */
  (value: Input, options?: SubmitOptions): Promise<Output>;
  /** Calls the function and waits on the spot: the shortest way on a hot lease. */
  invoke(value: Input, options?: InvokeOptions): Output;
  /** Frees its buffers. */
  [Symbol.dispose](): void;
}

/** Room for the values of a new handle; it learns from those that need more. */
const FIRST_BYTES = 1024;
/** Longer results get room when they come. */
const MAX_EXPECTED_BYTES = 256 * 1024;

type Bytes = Uint8Array<ArrayBuffer>;
const NO_ROOM: Bytes = new Uint8Array(0);

export function openByValue(
  name: string,
  passing: ByValue,
  host: FunctionHost,
): TypedFunction<unknown, unknown> {
  const calls = new ValueCalls(name, passing, host);
  const call = (value: unknown, options?: SubmitOptions) => calls.call(value, options);
  return Object.assign(call, {
    invoke: (value: unknown, options?: InvokeOptions) => calls.invoke(value, options),
    map: mapOf(call, host),
    broadcast: broadcastOf(call, host),
    [Symbol.dispose]: () => calls.close(),
  });
}

/** One handle for those of several parts. */
export function joinByValue(
  members: Members<TypedFunction<unknown, unknown>>,
): TypedFunction<unknown, unknown> {
  const { call, map, broadcast, dispose } = members;
  const invoke = (value: unknown, options?: InvokeOptions): unknown =>
    members.invoke((handle) => handle.invoke(value, options), options?.worker);
  return Object.assign(call, { invoke, map, broadcast, [Symbol.dispose]: dispose });
}

/** Calls of a program do not overlap while they encode or decode: handles share what does so. */
class ValueCalls {
  readonly #name: string;
  readonly #check: ByValue["check"];
  readonly #ask: ByValue["ask"];
  readonly #encoder: ByValue["encoder"];
  readonly #decoder: ByValue["decoder"];
  readonly #host: FunctionHost;
  readonly #pool: CallBufferPool;

  constructor(name: string, passing: ByValue, host: FunctionHost) {
    this.#name = name;
    this.#check = passing.check;
    this.#ask = passing.ask;
    this.#encoder = passing.encoder;
    this.#decoder = passing.decoder;
    this.#host = host;
    this.#pool = new CallBufferPool(
      host.memory,
      (call) => host.holds(call),
      FIRST_BYTES,
      FIRST_BYTES,
    );
  }

  async call(value: unknown, options?: SubmitOptions): Promise<unknown> {
    if (options !== undefined) checkSubmitOptions(options);
    const { signal } = options ?? {};
    this.#checkValue(value);
    const loaded = this.#load(value);
    const { buffers, left: before } =
      loaded instanceof Uint8Array
        ? await this.#pool.takeInTurn(loaded.length, options)
        : { buffers: loaded, left: options };
    let left = before;
    let call: Call | undefined;
    let kept: KeptResult | undefined;
    try {
      if (loaded instanceof Uint8Array) this.#send(loaded, loaded.length, buffers);
      const asked = this.#askValue(buffers);
      if (asked !== undefined) left = await this.#answered(asked, left);
      const made = (call = this.#host.submit(buffers.sent, buffers.output, left));
      whenEnded(made, () => {
        const outcome = outcomeOf(made);
        if ("error" in outcome && outcome.error instanceof ResultWaits)
          kept = this.#fetch(outcome.error, made, buffers, signal);
      });
      return this.#decode(buffers.output, await made);
    } catch (error) {
      if (kept === undefined) throw error;
      const whole = await kept.take();
      return this.#decode(whole, whole.length);
    } finally {
      kept?.close();
      this.#pool.giveBack(buffers, kept?.call ?? call);
    }
  }

  invoke(value: unknown, options?: InvokeOptions): unknown {
    if (options !== undefined) checkInvokeOptions(options);
    this.#checkValue(value);
    const buffers = this.#pool.take();
    let call: Call | undefined;
    let kept: KeptResult | undefined;
    let worker = options?.worker ?? this.#host.firstWorker;
    try {
      this.#encode(value, buffers);
      if (this.#askValue(buffers) !== undefined)
        throw new UsageError(
          `the schema of "${this.#name}" checks asynchronously; call it with await instead of invoke`,
        );
      let written: number;
      if (options?.deadlineMs !== undefined) {
        // The call's object tells when its buffers are free again.
        call = this.#host.submit(buffers.sent, buffers.output, options);
        ({ worker } = call);
        written = call.get();
      } else if (options === undefined && this.#host.workers === 1)
        written = this.#host.invoke(buffers.sent, buffers.output);
      else {
        worker = options?.worker ?? this.#host.nextWorker();
        written = this.#host.invoke(buffers.sent, buffers.output, { worker });
      }
      return this.#decode(buffers.output, written);
    } catch (error) {
      if (!(error instanceof ResultWaits)) throw error;
      const began = call ?? { worker, remainingMs: () => Infinity };
      kept = this.#fetch(error, began, buffers, undefined);
      if (kept === undefined) throw error;
      const whole = kept.takeNow();
      return this.#decode(whole, whole.length);
    } finally {
      kept?.close();
      this.#pool.giveBack(buffers, kept?.call ?? call);
    }
  }

  close(): void {
    this.#pool.close();
  }

  /** Starts to fetch a result that did not fit, in what is left of the call's time. Undefined when the lease is over. */
  #fetch(
    waits: ResultWaits,
    call: Pick<Call, "worker" | "remainingMs">,
    { input, output }: CallBuffers,
    signal: AbortSignal | undefined,
  ): KeptResult | undefined {
    const { bytes } = waits;
    if (bytes <= MAX_EXPECTED_BYTES) this.#pool.expectOutput(2 ** Math.ceil(Math.log2(bytes)));
    const leftMs = () => call.remainingMs();
    const began: Began = { worker: call.worker, leftMs, signal, input, output };
    try {
      return new KeptResult(this.#host, began, waits);
    } catch (error) {
      if (error instanceof LeaseLost) return undefined;
      throw error;
    }
  }

  #checkValue(value: unknown): void {
    try {
      this.#check?.(value);
    } catch (error) {
      // A value that a schema cannot read most likely cannot travel either; the encoder names the part that cannot.
      if (error instanceof Refusal && error.cause !== undefined)
        this.#write(value, new Uint8Array(64));
      this.#refuse(error);
    }
  }

  /**
   * Checks only, and drops the converted value: the worker converts, and a conversion must not happen twice. Returns a promise when
   * the answer is still to come.
   */
  #askValue({ sent }: CallBuffers): Promise<unknown> | undefined {
    if (this.#ask === undefined) return undefined;
    try {
      const asked = this.#ask(sent);
      if (!isThenable(asked)) return undefined;
      const answer = Promise.resolve(asked).catch((error) => this.#refuse(error));
      // An abandoned call ignores it.
      answer.catch(() => {});
      return answer;
    } catch (error) {
      return this.#refuse(error);
    }
  }

  /** Waits for a schema for as long as the call may take. If the lease ends meanwhile, the call that follows reports it. */
  async #answered(
    asked: Promise<unknown>,
    options: SubmitOptions | undefined,
  ): Promise<SubmitOptions | undefined> {
    const over = Promise.withResolvers<void>();
    const end = this.#host.onOver(over.resolve);
    try {
      return await withinCall(Promise.race([asked, over.promise]), options);
    } finally {
      end();
    }
  }

  #refuse(error: unknown): never {
    if (!(error instanceof Refusal)) throw error;
    const { path, message, cause } = error;
    throw new InvalidValue(
      this.#name,
      "input",
      path,
      message,
      cause === undefined ? {} : { cause },
    );
  }

  /** Takes buffers and writes the value there; where it must wait for room, returns it as bytes of its own. */
  #load(value: unknown): CallBuffers | Bytes {
    const buffers = this.#pool.tryTake();
    let isLoaded = false;
    try {
      const length = this.#write(value, buffers?.input ?? NO_ROOM);
      // The value is read now, even if its call has to wait: its owner may change it meanwhile.
      if (buffers === undefined || !this.#pool.tryGrowInput(buffers, length))
        return this.#encoder.bytes.slice(0, length);
      this.#send(this.#encoder.bytes, length, buffers);
      isLoaded = true;
      return buffers;
    } finally {
      if (buffers !== undefined && !isLoaded) this.#pool.giveBack(buffers);
    }
  }

  #encode(value: unknown, buffers: CallBuffers): void {
    const length = this.#write(value, buffers.input);
    if (buffers.input.length < length) this.#pool.growInput(buffers, length);
    this.#send(this.#encoder.bytes, length, buffers);
  }

  #send(bytes: Bytes, length: number, buffers: CallBuffers): void {
    if (buffers.input.buffer.detached) throw leaseReleased();
    if (bytes !== buffers.input) buffers.input.set(bytes.subarray(0, length));
    if (buffers.sent.length !== length) buffers.sent = buffers.input.subarray(0, length);
  }

  /** Returns how many bytes of the encoder's it takes. */
  #write(value: unknown, into: Uint8Array<ArrayBuffer>): number {
    const { memory } = this.#host;
    try {
      return this.#encoder.encode(value, into, memory.totalBytes);
    } catch (error) {
      if (error instanceof TooLarge)
        throw new OutOfLeaseMemory(error.bytes, memory.freeBytes, error.path);
      return this.#refuse(error);
    }
  }

  /** What comes from the worker may be anything. */
  #decode(output: Bytes, written: number): unknown {
    try {
      return this.#decoder.decode(output, written, true);
    } catch (cause) {
      throw new ProtocolError(
        `the result of "${this.#name}" cannot be read: ${messageOf(cause)}; use the same version on both sides`,
        { cause },
      );
    }
  }
}
