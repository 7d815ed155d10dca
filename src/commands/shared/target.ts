/** How commands name a function: a module's path, and its name after a #. */
import { existsSync } from "node:fs";
import { UsageError } from "../../base/errors.ts";

/** `fn.ts#name` in its parts; a file or a folder may have a # in its own name. */
export function splitTarget(target: string): [module: string, name: string | undefined] {
  const hash = target.lastIndexOf("#");
  if (hash <= 0 || target.includes("/", hash) || existsSync(target)) return [target, undefined];
  const name = target.slice(hash + 1);
  if (name === "")
    throw new UsageError(`${target} names no function after the #; leave the # out or name one`);
  return [target.slice(0, hash), name];
}
