/**
 * Loads a WebAssembly module in a worker thread: an instance for the worker, WASI (preview 1) without files, and functions of the
 * contract `(input: i32, bytes: i32, output: i32) -> i32`, whose arguments are copied into the module's memory and back.
 */
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";
import { type WasmInterface, WasmError, readWasm } from "../../library/wasm.ts";
import { toLoadErrorRecord } from "../results/error-record.ts";
import { LoadFailure, type LoadedModule } from "./loaded-module.ts";
import { hostImport } from "./wasm-imports.ts";
import {
  type WasmAllocator,
  AllocatedRoom,
  GrownRoom,
  type WasmFunction,
  wasmFunction,
  withoutExpression,
} from "./wasm-function.ts";

const NO_MEMORY = new WebAssembly.Memory({ initial: 0 });
const CONTRACT = "(i32, i32, i32) -> i32";
const WASI_MODULES = ["wasi_snapshot_preview1", "wasi_unstable"];
/** A class of AssemblyScript's without fields, so that its garbage collector looks into none. */
const PLAIN_OBJECT = 0;
type ManagedFunction = (...args: number[]) => number;
type Exports = Record<string, unknown>;
/** Bun's, which has what the types of Node's do not. */
type BunWasi = WASI & { memory: WebAssembly.Memory; setMemory(memory: WebAssembly.Memory): void };
type WasiImports = Record<string, (...args: number[]) => number>;

/** Compiles and instantiates the module at an absolute path; messages call it `name`. Throws {@link LoadFailure}. */
export async function loadWasm(path: string, name: string): Promise<LoadedModule> {
  try {
    const bytes = readFileSync(path);
    const module = await WebAssembly.compile(bytes);
    const { memories, imports, functions } = readWasm(bytes);
    const callable = [...functions].flatMap(([name, type]) => (type === CONTRACT ? [name] : []));
    if (callable.length === 0) throw noFunctions(name, functions);
    const { exports, memory } = instantiate(module, memories, imports);
    callable.sort();
    const allocator = allocatorOf(exports, functions);
    const room = allocator ? new AllocatedRoom(memory, allocator) : new GrownRoom(memory);
    return {
      functions: callable.map((name) =>
        wasmFunction(name, exports[name] as WasmFunction, memory, room),
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
  wanted: WasmInterface["imports"],
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
  // A module that starts by itself may import before its memory is known.
  let memory = own;
  const { maximumPages } = declared;
  const host = { memory: () => memory ?? NO_MEMORY, maximumPages };
  const imports: Record<string, Record<string, unknown>> = {};
  const others = wanted.values();
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    const one = kind === "memory" ? undefined : others.next().value;
    const wasiHas = WASI_MODULES.includes(from) ? served[name] : undefined;
    (imports[from] ??= {})[name] = one ? (wasiHas ?? hostImport(one, kind, host)) : own;
  }
  const { exports } = new WebAssembly.Instance(module, imports as Bun.WebAssembly.Imports);
  memory ??= Object.values(exports).find((value) => value instanceof WebAssembly.Memory);
  if (!memory) throw new WasmError("does not export its memory; export it, or import env.memory");
  wasi.setMemory(memory);
  // The second is what emscripten's own JavaScript calls where there is no first.
  const initialise = exports["_initialize"] ?? exports["__wasm_call_ctors"];
  (initialise as (() => void) | undefined)?.();
  return { exports, memory };
}

/** C's, or that of AssemblyScript's runtime. */
function allocatorOf(
  { malloc, free, ...exports }: Exports,
  functions: WasmInterface["functions"],
): WasmAllocator | undefined {
  const managed =
    functions.get("__new") === "(i32, i32) -> i32" && functions.get("__pin") === "(i32) -> i32";
  if (managed) {
    const { __new: make, __pin: pin, __unpin: unpin } = exports as Record<string, ManagedFunction>;
    return {
      malloc: (bytes) => pin!(make!(bytes, PLAIN_OBJECT)),
      free: functions.get("__unpin") === "(i32) -> ()" ? (at) => void unpin!(at) : undefined,
    };
  }
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
