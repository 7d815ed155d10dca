/** What centres install by: an Lmod file, and recipes for Spack, EasyBuild and Apptainer, tried as far as a machine without them can. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, cpSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { deb } from "../../build/pack/system/deb.ts";
import { tarball } from "../../build/pack/system/tarball.ts";
import { Scratch } from "../support/scratch.ts";
import { VERSION, made, output } from "./artefacts.ts";
import { CleanDebian, prepareDebian } from "./clean-debian.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

let archive: string;
/** The unpacked recipes. */
let recipes: string;
beforeAll(async () => {
  const [path, recipesPath] = await made(tarball, scratch, "made");
  archive = path!;
  for (const one of [archive, recipesPath!])
    output(["tar", "--extract", "--file", one], scratch.path);
  recipes = scratch.join(`rfaas-${VERSION}-recipes`);
}, 300_000);

const sumOf = (path: string): string =>
  new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");

/** What a program of Python prints as JSON. Its arguments are in `sys.argv[1:]`. */
const python = (program: string, ...args: string[]): unknown =>
  JSON.parse(output(["python3", "-c", program, ...args]));

const lmod = [...new Bun.Glob("/usr/share/lmod/*/init/bash").scanSync("/")][0];
if (!lmod) console.error("SKIPPED: the Lmod file: no Lmod; run: apt-get install lmod");

describe.skipIf(!lmod)("the Lmod file", () => {
  /** What bash prints that has Lmod and knows the tarball's folder, unpacked to `place`. */
  const inBash = (place: string, script: string): string =>
    output([
      ...["env", "-i", "PATH=/usr/bin:/bin", "bash", "-euc"],
      `set +eu; source ${lmod}; module use ${place}/modulefiles; ${script}`,
    ]);

  test("gives the program and its manual, wherever the tarball lies, and takes them away", () => {
    const unpacked = scratch.join(`rfaas-${VERSION}-linux-x64`);
    const place = scratch.join("modulefiles of apps");
    renameSync(unpacked, place);
    try {
      const quoted = `'${place}'`;
      const said = inBash(
        quoted,
        "module load rfaas; rfaas --version; man --where rfaas; manpath -q",
      );
      const [version, page, folders] = said.split("\n");
      expect(version).toContain(VERSION);
      expect(page).toBe(`${place}/share/man/man1/rfaas.1.gz`);
      expect(folders!.split(":")).toContain("/usr/share/man");
      expect(inBash(quoted, `module load rfaas/${VERSION}; command -v rfaas`)).toBe(
        `${place}/bin/rfaas\n`,
      );
      const gone = "module load rfaas; module unload rfaas; command -v rfaas; echo gone";
      expect(inBash(quoted, gone)).toBe("gone\n");
      expect(inBash(quoted, "module whatis rfaas 2>&1")).toContain(`Version: ${VERSION}`);
    } finally {
      renameSync(place, unpacked);
    }
  });
});

/** Reads the package as Spack does, with directives that only write down what they are given. */
const SPACK = `
import json, platform, sys, types
told = {"versions": {}, "conflicts": []}
class Package: pass
generic = types.ModuleType("generic")
generic.Package = Package
for name in ("spack_repo", "spack_repo.builtin", "spack_repo.builtin.build_systems", "spack"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["spack_repo.builtin.build_systems.generic"] = generic
package = types.ModuleType("spack.package")
package.version = lambda version, sha256: told["versions"].update({version: sha256})
package.license = lambda name: told.update(license=name)
package.conflicts = lambda spec, msg: told["conflicts"].append(spec)
package.run_after = lambda phase: (lambda method: method)
sys.modules["spack.package"] = package
scope = {}
exec(compile(open(sys.argv[1]).read(), "package.py", "exec"), scope)
recipe = scope["Rfaas"]
told["homepage"], told["manual"] = recipe.homepage, recipe.manual_download
told["description"], told["url"] = recipe.__doc__, recipe().url_for_version(sys.argv[2])
print(json.dumps(told))
`;

