/** Calls on values: checked, encoded into the lease's memory, decoded out of it. */
import type { TSchema } from "@sinclair/typebox";
import { InvalidValue, UsageError } from "../errors.ts";
import { type Check, askStandard, compileTypeBox, isThenable } from "../function/checker.ts";
import { Decoder } from "../function/decoder.ts";
import { Encoder } from "../function/encoder.ts";
import { Refusal } from "../function/refusal.ts";
import { isStandard } from "../function/schema-kind.ts";
import type { StandardSchema } from "../function/schema-types.ts";
import type { Call } from "./call.ts";
import { type CallBuffers, CallBufferPool } from "./call-buffers.ts";
import {
  type InvokeOptions,
  type SubmitOptions,
  checkInvokeOptions,
  checkSubmitOptions,
} from "./options/call-options.ts";
import { ResultWaits } from "./remote-error.ts";
import type { FunctionHost } from "./typed-function.ts";
import { type ManyCalls, broadcastOf, mapOf } from "./value-map.ts";
import { withinCall } from "./within-call.ts";

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
   * @throws {OutOfLeaseMemory} the lease has no room for the value or the result
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
const TICKET_BYTES = 4;

interface Fetch {
  call: Call;
  decode(written: number): unknown;
  /** Gives its buffers back. */
  end(): void;
}

/** Calls of a program do not overlap while they encode or decode. */
const encoder = new Encoder();
const decoder = new Decoder();

export function openTyped(
  name: string,
  schema: TSchema | StandardSchema | undefined,
  host: FunctionHost,
): TypedFunction<unknown, unknown> {
  const calls = new ValueCalls(name, schema, host);
  const call = (value: unknown, options?: SubmitOptions) => calls.call(value, options);
  return Object.assign(call, {
    invoke: (value: unknown, options?: InvokeOptions) => calls.invoke(value, options),
    map: mapOf(call, host),
    broadcast: broadcastOf(call, host),
    [Symbol.dispose]: () => calls.close(),
  });
}

class ValueCalls {
  readonly #name: string;
  /** A TypeBox schema looks at the value itself. */
  readonly #conforms: Check | undefined;
  /** A Standard Schema may change what it is given: it gets what the function would get. */
  readonly #standard: StandardSchema | undefined;
  readonly #host: FunctionHost;
  readonly #pool: CallBufferPool;

  constructor(name: string, schema: TSchema | StandardSchema | undefined, host: FunctionHost) {
    this.#name = name;
    this.#standard = isStandard(schema) ? schema : undefined;
    this.#conforms = schema && !isStandard(schema) ? compileTypeBox(schema) : undefined;
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
    this.#checkValue(value);
    const buffers = this.#pool.take();
    let call: Call | undefined;
    try {
      this.#encode(value, buffers);
      const asked = this.#askStandard(buffers);
      const left = asked === undefined ? options : await withinCall(asked, options);
      call = this.#host.submit(buffers.sent, buffers.output, left);
      return decoder.decode(buffers.output, await call, true);
    } catch (error) {
      if (!(error instanceof ResultWaits)) throw error;
      const fetch = this.#fetch(call!, error);
      try {
        return fetch.decode(await fetch.call);
      } finally {
        fetch.end();
      }
    } finally {
      this.#pool.giveBack(buffers, call);
    }
  }

  invoke(value: unknown, options?: InvokeOptions): unknown {
    if (options !== undefined) checkInvokeOptions(options);
    this.#checkValue(value);
    const buffers = this.#pool.take();
    let call: Call | undefined;
    let worker = options?.worker ?? 0;
    try {
      this.#encode(value, buffers);
      if (this.#askStandard(buffers) !== undefined)
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
      return decoder.decode(buffers.output, written, true);
    } catch (error) {
      if (!(error instanceof ResultWaits)) throw error;
      const fetch = this.#fetch(call ?? { worker, deadlineMs: 0, remainingMs: () => 0 }, error);
      try {
        return fetch.decode(fetch.call.get());
      } finally {
        fetch.end();
      }
    } finally {
      this.#pool.giveBack(buffers, call);
    }
  }

  close(): void {
    this.#pool.close();
  }

  /** Starts to fetch a result that did not fit, from the worker that keeps it, in what is left of the call's time. */
  #fetch(
    began: Pick<Call, "worker" | "deadlineMs" | "remainingMs">,
    { ticket, bytes }: ResultWaits,
  ): Fetch {
    if (bytes <= MAX_EXPECTED_BYTES) this.#pool.expectOutput(2 ** Math.ceil(Math.log2(bytes)));
    const buffers = this.#pool.allocate(TICKET_BYTES, bytes);
    new DataView(buffers.input.buffer, buffers.input.byteOffset).setUint32(0, ticket, true);
    const { worker } = began;
    const limit = began.deadlineMs === 0 ? {} : { deadlineMs: Math.max(1, began.remainingMs()) };
    let call: Call | undefined;
    try {
      call = this.#host.fetch(buffers.input, buffers.output, { worker, ...limit });
    } finally {
      if (!call) this.#pool.discard(buffers);
    }
    return {
      call,
      decode: (written) => decoder.decode(buffers.output, written, true),
      end: () => this.#pool.discard(buffers, call),
    };
  }

  #checkValue(value: unknown): void {
    try {
      this.#conforms?.(value);
    } catch (error) {
      this.#refuse(error);
    }
  }

  /**
   * What the schema makes of the value is for the worker to find again: a conversion must not happen twice. Returns a promise when
   * the answer is still to come.
   */
  #askStandard({ sent }: CallBuffers): Promise<unknown> | undefined {
    if (this.#standard === undefined) return undefined;
    try {
      const asked = askStandard(this.#standard, decoder.decode(sent, sent.length, true));
      if (!isThenable(asked)) return undefined;
      const answer = Promise.resolve(asked).catch((error) => this.#refuse(error));
      // Whoever has given up does not hear of it.
      answer.catch(() => {});
      return answer;
    } catch (error) {
      return this.#refuse(error);
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

  #encode(value: unknown, buffers: CallBuffers): void {
    let length: number;
    try {
      length = encoder.encode(value, buffers.input);
    } catch (error) {
      return this.#refuse(error);
    }
    const { bytes } = encoder;
    if (bytes !== buffers.input) {
      this.#pool.growInput(buffers, length);
      buffers.input.set(bytes.subarray(0, length));
    }
    if (buffers.sent.length !== length) buffers.sent = buffers.input.subarray(0, length);
  }
}
