/** The modules that a worker provides, by name: loaded when a user's module imports them, and synchronously, as CommonJS requires. */
import type { ProvidedName } from "../../package/bundle/provided-names.ts";

const PROVIDED: Readonly<Record<ProvidedName, () => object>> = {
  "rfaas/function": () => require("../../function/index.ts"),
  "rfaas/typebox": () => typebox().main,
  "rfaas/typebox/compiler": () => typebox().compiler,
  "rfaas/typebox/errors": () => typebox().errors,
  "rfaas/typebox/parser": () => typebox().parser,
  "rfaas/typebox/syntax": () => typebox().syntax,
  "rfaas/typebox/system": () => typebox().system,
  "rfaas/typebox/type": () => typebox().type,
  "rfaas/typebox/value": () => typebox().value,
};

function typebox(): typeof import("./typebox.ts") {
  return require("./typebox.ts");
}

/** A module's exports. */
export function loadProvided(name: ProvidedName): Record<string, unknown> {
  return { ...PROVIDED[name]() };
}
