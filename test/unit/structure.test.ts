import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
const FOLDERS = ["ffi", "src", "bench", "functions"];

const files = new Map(
  FOLDERS.flatMap((folder) =>
    [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)].map(
      (path) => [path, readFileSync(join(ROOT, path), "utf8")] as const,
    ),
  ),
);

interface Import {
  from: string;
  /** A path from the root for what is our own, else the name of a package. */
  to: string;
  typeOnly: boolean;
}

const STATEMENT =
  /^[ \t]*(?:import|export)\s+(type\s)?(?:[\w$*{}\s,]*?\sfrom\s*|\s*)["']([^"']+)["']/gm;
const EXPRESSION = /(typeof\s+)?\b(?:import|require)\(\s*["']([^"']+)["']/g;

/** Type-only imports are among them: a type ties two folders together as a value does. */
function importsOf(path: string, source: string): Import[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  return [STATEMENT, EXPRESSION].flatMap((pattern) =>
    [...code.matchAll(pattern)].map(([, type, name]) => ({
      from: path,
      to: name!.startsWith(".") ? relative(ROOT, join(ROOT, dirname(path), name!)) : name!,
      typeOnly: type !== undefined,
    })),
  );
}

const imports = [...files].flatMap(([path, source]) => importsOf(path, source));

const within = (path: string, ...folders: string[]): boolean =>
  folders.some((folder) => path === folder || path.startsWith(`${folder}/`));

/** What breaks a rule, as `importer -> imported`. The types of functions are for everybody. */
function violations(broken: (edge: Import) => boolean): string[] {
  return imports
    .filter((edge) => !(edge.typeOnly && within(edge.to, "src/function")) && broken(edge))
    .map(({ from, to }) => `${from} -> ${to}`);
}

const filesThat = (has: (source: string, path: string) => boolean): string[] =>
  [...files].filter(([path, source]) => has(source, path)).map(([path]) => path);

test("what a node starts for itself is told from what functions start", () => {
  const starters = filesThat(
    (source, path) =>
      within(path, "src/executor", "src/package") &&
      /Bun\.spawn\(|child_process/.test(source) &&
      !source.includes("keepChild("),
  );
  expect(starters).toEqual([]);
});

test("the scan sees imports of every kind", () => {
  const source = `import "a";
    import b from "b";
    import type { C } from './c.ts';
    import {
      d,
      type E,
    } from "../ffi/d.ts";
    export * from "f";
    export { g } from "g";
    // import "comment";
    /** import "comment"; */
    const h = "from"; const i = "x";
    const j = await import("./j.ts");
    type K = typeof import("./k.ts");`;
  const seen = importsOf("src/x.ts", source).map(({ to, typeOnly }) => (typeOnly ? [to] : to));
  expect(seen).toEqual(["a", "b", ["src/c.ts"], "ffi/d.ts", "f", "g", "src/j.ts", ["src/k.ts"]]);
  expect(imports.length).toBeGreaterThan(150);
});

test("every import of our own names a file that is there", () => {
  const built = ["package.json", "ffi/build/librfaas.so", "src/kit/build/kit.json"];
  expect(
    violations(
      ({ to }) =>
        // A template names files of its own.
        within(to, ...FOLDERS) && !files.has(to) && !built.includes(to) && !to.includes("${"),
    ),
  ).toEqual([]);
});

describe("the directions of imports", () => {
  test("only ffi/ opens native libraries", () => {
    expect(violations(({ from, to }) => to === "bun:ffi" && !within(from, "ffi"))).toEqual([]);
  });

  test("ffi/ knows nothing of src/, bench/ and functions/", () => {
    expect(
      violations(({ from, to }) => within(from, "ffi") && within(to, "src", "bench", "functions")),
    ).toEqual([]);
  });

  test("leases and the protocol do no input or output", () => {
    const pure = ["src/lease", "src/protocol", "src/errors.ts"];
    // Signing and checking signatures is computing.
    const packages = ["@sinclair/typebox", "msgpackr", "node:crypto"];
    expect(
      violations(({ from, to }) => within(from, ...pure) && !within(to, ...pure, ...packages)),
    ).toEqual([]);
    const reaches = /\b(?:Bun|process|performance|console)\.|\bDate\b|\bsetTimeout\b|\bfetch\(/;
    expect(filesThat((source, path) => within(path, ...pure) && reaches.test(source))).toEqual([]);
  });

  const layers: readonly [string, readonly string[]][] = [
    ["src/client", ["src/executor", "src/testing", "src/commands"]],
    ["src/executor", ["src/client", "src/testing", "src/commands"]],
    ["src/testing", ["src/commands", "src/kit"]],
    ["src/fabric", ["src/client", "src/executor", "src/commands"]],
    ["src/package", ["src/client", "src/executor", "src/commands"]],
    ["src/lease", ["src/client", "src/executor", "src/commands"]],
    ["src/protocol", ["src/client", "src/executor", "src/commands"]],
    ["src/function", ["src/client", "src/executor", "src/commands"]],
  ];

  test.each(layers)("%s/ imports none of %j", (layer, forbidden) => {
    expect(violations(({ from, to }) => within(from, layer) && within(to, ...forbidden))).toEqual(
      [],
    );
  });

  test.each(layers)("%s/ does not reach %j through other files either", (layer, forbidden) => {
    const reached = new Set([...files.keys()].filter((path) => within(path, layer)));
    for (const path of reached)
      for (const { from, to } of imports) if (from === path && files.has(to)) reached.add(to);
    expect(reached.size).toBeGreaterThan(0);
    expect([...reached].filter((path) => within(path, ...forbidden))).toEqual([]);
  });
});

describe("what is said in one place only", () => {
  test("threads are started in src/workers.ts", () => {
    expect(filesThat((source) => source.includes("new Worker("))).toEqual(["src/workers.ts"]);
  });

  test("the program finds its own executable in src/process.ts", () => {
    expect(filesThat((source) => /\bexecPath\b/.test(source))).toEqual(["src/process.ts"]);
  });

  test("console.log is for the demonstration: stdout carries data", () => {
    const found = filesThat((source) => source.includes("console.log"));
    expect(found.filter((path) => !within(path, "bench/demo"))).toEqual([]);
  });
});

test("the data path neither logs nor throws", () => {
  const hot = [...files.keys()].filter((path) => path.endsWith(".datapath.ts"));
  expect(hot).not.toEqual([]);
  for (const path of hot) expect(files.get(path)).not.toMatch(/console\.|throw /);
});
