/** The library as npm installs it: built, in `node_modules`, with or without the package of this platform beside it. */
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { libraryCode } from "../../build/library/code.ts";
import { mainManifest, platformPackage } from "../../build/pack/npm/metadata.ts";
import { PLATFORMS, thisPlatform } from "../../build/target/platform.ts";
import { version } from "../../package.json";
import { RFAAS, ROOT } from "./executable.ts";

export { version as VERSION };

/** The package of this machine's platform. */
export const PLATFORM = platformPackage(thisPlatform());

/** What the library needs of npm. */
const DEPENDENCIES = ["@sinclair/typebox", "jose", "modern-tar", "msgpackr"];

let code: ReturnType<typeof libraryCode> | undefined;

/** Writes the package of the library to a folder, without its declarations, as `npm run pack` makes it; of some version. */
export async function buildLibrary(folder: string, theirs = version): Promise<void> {
  mkdirSync(join(folder, "dist"), { recursive: true });
  const stated = `var version = ${JSON.stringify(version)};`;
  let occurs = false;
  for (const [name, text] of Object.entries(await (code ??= libraryCode()))) {
    occurs ||= text.includes(stated);
    writeFileSync(
      join(folder, "dist", name),
      text.replace(stated, `var version = ${JSON.stringify(theirs)};`),
    );
  }
  if (!occurs) throw new Error(`the library does not say ${stated}`);
  const manifest = { ...mainManifest(PLATFORMS, DEPENDENCIES), version: theirs };
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  cpSync(join(ROOT, "packaging", "npm", "rfaas"), join(folder, "bin", "rfaas"));
  chmodSync(join(folder, "bin", "rfaas"), 0o755);
}

/** Puts what the library depends on into the `node_modules` of a folder. */
export function installDependencies(folder: string): void {
  for (const name of DEPENDENCIES)
    link(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
}

/** Puts the package of this platform there, of some version. */
export function installPlatform(folder: string, theirs = version): string {
  const at = join(folder, "node_modules", PLATFORM);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, "package.json"), JSON.stringify({ name: PLATFORM, version: theirs }));
  link(RFAAS, join(at, "rfaas"));
  link(join(ROOT, "ffi", "build", "librfaas.so"), join(at, "librfaas.so"));
  return at;
}

export function link(target: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(target, path);
}
