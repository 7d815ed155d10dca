/** Loads a function module in a worker thread and lists what can be called. */
import { statSync } from "node:fs";
import { isDefinition } from "../function/define-function.ts";
import { type HooksDefinition, isHooks } from "../function/define-hooks.ts";
import { isLibraryPath } from "../function/library-file.ts";
import { BUILT_IN, type RawFunction } from "../function/raw.ts";
import type { ErrorRecord, Exports } from "../protocol/messages.ts";
import { toErrorRecord, toLoadErrorRecord } from "./error-record.ts";
import { KeptResults } from "./kept-results.ts";

export interface LoadedModule {
  /** By index: sorted by name, so that every worker agrees. */
  functions: RawFunction[];
  exports: Exports;
  hooks: HooksDefinition | undefined;
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
  if (isLibraryPath(path)) return (await import("./native-loader.ts")).loadNative(path, name);
  if (path.endsWith(".wasm")) return await (await import("./wasm-loader.ts")).loadWasm(path, name);
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
  const isCallable = (name: string) =>
    typeof namespace[name] === "function" || isDefinition(namespace[name]);
  const names = Object.keys(namespace).sort();
  const callable = names.filter(isCallable);
  const others = names.filter((name) => !isCallable(name));
  if (callable.length === 0) {
    const message = `${name} exports no function${others.length > 0 ? ` (only ${others.join(", ")})` : ""}`;
    throw new LoadFailure("RFAAS_NO_FUNCTIONS", { name: "NoFunctions", message });
  }
  const typed = await prepareTyped(path, namespace, callable);
  const functions = callable.map(
    (name) => typed.functions.get(name) ?? (namespace[name] as RawFunction),
  );
  return {
    // The hidden one comes after all that have names.
    functions: typed.functions.size === 0 ? functions : [...functions, typed.fetch],
    exports: {
      functions: callable,
      others: Object.fromEntries(others.map((name) => [name, typeOf(namespace[name])])),
      ...(typed.functions.size === 0 ? {} : { described: typed.described }),
    },
    hooks: onlyHooks(path, namespace),
  };
}

interface TypedFunctions {
  functions: Map<string, RawFunction>;
  described: NonNullable<Exports["described"]>;
  fetch: RawFunction;
}

/** What typed functions need is loaded by the first module that has one. */
async function prepareTyped(
  path: string,
  namespace: Record<string, unknown>,
  callable: readonly string[],
): Promise<TypedFunctions> {
  const kept = new KeptResults();
  const typed: TypedFunctions = { functions: new Map(), described: {}, fetch: kept.fetch };
  for (const name of callable) {
    const definition = namespace[name];
    if (!isDefinition(definition)) continue;
    try {
      const { prepareFunction } = await import("./typed-function.ts");
      const { run, description } = prepareFunction(name, definition, kept);
      typed.functions.set(name, run);
      typed.described[name] = description;
    } catch (error) {
      const record = toErrorRecord(error);
      const message = `the schemas of "${name}" in ${path} cannot be used: ${record.message}`;
      throw new LoadFailure("RFAAS_MODULE_FAILED", { ...record, message });
    }
  }
  return typed;
}

function onlyHooks(path: string, namespace: Record<string, unknown>): HooksDefinition | undefined {
  // The same hooks may have two names.
  const found = new Set(Object.values(namespace).filter((value) => isHooks(value)));
  if (found.size <= 1) return [...found][0];
  const message = `${path} exports hooks ${found.size} times; join them into one`;
  throw new LoadFailure("RFAAS_MODULE_FAILED", { name: "ModuleHooks", message });
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}
