/**
 * Modules that workers have of their own: `rfaas/function`, and TypeBox. What a user's module imports of TypeBox is the worker's, as
 * long as it is of the same line, whichever copy npm has installed for the user: formats, types and policies that are set in one
 * copy are unknown to others.
 */

/** The line of TypeBox that workers have: what its versions differ in does not matter to schemas. */
export const TYPEBOX_LINE = "0.34";

const TYPEBOX = "@sinclair/typebox";
/** What a worker calls its own, so that a copy which a package brings along keeps its name. */
const OWN = "rfaas/typebox";

/** By what a worker calls them; loaded when they are wanted, and without waiting: CommonJS does not wait. */
const PROVIDED: Readonly<Record<string, () => object>> = {
  "rfaas/function": () => require("./index.ts"),
  [OWN]: () => typebox().main,
  [`${OWN}/compiler`]: () => typebox().compiler,
  [`${OWN}/errors`]: () => typebox().errors,
  [`${OWN}/parser`]: () => typebox().parser,
  [`${OWN}/syntax`]: () => typebox().syntax,
  [`${OWN}/system`]: () => typebox().system,
  [`${OWN}/type`]: () => typebox().type,
  [`${OWN}/value`]: () => typebox().value,
};

function typebox(): typeof import("./typebox.ts") {
  return require("./typebox.ts");
}

export const PROVIDED_NAMES: readonly string[] = Object.keys(PROVIDED);

/** A module's exports, by one of the {@link PROVIDED_NAMES}. */
export function loadProvided(name: string): Record<string, unknown> {
  return { ...PROVIDED[name]!() };
}

/** What a worker calls what an import names; undefined for what it does not have. */
export function providedName(specifier: string): string | undefined {
  const name = isTypeBox(specifier) ? OWN + specifier.slice(TYPEBOX.length) : specifier;
  return Object.hasOwn(PROVIDED, name) ? name : undefined;
}

export function isTypeBox(specifier: string): boolean {
  return specifier === TYPEBOX || specifier.startsWith(`${TYPEBOX}/`);
}
