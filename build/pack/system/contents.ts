/** The files that every system package has, by their paths below the prefix that it is installed to. */
import { readFileSync } from "node:fs";
import { completionScript } from "../../../src/commands/completion/scripts.ts";
import { manPages } from "../../../src/commands/manual/man.ts";
import { visibleCommands } from "../../../src/commands/tree.ts";
import type { Platform } from "../../target/platform.ts";
import { type PackedFile, textFile } from "../archive.ts";
import type { Packing } from "../artefact.ts";
import { filled } from "./template.ts";

/** As gzip -n makes it: with neither name nor time. */
export const gzipped = (text: string): Uint8Array<ArrayBuffer> =>
  Bun.gzipSync(new TextEncoder().encode(text), { level: 9 });

/** A version as dpkg and rpm order them: 1.0.0-rc.1 comes before 1.0.0. */
export const systemVersion = (version: string): string => version.replace("-", "~");

/** The names of architectures, in Debian and elsewhere. */
export const ARCHITECTURES: Readonly<Record<Platform, { deb: string; machine: string }>> = {
  "linux-x64": { deb: "amd64", machine: "x86_64" },
  "linux-arm64": { deb: "arm64", machine: "aarch64" },
};

/** Services of systemd's, for packages of the system: they name the executable by its path there. */
export const units = (): PackedFile[] =>
  ["rfaas-manager", "rfaas-node"].map((name) =>
    textFile(`lib/systemd/system/${name}.service`, filled(`systemd/${name}.service`, {})),
  );

/** `zshFolder` is where the system's zsh looks for completions, below `share/`. */
export async function contentsOf(
  packing: Packing,
  platform: Platform,
  zshFolder: string,
): Promise<PackedFile[]> {
  // Never stripped: what a compiled program has beside Bun lies where strip takes it away.
  const executable = new Uint8Array(readFileSync(await packing.executable(platform)));
  return [
    { path: "bin/rfaas", mode: 0o755, bytes: executable },
    ...manPages(await visibleCommands()).map(({ name, section, text }) => ({
      ...{ path: `share/man/man${section}/${name}.gz`, mode: 0o644, bytes: gzipped(text) },
    })),
    textFile("share/bash-completion/completions/rfaas", completionScript("bash")),
    textFile(`share/${zshFolder}/_rfaas`, completionScript("zsh")),
    textFile("share/fish/vendor_completions.d/rfaas.fish", completionScript("fish")),
  ];
}
