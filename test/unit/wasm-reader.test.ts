/** What is read of WebAssembly modules, which may be anything: a shell that completes a word reads files that nobody has compiled. */
import { describe, expect, test } from "bun:test";
import { WasmError, readWasm } from "../../src/library/wasm.ts";
import { assemble } from "../support/wasm.ts";

const module = assemble({ functions: [{ name: "f", body: [0x20, 0] }] });

describe("a WebAssembly module", () => {
  test("that ends at any byte is refused, or read as far as its sections go", () => {
    for (let length = 0; length < module.length; length++) {
      const cut = module.subarray(0, length);
      try {
        expect(readWasm(cut).functions).toBeInstanceOf(Map);
      } catch (error) {
        expect(error).toBeInstanceOf(WasmError);
      }
    }
  });

  test.each<[string, number[]]>([
    ["that is none", [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]],
    ["with a section that is longer than the file", [...module.subarray(0, 8), 1, 0x7f, 0]],
    ["with more types than it has bytes", [...module.subarray(0, 8), 1, 5, 255, 255, 255, 255, 15]],
    ["with a number without an end", [...module.subarray(0, 8), 1, ...new Array(64).fill(0xff)]],
    [
      "that exports a function which it does not have",
      [...module.subarray(0, 8), 7, 5, 1, 1, 0x66, 0, 9],
    ],
    ["with a name that is no UTF-8", [...module.subarray(0, 8), 7, 5, 1, 1, 0xff, 0, 0]],
  ])("%s is refused at once", (_, bytes) => {
    expect(() => readWasm(new Uint8Array(bytes))).toThrow(WasmError);
  });

  test("keeps a byte order mark that begins a name, as the engine does", () => {
    const marked = assemble({ functions: [{ name: "\ufefff", body: [0x20, 0] }] });
    expect([...readWasm(marked).functions.keys()]).toEqual(["\ufefff"]);
    expect(WebAssembly.Module.exports(new WebAssembly.Module(marked))[0]!.name).toBe("\ufefff");
  });
});
