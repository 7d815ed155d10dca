/** The check of options that come with every call: compiled, and in place. */
import type { Static, TObject } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { readOptions } from "./read.ts";

/**
 * A check for options of calls, which are read in place: takes some nanoseconds and allocates nothing unless something is wrong.
 * Compiled when it is first used.
 */
export function quickCheck<Schema extends TObject>(
  what: string,
  schema: Schema,
): (given: Static<Schema>) => void {
  const known = new Set(Object.keys(schema.properties));
  let compiled: ReturnType<typeof TypeCompiler.Compile<Schema>> | undefined;
  const isRight = (given: object): boolean => {
    for (const name in given) if (!known.has(name)) return false;
    return (compiled ??= TypeCompiler.Compile(schema)).Check(given);
  };
  return (given) => {
    if (typeof given !== "object" || given === null || !isRight(given))
      readOptions(what, schema, given);
  };
}
