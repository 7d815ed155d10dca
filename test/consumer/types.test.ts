/**
 * The types of the packed library in projects of others, for each compiler, way of finding modules, set of global types and library:
 * what is right has no error, also not in our declarations, and what is wrong has one at the right place.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { npmInstall, packInto, run } from "../support/consumer.ts";
import { ROOT } from "../support/executable.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const registry = await reachesRegistry("types in a program's project");

const COMPILERS = { "5.9": "typescript", "7": "typescript-7" } as const;
const MODULES = {
  bundler: { module: "preserve", moduleResolution: "bundler" },
  nodenext: { module: "nodenext", moduleResolution: "nodenext" },
} as const;
const TYPES = { "Bun's types": ["bun-types"], "no types": [] } as const;
const LIBS: Readonly<Record<string, { target: string; lib?: readonly string[] }>> = {
  "the default library": { target: "es2022" },
  "ESNext and DOM": { target: "esnext", lib: ["esnext", "dom"] },
};

const STRICT = {
  ...{ strict: true, noEmit: true, skipLibCheck: false, allowImportingTsExtensions: true },
  ...{ verbatimModuleSyntax: true, noUncheckedIndexedAccess: true, noUnusedLocals: true },
  ...{ declaration: true, isolatedModules: true, noPropertyAccessFromIndexSignature: true },
};

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const project = scratch.join("project");
const linked = ["bun-types", "@types/node", "undici-types"];

/** What `wrong.ts` says of itself, as a compiler prints it. */
function expected(): string[] {
  const lines = readFileSync(join(project, "wrong.ts"), "utf8").split("\n");
  return lines.flatMap((line, i) => {
    const mark = /^\/\/ *\^ (TS\d+)$/.exec(line);
    return mark ? [`wrong.ts(${i},${line.indexOf("^") + 1}): error ${mark[1]}`] : [];
  });
}

/** The errors of a compiler, without their texts. */
async function errorsOf(compiler: string, name: string, options: object): Promise<string[]> {
  const files = ["fn.ts", "right.ts", "wrong.ts"];
  const config = `tsconfig.${name.replaceAll(/\W+/g, "-")}.json`;
  writeFileSync(join(project, config), JSON.stringify({ compilerOptions: options, files }));
  const tsc = join(ROOT, "node_modules", compiler, "bin", "tsc");
  const { stdout } = await run(["node", tsc, "-p", config, "--pretty", "false"], project);
  return stdout.split("\n").flatMap((line) => {
    // Further lines of an error are indented.
    if (line === "" || line.startsWith(" ")) return [];
    return [/^wrong\.ts\(\d+,\d+\): error TS\d+/.exec(line)?.[0] ?? line];
  });
}

describe.skipIf(!registry)("a program that uses rfaas", () => {
  beforeAll(async () => {
    const [main] = await packInto(scratch.path, ["npm-main"]);
    cpSync(join(import.meta.dir, "project"), project, { recursive: true });
    writeFileSync(join(project, "package.json"), '{ "type": "module", "private": true }');
    // What rfaas depends on is out of the program's sight, as with other programs than npm.
    await npmInstall(project, ["--omit=optional", "--install-strategy=nested", main!]);
    expect(existsSync(join(project, "node_modules", "@sinclair"))).toBe(false);
    for (const name of linked) {
      const at = join(project, "node_modules", name);
      mkdirSync(dirname(at), { recursive: true });
      symlinkSync(join(ROOT, "node_modules", name), at);
    }
  }, 300_000);

  const cases = Object.entries(COMPILERS).flatMap(([version, compiler]) =>
    Object.entries(MODULES).flatMap(([modules, resolution]) =>
      Object.entries(TYPES).flatMap(([types, named]) =>
        Object.entries(LIBS).map(([lib, language], i) => ({
          name: `TypeScript ${version}, ${modules}, ${types}, ${lib}`,
          compiler,
          // On and off, each of them in every other case.
          options: {
            ...STRICT,
            ...resolution,
            ...language,
            types: named,
            exactOptionalPropertyTypes: i === 0,
          },
        })),
      ),
    ),
  );

  test.each(cases)(
    "$name",
    async ({ name, compiler, options }) => {
      expect(await errorsOf(compiler, name, options)).toEqual(expected());
    },
    300_000,
  );

  test("its compiler needs neither DOM nor Bun for our declarations", async () => {
    const options = {
      ...STRICT,
      ...MODULES.nodenext,
      target: "es2022",
      lib: ["es2022"],
      types: [],
    };
    const errors = await errorsOf(COMPILERS["7"], "bare", options);
    expect(errors.filter((line) => !/^(?:wrong|right)\.ts/.test(line))).toEqual([]);
  });

  test("its wrong lines cover names, arguments and results", () => {
    expect(expected().length).toBeGreaterThan(15);
  });
});
