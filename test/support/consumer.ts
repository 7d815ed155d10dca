/** What `npm run pack` makes of this tree for npm, in folders of programs that use it. */
import { mkdtempSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pack } from "../../build/pack.ts";
import { thisPlatform } from "../../build/target/platform.ts";

/** For another platform it takes a cross compiler: its own tests do so. */
export const ARTEFACTS = ["npm-main", "npm-platform", thisPlatform()];

/** Packed files have this time, whatever the last commit is. */
export const EPOCH_S = "1700000000";

/** Packs into a folder, and returns the paths of the packages: the main one, then that for this machine. */
export async function packInto(folder: string, artefacts = ARTEFACTS): Promise<string[]> {
  process.env["SOURCE_DATE_EPOCH"] = EPOCH_S;
  const names = await pack(artefacts, folder);
  return names.map((name) => join(folder, name));
}

const read = new Map<string, Record<string, Buffer>>();

/** What a package has, by path. */
export function filesOf(tarball: string): Record<string, Buffer> {
  const known = read.get(tarball);
  if (known) return known;
  const at = mkdtempSync(join(dirname(tarball), "unpacked-"));
  const { success, stderr } = Bun.spawnSync(["tar", "-xzf", tarball, "-C", at]);
  if (!success) throw new Error(stderr.toString());
  const files: Record<string, Buffer> = {};
  for (const path of new Bun.Glob("package/**").scanSync({ cwd: at, dot: true }))
    files[path.slice("package/".length)] = readFileSync(join(at, path));
  read.set(tarball, files);
  return files;
}

/** Runs a command to its end. */
export async function run(
  command: readonly string[],
  cwd: string,
  env: Record<string, string | undefined> = process.env,
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([...command], {
    cwd,
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/** Installs packages into a folder. What npm has fetched before, it does not fetch again. */
export async function npmInstall(at: string, packages: readonly string[]): Promise<void> {
  const options = ["--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  const { exitCode, stderr } = await run(["npm", "install", ...options, ...packages], at);
  if (exitCode !== 0) throw new Error(`npm install failed:\n${stderr}`);
}
