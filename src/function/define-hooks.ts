/** What a module does once per worker, before its first call and after its last. */
import { HOOKS_BRAND, isBranded } from "../base/brand.ts";
import type { WorkerContext } from "./context.ts";

export interface Hooks {
  /**
   * Before the lease is granted: fills `ctx.state`, opens files. Its failure is the allocation's, as a `ModuleLoadError`. It does not run
   * again for a lease that gets a worker which was kept (`keepWarmMs`).
   */
  init?(ctx: WorkerContext): void | Promise<void>;
  /**
   * When the lease is released, or the worker was kept for others and goes. It has 2 seconds; a lease that ends in any other way ends at
   * once, without it.
   */
  dispose?(ctx: WorkerContext): void | Promise<void>;
}

export interface HooksDefinition extends Readonly<Hooks> {
  readonly [HOOKS_BRAND]: true;
}

/**
 * Marks an export, of any name, as the hooks of its module.
 *
 * @example
 * ```ts
 * export const hooks = defineHooks({
 *   async init({ state }) { state.set("model", await loadModel()); },
 *   dispose: ({ state }) => (state.get("model") as Model).close(),
 * });
 * ```
 */
export function defineHooks(hooks: Hooks): HooksDefinition {
  for (const name of ["init", "dispose"] as const)
    if (hooks[name] !== undefined && typeof hooks[name] !== "function")
      throw new TypeError(`the hook "${name}" must be a function`);
  return Object.freeze({ ...hooks, [HOOKS_BRAND]: true as const });
}

export function isHooks(value: unknown): value is HooksDefinition {
  return isBranded(value, HOOKS_BRAND);
}