test("the Spack package has the tarball's name and sum, and all that Spack asks for", () => {
  const folder = join(recipes, "spack_repo/rfaas");
  const file = join(folder, "packages/rfaas/package.py");
  const told = python(SPACK, file, VERSION) as Record<string, unknown>;
  expect(told["versions"]).toEqual({ [VERSION]: sumOf(archive) });
  expect(basename(String(told["url"]))).toBe(basename(archive));
  expect(told).toMatchObject({ license: "BSD-3-Clause", manual: true });
  expect(told["homepage"]).toStartWith("https://");
  expect(told["description"]).toContain("microseconds");
  expect(told["conflicts"]).toContain("platform=darwin");
  expect(readFileSync(join(folder, "repo.yaml"), "utf8")).toMatch(
    /^repo:\n  namespace: rfaas\n  api: v2\.\d\n$/,
  );
});

/** The parameters, with the constants that EasyBuild gives. */
const EASYBUILD = `
import json, platform, sys
scope = {"SYSTEM": {"name": "system", "version": "system"}, "ARCH": platform.machine()}
exec(compile(open(sys.argv[1]).read(), "rfaas.eb", "exec"), scope)
print(json.dumps({name: value for name, value in scope.items() if name != "__builtins__"}))
`;

test("the easyconfig has the tarball's name and sum, and all that EasyBuild asks for", () => {
  const said = python(EASYBUILD, join(recipes, `easybuild/rfaas-${VERSION}.eb`));
  expect(said).toMatchObject({
    ...{ easyblock: "Tarball", name: "rfaas", version: VERSION, moduleclass: "tools" },
    toolchain: { name: "system" },
    sources: [basename(archive)],
    checksums: [sumOf(archive)],
    sanity_check_commands: ["rfaas --version"],
  });
  const { homepage, description, sanity_check_paths: paths } = said as Record<string, any>;
  expect(homepage).toStartWith("https://");
  expect(description).toContain("microseconds");
  // What the sanity check looks for is in the tarball's folder, which is what EasyBuild copies.
  const listed = output(["tar", "--list", "--file", archive]);
  for (const path of paths.files) expect(listed).toContain(`/${path}\n`);
  for (const path of paths.dirs) expect(listed).toContain(`/${path}/\n`);
});

const reason = await prepareDebian();
if (reason) console.error(`SKIPPED: the Apptainer definition: ${reason}`);

describe.skipIf(reason !== null)("the Apptainer definition", () => {
  /** The lines of a section, without the spaces before them. */
  const section = (name: string): string => {
    const text = readFileSync(join(recipes, "apptainer/rfaas-amd64.def"), "utf8");
    const lines = new RegExp(`^%${name}\\n((?:    .*\\n)+)`, "m").exec(text)![1]!;
    return lines.replace(/^ {4}/gm, "");
  };

  test("makes a container that runs rfaas, and brings the libraries of RDMA", async () => {
    using debian = new CleanDebian();
    const [path] = await made(deb, scratch, "deb");
    const [from, to] = section("files").trim().split(" ");
    expect(from).toBe(basename(path!));
    mkdirSync(join(debian.changes, "etc"), { recursive: true });
    mkdirSync(join(debian.changes, "opt"), { recursive: true });
    copyFileSync(path!, join(debian.changes, to!));
    cpSync("/etc/resolv.conf", join(debian.changes, "etc/resolv.conf"), { dereference: true });
    const reachable = await debian.run("apt-get update -qq", { network: true });
    if (reachable.exitCode !== 0 || reachable.stderr !== "")
      return console.error("SKIPPED: Debian's archive does not answer:", reachable.stderr);
    await debian.output(section("post"), { network: true, limitMs: 280_000 });
    expect(await debian.output(section("test"))).toContain(VERSION);
    const run = `set -- --version\n${section("runscript")}`;
    expect(await debian.output(run)).toContain(VERSION);
    expect(await debian.output("ls /opt")).toBe("");
    expect(await debian.output("ldconfig -p")).toContain("librdmacm.so.1 ");
  }, 300_000);
});
