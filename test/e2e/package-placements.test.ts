/** A module makes the same package, byte for byte, wherever rfaas lies, and no part of rfaas is in it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { buildPackage } from "../../src/package/builder.ts";
import { RFAAS, ROOT, ServedNode, rfaas } from "../support/executable.ts";
import {
  PLATFORM,
  buildLibrary,
  installDependencies,
  installPlatform,
  link,
} from "../support/installed-library.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 120_000;

/** What the README shows first. */
const README = /```ts file=fn\.ts\n(.*?)```/s.exec(
  readFileSync(join(ROOT, "README.md"), "utf8"),
)![1]!;

const MODULES: Readonly<Record<string, string>> = {
  "readme.ts": README,
  "raw.ts": `import type { RawFunction } from "rfaas/function";
export const echo: RawFunction = (input, output) => {
  output.set(input);
  return input.length;
};
`,
  "required.cjs": `const { Type, defineFunction } = require("rfaas/function");
exports.double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);
`,
  "schemas.ts": `import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { defineFunction } from "rfaas/function";
const Input = Type.Array(Type.Number());
export const valid = defineFunction({ input: Type.Unknown(), output: Type.Boolean() }, (x) => Value.Check(Input, x));
`,
  "calls.ts": `import type { Lease } from "rfaas";
import { Type, defineFunction } from "rfaas/function";
const close = async (lease: Lease) => await lease.release();
export const cores = defineFunction({ input: Type.Null(), output: Type.Number() }, async () => {
  const { invoker } = await import("rfaas");
  await using rf = await invoker();
  void close;
  return rf.cores;
});
`,
  "self-testing.ts": `import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);
if (import.meta.main) {
  const { testWorker } = await import("rfaas/testing");
  await testWorker({ double });
}
`,
  "handed-on.ts": `import { Type, defineFunction } from "./faas.ts";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);
`,
};
const BESIDE = { "faas.ts": `export { Type, defineFunction } from "rfaas/function";\n` };

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** The folder of the modules, by how rfaas lies beside it. */
const placements = new Map<string, string>();

function place(how: string, folder: string): string {
  const at = scratch.join(folder);
  mkdirSync(at, { recursive: true });
  for (const [name, text] of Object.entries({ ...MODULES, ...BESIDE }))
    scratch.file(join(folder, name), text);
  placements.set(how, at);
  return at;
}

const built = scratch.join("elsewhere/rfaas");
const globally = scratch.join("global/lib");

beforeAll(async () => {
  mkdirSync(built, { recursive: true });
  await buildLibrary(built);
  installDependencies(scratch.join("elsewhere"));
  installPlatform(globally);

  place("nowhere: the executable is alone", "alone");

  const installed = place("in node_modules", "installed");
  mkdirSync(join(installed, "node_modules/rfaas"), { recursive: true });
  await buildLibrary(join(installed, "node_modules/rfaas"));
  installDependencies(installed);
  installPlatform(installed);
  scratch.file("installed/package.json", '{"dependencies":{"rfaas":"*"}}');

  link(built, join(place("elsewhere, as bun link has it", "linked"), "node_modules/rfaas"));
  link(ROOT, join(place("in a checkout, linked", "sources"), "node_modules/rfaas"));

  place("in a package of the same workspace", "workspace/packages/app");
  scratch.file("workspace/package.json", '{"workspaces":["packages/*"]}');
  link(built, scratch.join("workspace/node_modules/rfaas"));
  scratch.file(
    "workspace/packages/app/package.json",
    '{"name":"app","dependencies":{"rfaas":"workspace:*"}}',
  );

  place("in a checkout, by tsconfig.json", "paths");
  const paths = {
    rfaas: [join(ROOT, "src/index.ts")],
    "rfaas/*": [join(ROOT, "src/*/index.ts")],
  };
  scratch.file("paths/tsconfig.json", JSON.stringify({ compilerOptions: { paths } }));

  place("in two copies", "copies/inner");
  link(built, scratch.join("copies/node_modules/rfaas"));
  link(join(installed, "node_modules/rfaas"), scratch.join("copies/inner/node_modules/rfaas"));
}, LIMIT_MS);

