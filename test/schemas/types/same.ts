/** Comparing types. */

/** `true` for the same type, with the same optional and read-only parts. */
export type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** `true` for types that say nothing of their values. */
export type IsVague<T> = 0 extends 1 & T
  ? true
  : [unknown] extends [T]
    ? true
    : [T] extends [never]
      ? true
      : false;

/** Compiles for `never` alone; the error shows what is there instead. */
export function none<_Found extends never>(): void {}
