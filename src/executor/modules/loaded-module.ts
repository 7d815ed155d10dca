/** The functions of a module that clients can call: functions on memory, and those that `defineFunction` has made. */
import { FUNCTION_BRAND } from "../../base/brand.ts";
import { isDefinition } from "../../function/definition.ts";
import { type HooksDefinition, isHooks } from "../../function/define-hooks.ts";
import type { RawFunction } from "../../function/raw.ts";
import type { ErrorRecord } from "../../protocol/failed.ts";
import type { Exports } from "../../protocol/module-report.ts";
import { toErrorRecord } from "../results/error-record.ts";
import { KeptResults } from "../results/kept-results.ts";

/** Characters of all schemas of a module that travel with a grant, which is one control message. */
const MAX_DESCRIBED = 1024 * 1024;

export interface LoadedModule {
  /** By index: sorted by name, so that every worker agrees. */
  functions: RawFunction[];
  exports: Exports;
  hooks: HooksDefinition | undefined;
  /** Of functions on values. */
  kept?: KeptResults;
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

/** Lists the exports of a module that messages call `name`. Throws {@link LoadFailure}. */
export async function functionsOf(
  namespace: Record<string, unknown>,
  name: string,
): Promise<LoadedModule> {
  const isCallable = (key: string) =>
    typeof namespace[key] === "function" || isDefinition(namespace[key]);
  const names = Object.keys(namespace).sort();
  const callable = names.filter(isCallable);
  const others = names.filter((name) => !isCallable(name));
  if (callable.length === 0) {
    const message = `${name} exports no function${others.length > 0 ? ` (only ${others.join(", ")})` : ""}; export one, as rfaas help invoke shows`;
    throw new LoadFailure("RFAAS_NO_FUNCTIONS", { name: "NoFunctions", message });
  }
  const typed = await prepareTyped(name, namespace, callable);
  const functions = callable.map(
    (key) => typed.functions.get(key) ?? (namespace[key] as RawFunction),
  );
  return {
    // The hidden one comes after all that have names.
    functions: typed.functions.size === 0 ? functions : [...functions, typed.kept.fetch],
    exports: {
      functions: callable,
      others: Object.fromEntries(others.map((key) => [key, typeOf(namespace[key])])),
      ...(typed.functions.size === 0 ? {} : { described: typed.described }),
    },
    hooks: onlyHooks(name, namespace),
    kept: typed.kept,
  };
}

interface TypedFunctions {
  functions: Map<string, RawFunction>;
  described: NonNullable<Exports["described"]>;
  kept: KeptResults;
}

/** The first module with a typed function loads the code that typed functions need. */
async function prepareTyped(
  module: string,
  namespace: Record<string, unknown>,
  callable: readonly string[],
): Promise<TypedFunctions> {
  const kept = new KeptResults();
  let room = MAX_DESCRIBED;
  const typed: TypedFunctions = { functions: new Map(), described: {}, kept };
  for (const name of callable) {
    const definition = namespace[name];
    if (!isDefinition(definition)) continue;
    try {
      const { kindNamed } = await import("../../kinds/registry.ts");
      const kind = kindNamed(definition[FUNCTION_BRAND]);
      typed.functions.set(name, kind.prepare(name, definition, kept));
      const description = { kind: kind.name, ...kind.describe(definition, room) };
      typed.described[name] = description;
      room -= JSON.stringify(description).length;
    } catch (error) {
      const record = toErrorRecord(error);
      const message = `the schemas of "${name}" in ${module} cannot be used: ${record.message}`;
      throw new LoadFailure("RFAAS_MODULE_FAILED", { ...record, message });
    }
  }
  return typed;
}

function onlyHooks(name: string, namespace: Record<string, unknown>): HooksDefinition | undefined {
  // The same hooks may have two names.
  const found = new Set(Object.values(namespace).filter((value) => isHooks(value)));
  if (found.size <= 1) return [...found][0];
  const message = `${name} exports hooks ${found.size} times; join them into one`;
  throw new LoadFailure("RFAAS_MODULE_FAILED", { name: "ModuleHooks", message });
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}
