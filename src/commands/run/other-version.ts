/** Tells of a library that is installed beside a script and is not the one that the script gets. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { VERSION } from "../../base/version.ts";

/** Its types may promise what the executable's own library does not have. */
export function warnOfAnotherVersion(script: string = Bun.main): void {
  const other = installedNear(dirname(script));
  if (other === undefined || other.version === VERSION) return;
  console.error(
    `rfaas run: ${other.folder} is version ${other.version}, and the script gets this executable's own rfaas ${VERSION}; install ${VERSION} there, or, in a project of rfaas new, run: rfaas new --kit`,
  );
}

/** The rfaas in the node_modules of a folder, or of one above it. */
export function installedNear(from: string): { folder: string; version: string } | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const at = join(folder, "node_modules", "rfaas");
    try {
      const { version } = JSON.parse(readFileSync(join(at, "package.json"), "utf8"));
      if (typeof version === "string") return { folder: at, version };
    } catch {
      // None is here, or what is here has no version.
    }
    if (dirname(folder) === folder) return undefined;
  }
}
