/**
 * Registries of other copies of TypeBox in this process. In a worker there is one copy, which modules are given too; a test or a
 * client runs modules beside whatever npm has installed, and each copy of TypeBox knows only the formats and types that were set
 * in it.
 */
import { FormatRegistry, TypeRegistry } from "@sinclair/typebox";

interface Registry {
  Entries(): Map<string, unknown>;
}

const REGISTRY = /\/@sinclair\/typebox\/build\/(?:esm|cjs)\/type\/registry\/(format|type)\.m?js$/;

/** Takes over what other copies have that ours has not; returns whether there was anything. */
export function adoptRegistries(): boolean {
  let adopted = false;
  for (const path of Object.keys(require.cache)) {
    const [, kind] = REGISTRY.exec(path) ?? [];
    if (kind === undefined) continue;
    const ours = (kind === "format" ? FormatRegistry : TypeRegistry) as typeof TypeRegistry;
    const theirs = require(path) as Partial<Registry>;
    for (const [name, check] of theirs.Entries?.() ?? []) {
      if (ours.Has(name)) continue;
      ours.Set(name, check as Parameters<typeof ours.Set>[1]);
      adopted = true;
    }
  }
  return adopted;
}
