/** A small assembler: WebAssembly modules for tests, from the bytes of their functions' bodies. */

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;

interface Signature {
  params: readonly number[];
  results: readonly number[];
}
export interface WasmFunctionSource extends Partial<Signature> {
  name: string;
  /** Instructions without the closing `end`. */
  body: readonly number[];
}
export interface WasmSource {
  /** Functions to import, whose indexes come first. */
  imports?: readonly ({ module: string; name: string } & Signature)[];
  functions: readonly WasmFunctionSource[];
  /** Bytes of limits for each memory of its own, such as `[0, 1]`. Default: one page at first, no bound. */
  memories?: readonly (readonly number[])[];
  /** Limits of a memory imported as `env.memory`. */
  importedMemory?: readonly number[];
  exportMemory?: boolean;
}

/** The contract of functions. */
const CONTRACT: Signature = { params: [I32, I32, I32], results: [I32] };

export function assemble(source: WasmSource): Uint8Array<ArrayBuffer> {
  const { imports = [], functions, importedMemory, exportMemory = true } = source;
  const memories = source.memories ?? (importedMemory ? [] : [[0, 1]]);
  const signatures = [...imports, ...functions.map((each) => ({ ...CONTRACT, ...each }))];
  const section = (id: number, items: readonly (readonly number[])[]): number[] =>
    items.length === 0 ? [] : [id, ...sized([...leb(items.length), ...items.flat()])];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      signatures.map(({ params, results }) => [0x60, ...sized(params), ...sized(results)]),
    ),
    ...section(2, [
      ...imports.map(({ module, name }, i) => [...text(module), ...text(name), 0, ...leb(i)]),
      ...(importedMemory ? [[...text("env"), ...text("memory"), 2, ...importedMemory]] : []),
    ]),
    ...section(
      3,
      functions.map((_, i) => leb(imports.length + i)),
    ),
    ...section(5, memories),
    ...section(7, [
      ...functions.map(({ name }, i) => [...text(name), 0, ...leb(imports.length + i)]),
      ...(exportMemory && memories.length > 0 ? [[...text("memory"), 2, 0]] : []),
    ]),
    ...section(
      10,
      functions.map(({ body }) => sized([0, ...body, 0x0b])),
    ),
  ]);
}

function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)];
}

function sized(bytes: readonly number[]): number[] {
  return [...leb(bytes.length), ...bytes];
}

function text(value: string): number[] {
  return sized([...new TextEncoder().encode(value)]);
}
