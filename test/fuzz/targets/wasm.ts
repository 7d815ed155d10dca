import { WasmError, readWasm } from "../../../src/library/wasm.ts";
import { F32, I32, I64, assemble } from "../../support/wasm.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { must, outcome } from "./outcome.ts";

const CONTRACT = { params: [I32, I32, I32], results: [I32] };
const PREAMBLE = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
/** A function type, and imports of every kind. */
const imports = [
  ...PREAMBLE,
  ...[1, 5, 1, 0x60, 1, 0x7b, 0],
  ...[
    2, 28, 5, 1, 97, 1, 102, 0, 0, 1, 97, 1, 116, 1, 0x70, 1, 1, 9, 1, 97, 1, 103, 3, 0x7f, 0, 0, 0,
  ],
];

export const subject: Subject = {
  seeds: [
    assemble({ functions: [{ name: "f", body: [0x20, 0] }] }),
    assemble({
      imports: [{ module: "env", name: "g", ...CONTRACT }],
      functions: [{ name: "\ufeffname", body: [0x20, 0], params: [I64, F32], results: [I32, I32] }],
      importedMemory: [3, 1, 2],
    }),
    assemble({ functions: [{ name: "wide", body: [0x20, 0] }], memories: [[4, 1]] }),
    new Uint8Array(imports),
    new Uint8Array([...PREAMBLE, 2, 11, 1, 1, 97, 1, 116, 4, 0, 0, 0, 3, 101, 110, 118]),
    new Uint8Array([...PREAMBLE, 1, 3, 1, 0x5f, 0]),
  ],
  run(input) {
    const read = outcome(() => readWasm(input), WasmError);
    if (!read || !WebAssembly.validate(input)) return;
    const exported = WebAssembly.Module.exports(new WebAssembly.Module(input));
    const names = exported.filter(({ kind }) => kind === "function").map(({ name }) => name);
    must(
      names.length === read.functions.size && names.every((name) => read.functions.has(name)),
      `the engine exports ${names.join()} and the reader ${[...read.functions.keys()].join()}`,
    );
  },
};
