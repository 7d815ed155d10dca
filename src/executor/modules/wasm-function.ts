/** A call of a WebAssembly function: its arguments are copied into areas of the module's memory, its result out of them. */
import type { RawFunction } from "../../function/index.ts";

export type WasmFunction = (input: number, bytes: number, output: number) => number;

/** What a module exports to have memory taken and given back. */
export interface WasmAllocator {
  malloc(bytes: number): number;
  free: ((pointer: number) => void) | undefined;
}

/** Where the arguments of one call at a time lie in a module's memory. */
export interface WasmRoom {
  input: number;
  output: number;
  /** Makes room for so many bytes. Throws when the module has none. */
  take(inputBytes: number, outputBytes: number): void;
  /** After a call: throws when the module has used the room for something else. */
  verify(): void;
}

const ALIGNMENT = 64;
const MIN_AREA_BYTES = 4096;
/** For a few bytes a loop is cheaper than the engine's copy. */
const LOOP_BYTES = 32;

/** Twice as much as before, so that slowly growing arguments do not make room each time. */
const enlarged = (held: number, bytes: number): number =>
  bytes <= held
    ? held
    : Math.ceil(Math.max(MIN_AREA_BYTES, 2 * held, bytes) / ALIGNMENT) * ALIGNMENT;

/** Room that the module's own allocator gives. */
export class AllocatedRoom implements WasmRoom {
  input = 0;
  output = 0;
  readonly #memory: WebAssembly.Memory;
  readonly #allocator: WasmAllocator;
  #inputBytes = 0;
  #outputBytes = 0;
  #inputPointer = 0;
  #outputPointer = 0;

  constructor(memory: WebAssembly.Memory, allocator: WasmAllocator) {
    this.#memory = memory;
    this.#allocator = allocator;
  }