/** Package hashes by path, as the installed library has them. */
async function pushed(paths: readonly string[]): Promise<string[]> {
  await using node = await ServedNode.start(scratch.join("node.sock"), [
    "--cache",
    scratch.join("cache"),
  ]);
  const script = scratch.file(
    "installed/push.ts",
    `import { invoker } from "rfaas";
await using rf = await invoker({ node: process.argv[2] });
for (const path of process.argv.slice(3)) console.log(await rf.packages.push(path));`,
  );
  const child = Bun.spawn([process.execPath, script, node.address, ...paths], {
    env: { ...process.env, RFAAS_EXECUTABLE: "" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const hashes = (await child.stdout.text()).trim().split("\n");
  expect(await child.exited).toBe(0);
  return hashes;
}

async function packageOf(
  path: string,
  executable = RFAAS,
): Promise<{ hash: string; files: string; bytes: number }> {
  const out = `${path}.rfaas`;
  const child = Bun.spawn([executable, "package", "build", path, "-o", out], {
    cwd: dirname(path),
    stdio: ["ignore", "inherit", "pipe"],
  });
  const said = await child.stderr.text();
  expect(await child.exited).toBe(0);
  const [, files, hash] = /: (\d+ files?), .*, ([0-9a-f]{64})/.exec(said)!;
  return { hash: hash!, files: files!, bytes: statSync(out).size };
}

describe("the package of a module", () => {
  test(
    "is the same wherever rfaas lies, made by the executable and by the library",
    async () => {
      const paths = [...placements].flatMap(([how, folder]) =>
        Object.keys(MODULES).map((name) => ({ how, name, path: join(folder, name) })),
      );
      const byLibrary = await pushed(paths.map(({ path }) => path));
      const hashes: Record<string, Record<string, string>> = {};
      for (const [i, { how, name, path }] of paths.entries()) {
        const of = (hashes[name] ??= {});
        of[`${how}; the executable`] = (await packageOf(path)).hash;
        of[`${how}; the library`] = byLibrary[i]!;
        of[`${how}; the sources`] = (await buildPackage(path)).package.hash;
      }
      const globalExecutable = join(globally, `node_modules/@rfaas/linux-${process.arch}/rfaas`);
      for (const name of Object.keys(MODULES)) {
        const path = join(placements.get("nowhere: the executable is alone")!, name);
        hashes[name]!["global"] = (await packageOf(path, globalExecutable)).hash;
        const all = hashes[name]!;
        // The names of the places in a failure say which one differs.
        const same = Object.fromEntries(Object.keys(all).map((how) => [how, all["global"]]));
        expect({ [name]: all } as object).toEqual({ [name]: same });
      }
    },
    LIMIT_MS,
  );

  test.each(["readme.ts", "raw.ts"])(
    "%s is one file of less than 2 KiB beside an installed rfaas",
    async (name) => {
      const path = join(placements.get("in node_modules")!, name);
      const { package: made } = await buildPackage(path);
      expect((await packageOf(path)).files).toBe("1 file");
      expect(made.manifest.files).toHaveLength(1);
      expect(made.manifest.files[0]!.bytes).toBeLessThan(2048);
    },
    LIMIT_MS,
  );

  test(
    "runs, in every form",
    async () => {
      const folder = placements.get("in node_modules")!;
      for (const [name, call, input, result] of [
        ["readme.ts", "double", "21", "42"],
        ["required.cjs", "double", "21", "42"],
        ["schemas.ts", "valid", "[1,2]", "true"],
        ["self-testing.ts", "double", "21", "42"],
        ["handed-on.ts", "double", "21", "42"],
      ]) {
        const path = join(folder, name!);
        const { stdout, stderr } = await rfaas(["invoke", `${path}#${call}`, "--json", input!]);
        expect({ name, stdout, stderr }).toEqual({ name, stdout: `${result}\n`, stderr: "" });
      }
      const calls = `${join(folder, "calls.ts")}#cores`;
      // It starts a node.
      const nested = await rfaas(["invoke", calls, "--json", "null", "--sandbox", "none"]);
      expect(nested.stdout).toMatch(/^\d+\n$/);
    },
    LIMIT_MS,
  );
});

describe("an import that leads to rfaas by another way", () => {
  const DEFINED = `export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);\n`;

  test.each([
    ["an alias of tsconfig.json", "@functions", "node_modules/rfaas/dist/function.js"],
    ["a path", "./node_modules/rfaas/dist/function.js", undefined],
    ["a path to a checkout", join(ROOT, "src/function/index.ts"), undefined],
  ])(
    "%s is the worker's own, too",
    async (_, specifier, alias) => {
      const folder = placements.get("in node_modules")!;
      const name = `alias-${Bun.hash(specifier).toString(36)}`;
      mkdirSync(join(folder, name));
      link(join(folder, "node_modules"), join(folder, name, "node_modules"));
      const path = join(folder, name, "fn.ts");
      await Bun.write(path, `import { Type, defineFunction } from "${specifier}";\n${DEFINED}`);
      if (alias) {
        const paths = { [specifier]: [`./${alias}`] };
        const settings = JSON.stringify({ compilerOptions: { paths } });
        await Bun.write(join(folder, name, "tsconfig.json"), settings);
      }
      const plain = join(folder, name, "plain", "fn.ts");
      await Bun.write(plain, `import { Type, defineFunction } from "rfaas/function";\n${DEFINED}`);
      expect((await packageOf(path)).hash).toBe((await packageOf(plain)).hash);
    },
    LIMIT_MS,
  );

  test(
    "a package of npm that uses rfaas brings along itself, and neither rfaas nor its executable",
    async () => {
      const folder = placements.get("in node_modules")!;
      const toolkit = join(folder, "node_modules/toolkit");
      const described = {
        name: "toolkit",
        version: "1.0.0",
        exports: { ".": "./index.mjs", "./old": "./old.cjs" },
        dependencies: { rfaas: "*", [PLATFORM]: "*" },
      };
      for (const [name, text] of Object.entries({
        "package.json": JSON.stringify(described),
        "index.mjs": `export * from "rfaas/function";\nexport const here = import.meta.dirname;\n`,
        "old.cjs": `exports.types = require("rfaas/function").Type;\nexports.file = __filename;\n`,
      }))
        await Bun.write(join(toolkit, name), text);
      const path = join(folder, "by-toolkit.ts");
      await Bun.write(
        path,
        `import { Type, defineFunction } from "toolkit";
import old from "toolkit/old";
export const same = defineFunction({ input: Type.Null(), output: Type.Boolean() }, () => old.types === Type);
`,
      );
      const { package: made } = await buildPackage(path);
      expect(made.manifest.files.map((file) => file.path).toSorted()).toEqual([
        "by-toolkit.js",
        ...["index.mjs", "old.cjs", "package.json"].map((name) => `node_modules/toolkit/${name}`),
      ]);
      const { stdout } = await rfaas(["invoke", `${path}#same`, "--json", "null"]);
      expect(stdout).toBe("true\n");
    },
    LIMIT_MS,
  );

  test(
    "is refused where it is for tests alone, unless a run may never reach it",
    async () => {
      const path = join(placements.get("in node_modules")!, "tests.ts");
      await Bun.write(
        path,
        `import { testWorker } from "rfaas/testing";\nexport const f = () => testWorker({});\n`,
      );
      const { exitCode, stderr } = await rfaas(["package", "build", path]);
      expect(exitCode).toBe(1);
      expect(stderr).toContain("imports rfaas/testing, which workers do not have");
    },
    LIMIT_MS,
  );

  test(
    "is not asked to come along",
    async () => {
      const path = join(placements.get("in node_modules")!, "readme.ts");
      const { exitCode, stderr } = await rfaas(["package", "build", path, "--external", "rfaas"]);
      expect(exitCode).toBe(2);
      expect(stderr).toContain('workers have "rfaas" of their own');
    },
    LIMIT_MS,
  );
});
