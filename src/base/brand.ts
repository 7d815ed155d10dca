/** How definitions are recognised: by registered symbols, which are the same in every copy of this package that a bundle may hold. */

export const FUNCTION_BRAND: unique symbol = Symbol.for("rfaas.function") as never;
export const HOOKS_BRAND: unique symbol = Symbol.for("rfaas.hooks") as never;
export const STRUCT_BRAND: unique symbol = Symbol.for("rfaas.struct") as never;

export function isBranded(value: unknown, brand: symbol): boolean {
  return typeof value === "object" && value !== null && Object.hasOwn(value, brand);
}
