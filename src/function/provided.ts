/**
 * Modules that workers have of their own. What a user's module imports of TypeBox is the worker's, as long as it is of the same
 * line, whichever copy npm has installed for the user: formats, types and policies that are set in one copy are unknown to others.
 */

/** The line of TypeBox that workers have: what its versions differ in does not matter to schemas. */
export const TYPEBOX_LINE = "0.34";

const TYPEBOX = "@sinclair/typebox";

/** The parts that TypeBox can be imported by. */
export const TYPEBOX_PARTS = [
  "",
  "/compiler",
  "/errors",
  "/parser",
  "/syntax",
  "/system",
  "/type",
  "/value",
] as const;

/** What workers call a part of their TypeBox; a copy that a package brings along keeps its own name. */
export const providedTypeBox = (part: string): string => `rfaas/typebox${part}`;

/** The part of TypeBox that an import names; undefined for anything else. */
export function typeBoxPart(specifier: string): string | undefined {
  return TYPEBOX_PARTS.find((part) => specifier === TYPEBOX + part);
}
