/** The kinds of functions, by name: workers and callers find here what a definition, or its description, is of. */
import { UsageError } from "../base/errors.ts";
import { show } from "../base/show.ts";
import type { FunctionKindName } from "../function/define-function.ts";
import type { FunctionKind } from "./kind.ts";
import { struct } from "./struct.ts";
import { typed } from "./typed.ts";

const KINDS: { readonly [Name in FunctionKindName]: FunctionKind & { readonly name: Name } } = {
  typed,
  struct,
};

/** Throws {@link UsageError} for the name of a kind that only another version of rfaas has: it may come from another process. */
export function kindNamed(name: string): FunctionKind {
  if (Object.hasOwn(KINDS, name)) return KINDS[name as FunctionKindName];
  throw new UsageError(
    `${show(name)} is a kind of function that this version of rfaas does not know; use the same version on both sides`,
  );
}
