/** How this program starts itself again, as another role, and how it knows that it was started as one. */
import { dirname, join } from "node:path";
import { findShimBy } from "../../ffi/library.ts";
import { EnvironmentError, EXIT, PlatformUnsupported, VersionMismatch } from "./errors.ts";
import {
  type Missing,
  findExecutable,
  findShimFile,
  versionsDiffer,
} from "./program/executable.ts";
import { compiled } from "./program/compiled.ts";
import { programFile, runningFile, runsMainFile } from "./program/form.ts";
import { ROLES, type Role, markOf, takeMark, withMark, withoutMark } from "./program/marker.ts";
import { platformRefusal } from "./program/platform.ts";
import { reasonOf } from "./system-errors.ts";
import { VERSION } from "./version.ts";

export { compiled };
export type { Role };

/**
 * The command line that runs rfaas with `args`: `RFAAS_EXECUTABLE` where that is set, else this program where it is rfaas, else the
 * executable of the platform's package of npm, else `rfaas` on PATH.
 *
 * A program that has the library inside of it must not start itself in place of rfaas: each copy would start another one.
 *
 * @throws {EnvironmentError} no executable is found, or this program was itself started in its place
 * @throws {PlatformUnsupported} rfaas does not run on this machine
 * @throws {VersionMismatch} the executable that is installed is of another version
 */
export function selfCommand(args: readonly string[]): string[] {
  const mistaken = takenForRfaas();
  if (mistaken !== undefined) throw new EnvironmentError(mistaken);
  const { found, missing } = findExecutable(VERSION);
  if (missing) throw failure(missing);
  return [...found, ...args];
}

/** Throws {@link PlatformUnsupported} on a machine on which rfaas cannot run. */
export function requirePlatform(): void {
  const message = platformRefusal();
  if (message !== undefined) throw new PlatformUnsupported(message);
}

function failure({ why, message }: Missing): Error {
  if (why === "platform") return new PlatformUnsupported(message);
  return why === "version" ? new VersionMismatch(message) : new EnvironmentError(message);
}

/** Whether this process is rfaas itself, executable or checkout, whichever command it runs. */
let isRfaas = false;

/**
 * For the executable, at its start: takes note that this process is rfaas, and takes off the mark of its role, which its threads
 * and children must not inherit. Throws when it cannot be what it was started as.
 *
 * @throws {VersionMismatch} a library of another version has started it
 * @throws {EnvironmentError} it was started as another role than the one that its command line names
 */
export function enterRole(command: string | undefined): void {
  isRfaas = true;
  const mark = takeMark();
  if (mark === undefined) return;
  if (mark.version !== VERSION) throw new VersionMismatch(versionsDiffer(VERSION, mark.version));
  if (mark.role !== command)
    throw new EnvironmentError(
      `rfaas was started to be ${mark.role}, with the arguments of another command; RFAAS_EXECUTABLE must name the rfaas executable, or a script that passes its arguments on`,
    );
}

/**
 * For the library, as it is loaded: ends a program that was started in place of rfaas before it does anything twice, for it would
 * go on to start rfaas, and so itself.
 */
export function refuseToStandIn(): void {
  const mistaken = takenForRfaas();
  if (mistaken === undefined) return;
  process.stderr.write(`rfaas: ${mistaken}\n`);
  process.exit(EXIT.usage);
}

/** Why this program may start nothing: a mark or a command line that is meant for rfaas, and it is not rfaas. */
function takenForRfaas(): string | undefined {
  if (isRfaas) return undefined;
  // Threads of rfaas have its command line, but not the mark.
  const named = compiled || runsMainFile() ? undefined : process.argv[2];
  const role = markOf(process.env)?.role ?? ROLES.find((name) => name === named);
  if (role === undefined) return undefined;
  // `rfaas run` runs a user's program inside the executable.
  const program = compiled ? Bun.main : programFile();
  return `${program} was started where rfaas was meant (as ${role}), and starts nothing more; RFAAS_EXECUTABLE, and rfaas on PATH, must be the rfaas executable, not a program that uses it`;
}

