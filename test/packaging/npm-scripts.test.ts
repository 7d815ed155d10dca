/** `npm run pack` makes packages of the sources; `npm pack`, which would pack the sources themselves, says so. */
import { expect, test } from "bun:test";
import packageJson from "../../package.json" with { type: "json" };
import { ROOT } from "../support/executable.ts";

const LIMIT_MS = 60_000;

function npm(...args: readonly string[]): { exitCode: number; stderr: string } {
  const { exitCode, stderr } = Bun.spawnSync(["npm", ...args], { cwd: ROOT, stdin: "ignore" });
  return { exitCode, stderr: stderr.toString() };
}

test(
  "npm run pack makes what is named, or says which names there are",
  () => {
    const { exitCode, stderr } = npm("run", "pack", "--", "nothing");
    expect(stderr).toContain("no artefact or platform is called nothing; there are npm-main, ");
    expect(exitCode).toBe(1);
  },
  LIMIT_MS,
);

test.each([["pack"], ["publish"]])(
  "npm %s refuses, and names the command that packs",
  (command) => {
    const { exitCode, stderr } = npm(command, "--dry-run");
    expect(stderr).toContain("npm run pack makes the packages, in dist/pack");
    expect(exitCode).not.toBe(0);
    expect(packageJson.private).toBe(true);
  },
  LIMIT_MS,
);
