/**
 * `rfaas-VERSION-1.MACHINE.rpm`, made by rpmbuild, with all that it does to files by itself switched off. The same commit and the
 * same rpmbuild give the same bytes.
 */
import { chmodSync, copyFileSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Platform } from "../../target/platform.ts";
import { textFile } from "../archive.ts";
import type { Artefact, Packing } from "../artefact.ts";
import { licences } from "../licences.ts";
import { ARCHITECTURES, contentsOf, systemVersion, units } from "./contents.ts";
import { OLDEST_GLIBC } from "./glibc.ts";
import { filled } from "./template.ts";

export const rpm: Artefact = {
  name: "rpm",
  async make(packing) {
    if (!Bun.which("rpmbuild"))
      throw new Error(
        "no rpmbuild found for the .rpm; install it (Debian: apt-get install rpm), or name the artefacts that you want",
      );
    const made: string[] = [];
    for (const platform of packing.platforms) made.push(await make(packing, platform));
    return made;
  },
};

async function make(packing: Packing, platform: Platform): Promise<string> {
  const { scratch, out, version, epochS } = packing;
  const { machine } = ARCHITECTURES[platform];
  const top = join(scratch, machine);
  const root = join(top, "files");
  const files = [
    ...(await contentsOf(packing, platform, "zsh/site-functions")),
    ...units(),
    textFile("share/licenses/rfaas/LICENSE", licences()),
  ];
  for (const { path, mode, bytes } of files) {
    const file = join(root, "usr", path);
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
    writeFileSync(file, bytes);
    // What the umask has taken away.
    chmodSync(file, mode);
    utimesSync(file, epochS, epochS);
  }
  const spec = join(top, "rfaas.spec");
  writeFileSync(
    spec,
    filled("rpm/rfaas.spec", {
      VERSION: systemVersion(version),
      GLIBC: OLDEST_GLIBC,
      FILES: root,
      LIST: files.map(({ path }) => listed(path)).join("\n"),
    }),
  );
  const build = Bun.spawn(
    ["rpmbuild", "-bb", "--quiet", "--target", `${machine}-linux`, "-D", `_topdir ${top}`, spec],
    { env: { ...process.env, SOURCE_DATE_EPOCH: String(epochS) }, stdout: "pipe", stderr: "pipe" },
  );
  const [stdout, stderr] = await Promise.all([build.stdout.text(), build.stderr.text()]);
  if ((await build.exited) !== 0) throw new Error(`rpmbuild failed:\n${stdout}${stderr}`);
  const name = `rfaas-${systemVersion(version)}-1.${machine}.rpm`;
  copyFileSync(join(top, "RPMS", machine, name), join(out, name));
  return name;
}

/** As the spec lists a file: with its kind, and with a folder that is this package's alone. */
function listed(path: string): string {
  if (path.startsWith("share/licenses/"))
    return `%dir ${dirname(`/usr/${path}`)}\n%license /usr/${path}`;
  return `${path.startsWith("share/man/") ? "%doc " : ""}/usr/${path}`;
}
