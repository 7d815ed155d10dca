/** How this program starts itself again, as another role. */
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError } from "./errors.ts";

/** Set by the build: this code runs inside the rfaas executable. */
declare const RFAAS_COMPILED: boolean | undefined;
export const compiled: boolean = typeof RFAAS_COMPILED !== "undefined" && RFAAS_COMPILED;

/** Commands that only rfaas itself gives. */
const ROLES: ReadonlySet<string> = new Set(["__node", "__host", "__bundle"]);

/**
 * The command line that runs rfaas with `args`. `RFAAS_EXECUTABLE` names another executable to use.
 *
 * A program that bundles the library (`bun build`, with or without `--compile`) has no rfaas beside it, and must not start itself
 * instead: each copy would start another one.
 *
 * @throws {EnvironmentError} when this program cannot tell where rfaas is, or was itself started in its place
 */
export function selfCommand(args: readonly string[]): string[] {
  if (compiled) return [process.env["RFAAS_EXECUTABLE"] || process.execPath, ...args];
  if (ROLES.has(process.argv[2] ?? "") && !isOurs(Bun.main))
    throw new EnvironmentError(
      `${ownName()} was started where rfaas was meant, and starts nothing more; RFAAS_EXECUTABLE must name the rfaas executable, not a program that uses it`,
    );
  const named = process.env["RFAAS_EXECUTABLE"];
  if (named) {
    if (Bun.isStandaloneExecutable && isSameFile(named, process.execPath))
      throw new EnvironmentError(
        `RFAAS_EXECUTABLE names ${named}, which is this program itself; let it name the rfaas executable`,
      );
    return [named, ...args];
  }
  const main = mainFile();
  if (Bun.isStandaloneExecutable || !isOurs(main))
    throw new EnvironmentError(
      `rfaas is bundled into ${ownName()}, which has no rfaas to start; set RFAAS_EXECUTABLE to the path of the rfaas executable, or connect to a running node: invoker({ node }) or RFAAS_NODE`,
    );
  return [process.execPath, main, ...args];
}

const mainFile = (): string => join(import.meta.dir, "..", "main.ts");

/** Whether this is our `main.ts`, as it lies above this file: a bundled one has another name, or another folder. */
function isOurs(main: string): boolean {
  return import.meta.file === "process.ts" && isSameFile(main, mainFile());
}

/** The program of the user, for errors. */
function ownName(): string {
  return Bun.isStandaloneExecutable ? process.execPath : Bun.main;
}

function isSameFile(a: string, b: string): boolean {
  // Looking takes a descriptor, and there may be none left.
  if (a === b) return true;
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}

const own = new Set<number>();

/** Processes that this one has started for itself and that have not ended; processes of functions are not among them. */
export function ownChildren(): number[] {
  return [...own];
}

/** Takes note of a process that this one has started for itself. */
export function keepChild(child: { pid: number; exited: Promise<unknown> }): void {
  const { pid } = child;
  own.add(pid);
  const forget = () => void own.delete(pid);
  child.exited.then(forget, forget);
}

/** The command line that runs the Bun that is inside of us, in {@link bunEnvironment}. */
export function bunCommand(args: readonly string[]): string[] {
  return [process.execPath, ...args];
}

export function bunEnvironment(): Record<string, string | undefined> {
  return { ...childEnvironment(), BUN_BE_BUN: "1" };
}

/** The environment of a child: ours, without our token and without variables that make the executable run as another program. */
export function childEnvironment(): Record<string, string | undefined> {
  const { BUN_OPTIONS: _options, BUN_BE_BUN: _beBun, RFAAS_TOKEN: _token, ...rest } = process.env;
  return rest;
}
