/** A call of a WebAssembly function: its arguments are copied into areas of the module's memory, its result out of them. */
import type { RawFunction } from "../function/index.ts";

export type WasmFunction = (input: number, bytes: number, output: number) => number;

/** What a module exports to have memory taken and given back. */
export interface WasmAllocator {
  malloc(bytes: number): number;
  free: ((pointer: number) => void) | undefined;
}

const PAGE_BYTES = 65536;
const ALIGNMENT = 64;
const MIN_AREA_BYTES = 4096;
/** For a few bytes a loop is cheaper than the engine's copy. */
const LOOP_BYTES = 32;

/** A part of a module's memory for the arguments of one call at a time: got from its `malloc`, else by growing the memory. */
export class WasmMemoryArea {
  readonly #memory: WebAssembly.Memory;
  readonly #allocator: WasmAllocator | undefined;
  #pointer = 0;
  #start = 0;
  #bytes = 0;

  constructor(memory: WebAssembly.Memory, allocator: WasmAllocator | undefined) {
    this.#memory = memory;
    this.#allocator = allocator;
  }

  /** Where `bytes` bytes may be written. Throws when the module has no room for them. */
  at(bytes: number): number {
    if (bytes > this.#bytes || this.#bytes === 0) this.#enlarge(bytes);
    return this.#start;
  }

  #enlarge(bytes: number): void {
    // Twice as much as before, so that slowly growing arguments do not grow the memory each time.
    const wanted = Math.max(MIN_AREA_BYTES, 2 * this.#bytes, bytes);
    if (!this.#allocator) this.#start = this.#grow(wanted);
    else {
      const former = this.#pointer;
      this.#bytes = 0;
      if (former !== 0) this.#allocator.free?.(former);
      this.#pointer = this.#allocator.malloc(wanted + ALIGNMENT) >>> 0;
      const held = this.#memory.buffer.byteLength;
      if (this.#pointer === 0 || this.#pointer + wanted + ALIGNMENT > held)
        throw noRoom(wanted, `its malloc returned ${this.#pointer}`);
      this.#start = Math.ceil(this.#pointer / ALIGNMENT) * ALIGNMENT;
    }
    this.#bytes = wanted;
  }

  #grow(bytes: number): number {
    try {
      return PAGE_BYTES * this.#memory.grow(Math.ceil(bytes / PAGE_BYTES));
    } catch (cause) {
      throw noRoom(bytes, (cause as Error).message);
    }
  }
}

/** A function as the worker calls it. Nothing is allocated while calls have results of one length. */
export function wasmFunction(
  name: string,
  call: WasmFunction,
  memory: WebAssembly.Memory,
  inputArea: WasmMemoryArea,
  outputArea: WasmMemoryArea,
): RawFunction {
  let heap = new Uint8Array(memory.buffer);
  let result = heap.subarray(0, 0);
  return (input, output) => {
    try {
      const from = inputArea.at(input.length);
      const to = outputArea.at(output.length);
      // Growing detaches what was there.
      if (heap.length === 0) heap = new Uint8Array(memory.buffer);
      if (input.length > LOOP_BYTES) heap.set(input, from);
      else for (let i = 0; i < input.length; i++) heap[from + i] = input[i]!;
      const written = call(from, input.length, to) >>> 0;
      if (written > output.length) throw overflow(name, written, output.length);
      if (heap.length === 0) heap = new Uint8Array(memory.buffer);
      if (written > LOOP_BYTES) {
        if (result.buffer !== heap.buffer || result.byteOffset !== to || result.length !== written)
          result = heap.subarray(to, to + written);
        output.set(result);
      } else for (let i = 0; i < written; i++) output[i] = heap[to + i]!;
      return written;
    } catch (error) {
      throw explained(name, error);
    }
  };
}

/** What imports throw stays as it is. */
function explained(name: string, error: unknown): unknown {
  if (!(error instanceof WebAssembly.RuntimeError)) return error;
  error.message = `WebAssembly function "${name}" trapped: ${withoutExpression(error.message)}; its memory is as the trap left it, take a new lease to begin anew`;
  return error;
}

/** The engine shows the expression of the caller, which is not the author's. */
export function withoutExpression(message: string): string {
  return message.replace(/ \(evaluating .*\)$/s, "");
}

function noRoom(bytes: number, why: string): Error {
  return new RangeError(
    `the module has no room for ${bytes} bytes of arguments (${why}); let its memory grow further (wasm-ld --max-memory) or pass less`,
  );
}

function overflow(name: string, written: number, capacity: number): Error {
  return Object.assign(
    new RangeError(
      `WebAssembly function "${name}" says that it wrote ${written} bytes but its output holds ${capacity}: the module's own memory behind it may be damaged; pass a larger output and take a new lease`,
    ),
    { code: "RFAAS_WRONG_RESULT" },
  );
}
