/**
 * What a WebAssembly module needs and offers, with the types that `WebAssembly.Module` does not tell. The bytes may be anything: each
 * number is checked against those that are left. Whether they are a sound module is for who compiles them to say.
 */

/** The module is damaged, or uses what functions cannot be called with; the message says what to do. */
export class WasmError extends Error {
  override readonly name = "WasmError";
}

export interface WasmMemory {
  initialPages: number;
  maximumPages: number | undefined;
  shared: boolean;
  wide: boolean;
  imported: boolean;
}

/** What a module wants from outside, besides memories. */
export interface WasmImport {
  module: string;
  name: string;
  /** A function's type, as `(i32, i32) -> ()`. */
  type: string | undefined;
  /** A table's size. */
  table: { initial: number; maximum: number | undefined; element: string } | undefined;
}

export interface WasmInterface {
  memories: WasmMemory[];
  imports: WasmImport[];
  /** Exported functions and their types, as `(i32, i32, i32) -> i32`. */
  functions: Map<string, string>;
}

const SECTION = { type: 1, import: 2, function: 3, memory: 5, export: 7 };
const KIND = { function: 0, table: 1, memory: 2, global: 3, tag: 4 };
const FUNCTION_TYPE = 0x60;
const VALUE_TYPES: Record<number, string> = {
  0x7f: "i32",
  0x7e: "i64",
  0x7d: "f32",
  0x7c: "f64",
  0x7b: "v128",
  0x70: "funcref",
  0x6f: "externref",
};
const PREAMBLE = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
/** Of a number: 64 bits, seven at a time. */
const MAX_LEB_BYTES = 10;
/** A byte order mark is a part of a name like any other. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads the types of a compiled module's exports and its memories. Throws {@link WasmError}. */
export function readWasm(bytes: Uint8Array): WasmInterface {
  if (PREAMBLE.some((byte, i) => bytes[i] !== byte))
    throw new WasmError("is no WebAssembly module of version 1; build it for wasm32");
  const sections = new Map<number, Reader>();
  const all = new Reader(bytes.subarray(PREAMBLE.length));
  while (!all.atEnd) {
    const id = all.byte();
    const content = all.take(all.u32());
    if (id !== 0) sections.set(id, new Reader(content));
  }
  const types = list(sections.get(SECTION.type), functionType);
  const functionTypes: number[] = [];
  const memories: WasmMemory[] = [];
  const imports: WasmImport[] = [];
  list(sections.get(SECTION.import), (reader) => {
    const [module, name] = [reader.name(), reader.name()];
    const wanted: WasmImport = { module, name, type: undefined, table: undefined };
    const kind = reader.byte();
    if (kind !== KIND.memory) imports.push(wanted);
    if (kind === KIND.function) {
      functionTypes.push(reader.u32());
      wanted.type = types[functionTypes.at(-1)!];
    } else if (kind === KIND.memory) memories.push(memory(reader, true));
    else if (kind === KIND.table) {
      const element = valueType(reader);
      const { initialPages: initial, maximumPages: maximum } = memory(reader, true);
      wanted.table = { initial, maximum, element };
    } else if (kind === KIND.global) {
      valueType(reader);
      reader.byte();
    } else {
      reader.byte();
      reader.u32();
    }
  });
  functionTypes.push(...list(sections.get(SECTION.function), (reader) => reader.u32()));
  memories.push(...list(sections.get(SECTION.memory), (reader) => memory(reader, false)));
  const functions = new Map<string, string>();
  list(sections.get(SECTION.export), (reader) => {
    const name = reader.name();
    const kind = reader.byte();
    const index = reader.u32();
    if (kind === KIND.function)
      functions.set(name, types[functionTypes[index] ?? NaN] ?? damaged());
  });
  return { memories, imports, functions };
}

function list<T>(section: Reader | undefined, item: (reader: Reader) => T): T[] {
  const items: T[] = [];
  // An item takes a byte at least, so there are no more than bytes.
  for (let left = section?.u32() ?? 0; left > 0; left--) items.push(item(section!));
  return items;
}

function functionType(reader: Reader): string {
  if (reader.byte() !== FUNCTION_TYPE)
    throw new WasmError("uses types other than functions; build it without garbage collection");
  const parameters = list(reader, valueType);
  const results = list(reader, valueType);
  return `(${parameters.join(", ")}) -> ${results.length === 1 ? results[0] : `(${results.join(", ")})`}`;
}

function valueType(reader: Reader): string {
  const type = VALUE_TYPES[reader.byte()];
  if (!type) throw new WasmError("uses reference types; build it without them");
  return type;
}

/** Limits of a memory, or of a table. */
function memory(reader: Reader, imported: boolean): WasmMemory {
  const flags = reader.byte();
  return {
    initialPages: reader.u32(),
    maximumPages: flags & 1 ? reader.u32() : undefined,
    shared: (flags & 2) !== 0,
    wide: (flags & 4) !== 0,
    imported,
  };
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? damaged();
  }

  /** LEB128; of a 64-bit memory's limits it may be more than 32 bits. */
  u32(): number {
    let value = 0;
    for (let i = 0, scale = 1; i < MAX_LEB_BYTES; i++, scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return damaged();
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) damaged();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  name(): string {
    const bytes = this.take(this.u32());
    try {
      return utf8.decode(bytes);
    } catch {
      return damaged();
    }
  }
}

function damaged(): never {
  throw new WasmError("is damaged; build it again, or copy it whole");
}
