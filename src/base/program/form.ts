/** What kind of program this code runs in, and where that program lies. */
import { readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { compiled, packed } from "./compiled.ts";

/**
 * The executable; a checkout of the sources; the npm package in node_modules; a program of the user's that has the library inside
 * of it, as `bun build` makes it, run by Bun or compiled.
 */
export type ProgramForm = "executable" | "checkout" | "installed" | "bundled" | "compiled";

export function programForm(): ProgramForm {
  if (compiled) return "executable";
  if (Bun.isStandaloneExecutable) return "compiled";
  if (packed) return packageName(import.meta.dir) === "rfaas" ? "installed" : "bundled";
  return import.meta.file === "form.ts" ? "checkout" : "bundled";
}

/** The user's program, for errors: its own file, or the script that Bun runs. */
export function programFile(): string {
  return Bun.isStandaloneExecutable ? process.execPath : Bun.main;
}

/** What runs this program: the rfaas executable, another compiled program, or Bun. */
export function runningFile(): string {
  return process.execPath;
}

/** The file that Bun runs as rfaas, in a checkout. */
export function mainFile(): string {
  return join(import.meta.dir, "..", "..", "main.ts");
}

/** Whether this process runs our `main.ts` as it lies in the checkout: a bundled one has another name, or another folder. */
export function runsMainFile(): boolean {
  return programForm() === "checkout" && isSameFile(Bun.main, mainFile());
}

/**
 * Folders from which packages of npm are looked for: of the library's file and of the program. Not the current one, or a program would
 * run what lies in a folder of others.
 */
export function programFolders(): string[] {
  const folders = [import.meta.dir, dirname(programFile())];
  return [...new Set(folders)].filter((folder) => !folder.startsWith("/$bunfs"));
}

export function isSameFile(a: string, b: string): boolean {
  // Looking takes a descriptor, and there may be none left.
  if (a === b) return true;
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}

/** The name of the package that a folder belongs to. */
function packageName(from: string): unknown {
  for (let folder = from; ; folder = dirname(folder)) {
    try {
      const text = readFileSync(join(folder, "package.json"), "utf8");
      return (JSON.parse(text) as { name?: unknown }).name;
    } catch {
      // The next folder may have a readable one.
    }
    if (dirname(folder) === folder) return undefined;
  }
}