/** The native shim of an installed library, or of a program that has it inside of it. */
findShimBy(() => {
  const mistaken = takenForRfaas();
  if (mistaken !== undefined) throw new EnvironmentError(mistaken);
  const installed = findShimFile(VERSION);
  if (installed?.missing) throw failure(installed.missing);
  if (installed) return { path: installed.found };
  return { bytes: shimOfExecutable(selfCommand(["__shim"])) };
});

/** It takes some 15 ms. What is named in its place may never end. */
const SHIM_LIMIT_MS = 10_000;

function shimOfExecutable(command: readonly string[]): Uint8Array {
  let said: string;
  try {
    const { stdout, stderr, exitCode, exitedDueToTimeout } = Bun.spawnSync([...command], {
      env: roleEnvironment("__shim"),
      stdio: ["ignore", "pipe", "pipe"],
      timeout: SHIM_LIMIT_MS,
      killSignal: "SIGKILL",
    });
    if (exitedDueToTimeout) throw new Error(`no answer within ${SHIM_LIMIT_MS / 1000} s`);
    if (exitCode === 0 && isElf(stdout)) return stdout;
    if (stdout[0] === "{".charCodeAt(0)) throw refusalIn(stdout.toString());
    said = stderr.toString().trim().split("\n").at(-1) || `exit code ${exitCode}`;
  } catch (cause) {
    if (cause instanceof VersionMismatch) throw cause;
    said = reasonOf(cause);
  }
  throw new EnvironmentError(
    `${command[0]} does not hand out the native shim (${said}); let RFAAS_EXECUTABLE name the rfaas executable of version ${VERSION}`,
  );
}

/** Why an executable refuses the role that it was started in. */
function refusalIn(text: string): Error {
  const { kind, message } = JSON.parse(text) as { kind: string; message: string };
  return kind === "VersionMismatch" ? new VersionMismatch(message) : new Error(message);
}

function isElf(bytes: Uint8Array): boolean {
  return bytes.length > 4 && Buffer.from(bytes.subarray(0, 4)).toString("latin1") === "\x7fELF";
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

/** What {@link selfCommand} reads as it runs: files, and in a checkout its folder. */
export function programPaths(): string[] {
  const [program, main] = selfCommand([]);
  return [program!, ...(main === undefined ? [] : [join(dirname(main), "..")])];
}

/** The command line that runs the Bun that is inside of us, in {@link bunEnvironment}. */
export function bunCommand(args: readonly string[]): string[] {
  return [runningFile(), ...args];
}

/** A library that is installed beside what this Bun runs starts this executable. */
export function bunEnvironment(): Record<string, string | undefined> {
  const environment = childEnvironment();
  if (compiled) environment["RFAAS_EXECUTABLE"] ||= runningFile();
  return { ...environment, BUN_BE_BUN: "1" };
}

/** What makes the executable run as another program, and our tokens. */
const NOT_FOR_CHILDREN = ["BUN_OPTIONS", "BUN_BE_BUN", "RFAAS_TOKEN", "RFAAS_JOIN_TOKEN"];

/** The environment of a child: ours, without our tokens and without variables that make the executable run as another program. */
export function childEnvironment(): Record<string, string | undefined> {
  const environment = withoutMark({ ...process.env });
  for (const name of NOT_FOR_CHILDREN) delete environment[name];
  return environment;
}

/**
 * The environment of a host, in which functions run: without a mark, for they may use rfaas. Where another program was named as the
 * executable, it names this one, so that a program which the other starts in place of rfaas does not come back to it.
 */
export function hostedEnvironment(): Record<string, string | undefined> {
  const environment = childEnvironment();
  if (compiled && environment["RFAAS_EXECUTABLE"]) environment["RFAAS_EXECUTABLE"] = runningFile();
  return environment;
}

/** The environment of a child that is rfaas in a role of its own. */
export function roleEnvironment(role: Role): Record<string, string | undefined> {
  return withMark(childEnvironment(), { role, version: VERSION });
}
