/**
 * The package `rfaas`: the library as built code with declarations, and a launcher of the executable. It has nothing of one
 * platform, so it can be installed, and its types used, anywhere.
 */
import { readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join } from "node:path";
import { libraryCode, packagesInside } from "../../library/code.ts";
import { declarations } from "../../library/declarations.ts";
import { PLATFORMS } from "../../target/platform.ts";
import type { Artefact, Packing } from "../artefact.ts";
import { licencesOfCode } from "../licences.ts";
import { mainManifest, platformPackage } from "./metadata.ts";
import { type NpmFile, json, writeTarball } from "./tarball.ts";

const ROOT = join(import.meta.dir, "..", "..", "..");
const TEMPLATES = join(ROOT, "packaging", "npm");

export const npmMain: Artefact = {
  name: "npm-main",
  async make(packing) {
    const code = await libraryCode();
    const built = { ...code, ...(await declarations()) };
    const files: Record<string, NpmFile> = {
      "package.json": json(mainManifest(PLATFORMS, packagesIn(built))),
      "README.md": { content: readme(packing) },
      LICENSE: { content: readFileSync(join(ROOT, "LICENSE")) },
      "THIRD-PARTY-LICENSES": { content: licencesOfCode(packagesInside(code)) },
      "bin/rfaas": { content: readFileSync(join(TEMPLATES, "rfaas")), executable: true },
    };
    for (const [name, content] of Object.entries(built)) files[`dist/${name}`] = { content };
    return [await writeTarball(packing, "rfaas", files)];
  },
};

/** What modules and declarations import of npm, without what a bundler has noted as Bun's or Node's. */
function packagesIn(files: Readonly<Record<string, string>>): string[] {
  const scanner = new Bun.Transpiler({ loader: "ts" });
  const own = new Set(["bun", "rfaas"]);
  const packages = Object.entries(files)
    .filter(([name]) => /\.(?:js|d\.ts)$/.test(name))
    .flatMap(([, code]) => [
      ...scanner.scanImports(code).map(({ path }) => path),
      // Imports of types are none to the scanner.
      ...[...code.matchAll(/^(?:im|ex)port .* from '([^']+)';$/gm)].map(([, path]) => path!),
    ])
    .filter((path) => !/^[./]|^(?:node|bun):/.test(path))
    .map((path) => /^(?:@[^/]+\/)?[^/]+/.exec(path)![0])
    .filter((name) => !own.has(name) && !isBuiltin(name));
  return [...new Set(packages)];
}

function readme({ version }: Packing): string {
  const text = readFileSync(join(TEMPLATES, "README.md"), "utf8");
  const list = PLATFORMS.map((platform) => `- \`${platformPackage(platform)}\`\n`).join("");
  return text.replaceAll("VERSION", version).replace("PLATFORMS\n", list);
}
