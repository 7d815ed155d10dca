/** The packages `@rfaas/PLATFORM`: the executable and the shim for one platform, and nothing that runs when they are installed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Platform } from "../../target/platform.ts";
import type { Artefact } from "../artefact.ts";
import { licences } from "../licences.ts";
import { COMMON, platformPackage } from "./metadata.ts";
import { json, writeTarball } from "./tarball.ts";

const ROOT = join(import.meta.dir, "..", "..", "..");

export const npmPlatform: Artefact = {
  name: "npm-platform",
  async make(packing) {
    const made: string[] = [];
    for (const platform of packing.platforms)
      made.push(
        await writeTarball(packing, `rfaas-${platform}`, {
          "package.json": json(manifest(platform)),
          "README.md": { content: readme(platform) },
          LICENSE: { content: readFileSync(join(ROOT, "LICENSE")) },
          "THIRD-PARTY-LICENSES": { content: licences() },
          rfaas: { content: readFileSync(await packing.executable(platform)), executable: true },
          "librfaas.so": { content: readFileSync(await packing.shim(platform)) },
        }),
      );
    return made;
  },
};

function manifest(platform: Platform): object {
  const [os, cpu] = platform.split("-") as [string, string];
  const files = ["rfaas", "librfaas.so", "THIRD-PARTY-LICENSES"];
  return {
    name: platformPackage(platform),
    ...COMMON,
    description: `The executable and the native shim of rfaas for ${os} on ${cpu}, with glibc.`,
    keywords: ["rfaas"],
    type: "module",
    os: [os],
    cpu: [cpu],
    libc: ["glibc"],
    exports: Object.fromEntries(
      ["package.json", "rfaas", "librfaas.so"].map((name) => [`./${name}`, `./${name}`]),
    ),
    files,
    // Yarn leaves it unpacked: an executable cannot run out of an archive.
    preferUnplugged: true,
  };
}

const readme = (platform: Platform): string => `# ${platformPackage(platform)}

The executable and the native shim of \`rfaas\` for this platform. \`rfaas\` needs the package of
its own version and finds it by itself; it is not imported by programs.
`;
