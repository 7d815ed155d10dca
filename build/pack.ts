/**
 * Packs what users install: `npm run pack [ARTEFACT...] [PLATFORM...]` writes to `dist/pack/`, with a SHA256SUMS of everything there.
 *
 * The same commit gives the same bytes: each file has the time of the last commit, the owner root, a fixed mode and its place in a
 * sorted list, and the compiler always writes to the same name.
 */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../package.json";
import { buildExecutable } from "./executable.ts";
import { buildShim, lacks } from "../ffi/build.ts";
import type { Packing } from "./pack/artefact.ts";
import { ARTEFACTS } from "./pack/registry.ts";
import { PLATFORMS, type Platform, architectureOf } from "./target/platform.ts";

const ROOT = join(import.meta.dir, "..");
const OUT = join(ROOT, "dist", "pack");
const SUMS = "SHA256SUMS";

/** Makes the artefacts named, or all, for the platforms named, or all, and returns their files' names. */
export async function pack(words: readonly string[], out = OUT): Promise<string[]> {
  const chosen = PLATFORMS.filter((platform) => words.includes(platform));
  const names = words.filter((word) => !chosen.some((platform) => platform === word));
  const unknown = names.find((name) => ARTEFACTS.every((artefact) => artefact.name !== name));
  if (unknown)
    throw new Error(
      `no artefact or platform is called ${unknown}; there are ${[...ARTEFACTS.map(({ name }) => name), ...PLATFORMS].join(", ")}`,
    );
  for (const { name, why } of lacks()) throw new Error(`what users install has ${name}: ${why}`);
  mkdirSync(out, { recursive: true });
  const executables = new Map<Platform, Promise<string>>();
  const files: string[] = [];
  for (const artefact of ARTEFACTS) {
    if (names.length > 0 && !names.includes(artefact.name)) continue;
    const scratch = mkdtempSync(join(tmpdir(), "rfaas-pack-"));
    try {
      const packing: Packing = {
        version,
        platforms: chosen.length > 0 ? chosen : PLATFORMS,
        out,
        scratch,
        epochS: epochS(),
        executable(platform) {
          const made = executables.get(platform) ?? buildExecutable(platform);
          executables.set(platform, made);
          return made;
        },
        async shim(platform) {
          return buildShim(architectureOf(platform));
        },
      };
      files.push(...(await artefact.make(packing)));
    } finally {
      rmSync(scratch, { recursive: true });
    }
  }
  writeFileSync(join(out, SUMS), sums(out));
  return files;
}

/** Of everything in `folder`, in the format of sha256sum. */
function sums(folder: string): string {
  return readdirSync(folder)
    .filter((name) => name !== SUMS)
    .sort()
    .map((name) => {
      const hash = new Bun.CryptoHasher("sha256").update(readFileSync(join(folder, name)));
      return `${hash.digest("hex")}  ${name}\n`;
    })
    .join("");
}

function epochS(): number {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined) return Number(given);
  const log = Bun.spawnSync(["git", "log", "-1", "--format=%ct"], { cwd: ROOT });
  if (!log.success)
    throw new Error("no commit to take the time from; set SOURCE_DATE_EPOCH, in seconds");
  return Number(log.stdout.toString());
}

if (import.meta.main)
  try {
    for (const file of await pack(process.argv.slice(2))) console.error(`packed ${file}`);
  } catch (error) {
    console.error(`pack: ${(error as Error).message}`);
    process.exit(1);
  }
