/** What `npm run pack` makes for npm: the same bytes wherever it runs, and everything that a user and a lawyer need. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { WORKER_ENTRY_POINTS } from "../../src/base/workers.ts";
import { ARTEFACTS, EPOCH_S, filesOf, packInto, run } from "../support/consumer.ts";
import { ROOT } from "../support/executable.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const registry = await reachesRegistry("publint and attw");

/** The tree as a clone has it, with what is installed. */
const SOURCES = ["src", "ffi", "build", "packaging", "functions", "bench", "node_modules"];
const FILES = ["package.json", "package-lock.json", "tsconfig.json", "LICENSE"];

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

let tarballs: string[] = [];
let main = "";
let platform = "";
beforeAll(async () => {
  tarballs = await packInto(scratch.path);
  [main, platform] = tarballs as [string, string];
}, 600_000);

const text = (tarball: string, path: string) => filesOf(tarball)[path]!.toString();
const manifestOf = (tarball: string) => JSON.parse(text(tarball, "package.json"));

test("another folder with the same sources makes the same bytes", async () => {
  const copy = scratch.join("copy");
  mkdirSync(copy);
  for (const name of [...SOURCES, ...FILES]) {
    const from = join(ROOT, name);
    // Links where both lie on one file system.
    const linked = await run(["cp", "-rl", from, copy], ROOT);
    if (linked.exitCode !== 0) cpSync(from, join(copy, name), { recursive: true });
  }
  rmSync(join(copy, "ffi", "build"), { recursive: true });
  const bun = join(copy, "node_modules", ".bin", "bun");
  const { exitCode, stderr } = await run([bun, "run", "build/pack.ts", ...ARTEFACTS], copy, {
    ...process.env,
    SOURCE_DATE_EPOCH: EPOCH_S,
  });
  expect([exitCode, stderr]).toEqual([0, expect.stringContaining("packed")]);
  const differ = tarballs.filter(
    (path) => !readFileSync(path).equals(readFileSync(join(copy, "dist", "pack", basename(path)))),
  );
  expect(differ).toEqual([]);
}, 600_000);

test("the main package has modules, maps and declarations, and nothing of one platform", () => {
  const files = Object.keys(filesOf(main));
  const entries = ["index", "function", "testing"];
  for (const name of entries)
    for (const ending of ["js", "js.map", "d.ts"])
      expect(files).toContain(`dist/${name}.${ending}`);
  const maps = files.filter((name) => name.endsWith(".map"));
  for (const name of maps) {
    const { sources, sourcesContent } = JSON.parse(text(main, name));
    expect(sourcesContent).toHaveLength(sources.length);
  }
  expect(files.filter((name) => /\.(?:so|node)$|(?<!\.d)\.ts$/.test(name))).toEqual([]);
  expect(manifestOf(main)).not.toHaveProperty("os");
  expect(text(main, "dist/index.js")).not.toContain(ROOT);
});

test("the main package asks for each platform's package in its own version, and for no script", () => {
  const { version, optionalDependencies, scripts, engines } = manifestOf(main);
  expect(version).toBe(packageJson.version);
  expect(optionalDependencies).toMatchObject({ "@rfaas/linux-x64": version });
  for (const each of tarballs) expect(manifestOf(each)).not.toHaveProperty("scripts");
  expect(Object.keys(engines)).toEqual(["bun"]);
  expect(scripts).toBeUndefined();
});

test("a platform's package is for that platform, and its executable is one", () => {
  const { name, os, cpu, libc } = manifestOf(platform);
  expect({ name, os, cpu, libc }).toEqual({
    ...{ name: `@rfaas/linux-${process.arch}`, os: ["linux"], cpu: [process.arch] },
    libc: ["glibc"],
  });
  for (const file of ["rfaas", "librfaas.so"]) expect(text(platform, file).slice(1, 4)).toBe("ELF");
});

test("the package that people see names the files to install", () => {
  const readme = text(main, "README.md");
  for (const tarball of tarballs) expect(readme).toContain(`./${basename(tarball)}`);
  expect(readme).not.toMatch(/VERSION|PLATFORMS/);
});

test("the licences and the list of contents have all that the executable bundles", async () => {
  const { outputs } = await Bun.build({
    entrypoints: ["main.ts", ...WORKER_ENTRY_POINTS].map((path) => join(ROOT, "src", path)),
    ...{ target: "bun", splitting: true, sourcemap: "external" },
    define: { RFAAS_COMPILED: "true" },
  });
  const bundled = new Set<string>();
  for (const output of outputs.filter(({ kind }) => kind === "sourcemap"))
    for (const source of JSON.parse(await output.text()).sources as string[]) {
      const [, name] = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source) ?? [];
      if (name) bundled.add(name);
    }
  expect(bundled).toContain("msgpackr");
  const licences = text(platform, "THIRD-PARTY-LICENSES");
  const list = JSON.parse(readFileSync(await sbomFile(), "utf8"));
  const listed: string[] = list.components.map(({ name }: { name: string }) => name);
  for (const name of [...bundled, ...Object.keys(packageJson.dependencies)]) {
    expect(listed).toContain(name);
    const folderOf = join(ROOT, "node_modules", name);
    const file = ["LICENSE", "license", "LICENSE.md", "LICENSE.txt"].find((one) =>
      existsSync(join(folderOf, one)),
    );
    expect(licences).toContain(readFileSync(join(folderOf, file!), "utf8").trim());
  }
  expect(listed).toContain("bun");
  expect(licences).toContain("https://bun.com/docs/project/licensing");
  expect(list.metadata.component).toMatchObject({ name: "rfaas", version: packageJson.version });
});

test("the licences of what the library bundles lie in its package", () => {
  const licences = text(main, "THIRD-PARTY-LICENSES");
  for (const name of ["msgpackr", "modern-tar"])
    expect(licences).toContain(
      readFileSync(join(ROOT, "node_modules", name, "LICENSE"), "utf8").trim(),
    );
  expect(Object.keys(manifestOf(main).dependencies)).toEqual(["@sinclair/typebox"]);
});

async function sbomFile(): Promise<string> {
  const [file] = await packInto(scratch.join("sbom"), ["sbom"]);
  return file!;
}

test.skipIf(!registry)(
  "publint and attw have nothing against the packages",
  async () => {
    const tools = scratch.join("tools");
    cpSync(join(import.meta.dir, "tools"), tools, { recursive: true });
    const quiet = ["--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
    expect(await run(["npm", "ci", ...quiet], tools)).toMatchObject({ exitCode: 0 });
    const tool = (path: string) => join(tools, "node_modules", path);
    for (const tarball of tarballs) {
      const said = await run(["node", tool("publint/src/cli.js"), tarball, "--strict"], tools);
      // It suggests to name the Node that works, and none does.
      const others = said.stdout.split("\n").filter((line) => /^\d+\. /.test(line));
      expect(others.filter((line) => !line.includes('"engines.node"'))).toEqual([]);
      expect(said.exitCode).toBe(0);
    }
    // The packages are modules: CommonJS, and Node 10, which knows no `exports`, are not for them.
    const attw = tool("@arethetypeswrong/cli/dist/index.js");
    const checked = await run(["node", attw, main, "--profile", "esm-only", "--no-color"], tools);
    expect([checked.exitCode, checked.stdout]).toEqual([0, expect.stringContaining("(ESM)")]);
  },
  300_000,
);
