/** What the text of a module says of what it needs. */
import { describe, expect, test } from "bun:test";
import { namedBeside, scanModule } from "../../src/package/bundle/module-scan.ts";

describe("a module looks for its own place when it says", () => {
  test.each([
    "new URL('./x', import.meta.url)",
    "const { dir } = import.meta;",
    "__dirname",
    "require.resolve('x')",
    "createRequire(here)",
    "new Worker(path)",
    "new threads . Worker (path)",
    "require('./build/x.node')",
    "require(name)",
    "import(/* webpackIgnore: true */ name)",
    "require(`./${name}.js`)",
    "const load = require; load('x')",
    "module.paths.push('x')",
  ])("%s", (text) => {
    expect(scanModule("a.js", `export const x = 1;\n${text}\n`)?.placeBound).toBe(true);
  });

  test.each([
    "import.meta.env.MODE",
    "if (import.meta.main) f();",
    "require('x')",
    "import('x')",
    "import(/* webpackChunkName: 'x' */ 'x')",
    "require(`x`)",
    "const names = ['import(functions)', 'require(it)'];",
    "// it looks for __dirname",
    "a.require(name); b.import(name);",
  ])("and not when it says %s", (text) => {
    expect(scanModule("a.js", `export const x = 1;\n${text}\n`)?.placeBound).toBe(false);
  });
});

test.each<[path: string, text: string, esm: boolean]>([
  ["a.js", "export const a = 1;", true],
  ["a.js", "import './b.js';", true],
  ["a.js", "globalThis.a = 1;", true],
  ["a.ts", "enum A { B }", true],
  ["a.js", "", true],
  ["a.mjs", "this.a = 1;", true],
  ["a.js", "exports.a = 1;", false],
  ["a.js", "module.exports = {};", false],
  ["a.js", "require('./b.js');", false],
  ["a.js", "this.a = 1;", false],
  ["a.cjs", "globalThis.a = 1;", false],
  ["a.cts", "import a = require('a'); export = a;", false],
  ["a.js", "if (typeof exports === 'object' && exports.nodeType) a();\nexport const b = 1;", true],
])("%s with %j is an ES module: %p", (path, text, esm) => {
  expect(scanModule(path, text)?.esm).toBe(esm);
});

test("imports are named whatever they are for, and types are not", () => {
  const text = `import type A from "a"; import B, { type C } from "b"; export * from "c"; export type { D } from "d";
import E = require("e"); const f = await import("f"); try { require("g"); } catch {}
const load = createRequire(import.meta.url); load("./h.cjs"); load.resolve("i");
import.meta.resolve("j"); require.resolve("k"); if (false) require("l"); B(E); import m from "./m.json" with { type: "json" }; m;`;
  const scan = scanModule("a.ts", text)!;
  const named = scan.imports.map(({ specifier }) => specifier);
  expect(new Set(named)).toEqual(
    new Set(["b", "c", "e", "f", "g", "./h.cjs", "i", "j", "k", "l", "./m.json"]),
  );
  expect(scan.handedOn).toEqual(["c"]);
});

test("files are named beside a module in many ways", () => {
  const text = `const here = dirname(fileURLToPath(import.meta.url));
new URL("./a", import.meta.url); join(here, "b", "c.txt"); path.resolve(__dirname, "../d"); import.meta.dir + "/e";
\`\${import.meta.dirname}/f\`; require.resolve("./g"); import.meta.resolve("./h"); new Worker("./i.ts");
new URL("./j", base); join(other, "k"); join(here, name); require.resolve("l"); // join(__dirname, "in code")
// join(__dirname, "m")`;
  expect(namedBeside(text).sort()).toEqual(
    ["../d", "./a", "./g", "./h", "./i.ts", "b/c.txt", "e", "f", "in code"].sort(),
  );
});

describe("a module that asks for its environment does not look for its own place", () => {
  test.each([
    "import.meta.env.MODE",
    "import.meta?.env",
    "({ ...process.env, ...import.meta?.env })",
    "import.meta?.env?.MODE",
    'import.meta["env"]',
    "import.meta?.['env']",
    'typeof import.meta !== "undefined" && import.meta.env.DEV',
    "import.meta && import.meta.env",
    "import.meta ? import.meta.env : {}",
    "import.meta.hot?.accept()",
    "import.meta\n  .main",
  ])("%s", (expression) => {
    expect(scanModule("/a.js", `export const a = ${expression};`)?.placeBound).toBe(false);
  });
});

describe("a module that may look for its own place is seen", () => {
  test.each([
    "import.meta.url",
    "import.meta?.url",
    'import.meta["url"]',
    "import.meta",
    "[import.meta]",
    "f(import.meta)",
    "import.meta.environment",
    "import.meta ?? {}",
    "import.meta && import.meta.dirname",
    "typeof import.meta === 'object' ? import.meta.filename : ''",
    "__dirname",
  ])("%s", (expression) => {
    expect(scanModule("/a.js", `export const a = ${expression};`)?.placeBound).toBe(true);
  });
});

test("what is as long as a program of WebAssembly in a text is looked through once", () => {
  for (const part of ["a", " ", "\n", "a ", "=", "\\", "x=", "(", "/*"]) {
    const long = part.repeat(100_000);
    scanModule("/a.js", `export const text = ${JSON.stringify(long)};\n/* ${long} */\n`);
    expect(namedBeside(`/* ${long} */ new URL("./b.txt", import.meta.url)`)).toEqual(["./b.txt"]);
  }
});
