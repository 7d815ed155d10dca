/** The .deb, the .rpm and the tarball: the same bytes each time, complete, and with the executable as it was built. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { OLDEST_GLIBC } from "../../build/pack/system/glibc.ts";
import { deb } from "../../build/pack/system/deb.ts";
import { rpm } from "../../build/pack/system/rpm.ts";
import { tarball } from "../../build/pack/system/tarball.ts";
import { RFAAS, ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { EPOCH_S, VERSION, made, output } from "./artefacts.ts";

const LIMIT_MS = 300_000;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const hashOf = (path: string): string =>
  new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");

/** Says the version where it lies, and is the one in dist/, byte for byte: a stripped one is plain Bun. */
function expectOurs(executable: string): void {
  expect(output([executable, "--version"])).toBe(output([RFAAS, "--version"]));
  expect(hashOf(executable)).toBe(hashOf(RFAAS));
}

/** The lines that `ls -l` and its like print, as mode and owner: no file may be anyone's to write, nor another user's than root's. */
function expectOrderly(lines: string[]): void {
  expect(lines.length).toBeGreaterThan(1);
  for (const line of lines) {
    expect(line).toMatch(/^[d-]r[w-][x-]r-[x-]r-[x-] +root[ /]root /);
    expect(line).not.toMatch(/^-rw.rw|^.{7}.w/);
  }
}

/** Below the folder that the package is installed to. */
function expectManualAndCompletion(root: string, zshFolder: string): void {
  for (const path of [
    ...["man/man1/rfaas.1.gz", "man/man1/rfaas-invoke.1.gz", "bash-completion/completions/rfaas"],
    ...[`zsh/${zshFolder}/_rfaas`, "fish/vendor_completions.d/rfaas.fish"],
  ])
    expect(existsSync(`${root}/share/${path}`) ? "there" : path).toBe("there");
}

/** Of two services, which systemd reads without a warning. */
function expectUnits(root: string): void {
  const units = ["manager", "node"].map((role) => {
    const text = readFileSync(`${root}/lib/systemd/system/rfaas-${role}.service`, "utf8");
    // Where systemd looks for the program, the package is not installed.
    const unit = scratch.join(`rfaas-${role}.service`);
    writeFileSync(unit, text.replace("=/usr/bin/rfaas ", `=${RFAAS} `));
    expect(text).toContain("ExecStart=/usr/bin/rfaas ");
    return unit;
  });
  if (!Bun.which("systemd-analyze"))
    return console.error("SKIPPED: systemd reads no units: missing systemd-analyze");
  const run = Bun.spawnSync(["systemd-analyze", "verify", "--man=no", ...units]);
  expect(run.stderr.toString()).toBe("");
  expect(run.exitCode).toBe(0);
}

const linesOf = (text: string): string[] => text.trimEnd().split("\n");

describe("the .deb", () => {
  let path: string;
  beforeAll(async () => {
    [path] = (await made(deb, scratch, "deb")) as [string];
    output(["dpkg-deb", "--extract", path, scratch.join("deb-files")]);
  }, LIMIT_MS);

  test(
    "is the same bytes each time",
    async () => {
      const [again] = await made(deb, scratch, "deb-again");
      expect(hashOf(again!)).toBe(hashOf(path));
    },
    LIMIT_MS,
  );

  test("has an executable that is not stripped, and services", () => {
    expectOurs(scratch.join("deb-files/usr/bin/rfaas"));
    expectManualAndCompletion(scratch.join("deb-files/usr"), "vendor-completions");
    expectUnits(scratch.join("deb-files/usr"));
  });

  test("says what it is and what it needs", () => {
    const field = (name: string): string => output(["dpkg-deb", "--field", path, name]).trim();
    expect(path).toEndWith(`/rfaas_${VERSION}_amd64.deb`);
    expect(field("Package")).toBe("rfaas");
    expect(field("Version")).toBe(VERSION);
    expect(field("Architecture")).toBe("amd64");
    expect(field("Depends")).toBe(`libc6 (>= ${OLDEST_GLIBC})`);
    expect(field("Recommends")).toBe("libibverbs1, librdmacm1, ibverbs-providers");
    expect(field("Suggests")).toBe("libfabric1");
    expect(field("Description")).toContain("microseconds\n ");
    for (const name of ["Maintainer", "Section", "Priority"]) expect(field(name)).not.toBe("");
    expect(Number(field("Installed-Size"))).toBeGreaterThan(100_000);
  });

  test("has sums of all its files, which are root's, of one time, with a copyright", () => {
    const listed = linesOf(output(["dpkg-deb", "--contents", path]));
    expectOrderly(listed);
    const time = new Date(1000 * EPOCH_S).toISOString().slice(0, 10);
    for (const line of listed) expect(line).toContain(` ${time} `);
    const files = listed.filter((line) => !line.endsWith("/")).map((line) => line.split(" ./")[1]!);
    expect(files).toContain("usr/share/doc/rfaas/copyright");
    output(["dpkg-deb", "--control", path, scratch.join("deb-control")]);
    const sums = readFileSync(scratch.join("deb-control/md5sums"), "utf8");
    expect(
      linesOf(sums)
        .map((line) => line.split("  ")[1]!)
        .toSorted(),
    ).toEqual(files.toSorted());
    output(
      ["md5sum", "--check", "--strict", "--quiet", scratch.join("deb-control/md5sums")],
      scratch.join("deb-files"),
    );
    const copyright = readFileSync(scratch.join("deb-files/usr/share/doc/rfaas/copyright"), "utf8");
    for (const name of ["msgpackr", "@sinclair/typebox", "cac", "consola", "jose", "Bun"])
      expect(copyright).toContain(`${name} `);
    expect(copyright).toContain(readFileSync(`${ROOT}/LICENSE`, "utf8").trim());
  });
});

