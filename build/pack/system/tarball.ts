/**
 * `rfaas-VERSION-PLATFORM.tar.gz`, which works wherever it is unpacked and has an Lmod file, and `rfaas-VERSION-recipes.tar.gz`: what Spack,
 * EasyBuild and Apptainer need to install it. The recipes are made with the tarballs, since they have their checksums. There is no
 * librfaas.so: the executable has its shim and hands it out.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Platform } from "../../target/platform.ts";
import type { Artefact, Packing } from "../artefact.ts";
import { licences } from "../licences.ts";
import { tarOf } from "./archive.ts";
import { contentsOf, textFile } from "./contents.ts";
import { recipes } from "./recipes.ts";
import { filled } from "./template.ts";

export const tarball: Artefact = {
  name: "tarball",
  async make(packing) {
    const { version } = packing;
    const sums = new Map<Platform, string>();
    const made: string[] = [];
    for (const platform of packing.platforms) {
      const name = `rfaas-${version}-${platform}`;
      const files = [
        ...(await contentsOf(packing, platform, "zsh/site-functions")),
        textFile("share/doc/rfaas/LICENSE", licences()),
        textFile(
          `modulefiles/rfaas/${version}.lua`,
          filled("lmod/rfaas.lua", { VERSION: version }),
        ),
      ];
      sums.set(platform, write(packing, name, await tarOf(name, files, packing.epochS)));
      made.push(`${name}.tar.gz`);
    }
    const name = `rfaas-${version}-recipes`;
    write(packing, name, await tarOf(name, recipes(version, sums), packing.epochS));
    return [...made, `${name}.tar.gz`];
  },
};

/** Returns the file's SHA-256. */
function write({ out }: Packing, name: string, tar: Uint8Array): string {
  const bytes = Bun.gzipSync(new Uint8Array(tar), { level: 6 });
  writeFileSync(join(out, `${name}.tar.gz`), bytes);
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}
