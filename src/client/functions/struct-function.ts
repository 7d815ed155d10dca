/** Calls on structs: views of the lease's memory, that the function reads and writes in place. */
import { InvalidValue } from "../../base/errors.ts";
import { Refusal } from "../../codec/refusal.ts";
import type {
  Struct,
  StructCopy,
  StructFields,
  StructValue,
  StructView,
} from "../../codec/struct.ts";
import type { Call } from "../calls/call.ts";
import { type CallBuffers, CallBufferPool } from "./call-buffers.ts";
import {
  type InvokeOptions,
  type SubmitOptions,
  checkInvokeOptions,
  checkSubmitOptions,
} from "../options/call-options.ts";
import type { InPlace } from "../../kinds/kind.ts";
import type { FunctionHost } from "./host.ts";
import type { Members } from "./members.ts";
import { type ManyCalls, broadcastOf, mapOf } from "../map/values.ts";

/** A place in the lease's memory for one call at a time. */
export interface StructSlot<
  Input extends StructFields,
  Output extends StructFields,
> extends Disposable {
  /** Write the arguments here, before a call. */
  readonly input: StructView<Input>;
  /** The results are here, after a call. */
  readonly output: StructView<Output>;
  /** Calls the function on `input` and waits on the spot. Returns `output`. Nothing is encoded, nothing allocated. */
  invoke(options?: InvokeOptions): StructView<Output>;
  /** Calls the function on `input`. Resolves to `output`; until then both belong to the call. */
  submit(options?: SubmitOptions): Promise<StructView<Output>>;
  /** Frees its memory. */
  [Symbol.dispose](): void;
}

/**
 * A function on structs, from {@link Lease.function}.
 *
 * @example
 * ```ts
 * price.input.spot = 42;
 * price.invoke();
 * total += price.output.value;
 * ```
 */
export interface StructFunction<Input extends StructFields, Output extends StructFields>
  extends StructSlot<Input, Output>, ManyCalls<StructValue<Input>, StructCopy<Output>> {
  /**
   * Calls the function on a copy of plain values, and resolves to a copy of the result. Calls may overlap.
   *
   * @throws {InvalidValue} a field is missing, unknown, or not of its type
   */
  (value: StructValue<Input>, options?: SubmitOptions): Promise<StructCopy<Output>>;
  /** Memory of its own for a call in flight beside others. */
  slot(): StructSlot<Input, Output>;
}

type AnyStructFunction = StructFunction<StructFields, StructFields>;

export function openInPlace(
  name: string,
  { input, output }: InPlace,
  host: FunctionHost,
): AnyStructFunction {
  const calls = new StructCalls(name, input, output, host);
  const own = calls.slot();
  const call = (value: unknown, options?: SubmitOptions) => calls.call(value, options);
  return Object.assign(call, {
    input: own.input,
    output: own.output,
    invoke: own.invoke,
    submit: own.submit,
    slot: () => calls.slot(),
    map: mapOf(call, host) as AnyStructFunction["map"],
    broadcast: broadcastOf(call, host) as AnyStructFunction["broadcast"],
    [Symbol.dispose]: () => {
      own[Symbol.dispose]();
      calls.close();
    },
  });
}

/** One handle for those of several parts: its own views lie in the first part's memory. */
export function joinInPlace(members: Members<AnyStructFunction>): AnyStructFunction {
  const { call, map, broadcast, dispose } = members;
  const { input, output, invoke, submit } = members.first;
  const slot = () => members.next().slot();
  return Object.assign(call, {
    ...{ input, output, invoke, submit, slot, map, broadcast },
    [Symbol.dispose]: dispose,
  }) as AnyStructFunction;
}

class StructCalls {
  readonly #name: string;
  readonly #input: Struct;
  readonly #output: Struct;
  readonly #host: FunctionHost;
  readonly #pool: CallBufferPool;
  readonly #views = new WeakMap<CallBuffers, { input: View; output: View }>();

  constructor(name: string, input: Struct, output: Struct, host: FunctionHost) {
    this.#name = name;
    this.#input = input;
    this.#output = output;
    this.#host = host;
    this.#pool = new CallBufferPool(
      host.memory,
      (call) => host.holds(call),
      input.byteLength,
      output.byteLength,
    );
  }

  slot(): StructSlot<StructFields, StructFields> {
    const buffers = this.#pool.take();
    const views = this.#viewsOf(buffers);
    const host = this.#host;
    /** The last that may have been abandoned. */
    let call: Call | undefined;
    let freed = false;
    return {
      ...views,
      invoke: (options) => {
        if (options !== undefined) checkInvokeOptions(options);
        if (options?.deadlineMs === undefined) host.invoke(buffers.input, buffers.output, options);
        else (call = host.submit(buffers.input, buffers.output, options)).get();
        return views.output;
      },
      submit: async (options) => {
        await (call = host.submit(buffers.input, buffers.output, options));
        return views.output;
      },
      [Symbol.dispose]: () => {
        if (!freed) this.#pool.giveBack(buffers, call);
        freed = true;
      },
    };
  }

  async call(value: unknown, options?: SubmitOptions): Promise<StructCopy<StructFields>> {
    if (options !== undefined) checkSubmitOptions(options);
    const taken = this.#pool.tryTake();
    const { buffers, left } =
      taken === undefined ? await this.#inTurn(value, options) : { buffers: taken, left: options };
    const views = this.#viewsOf(buffers);
    let call;
    try {
      if (taken !== undefined) this.#write(views.input, value);
      call = this.#host.submit(buffers.input, buffers.output, left);
      await call;
      return this.#output.read(views.output);
    } finally {
      this.#pool.giveBack(buffers, call);
    }
  }

  close(): void {
    this.#pool.close();
  }

  /** Waits for room, with a copy of the value: its owner may change it meanwhile. */
  async #inTurn(value: unknown, options: SubmitOptions | undefined) {
    const copy = new Uint8Array(this.#input.byteLength);
    this.#write(this.#input.view(copy.buffer, 0), value);
    const room = await this.#pool.takeInTurn(0, options);
    // A lease that is released meanwhile has taken its memory back; the call then fails with the lease's error.
    if (!room.buffers.input.buffer.detached) room.buffers.input.set(copy);
    return room;
  }

  #write(view: View, value: unknown): void {
    try {
      this.#input.write(view, value);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw new InvalidValue(this.#name, "input", error.path, error.message);
    }
  }

  #viewsOf(buffers: CallBuffers): { input: View; output: View } {
    let views = this.#views.get(buffers);
    if (!views) {
      const { input, output } = buffers;
      views = {
        input: this.#input.view(input.buffer, input.byteOffset),
        output: this.#output.view(output.buffer, output.byteOffset),
      };
      this.#views.set(buffers, views);
    }
    return views;
  }
}

type View = StructView<StructFields>;
