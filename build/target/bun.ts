/**
 * The Bun that an executable is made of: this one for this machine, and for another platform the package of the same version that
 * npm has. It is checked against package-lock.json, which pins it for every platform, and kept in `node_modules/.cache/`.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import lock from "../../package-lock.json";
import { type Platform, thisPlatform } from "./platform.ts";

const CACHE = join(import.meta.dir, "..", "..", "node_modules", ".cache", "rfaas");

/** The names that npm has. */
const PACKAGES = {
  "linux-x64": "@oven/bun-linux-x64",
  "linux-arm64": "@oven/bun-linux-aarch64",
} as const satisfies Record<Platform, string>;

/** Of another platform than this machine's: undefined stands for the Bun that runs. Throws with what npm said. */
export function bunOf(platform: Platform): string | undefined {
  if (platform === thisPlatform()) return undefined;
  const name = PACKAGES[platform];
  const { version, integrity } = lock.packages[`node_modules/${name}`];
  const kept = join(CACHE, `${platform}-${version}`, "bun");
  if (existsSync(kept)) return kept;
  mkdirSync(CACHE, { recursive: true });
  const scratch = mkdtempSync(join(CACHE, ".fetch-"));
  try {
    const archive = fetchPackage(`${name}@${version}`, scratch);
    check(archive, integrity);
    succeed(
      ["tar", "-xzf", archive, "-C", scratch, "--strip-components=2", "package/bin/bun"],
      "/",
    );
    rmSync(archive);
    // Where another build was faster, its folder holds the same.
    if (!existsSync(kept)) renameSync(scratch, join(kept, ".."));
    return kept;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Returns the archive's path. */
function fetchPackage(spec: string, folder: string): string {
  const said = succeed(["npm", "pack", "--json", "--ignore-scripts", spec], folder);
  const [packed] = JSON.parse(said) as [{ filename: string }];
  // npm has written the name of a scoped package in several ways.
  return join(folder, packed.filename.replace(/^@/, "").replaceAll("/", "-"));
}

function check(path: string, integrity: string): void {
  const [algorithm, expected] = integrity.split(/-(.*)/s) as ["sha512", string];
  const actual = new Bun.CryptoHasher(algorithm).update(readFileSync(path)).digest("base64");
  if (actual !== expected)
    throw new Error(`${path} is not what package-lock.json pins: ${algorithm}-${actual}`);
}

function succeed(command: string[], cwd: string): string {
  const { success, stdout, stderr } = Bun.spawnSync(command, { cwd, stdin: "ignore" });
  if (!success) throw new Error(`"${command.join(" ")}" failed:\n${stderr.toString().trim()}`);
  return stdout.toString();
}
