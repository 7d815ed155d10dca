/**
 * Native functions: a library opened in this process, and its functions as JavaScript calls them.
 *
 * A function has the contract `uint32_t f(void *input, uint32_t bytes, void *output)` and is not told how much its output holds.
 * The views of a call lie in the lease's memory or in the worker's own, which do not move; both pointers are valid, also for empty
 * views.
 */
import { type Pointer, linkSymbols } from "bun:ffi";
import { native } from "./library.ts";

type Bytes = Uint8Array<ArrayBuffer>;
export type NativeFunction = (input: Bytes, output: Bytes) => number;

const CONTRACT = { args: ["ptr", "u32", "ptr"], returns: "u32" } as const;
const MAX_REASON_BYTES = 4096;

/** The loader refused a library; the message is its own. */
export class NativeModuleError extends Error {
  override readonly name = "NativeModuleError";
}

/** A library that stays open for the life of the process. */
export class NativeModule {
  readonly #handle: Pointer;

  private constructor(handle: Pointer) {
    this.#handle = handle;
  }

  /**
   * Runs the library's initialisers. Throws {@link NativeModuleError}. With `lazy`, functions that it lacks may come with a library
   * that is opened later.
   */
  static open(path: string, { lazy = false } = {}): NativeModule {
    const reason = new Uint8Array(new ArrayBuffer(MAX_REASON_BYTES));
    const handle = native().rfaas_module_open(cString(path), reason, reason.length, Number(lazy));
    if (handle !== 0) return new NativeModule(handle as Pointer);
    throw new NativeModuleError(new TextDecoder().decode(reason.subarray(0, reason.indexOf(0))));
  }

  /** Libraries that are opened from now on find this one when they need a library of this name. */
  answerTo(name: string): void {
    if (native().rfaas_module_name(this.#handle, cString(name)) !== 0)
      throw new NativeModuleError(`${name} cannot be named for the loader`);
  }

  /** A function of this name, which must have the contract. It is looked up by its first call: a library may have thousands. */
  function(name: string): NativeFunction {
    let call = (input: Bytes, bytes: number, output: Bytes): number => {
      call = this.#link(name);
      return call(input, bytes, output);
    };
    return (input, output) => {
      const written = call(input, input.length, output);
      if (written > output.length) throw overflow(name, written, output.length);
      return written;
    };
  }

  #link(name: string): (input: Bytes, bytes: number, output: Bytes) => number {
    const address = native().rfaas_module_symbol(this.#handle, cString(name));
    if (address === 0)
      throw new NativeModuleError(`the library lists "${name}", but the loader does not find it`);
    const { symbols } = linkSymbols({ [name]: { ...CONTRACT, ptr: address as Pointer } });
    return symbols[name] as unknown as (input: Bytes, bytes: number, output: Bytes) => number;
  }
}

function overflow(name: string, written: number, capacity: number): Error {
  return Object.assign(
    new RangeError(
      `native function "${name}" says that it wrote ${written} bytes but its output holds ${capacity}: memory behind the output may be damaged; take a new lease and pass a larger output`,
    ),
    { code: "RFAAS_WRONG_RESULT" },
  );
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text);
  const terminated = new Uint8Array(new ArrayBuffer(bytes.length + 1));
  terminated.set(bytes);
  return terminated;
}
