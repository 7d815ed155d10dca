/** How commands name a function: a module's path, and its name after a #. */
import { existsSync } from "node:fs";
import { UsageError } from "../../base/errors.ts";
import { nearNames } from "../../base/near-names.ts";

/** `fn.ts#name` in its parts; a file or a folder may have a # in its own name. */
export function splitTarget(target: string): [module: string, name: string | undefined] {
  const hash = target.lastIndexOf("#");
  if (hash <= 0 || target.includes("/", hash) || existsSync(target)) return [target, undefined];
  const name = target.slice(hash + 1);
  if (name === "")
    throw new UsageError(`${target} names no function after the #; leave the # out or name one`);
  return [target.slice(0, hash), name];
}

/** The function that is meant where none is named. Throws {@link UsageError} where there are several. */
export function onlyFunction(module: string, functions: readonly string[]): string {
  if (functions.length === 1) return functions[0]!;
  if (functions.includes("default")) return "default";
  throw new UsageError(
    `${module} has several functions (${nearNames("", functions)}); choose one: rfaas invoke ${module}#${functions[0]}`,
  );
}
