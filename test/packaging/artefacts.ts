/** Makes artefacts of the executable in dist/, without building it again. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../package.json";
import type { Artefact } from "../../build/pack/artefact.ts";
import { buildShim } from "../../ffi/build.ts";
import { RFAAS } from "../support/executable.ts";
import type { Scratch } from "../support/scratch.ts";

export const VERSION = version;
/** Any time will do: the files have it. */
export const EPOCH_S = 1_700_000_000;

/** Returns the paths of the files, in the folder `name` of `scratch`. */
export async function made(artefact: Artefact, scratch: Scratch, name: string): Promise<string[]> {
  const out = scratch.join(name);
  const own = scratch.join(`${name}.scratch`);
  for (const folder of [out, own]) mkdirSync(folder);
  const files = await artefact.make({
    version,
    platforms: ["linux-x64"],
    out,
    scratch: own,
    epochS: EPOCH_S,
    executable: () => Promise.resolve(RFAAS),
    shim: () => Promise.resolve(buildShim()),
  });
  return files.map((file) => join(out, file));
}

/** What a command writes to stdout. Throws with its stderr when it fails. */
export function output(command: string[], cwd = "/"): string {
  const done = Bun.spawnSync(command, { cwd, env: { ...process.env, LC_ALL: "C.UTF-8" } });
  if (!done.success) throw new Error(`${command.join(" ")} failed:\n${done.stderr}`);
  return done.stdout.toString();
}
