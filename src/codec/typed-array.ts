/** A schema for typed arrays, which TypeBox has for `Uint8Array` alone. */
import { Kind, type TSchema, TypeRegistry } from "@sinclair/typebox";

const CLASSES = {
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  // Modules of functions load in Node, too, whose older versions lack it.
  Float16Array: globalThis.Float16Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
} as const;

export type TypedArrayName = keyof typeof CLASSES;
type TypedArrayOf<Name extends TypedArrayName> = InstanceType<(typeof CLASSES)[Name]>;

export const TYPED_ARRAY_KIND = "rfaas:TypedArray";

export interface TypedArrayLimits {
  /** Elements, exactly. */
  length?: number;
  minLength?: number;
  maxLength?: number;
}

export interface TTypedArray<Name extends TypedArrayName = TypedArrayName>
  extends TSchema, TypedArrayLimits {
  [Kind]: typeof TYPED_ARRAY_KIND;
  static: TypedArrayOf<Name>;
  array: Name;
}

/**
 * A schema for a typed array. The check does not read its elements, and the codec does not copy them for the function.
 *
 * @example
 * ```ts
 * const Samples = Type.Object({ rate: Type.Number(), samples: typedArray("Float64Array", { maxLength: 4096 }) });
 * ```
 */
export function typedArray<const Name extends TypedArrayName>(
  array: Name,
  limits: TypedArrayLimits = {},
): TTypedArray<Name> {
  if (!isTypedArrayName(array))
    throw new TypeError(
      `${String(array)} is no typed array; use one of ${Object.keys(CLASSES).join(", ")}`,
    );
  return { [Kind]: TYPED_ARRAY_KIND, array, ...limits } as TTypedArray<Name>;
}

export function isTypedArrayName(name: unknown): name is TypedArrayName {
  return typeof name === "string" && Object.hasOwn(CLASSES, name);
}

/** Lets TypeBox check typed arrays. Each copy of TypeBox has a registry of its own, so each checker calls this. */
export function registerTypedArrays(): void {
  TypeRegistry.Set<TTypedArray>(TYPED_ARRAY_KIND, ({ array, ...limits }, value) => {
    if (!(value instanceof CLASSES[array])) return false;
    const { length = value.length, minLength = 0, maxLength = Infinity } = limits;
    return value.length === length && value.length >= minLength && value.length <= maxLength;
  });
}
