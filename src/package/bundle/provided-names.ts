/**
 * The names of the modules that workers have of their own: `rfaas/function`, and TypeBox. A package leaves them out, and a worker
 * loads them (`executor/modules/provided.ts`). What a user's module imports of TypeBox is the worker's, as long as it is of the same
 * line, whichever copy npm has installed for the user: formats, types and policies that are set in one copy are unknown to others.
 */

/** The line of TypeBox that workers have: what its versions differ in does not matter to schemas. */
export const TYPEBOX_LINE = "0.34";

const TYPEBOX = "@sinclair/typebox";
/** What a worker calls its own, so that a copy which a package brings along keeps its name. */
const OWN = "rfaas/typebox";

/** What a worker calls them. */
export const PROVIDED_NAMES = [
  "rfaas/function",
  OWN,
  `${OWN}/compiler`,
  `${OWN}/errors`,
  `${OWN}/parser`,
  `${OWN}/syntax`,
  `${OWN}/system`,
  `${OWN}/type`,
  `${OWN}/value`,
] as const;

export type ProvidedName = (typeof PROVIDED_NAMES)[number];

/** What a worker calls what an import names; undefined for what it does not have. */
export function providedName(specifier: string): ProvidedName | undefined {
  const name = isTypeBox(specifier) ? OWN + specifier.slice(TYPEBOX.length) : specifier;
  return PROVIDED_NAMES.find((provided) => provided === name);
}

export function isTypeBox(specifier: string): boolean {
  return specifier === TYPEBOX || specifier.startsWith(`${TYPEBOX}/`);
}
