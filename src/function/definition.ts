/** Tells what `defineFunction` has made from other exports, without what making one takes. */
import { FUNCTION_BRAND, isBranded } from "../base/brand.ts";
import type { AnyDefinition } from "./define-function.ts";

export function isDefinition(value: unknown): value is AnyDefinition {
  return isBranded(value, FUNCTION_BRAND);
}
