/**
 * `rfaas_VERSION_ARCHITECTURE.deb`, written here and not by dpkg-deb, so that the same commit gives the same bytes wherever it is packed.
 * Data is compressed with zstd, which dpkg reads since Debian 12 and Ubuntu 18.04: xz at its fastest takes 10 times as long for as
 * many bytes.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Platform } from "../../target/platform.ts";
import { type PackedFile, tarOf, textFile } from "../archive.ts";
import type { Artefact, Packing } from "../artefact.ts";
import { licences } from "../licences.ts";
import { ARCHITECTURES, contentsOf, gzipped, systemVersion, units } from "./contents.ts";
import { OLDEST_GLIBC } from "./glibc.ts";
import { filled } from "./template.ts";

const ZSTD_LEVEL = 9;

export const deb: Artefact = {
  name: "deb",
  make: (packing) => Promise.all(packing.platforms.map((platform) => make(packing, platform))),
};

async function make(packing: Packing, platform: Platform): Promise<string> {
  const { out, version, epochS } = packing;
  const architecture = ARCHITECTURES[platform].deb;
  const files = [
    ...(await contentsOf(packing, platform, "zsh/vendor-completions")),
    ...units(),
    textFile("share/doc/rfaas/copyright", licences()),
    { path: "share/doc/rfaas/NEWS.gz", mode: 0o644, bytes: gzipped(news()) },
  ];
  const control = [
    textFile(
      "control",
      filled("deb/control", {
        VERSION: systemVersion(version),
        ARCHITECTURE: architecture,
        KIB: String(files.reduce((sum, { bytes }) => sum + Math.ceil(bytes.length / 1024), 0)),
        GLIBC: OLDEST_GLIBC,
      }),
    ),
    textFile("md5sums", files.map(md5Line).join("")),
  ];
  const name = `rfaas_${systemVersion(version)}_${architecture}.deb`;
  const members: [name: string, bytes: Uint8Array][] = [
    ["debian-binary", new TextEncoder().encode("2.0\n")],
    ["control.tar.gz", Bun.gzipSync(copied(await tarOf(".", control, epochS)), { level: 9 })],
    [
      "data.tar.zst",
      await Bun.zstdCompress(await tarOf("./usr", files, epochS), { level: ZSTD_LEVEL }),
    ],
  ];
  writeFileSync(join(out, name), arOf(members, epochS));
  return name;
}

const copied = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

const news = (): string =>
  readFileSync(join(import.meta.dir, "..", "..", "..", "CHANGELOG.md"), "utf8");

const md5Line = ({ path, bytes }: PackedFile): string =>
  `${new Bun.CryptoHasher("md5").update(bytes).digest("hex")}  usr/${path}\n`;

/** The archive that a .deb is: each member has a line of 60 bytes before it, and begins at an even place. */
function arOf(members: readonly [name: string, bytes: Uint8Array][], epochS: number): Uint8Array {
  const parts: Uint8Array[] = [new TextEncoder().encode("!<arch>\n")];
  for (const [name, bytes] of members) {
    const fields = [name.padEnd(16), `${epochS}`.padEnd(12), "0     ", "0     ", "100644  "];
    const header = `${fields.join("")}${String(bytes.length).padEnd(10)}\`\n`;
    parts.push(new TextEncoder().encode(header), bytes);
    if (bytes.length % 2 === 1) parts.push(new TextEncoder().encode("\n"));
  }
  return Buffer.concat(parts);
}
