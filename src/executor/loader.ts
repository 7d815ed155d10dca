/** Loads a function module in a worker thread and lists what can be called. */
import { statSync } from "node:fs";
import { BUILT_IN, type RawFunction } from "../function/index.ts";
import { isLibraryPath } from "../function/library-file.ts";
import type { ErrorRecord, Exports } from "../protocol/messages.ts";
import { toLoadErrorRecord } from "./error-record.ts";

export interface LoadedModule {
  /** By index: sorted by name, so that every worker agrees. */
  functions: RawFunction[];
  exports: Exports;
}

/** The module cannot be used; `record` is what its author must read. */
export class LoadFailure extends Error {
  override readonly name = "LoadFailure";
  readonly code: string;
  readonly record: ErrorRecord;
  constructor(code: string, record: ErrorRecord) {
    super(record.message);
    this.code = code;
    this.record = record;
  }
}

/** The functions of the benchmarks, so that the executable can measure any node from an empty directory. */
const BUILT_INS: Record<string, () => Promise<Record<string, unknown>>> = {
  "rfaas:echo": async () => await import("../../functions/echo/echo.ts"),
};

/** Imports the module at an absolute path; messages call it `name`. Throws {@link LoadFailure}. */
export async function loadModule(path: string, name: string = path): Promise<LoadedModule> {
  const builtIn = path.startsWith(BUILT_IN);
  if (builtIn ? !Object.hasOwn(BUILT_INS, path) : !isFile(path)) {
    const message = builtIn
      ? `there is no module ${path} in rfaas; see: rfaas help bench`
      : `the file of ${name} is gone from the node's cache; take a new lease`;
    throw new LoadFailure("RFAAS_MODULE_NOT_FOUND", { name: "ModuleNotFound", message });
  }
  if (isLibraryPath(path)) return (await import("./native-loader.ts")).loadNative(path);
  if (path.endsWith(".wasm")) return await (await import("./wasm-loader.ts")).loadWasm(path);
  if (!builtIn && /[?\\]/.test(path)) {
    const message = `the runtime cannot import a path with ? or \\ in it: ${path}; choose another --cache for the node`;
    throw new LoadFailure("RFAAS_MODULE_FAILED", { name: "ModulePath", message });
  }
  let namespace: Record<string, unknown>;
  try {
    namespace = builtIn ? await BUILT_INS[path]!() : await import(path);
  } catch (error) {
    throw new LoadFailure("RFAAS_MODULE_FAILED", toLoadErrorRecord(error));
  }
  const names = Object.keys(namespace).sort();
  const callable = names.filter((name) => typeof namespace[name] === "function");
  const others = names.filter((name) => typeof namespace[name] !== "function");
  if (callable.length === 0) {
    const message = `${name} exports no function${others.length > 0 ? ` (only ${others.join(", ")})` : ""}`;
    throw new LoadFailure("RFAAS_NO_FUNCTIONS", { name: "NoFunctions", message });
  }
  return {
    functions: callable.map((name) => namespace[name] as RawFunction),
    exports: {
      functions: callable,
      others: Object.fromEntries(others.map((name) => [name, typeOf(namespace[name])])),
    },
  };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}
