/** What Spack, EasyBuild and Apptainer need to install a tarball or .deb: the templates of `packaging/`, with version and checksums. */
import type { Platform } from "../../target/platform.ts";
import { type PackedFile, textFile } from "../archive.ts";
import { ARCHITECTURES, systemVersion } from "./contents.ts";
import { filled } from "./template.ts";

/** Of tarballs with these SHA-256. Each lies where its program looks for it. */
export function recipes(version: string, sums: ReadonlyMap<Platform, string>): PackedFile[] {
  const lines = (line: (machine: string, platform: Platform, sum: string) => string): string =>
    [...sums].map(([at, sum]) => line(ARCHITECTURES[at].machine, at, sum)).join("\n");
  const spack = filled("spack/package.py", {
    VERSION: version,
    SUMS: lines((machine, _, sum) => `        "${machine}": "${sum}",`),
  });
  const easybuild = filled("easybuild/rfaas.eb", {
    VERSION: version,
    SUMS: lines(
      (machine, at, sum) =>
        `    '${machine}': ('rfaas-${version}-${at}.tar.gz',\n        '${sum}'),`,
    ),
  });
  return [
    textFile("spack_repo/rfaas/repo.yaml", filled("spack/repo.yaml", {})),
    textFile("spack_repo/rfaas/packages/rfaas/package.py", spack),
    textFile(`easybuild/rfaas-${version}.eb`, easybuild),
    ...[...sums.keys()].map((platform) => {
      const architecture = ARCHITECTURES[platform].deb;
      return textFile(
        `apptainer/rfaas-${architecture}.def`,
        filled("apptainer/rfaas.def", {
          VERSION: systemVersion(version),
          ARCHITECTURE: architecture,
        }),
      );
    }),
  ];
}
