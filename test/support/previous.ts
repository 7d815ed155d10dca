/**
 * The version before this one, N-1, as its users have it: built once from the commit that `test/upgrade/previous.json` names, in a folder
 * of its own, and kept by that commit's hash.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { commit } from "../upgrade/previous.json";
import { ROOT } from "./executable.ts";

const KEPT = join(homedir(), ".cache", "rfaas-test", "versions", commit);
const EXECUTABLE = join(KEPT, "rfaas");
/** As many letters of a hash as people write. */
const SHORT = 7;

export const PREVIOUS = commit.slice(0, SHORT);

/** What keeps the previous version from being built here, or undefined. */
export function lackingForPrevious(): string | undefined {
  if (existsSync(EXECUTABLE)) return undefined;
  if (Bun.which("git") === null) return "git";
  const known = Bun.spawnSync(["git", "cat-file", "-e", `${commit}^{commit}`], {
    ...{ cwd: ROOT, stderr: "ignore" },
  });
  if (known.success) return undefined;
  return `the commit ${PREVIOUS} of the version before this one, which this clone has not got: git fetch --unshallow`;
}

/** The path of its executable. Building takes half a minute, once. */
export async function previousExecutable(): Promise<string> {
  if (existsSync(EXECUTABLE)) return EXECUTABLE;
  mkdirSync(KEPT, { recursive: true });
  const tree = mkdtempSync(join(KEPT, "tree-"));
  try {
    await run(["sh", "-c", `git archive ${commit} | tar -x -C "$0"`, tree], ROOT);
    if (await sameDependencies(tree))
      symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
    await run(["npm", "run", "build"], tree);
    // By name at once: another run may look for it.
    const fresh = join(tree, "fresh");
    copyFileSync(join(tree, "dist", "rfaas"), fresh);
    renameSync(fresh, EXECUTABLE);
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
  return EXECUTABLE;
}

async function sameDependencies(tree: string): Promise<boolean> {
  const [own, its] = [ROOT, tree].map((folder) =>
    Bun.file(join(folder, "package-lock.json")).text(),
  );
  return (await own) === (await its);
}

async function run(command: readonly string[], cwd: string): Promise<void> {
  const child = Bun.spawn([...command], { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0)
    throw new Error(`${command.join(" ")} in ${cwd} failed:\n${stdout}\n${stderr}`);
}