  take(inputBytes: number, outputBytes: number): void {
    if (inputBytes > this.#inputBytes || this.#inputBytes === 0) {
      const wanted = enlarged(this.#inputBytes, Math.max(1, inputBytes));
      this.#inputBytes = 0;
      this.#inputPointer = this.#exchange(this.#inputPointer, wanted);
      this.input = Math.ceil(this.#inputPointer / ALIGNMENT) * ALIGNMENT;
      this.#inputBytes = wanted;
    }
    if (outputBytes > this.#outputBytes || this.#outputBytes === 0) {
      const wanted = enlarged(this.#outputBytes, Math.max(1, outputBytes));
      this.#outputBytes = 0;
      this.#outputPointer = this.#exchange(this.#outputPointer, wanted);
      this.output = Math.ceil(this.#outputPointer / ALIGNMENT) * ALIGNMENT;
      this.#outputBytes = wanted;
    }
  }

  verify(): void {}

  #exchange(former: number, bytes: number): number {
    if (former !== 0) this.#allocator.free?.(former);
    const pointer = this.#allocator.malloc(bytes + ALIGNMENT) >>> 0;
    const held = this.#memory.buffer.byteLength;
    if (pointer === 0 || pointer + bytes + ALIGNMENT > held)
      throw noRoom(bytes, `its malloc returned ${pointer}`);
    return pointer;
  }
}

const PAGE_BYTES = 65536;
const GUARD_BYTES = 64;
const GUARD_WORDS = GUARD_BYTES / 4;
const GUARD = 0x5afe5afe;
/** What a module may take for itself of the pages that were there before, until it comes to the room. */
const GAP_PAGES = [256, 16, 0];

/**
 * Room in pages that are added to the memory, for a module that exports no allocator. It may still have a hidden one, which takes all
 * pages that exist when it starts, and hands them out from the lowest on: it then writes behind the room, which becomes its own after
 * the call, and before the room only when it has grown up to it, which fails the call.
 */
export class GrownRoom implements WasmRoom {
  input = 0;
  output = 0;
  readonly #memory: WebAssembly.Memory;
  #inputBytes = 0;
  #outputBytes = 0;
  #inUse = false;
  #words = new Int32Array(0);
  /** Of the guards' first words. */
  #before = 0;
  #behind = 0;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  take(inputBytes: number, outputBytes: number): void {
    if (inputBytes > this.#inputBytes || outputBytes > this.#outputBytes || this.#behind === 0)
      this.#grow(inputBytes, outputBytes);
    // A call that has trapped was not verified.
    else if (this.#inUse && (this.#isWrittenBefore() || this.#isWrittenBehind()))
      this.#grow(inputBytes, outputBytes);
    this.#inUse = true;
  }

  verify(): void {
    this.#inUse = false;
    if (this.#words.length === 0) this.#words = new Int32Array(this.#memory.buffer);
    if (this.#isWrittenBefore()) {
      this.#behind = 0;
      throw takenRoom();
    }
    if (this.#isWrittenBehind()) this.#behind = 0;
  }

  #isWrittenBefore(): boolean {
    const words = this.#words;
    const at = this.#before;
    return words[at] !== GUARD || words[at + 7] !== GUARD || words[at + 15] !== GUARD;
  }

  /** Where allocators mark the end of what they have: in the last words, or in the ninth from the end. */
  #isWrittenBehind(): boolean {
    const words = this.#words;
    const at = this.#behind + GUARD_WORDS;
    return words[at - 1] !== GUARD || words[at - 2] !== GUARD || words[at - 9] !== GUARD;
  }

  #grow(inputBytes: number, outputBytes: number): void {
    const input = enlarged(this.#inputBytes, Math.max(1, inputBytes));
    const output = enlarged(this.#outputBytes, Math.max(1, outputBytes));
    this.#behind = 0;
    const pages = Math.ceil((2 * GUARD_BYTES + input + output) / PAGE_BYTES);
    const end = this.#addPages(pages, Math.max(inputBytes, outputBytes));
    this.#words = new Int32Array(this.#memory.buffer);
    this.#behind = (end - GUARD_BYTES) / 4;
    this.output = end - GUARD_BYTES - output;
    this.input = this.output - input;
    this.#before = (this.input - GUARD_BYTES) / 4;
    for (const guard of [this.#before, this.#behind])
      this.#words.fill(GUARD, guard, guard + GUARD_WORDS);
    this.#inputBytes = input;
    this.#outputBytes = output;
  }

  /** Returns where they end. */
  #addPages(pages: number, bytes: number): number {
    let failure: unknown;
    for (const gap of GAP_PAGES)
      try {
        return PAGE_BYTES * (this.#memory.grow(gap + pages) + gap + pages);
      } catch (cause) {
        failure = cause;
      }
    throw noRoom(bytes, (failure as Error).message);
  }
}

/** A function as the worker calls it. Nothing is allocated while calls have results of one length. */
export function wasmFunction(
  name: string,
  call: WasmFunction,
  memory: WebAssembly.Memory,
  room: WasmRoom,
): RawFunction {
  let heap = new Uint8Array(memory.buffer);
  let result = heap.subarray(0, 0);
  return (input, output) => {
    try {
      room.take(input.length, output.length);
      const { input: from, output: to } = room;
      // Growing detaches what was there.
      if (heap.length === 0) heap = new Uint8Array(memory.buffer);
      if (input.length > LOOP_BYTES) heap.set(input, from);
      else for (let i = 0; i < input.length; i++) heap[from + i] = input[i]!;
      const written = call(from, input.length, to) >>> 0;
      room.verify();
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

/** Passes on unchanged what imports throw. */
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

function takenRoom(): Error {
  return Object.assign(
    new Error(
      "the module's own allocator has taken the memory of the call's arguments, so its result may be wrong; let the module export its malloc (AssemblyScript: --exportRuntime, emscripten: -sEXPORTED_FUNCTIONS=_malloc,_free, clang: -Wl,--export=malloc,--export=free)",
    ),
    { code: "RFAAS_WRONG_RESULT" },
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