const rpmMissing = ["rpmbuild", "rpm", "rpm2cpio", "cpio"].filter((name) => !Bun.which(name));
if (rpmMissing.length > 0)
  console.error(`SKIPPED: the .rpm: missing ${rpmMissing.join(", ")}; apt-get install rpm cpio`);

describe.skipIf(rpmMissing.length > 0)("the .rpm", () => {
  let path: string;
  beforeAll(async () => {
    [path] = (await made(rpm, scratch, "rpm")) as [string];
  }, LIMIT_MS);

  test(
    "is the same bytes each time",
    async () => {
      const [again] = await made(rpm, scratch, "rpm-again");
      expect(hashOf(again!)).toBe(hashOf(path));
    },
    LIMIT_MS,
  );

  test("has an executable that rpmbuild has not stripped, and services", () => {
    const folder = scratch.join("rpm-files");
    mkdirSync(folder);
    output(["sh", "-c", 'rpm2cpio "$1" | cpio -idm --quiet', "sh", path], folder);
    expectOurs(`${folder}/usr/bin/rfaas`);
    expectManualAndCompletion(`${folder}/usr`, "site-functions");
    expectUnits(`${folder}/usr`);
  });

  test("says what it is and what it needs, and nothing of the machine that made it", () => {
    const query = (format: string): string => output(["rpm", "-qp", "--qf", format, path]);
    expect(path).toEndWith(`/rfaas-${VERSION}-1.x86_64.rpm`);
    expect(query("%{NAME} %{VERSION} %{RELEASE} %{ARCH}")).toBe(`rfaas ${VERSION} 1 x86_64`);
    expect(query("[%{REQUIRENAME}\n]")).toContain(`libc.so.6(GLIBC_${OLDEST_GLIBC})(64bit)\n`);
    expect(query("[%{RECOMMENDNAME}\n]")).toBe(
      "libibverbs.so.1()(64bit)\nlibrdmacm.so.1()(64bit)\n",
    );
    expect(query("[%{SUGGESTNAME}\n]")).toBe("libfabric.so.1()(64bit)\n");
    expect(query("%{BUILDHOST} %{BUILDTIME}")).toBe(`localhost ${EPOCH_S}`);
    expectOrderly(
      linesOf(query("[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]")),
    );
  });

  test("installs to a root, verifies there, and leaves nothing when it is removed", () => {
    const root = scratch.join("rpm-root");
    const inRoot = (...args: string[]): string =>
      // The root has no C library.
      output(["rpm", "--root", root, "--nosignature", ...args]);
    inRoot("--initdb");
    inRoot("--install", "--nodeps", path);
    expectOurs(`${root}/usr/bin/rfaas`);
    inRoot("--verify", "--nodeps", "rfaas");
    inRoot("--erase", "--nodeps", "rfaas");
    expect(existsSync(`${root}/usr/bin/rfaas`)).toBe(false);
    expect(existsSync(`${root}/usr/share/licenses/rfaas`)).toBe(false);
  });
});

describe("the tarball", () => {
  let paths: string[];
  beforeAll(async () => {
    paths = await made(tarball, scratch, "tarball");
  }, LIMIT_MS);

  test(
    "is the same bytes each time, and so are the recipes",
    async () => {
      const again = await made(tarball, scratch, "tarball-again");
      expect(again.map(hashOf)).toEqual(paths.map(hashOf));
      expect(new Set(paths.map(hashOf)).size).toBe(2);
    },
    LIMIT_MS,
  );

  test("has the executable, in files that are root's", () => {
    expect(paths[0]).toEndWith(`/rfaas-${VERSION}-linux-x64.tar.gz`);
    expectOrderly(linesOf(output(["tar", "--list", "--verbose", "--file", paths[0]!])));
    const folder = scratch.join("tarball-files");
    mkdirSync(folder);
    output(["tar", "--extract", "--file", paths[0]!], folder);
    const unpacked = `${folder}/rfaas-${VERSION}-linux-x64`;
    expectOurs(`${unpacked}/bin/rfaas`);
    expectManualAndCompletion(unpacked, "site-functions");
  });
});
