/**
 * `rfaas-VERSION-PLATFORM.tar.gz`, which works wherever it is unpacked and has an Lmod file, and `rfaas-VERSION-recipes.tar.gz`: what Spack,
 * EasyBuild and Apptainer need to install it. The recipes are made with the tarballs, since they have their checksums. There is no
 * librfaas.so: the executable has its shim and hands it out.
 */
import { join } from "node:path";
import type { Platform } from "../../target/platform.ts";
import { type PackedFile, tarOf, textFile, writeGzipped } from "../archive.ts";
import type { Artefact } from "../artefact.ts";
import { licences } from "../licences.ts";
import { contentsOf } from "./contents.ts";
import { recipes } from "./recipes.ts";
import { filled } from "./template.ts";

export const tarball: Artefact = {
  name: "tarball",
  async make(packing) {
    const { version, out, epochS } = packing;
    const write = async (name: string, files: readonly PackedFile[]): Promise<string> =>
      writeGzipped(join(out, `${name}.tar.gz`), await tarOf(name, files, epochS));
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
      sums.set(platform, await write(name, files));
      made.push(`${name}.tar.gz`);
    }
    const name = `rfaas-${version}-recipes`;
    await write(name, recipes(version, sums));
    return [...made, `${name}.tar.gz`];
  },
};
