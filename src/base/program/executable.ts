/** Where the rfaas executable is, and its native shim, for each kind of program. It looks at files and starts nothing. */
import { constants, accessSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { packed } from "./compiled.ts";
import {
  isSameFile,
  mainFile,
  programFile,
  programFolders,
  programForm,
  runningFile,
} from "./form.ts";
import { platformPackage, platformRefusal } from "./platform.ts";

/** What was not found, in one sentence that ends with what to do. */
export interface Missing {
  /** `platform`: no executable can run here. `version`: it is of another one than this library. */
  why: "platform" | "version" | "absent";
  message: string;
}

export type Found<Value> =
  { found: Value; missing?: undefined } | { found?: undefined; missing: Missing };

/** The command that runs rfaas, without its arguments: `RFAAS_EXECUTABLE`, else its own, else what is installed. */
export function findExecutable(version: string): Found<readonly string[]> {
  const named = process.env["RFAAS_EXECUTABLE"];
  if (named) return checked(named);
  const form = programForm();
  if (form === "executable") return { found: [runningFile()] };
  if (form === "checkout") return { found: [runningFile(), mainFile()] };
  const installed = platformFile("rfaas", version);
  if (installed) return typeof installed === "string" ? { found: [installed] } : installed;
  const onPath = executableOnPath();
  if (onPath !== undefined) return { found: [onPath] };
  return absent(nothingFound(version));
}

/** The shim that the platform's package has; undefined where none is installed. */
export function findShimFile(version: string): Found<string> | undefined {
  const installed = platformFile("librfaas.so", version);
  return typeof installed === "string" ? { found: installed } : installed;
}

/** A file of the platform's package, as Node looks for packages, from each folder of this program. */
function platformFile(name: string, version: string): string | { missing: Missing } | undefined {
  const refusal = platformRefusal();
  if (refusal !== undefined) return { missing: { why: "platform", message: refusal } };
  const wanted = platformPackage()!;
  for (const start of programFolders())
    for (let folder = start; ; folder = dirname(folder)) {
      const at = join(folder, "node_modules", wanted);
      const theirs = versionIn(at);
      if (theirs !== undefined) {
        if (theirs !== version)
          return { missing: { why: "version", message: packageDiffers(wanted, theirs, version) } };
        const file = join(at, name);
        return isFile(file) ? file : absent(incomplete(wanted, file));
      }
      if (dirname(folder) === folder) break;
    }
  return undefined;
}

/** What `RFAAS_EXECUTABLE` names: a path, or a name on PATH. */
function checked(named: string): Found<readonly string[]> {
  const wrong = (what: string): { missing: Missing } =>
    absent(
      `RFAAS_EXECUTABLE names ${named}, which ${what}; let it name the rfaas executable, or unset it`,
    );
  const path = named.includes("/") ? resolve(named) : Bun.which(named);
  const found = path === null ? undefined : statSync(path, { throwIfNoEntry: false });
  if (path === null || !found) return wrong("does not exist");
  if (found.isDirectory()) return wrong("is a folder");
  if (programForm() !== "executable" && isOurselves(path)) return wrong("is this program itself");
  return { found: [path] };
}

function executableOnPath(): string | undefined {
  for (const folder of (process.env["PATH"] ?? "").split(":")) {
    const path = resolve(folder, "rfaas");
    // A program that uses rfaas may have its name.
    if (isFile(path) && isExecutable(path) && !isOurselves(path)) return path;
  }
  return undefined;
}

/** Whether a file is the user's program, or the Bun that runs it. */
function isOurselves(path: string): boolean {
  if (isSameFile(path, programFile())) return true;
  // `rfaas test` runs a program with the Bun that is inside of rfaas, whose children are told to be rfaas.
  return process.env["BUN_BE_BUN"] !== "1" && isSameFile(path, runningFile());
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function versionIn(folder: string): string | undefined {
  try {
    const text = readFileSync(join(folder, "package.json"), "utf8");
    return String((JSON.parse(text) as { version?: unknown }).version);
  } catch {
    return undefined;
  }
}

const absent = (message: string): { missing: Missing } => ({ missing: { why: "absent", message } });

/** Both sides say it in the same words: the executable of the library that has started it. */
export function versionsDiffer(executable: string, library: string): string {
  return `the rfaas executable is of version ${executable}, and the library that starts it of version ${library}; install the same version of both`;
}

function packageDiffers(name: string, theirs: string, version: string): string {
  return `${name} is of version ${theirs}, and the rfaas library that needs it of version ${version}; install the same version of both: ${installCommand(name, version)}`;
}

/** The packages come as files. */
function installCommand(name: string, version: string): string {
  return `npm install ./${name.slice(1).replace("/", "-")}-${version}.tgz`;
}

function incomplete(name: string, file: string): string {
  return `the package ${name} is damaged: it has no ${file}; remove node_modules, and run npm install again`;
}

function nothingFound(version: string): string {
  const wanted = platformPackage()!;
  const install = installCommand(wanted, version);
  if (programForm() === "installed")
    return `the package ${wanted}, which has the rfaas executable, is not installed, and no rfaas is on PATH; install it beside rfaas: ${install}, or set RFAAS_EXECUTABLE to the path of the rfaas executable`;
  // One from the npm package has no shim of its own, without which no lease can be used.
  const connect = packed ? "" : ", or connect to a running node: invoker({ node }) or RFAAS_NODE";
  return `rfaas is bundled into ${programFile()}, which finds no rfaas executable: ${wanted} is not installed beside it, and no rfaas is on PATH; install the package (${install}), or set RFAAS_EXECUTABLE to the path of the rfaas executable${connect}`;
}
