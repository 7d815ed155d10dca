/** How this program starts itself again, as another role. */
import { join } from "node:path";

/** Set by the build: this code runs inside the rfaas executable. */
declare const RFAAS_COMPILED: boolean | undefined;
export const compiled: boolean = typeof RFAAS_COMPILED !== "undefined" && RFAAS_COMPILED;

/** The command line that runs rfaas with `args`. `RFAAS_EXECUTABLE` names another executable to use. */
export function selfCommand(args: readonly string[]): string[] {
  const named = process.env["RFAAS_EXECUTABLE"];
  if (named) return [named, ...args];
  if (compiled) return [process.execPath, ...args];
  return [process.execPath, join(import.meta.dir, "main.ts"), ...args];
}

/** The command line that runs the Bun that is inside of us, in {@link bunEnvironment}. */
export function bunCommand(args: readonly string[]): string[] {
  return [process.execPath, ...args];
}

export function bunEnvironment(): Record<string, string | undefined> {
  return { ...childEnvironment(), BUN_BE_BUN: "1" };
}

/** The environment of a child: ours, without what would turn the executable into something else, and without our token. */
export function childEnvironment(): Record<string, string | undefined> {
  const { BUN_OPTIONS: _options, BUN_BE_BUN: _beBun, RFAAS_TOKEN: _token, ...rest } = process.env;
  return rest;
}
