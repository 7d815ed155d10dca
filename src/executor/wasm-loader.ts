/**
 * Loads a WebAssembly module in a worker thread: an instance for the worker, WASI (preview 1) without files, and functions of the
 * contract `(input: i32, bytes: i32, output: i32) -> i32`, whose arguments are copied into the module's memory and back.
 */
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";
import { type WasmInterface, WasmError, readWasm } from "../function/wasm.ts";
import { toLoadErrorRecord } from "./error-record.ts";
import { LoadFailure, type LoadedModule } from "./loaded-module.ts";
import {
  type WasmAllocator,
  type WasmFunction,
  WasmMemoryArea,
  wasmFunction,
  withoutExpression,
} from "./wasm-function.ts";

const CONTRACT = "(i32, i32, i32) -> i32";
const WASI_MODULES = ["wasi_snapshot_preview1", "wasi_unstable"];
type Exports = Record<string, unknown>;
/** Bun's, which has what the types of Node's do not. */
type BunWasi = WASI & { memory: WebAssembly.Memory; setMemory(memory: WebAssembly.Memory): void };
type WasiImports = Record<string, (...args: number[]) => number>;

/** Compiles and instantiates the module at an absolute path; messages call it `name`. Throws {@link LoadFailure}. */
export async function loadWasm(path: string, name: string): Promise<LoadedModule> {
  try {
    const bytes = readFileSync(path);
    const module = await WebAssembly.compile(bytes);
    const { memories, functions } = readWasm(bytes);
    const callable = [...functions].flatMap(([name, type]) => (type === CONTRACT ? [name] : []));
    if (callable.length === 0) throw noFunctions(name, functions);
    const { exports, memory } = instantiate(module, memories);
    callable.sort();
    const allocator = allocatorOf(exports, functions);
    const [input, output] = [
      new WasmMemoryArea(memory, allocator),
      new WasmMemoryArea(memory, allocator),
    ];
    return {
      functions: callable.map((name) =>
        wasmFunction(name, exports[name] as WasmFunction, memory, input, output),
      ),
      exports: { functions: callable, others: others(module, functions) },
      hooks: undefined,
    };
  } catch (error) {
    if (error instanceof LoadFailure) throw error;
    const record = toLoadErrorRecord(error);
    const message =
      error instanceof WasmError
        ? `${name} ${error.message}`
        : `${name} cannot be loaded: ${withoutExpression(record.message)}`;
    throw new LoadFailure("RFAAS_MODULE_FAILED", { ...record, message });
  }
}

function instantiate(
  module: WebAssembly.Module,
  memories: WasmInterface["memories"],
): { exports: Exports; memory: WebAssembly.Memory } {
  const [declared, another] = memories;
  if (!declared || another)
    throw new WasmError(`has ${memories.length} memories; build it with exactly one`);
  if (declared.shared)
    throw new WasmError(
      "has a shared memory; build it without threads (not for wasm32-wasi-threads)",
    );
  if (declared.wide) throw new WasmError("has a 64-bit memory; build it for wasm32");

  const own = declared.imported
    ? new WebAssembly.Memory({
        initial: declared.initialPages,
        ...(declared.maximumPages === undefined ? {} : { maximum: declared.maximumPages }),
      })
    : undefined;
  const options = { version: "preview1", args: [], env: {}, preopens: {} } as const;
  const wasi = new WASI(options) as BunWasi;
  if (own) wasi.setMemory(own);
  const served = wasiImports(wasi);
  const imports: Record<string, Record<string, unknown>> = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    const value = kind === "memory" ? own : WASI_MODULES.includes(from) ? served[name] : undefined;
    if (value === undefined)
      throw new WasmError(
        `imports ${from}.${name} (${kind}), which no node has; link it in, or build for WASI preview 1`,
      );
    (imports[from] ??= {})[name] = value;
  }
  const { exports } = new WebAssembly.Instance(module, imports as Bun.WebAssembly.Imports);
  const memory = own ?? Object.values(exports).find((value) => value instanceof WebAssembly.Memory);
  if (!memory) throw new WasmError("does not export its memory; export it, or import env.memory");
  wasi.setMemory(memory);
  (exports["_initialize"] as (() => void) | undefined)?.();
  return { exports, memory };
}

function allocatorOf(
  { malloc, free }: Exports,
  functions: WasmInterface["functions"],
): WasmAllocator | undefined {
  if (functions.get("malloc") !== "(i32) -> i32") return undefined;
  const frees = functions.get("free") === "(i32) -> ()";
  return {
    malloc: malloc as WasmAllocator["malloc"],
    free: frees ? (free as WasmAllocator["free"]) : undefined,
  };
}

/** Bun's, but for what would reach beyond the module, and what it gets wrong. */
function wasiImports(wasi: BunWasi): WasiImports {
  const served = wasi.wasiImport as WasiImports;
  return {
    ...served,
    proc_exit: (code) => {
      throw exited(`exit(${code})`);
    },
    proc_raise: (signal) => {
      throw exited(`raise(${signal})`);
    },
    // Bun writes it in the other byte order.
    clock_res_get: (_clock, to) => {
      new DataView(wasi.memory.buffer).setBigUint64(to!, 1n, true);
      return 0;
    },
    // 0 to 2 are the process's own.
    fd_close: (fd) => (fd! <= 2 ? 0 : served["fd_close"]!(fd!)),
  };
}

function exited(how: string): Error {
  return Object.assign(
    new Error(`a function must not end its process, and called ${how}; return instead`),
    { code: "RFAAS_EXIT_FORBIDDEN" },
  );
}

function noFunctions(name: string, functions: WasmInterface["functions"]): LoadFailure {
  const list = [...functions].map(([name, type]) => `${name}${type}`).slice(0, 20);
  const advice = functions.has("_start")
    ? "it is a command; build it as a reactor (clang: -mexec-model=reactor, Rust: --crate-type cdylib) that exports them"
    : `it exports ${list.length > 0 ? list.join(", ") : "no functions at all"}`;
  const message = `${name} exports no function of the type ${CONTRACT}: ${advice}`;
  return new LoadFailure("RFAAS_NO_FUNCTIONS", { name: "NoFunctions", message });
}

/** What else it exports, to explain a wrong name. */
function others(
  module: WebAssembly.Module,
  functions: WasmInterface["functions"],
): Record<string, string> {
  return Object.fromEntries(
    WebAssembly.Module.exports(module)
      .filter(({ name }) => functions.get(name) !== CONTRACT)
      .map(({ name, kind }) => [
        name,
        functions.has(name) ? `function of the type ${functions.get(name)}` : kind,
      ]),
  );
}
