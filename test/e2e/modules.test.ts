/**
 * What `bun run` runs, runs: each module is loaded by the runtime alone where it was written, then packed, and called on a node
 * after its sources have gone; both must give the same value.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, symlinkSync } from "node:fs";
import { dirname } from "node:path";
import { type FunctionError, type Invoker, ModuleLoadError, invoker } from "../support/library.ts";
import { buildPackage } from "../../src/package/builder.ts";
import type { PackageOptions } from "../../src/package/options.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { gives } from "../support/giving.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
let node: ServedNode;
let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  node = await ServedNode.start(scratch.join("node.sock"), ["--cache", scratch.join("cache")]);
  rf = await invoker({ node: node.address });
});
afterAll(async () => {
  await rf.close();
  await node[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

type Files = Record<string, string | { link: string }>;

let projects = 0;

/** Writes files into a folder of their own, which is returned; `{ link }` is a symbolic link. */
function project(files: Files): string {
  const folder = `project-${projects++}`;
  for (const [path, content] of Object.entries(files)) {
    const at = `${folder}/${path}`;
    mkdirSync(dirname(scratch.join(at)), { recursive: true });
    if (typeof content === "string") scratch.file(at, content);
    else symlinkSync(content.link, scratch.join(at));
  }
  return scratch.join(folder);
}

const commonJs = (expression: string): string => `
exports.value = async () => (${expression});
exports.say = async (_, output) => new TextEncoder().encodeInto(JSON.stringify(await exports.value()), output).written;
`;

/** What the runtime alone gives. */
async function runHere(path: string, env: Record<string, string> = {}): Promise<unknown> {
  const code = `const { value } = await import(${JSON.stringify(path)}); process.stdout.write(JSON.stringify(await value(), (_, v) => (v === undefined ? "undefined" : v)));`;
  const child = Bun.spawn([process.execPath, "--no-install", "-e", code], {
    cwd: dirname(path),
    env: { ...process.env, NODE_ENV: undefined, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if (out === "") throw new Error(`bun run says: ${err}`);
  return JSON.parse(out);
}

/** What a node gives that has the package alone. */
async function runThere(folder: string, entry: string, options?: PackageOptions) {
  const hash = await rf.packages.push(`${folder}/${entry}`, options);
  renameSync(folder, `${folder}.gone`);
  await using lease = await rf.allocate(`package:${hash}`, { workers: 1 });
  const output = lease.output(Uint8Array, 65_536);
  const written = await lease.submit("say", lease.input(Uint8Array, 1), output);
  return JSON.parse(new TextDecoder().decode(output.slice(0, written))) as unknown;
}

interface Case {
  files: Files;
  /** Default `fn.ts`. */
  entry?: string;
  options?: PackageOptions;
  /** Where the runtime alone is not to be asked. */
  expected?: unknown;
}

async function same({ files, entry = "fn.ts", options, expected }: Case): Promise<void> {
  const folder = project(files);
  const here = expected ?? (await runHere(`${folder}/${entry}`));
  expect(await runThere(folder, entry, options)).toEqual(here);
}

const NAMES = `
const letters: string[] = [];
for (const σ of ["a"]) letters.push(σ);
for (const é in { é: 1 }) letters.push(é);
class Größe { #π = 3; get π() { return this.#π; } static is(ö: unknown) { return ö instanceof Größe; } }
const größe: object = new Größe();
async function* ñandú() { yield 1; yield* [2]; }
let ß = 0;
äußere: for (const ä of [1, 2]) for (const ü of [1, 2]) { if (ü === 2) continue äußere; ß += ä; }
const { Ω = 5, ...übrig } = { α: 1 } as { Ω?: number; α: number };
`;

describe("a module", () => {
  test.each<[name: string, given: Case]>([
    [
      "with names that are not ASCII",
      {
        files: {
          "fn.ts": `import { größer as kleiner } from "./ö.ts";${NAMES}${gives(
            `[letters, größe instanceof Größe, "π" in größe, Größe.name, (größe as Größe).π, Größe.is(größe), await Array.fromAsync(ñandú()), ß, Ω, übrig, typeof größe === "object", void ß, kleiner(1), /\\p{L}+/u.exec("größe")![0], \`ö\${ß}ü\`, "\\u{1F600}é"]`,
          )}`,
          "ö.ts": "export const größer = (ä: number) => ä in { 1: 0 } ? 'größer' : 'kleiner';",
        },
      },
    ],
    [
      "with enumerations, namespaces, using, a top-level await and attributes of imports",
      {
        files: {
          "fn.ts": `import data from "./data.json";
import text from "./text.txt" with { type: "text" };
import table from "./table.toml";
import { late } from "./late.ts";
enum Colour { Red = "red", Blue = "blue" }
const enum Size { Small = 1 }
namespace Space { export const inner = 4; }
const closed: string[] = [];
{ using held = { [Symbol.dispose]: () => closed.push("closed") }; void held; }
const early = await Promise.resolve("early");
${gives("[data.a, text, table, Colour.Blue, Size.Small, Space.inner, closed, early, late]")}`,
          "late.ts":
            "export const late = await new Promise((done) => setTimeout(done, 1, 'late'));",
          "data.json": '{"a":[1,{"b":null}]}',
          "text.txt": "text `with` ${signs}",
          "table.toml": "[a]\nb = 1",
        },
      },
    ],
    [
      "with modules that need each other, and what is loaded later",
      {
        files: {
          "fn.ts": `import { even } from "./even.ts";
const log: string[] = [];
(globalThis as any).log = log;
${gives(`[even(10), (await import("./later.ts")).default, (await import("./data.json")).default, log, require("./odd.ts").odd(3), await import("not-installed-at-all").catch((error) => error.constructor.name)]`)}`,
          "even.ts":
            'import { odd } from "./odd.ts"; export const even = (n: number): boolean => n === 0 || odd(n - 1);',
          "odd.ts":
            'import { even } from "./even.ts"; export const odd = (n: number): boolean => n !== 0 && even(n - 1);',
          "later.ts": '(globalThis as any).log.push("later"); await 0; export default "later";',
          "data.json": "[1]",
        },
      },
    ],
    [
      "that loads what is not installed only when it is reached",
      {
        files: {
          "fn.ts": `import { open } from "db";
const lazily = async () => (await import("./lazy.ts")).x;
${gives(`[open("mem"), (() => { try { open("x"); } catch (error) { return /mysql-x/.test(String(error)); } })(), await lazily().catch((error) => /not-there/.test(String(error))), (() => { try { return require("absent"); } catch { return "absent"; } })()]`)}`,
          "lazy.ts": 'import x from "not-there"; export { x };',
          "node_modules/db/package.json":
            '{"name":"db","main":"index.js","peerDependencies":{"mysql-x":"1"},"peerDependenciesMeta":{"mysql-x":{"optional":true}}}',
          "node_modules/db/index.js":
            'exports.open = (kind) => kind === "mem" ? 7 : require("mysql-x").open();',
        },
      },
    ],
    [
      "whose package.json says that it has no side effects",
      {
        files: {
          "package.json": '{"name":"app","sideEffects":false}',
          "fn.ts": `import "./register.ts"; import "dep/register"; import { dep } from "dep"; ${gives("[(globalThis as any).registered, (globalThis as any).dep, dep]")}`,
          "register.ts": "(globalThis as any).registered = 7;",
          "node_modules/dep/package.json":
            '{"name":"dep","type":"module","sideEffects":false,"exports":{".":"./index.js","./register":"./register.js"}}',
          "node_modules/dep/index.js":
            'import "./inner.js"; export { dep } from "./names.js"; export * from "./other.js";',
          "node_modules/dep/inner.js": "globalThis.dep = (globalThis.dep ?? 0) + 1;",
          "node_modules/dep/register.js": "globalThis.dep = (globalThis.dep ?? 0) + 10;",
          "node_modules/dep/names.js": "export const dep = 'dep';",
          "node_modules/dep/other.js": "globalThis.dep += 100; export const other = 1;",
        },
      },
    ],
    [
      "whose imports do something in their order",
      {
        files: {
          "fn.ts": `import "./first.ts"; import { here } from "./place.ts"; import { log } from "./last.ts"; ${gives("[log, here]")}`,
          "first.ts": "(globalThis as any).log = ['first'];",
          "place.ts":
            '(globalThis as any).log.push("place"); export const here = import.meta.dir.split("/").length > 1;',
          "last.ts":
            '(globalThis as any).log.push("last"); export const log = (globalThis as any).log;',
        },
      },
    ],
    [
      "whose imports wait as they load, beside each other",
      {
        files: {
          "fn.ts": `(globalThis as any).log?.push("fn"); import { a } from "./a.ts"; import { b } from "./b.ts"; ${gives("[a, b, (globalThis as any).log]")}`,
          "a.ts":
            '(globalThis as any).log = ["a begins"];\nawait new Promise((done) => ((globalThis as any).go = done));\n(globalThis as any).log.push("a ends");\nexport const a = 1;',
          "b.ts":
            '(globalThis as any).log.push("b begins");\n(globalThis as any).go();\nexport const b = await 2;\n(globalThis as any).log.push("b ends");',
        },
      },
    ],
    [
      "whose classes and functions have names that others have, too",
      {
        files: {
          "fn.ts": `import { Thing as A, f as fa, arrow as aa } from "./a.ts"; import { Thing as B, f as fb, arrow as ab, hidden } from "./b.ts"; import { Thing as C } from "dep";
class Thing {} function f() {}
${gives("[A, B, C, Thing, fa, fb, f, aa, ab, hidden().constructor].map(({ name }) => name)")}`,
          "a.ts":
            "export class Thing {} export function f() {} export const arrow = () => 1; class Failure extends Error {} void Failure;",
          "b.ts":
            "export class Thing {} export async function f() {} export const arrow = () => 2; class Failure extends Error {} export const hidden = () => new Failure();",
          "node_modules/dep/package.json": '{"name":"dep","type":"module","main":"index.js"}',
          "node_modules/dep/index.js": "export { Thing } from './inner.js'; export const f = 1;",
          "node_modules/dep/inner.js":
            "class Thing { static from = new Thing().constructor.name; } export { Thing };",
        },
      },
    ],
    [
      "that evaluates text, which sees its own names alone",
      {
        files: {
          "fn.ts": `import { a } from "./a.ts"; import { b } from "./b.ts"; const secret = "fn"; const mine = 1; void [secret, mine]; ${gives('[a("secret"), b("secret"), eval("secret"), b("typeof mine"), eval("mine")]')}`,
          "a.ts": "const secret = 'a'; export const a = (text: string) => [eval(text), secret];",
          "b.ts": "const secret = 'b'; export const b = (text: string) => [eval(text), secret];",
        },
      },
    ],
    [
      "with aliases of tsconfig.json and of package.json",
      {
        files: {
          "tsconfig.base.json": '{"compilerOptions":{"paths":{"@lib/*":["./lib/*"]}}}',
          "tsconfig.json": '{"extends":"./tsconfig.base.json"}',
          "package.json":
            '{"name":"app","imports":{"#inner":"./lib/inner.ts"},"exports":"./self.ts"}',
          "fn.ts": `import { a } from "@lib/a.ts"; import { inner } from "#inner"; import { self } from "app"; ${gives("[a, inner, self, require('@lib/c.cjs').c, (await import('@lib/a.ts')).a]")}`,
          "self.ts": "export const self = 'self';",
          "lib/a.ts":
            'import b from "@lib/b.cjs"; export const a = ["a", b.b, import.meta.dir.endsWith("/lib")];',
          "lib/b.cjs": 'exports.b = ["b", require("@lib/c.cjs").c, require("#inner").inner];',
          "lib/c.cjs": "exports.c = 'c';",
          "lib/inner.ts": "export const inner = 'inner';",
        },
      },
    ],
    [
      "in a folder with signs in its name, reached by a link, that imports itself by another module",
      {
        entry: "ö ü/link.ts",
        files: {
          "ö ü/link.ts": { link: "real/fn entry.ts" },
          "ö ü/real/fn entry.ts": `import { size } from "./my lib.cjs"; import { place } from "./place.ts"; export const one = 1; ${gives("[size, place(), one]")}`,
          "ö ü/real/my lib.cjs": "exports.size = __filename.length - __dirname.length;",
          "ö ü/real/place.ts":
            'import * as self from "./fn entry.ts"; export const place = () => [import.meta.file, self.one];',
        },
      },
    ],
    [
      "in the ways of TypeScript to write CommonJS, with macros and generated code",
      {
        files: {
          "fn.ts": `import path = require("node:path"); import old = require("./old.cts"); import { made } from "./macro.ts" with { type: "macro" }; import { type Kind, kind } from "./kind.ts"; import * as wasm from "./add.ts";
const k: Kind = kind; ${gives("[path.basename('/a/b'), old.n, made(), k, wasm.add(2, 3)]")}`,
          "old.cts":
            'import type { Kind } from "./kind.ts"; const kind: Kind = "kind"; export = { n: kind };',
          "macro.ts":
            'import { readFileSync } from "node:fs"; export const made = () => readFileSync(import.meta.dir + "/macro.txt", "utf8").trim();',
          "macro.txt": "made by a macro",
          "kind.ts": 'export type Kind = "kind"; export const kind: Kind = "kind";',
          "add.ts":
            'import { readFileSync } from "node:fs"; const bytes = Uint8Array.fromBase64(readFileSync(new URL("./add.wasm.txt", import.meta.url), "utf8")); const { instance } = await WebAssembly.instantiate(bytes); export const add = instance.exports["add"] as (a: number, b: number) => number;',
          "add.wasm.txt": "AGFzbQEAAAABBwFgAn9/AX8DAgEABwcBA2FkZAAACgkBBwAgACABags=",
        },
      },
    ],
    [
      "with decorators that have types of their targets",
      {
        files: {
          "tsconfig.json":
            '{"compilerOptions":{"experimentalDecorators":true,"emitDecoratorMetadata":true}}',
          "fn.ts": `import "./metadata.ts"; import { Part } from "./part.ts";
const seen: unknown[] = [];
const see = (target: object): void => void seen.push((Reflect as any).types.get(target)?.map((type: any) => type.name));
@see class Whole { constructor(readonly part: Part, readonly n: number) {} }
${gives("[seen, new Whole(new Part(), 1).part.n]")}`,
          "part.ts": "export class Part { n = import.meta.dir.length > 0; }",
          "metadata.ts":
            "const types = new Map(); (Reflect as any).types = types; (Reflect as any).metadata = (_key: string, value: unknown) => (target: object) => void types.set(target, value);",
        },
      },
    ],
  ])("%s", async (_, given) => await same(given));
});

const READS = 'readFileSync(new URL("./data.txt", import.meta.url), "utf8")';

describe("files beside a module are found on every node:", () => {
  test.each<[name: string, given: Case]>([
    [
      "those that the author's own code names",
      {
        entry: "src/fn.ts",
        files: {
          "src/fn.ts": `import { readFileSync } from "node:fs"; import { dirname, join } from "node:path"; import { fileURLToPath } from "node:url";
import { deep } from "./lib/deep.ts"; import { up } from "../shared/up.ts"; import own from "./own.cjs";
const here = dirname(fileURLToPath(import.meta.url));
${gives(
  `[readFileSync(join(__dirname, "a.txt"), "utf8"), readFileSync(import.meta.dir + "/a.txt", "utf8"), readFileSync(\`\${import.meta.dirname}/a.txt\`, "utf8"), readFileSync(join(here, "more", "b.txt"), "utf8"), await Bun.file(new URL("more/c.txt", import.meta.url)).text(), readFileSync(require.resolve("./d.dat"), "utf8"), readFileSync(fileURLToPath(import.meta.resolve("./e.dat")), "utf8"), readFileSync(new URL("./%C3%BC%20f.txt?x#y", import.meta.url), "utf8"), deep(), up(), own.read(), import.meta.require("./later.cjs")]`,
)}`,
          "src/a.txt": "a",
          "src/more/b.txt": "b",
          "src/more/c.txt": "c",
          "src/d.dat": "d",
          "src/e.dat": "e",
          "src/ü f.txt": "f",
          "src/lib/deep.ts": `import { readFileSync } from "node:fs"; export const deep = () => [${READS}, __filename.endsWith("lib/deep.ts"), import.meta.path === __filename];`,
          "src/lib/data.txt": "deep",
          "shared/up.ts": `import { readFileSync } from "node:fs"; export const up = () => ${READS};`,
          "shared/data.txt": "up",
          "src/own.cjs":
            'exports.read = () => require("fs").readFileSync(require("path").join(__dirname, "own.txt"), "utf8") + require("./own.json").n;',
          "src/own.txt": "own",
          "src/later.cjs": "module.exports = 'later';",
          "src/own.json": '{"n":1}',
        },
      },
    ],
    [
      "those that it names in a way of its own",
      {
        files: {
          "fn.ts": `import { readFileSync } from "node:fs"; import * as path from "node:path";
const root = new URL(".", import.meta.url).pathname; const at = (...names: string[]) => path.join(root, ...names);
${gives('[readFileSync(root + "a.txt", "utf8"), readFileSync(at("data", "b.txt"), "utf8"), readFileSync(`${root}data/c.txt`, "utf8")]')}`,
          "a.txt": "a",
          "data/b.txt": "b",
          "data/c.txt": "c",
        },
      },
    ],
    [
      "those of folders that are included",
      {
        options: { include: ["data"] },
        files: {
          "fn.ts": `import { readdirSync, readFileSync } from "node:fs"; import { join } from "node:path"; const name = ["x", "txt"].join("."); ${gives(`[readdirSync(join(import.meta.dir, "data")).sort(), readFileSync(join(import.meta.dir, "data", name), "utf8")]`)}`,
          "data/x.txt": "x",
          "data/y.txt": "y",
        },
      },
    ],
    [
      "packages of npm that only a run names, when they are external",
      {
        options: { external: ["dep"] },
        files: {
          "fn.ts": `const name = ["d", "ep"].join(""); ${gives("[(await import(name)).default, (await import(`${name}/more.mjs`)).default]")}`,
          "node_modules/dep/package.json": '{"name":"dep","dependencies":{"needed":"1"}}',
          "node_modules/dep/index.js": "module.exports = ['dep', require('needed')];",
          "node_modules/dep/more.mjs": "export default 'more';",
          "node_modules/needed/package.json": '{"name":"needed"}',
          "node_modules/needed/index.js": "module.exports = 'needed';",
        },
      },
    ],
    [
      "those of packages of npm, whatever way they look for them",
      {
        files: {
          "fn.ts": `import { readFileSync } from "node:fs"; import esm from "esm"; import cjs from "cjs"; import made from "made"; import { version } from "pkg";
${gives(`[esm(), cjs.read("data"), cjs.load("a"), made, version, readFileSync(require.resolve("esm/data.txt"), "utf8"), readFileSync(new URL(import.meta.resolve("pkg/extra.bin")), "utf8")]`)}`,
          "node_modules/esm/package.json": '{"name":"esm","type":"module","main":"lib/index.js"}',
          "node_modules/esm/lib/index.js": `import { readFileSync } from "node:fs"; export default () => readFileSync(new URL("../data.txt", import.meta.url), "utf8");`,
          "node_modules/esm/data.txt": "esm data",
          "node_modules/cjs/package.json": '{"name":"cjs","main":"./lib","version":"1.2.3"}',
          "node_modules/cjs/lib/index.js":
            'const fs = require("fs"), path = require("path"); exports.read = (name) => fs.readFileSync(path.resolve(__dirname, "..", name + ".txt"), "utf8") + require("../package.json").version; exports.load = (name) => require("./parts/" + name);',
          "node_modules/cjs/lib/parts/a.js": 'module.exports = "part a " + require("helper");',
          "node_modules/cjs/data.txt": "cjs data",
          "node_modules/helper/package.json": '{"name":"helper"}',
          "node_modules/helper/index.js": 'module.exports = "helped";',
          "node_modules/made/package.json": '{"name":"made","exports":{"import":"./index.mjs"}}',
          "node_modules/made/index.mjs":
            'import { createRequire } from "node:module"; const load = createRequire(import.meta.url); export default [load("./inner.cjs"), load("cjs/package.json").version];',
          "node_modules/made/inner.cjs": 'module.exports = "made";',
          "node_modules/pkg/package.json":
            '{"name":"pkg","version":"4.5.6","type":"module","exports":{".":"./index.js","./extra.bin":"./hidden/extra.bin"}}',
          "node_modules/pkg/index.js":
            'import self from "./package.json" with { type: "json" }; export const version = self.version;',
          "node_modules/pkg/hidden/extra.bin": "extra",
        },
      },
    ],
    [
      "workers, of the author's and of packages",
      {
        files: {
          "fn.ts": `import { ask } from "pool"; import { Worker } from "node:worker_threads";
const own = () => new Promise((done, fail) => { const worker = new Worker(new URL("./worker.ts", import.meta.url)); worker.once("message", (said) => void worker.terminate().then(() => done(said))); worker.once("error", fail); });
${gives("[await own(), await ask(20)]")}`,
          "worker.ts":
            'import { parentPort } from "node:worker_threads"; import { helper } from "./helper.ts"; import dep from "pool/dep.cjs"; parentPort!.postMessage([helper, dep.n]);',
          "helper.ts": "export const helper: string = 'helper';",
          "node_modules/pool/package.json": '{"name":"pool","main":"index.js"}',
          "node_modules/pool/dep.cjs": "exports.n = 3;",
          "node_modules/pool/index.js": `const { Worker } = require("node:worker_threads"); const path = require("node:path");
exports.ask = (n) => new Promise((done, fail) => { const worker = new Worker(path.join(__dirname, "lib", "worker.js"), { workerData: n }); worker.once("message", (said) => worker.terminate().then(() => done(said))); worker.once("error", fail); });`,
          "node_modules/pool/lib/worker.js":
            'const { parentPort, workerData } = require("node:worker_threads"); parentPort.postMessage(workerData + require("../dep.cjs").n + require("adder"));',
          "node_modules/adder/package.json": '{"name":"adder"}',
          "node_modules/adder/index.js": "module.exports = 100;",
        },
      },
    ],
  ])("%s", async (_, given) => await same(given));
});

describe("CommonJS is served as the runtime serves it:", () => {
  test.each<[name: string, given: Case]>([
    [
      "code that is not strict",
      {
        files: {
          "fn.ts": `import { f, octal, self, deleted } from "./sloppy.js"; import old from "old"; ${gives("[f(20), octal, self, deleted, old.with, old.callee]")}`,
          "sloppy.js":
            "exports.f = function (n) { total = n + 1; return total; }; exports.octal = 010; exports.self = (function () { return this === globalThis; })(); var x = 1; exports.deleted = delete x;",
          "node_modules/old/package.json": '{"name":"old"}',
          "node_modules/old/index.js":
            "with ({ a: 1 }) { exports.with = a; } exports.callee = (function (n) { return n ? 1 + arguments.callee(n - 1) : 0; })(3);",
        },
      },
    ],
    [
      "names that are set as it runs, defaults, and modules that are functions",
      {
        files: {
          "fn.ts": `export * from "./loop.cjs"; import * as loop from "./loop.cjs"; import def, * as es from "./es.cjs"; import fun from "./fun.cjs"; import * as through from "./through.ts"; import frozen from "./frozen.cjs";
${gives("[Object.keys(loop).sort(), def, Object.keys(es).sort(), fun(2), fun.more, through.add, Object.keys(through).sort(), frozen, typeof require('./loop.cjs').then]")}`,
          "loop.cjs": 'for (const n of ["add", "sub", "then"]) exports[n] = n;',
          "es.cjs":
            'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = "default"; exports.other = 1;',
          "fun.cjs": "module.exports = (n) => 2 * n; module.exports.more = 'more';",
          "through.ts": 'export * from "./loop.cjs"; export * from "node:path";',
          "frozen.cjs": "module.exports = Object.freeze({ default: 1, then: 2 });",
        },
      },
    ],
    [
      "an entry, with what it needs",
      {
        entry: "fn.cjs",
        files: {
          "fn.cjs": `const { Type } = require("./kind.js"); const data = require("./data.json"); const folder = require("./folder"); const dep = require("dep"); const esm = require("./module.mjs");
let loose = 1; undeclared = 2;
${commonJs("[Type, data, folder, dep.sub, esm.named, undeclared, require('node:path').basename(__filename), module.id === '.', typeof require.resolve('dep')]")}`,
          "kind.js": "module.exports = { Type: 'kind' };",
          "data.json": '{"a":1}',
          "folder/index.js": "module.exports = 'index of ' + require('..' + '/data').a;",
          "module.mjs": "export const named = 'named';",
          "node_modules/dep/package.json":
            '{"name":"dep","main":"./lib/main","exports":{".":{"require":"./lib/main.js","import":"./lib/never.mjs"}}}',
          "node_modules/dep/lib/main.js": "exports.sub = require('./sub').n;",
          "node_modules/dep/lib/sub/package.json": '{"main":"../elsewhere.js"}',
          "node_modules/dep/lib/elsewhere.js": "exports.n = 'elsewhere';",
        },
      },
    ],
    [
      "a circle, with what each module has when it is asked",
      {
        files: {
          "fn.ts": `import a from "circle"; ${gives("[a.done, a.seen, a.b.done, a.b.seen]")}`,
          "node_modules/circle/package.json": '{"name":"circle","main":"a.js"}',
          "node_modules/circle/a.js":
            "exports.done = false; const b = require('./b.js'); exports.seen = b.done; exports.b = b; exports.done = true;",
          "node_modules/circle/b.js":
            "exports.done = false; const a = require('./a.js'); exports.seen = a.done; exports.done = true;",
        },
      },
    ],
    [
      "one instance of what is imported and required",
      {
        files: {
          "fn.ts": `import { count, Thing } from "state"; import user from "user"; import { own } from "./own.ts"; ${gives("[count(), user.count(), user.thing instanceof Thing, own === require('./own.cjs').own, count()]")}`,
          "own.ts": "export const own = { n: 1 };",
          "own.cjs": "exports.own = require('./own.ts').own;",
          "node_modules/state/package.json": '{"name":"state","type":"module","main":"index.js"}',
          "node_modules/state/index.js":
            "let n = 0; export const count = () => ++n; export class Thing {}",
          "node_modules/user/package.json": '{"name":"user"}',
          "node_modules/user/index.js":
            "const state = require('state'); exports.count = state.count; exports.thing = new state.Thing();",
        },
      },
    ],
  ])("%s", async (_, given) => await same(given));

  test("a package may have schemas of the worker's TypeBox", async () => {
    const folder = project({
      "fn.ts": `import { defineFunction } from "rfaas/function"; import { Even } from "schemas"; export const half = defineFunction({ input: Even, output: Even }, (n: any) => n / 2);`,
      "node_modules/@sinclair/typebox/package.json":
        '{"name":"@sinclair/typebox","version":"0.34.9","exports":{".":"./index.js","./value":"./value.js"}}',
      "node_modules/@sinclair/typebox/index.js": "throw new Error('not this one');",
      "node_modules/@sinclair/typebox/value.js": "throw new Error('not this one');",
      "node_modules/schemas/package.json":
        '{"name":"schemas","dependencies":{"@sinclair/typebox":"0.34"}}',
      "node_modules/schemas/index.js":
        "const { Type, FormatRegistry } = require('@sinclair/typebox'); const { Value } = require('@sinclair/typebox/value'); exports.Even = Type.Number({ multipleOf: 2 }); if (!Value.Check(exports.Even, 4)) throw new Error('no');",
    });
    await using lease = await rf.allocate(`${folder}/fn.ts`, { workers: 1 });
    const half = lease.function("half");
    expect(await half(8)).toBe(4);
    await expect(half(3)).rejects.toThrow("multiple of 2");
  });

  test("and it may require rfaas/function", async () => {
    const folder = project({
      "fn.cjs":
        'const { Type, defineFunction } = require("rfaas/function"); exports.double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);',
    });
    await using lease = await rf.allocate(`${folder}/fn.cjs`, { workers: 1 });
    expect(await lease.function("double")(21)).toBe(42);
  });
});

describe("packages of npm", () => {
  test.each<[name: string, given: Case]>([
    [
      "come in as many versions as are installed",
      {
        files: {
          "fn.ts": `import a from "a"; import b from "b"; import shared from "shared"; import sub from "./sub/sub.ts"; ${gives("[a, b, shared, sub]")}`,
          "sub/sub.ts": 'import shared from "shared"; export default shared;',
          "sub/node_modules/shared/package.json": '{"name":"shared"}',
          "sub/node_modules/shared/index.js": "module.exports = [3, require('deep')];",
          "sub/node_modules/deep/package.json": '{"name":"deep"}',
          "sub/node_modules/deep/index.js": "module.exports = 'deep of sub';",
          "node_modules/shared/package.json": '{"name":"shared"}',
          "node_modules/shared/index.js": "module.exports = [1, require('deep')];",
          "node_modules/deep/package.json": '{"name":"deep"}',
          "node_modules/deep/index.js": "module.exports = 'deep';",
          "node_modules/a/package.json": '{"name":"a","dependencies":{"shared":"2","b":"1"}}',
          "node_modules/a/index.js": "module.exports = [require('shared'), require('b')];",
          "node_modules/a/node_modules/shared/package.json": '{"name":"shared"}',
          "node_modules/a/node_modules/shared/index.js": "module.exports = [2, require('deep')];",
          "node_modules/b/package.json": '{"name":"b"}',
          "node_modules/b/index.js": "module.exports = ['b', require('shared')];",
        },
      },
    ],
    [
      "are found through the links of other package managers and of workspaces",
      {
        entry: "apps/one/fn.ts",
        files: {
          "apps/one/fn.ts": `import { lib } from "@org/lib"; import cjs from "@org/cjs"; import linked from "linked"; import { beside } from "../../packages/lib/src/beside.ts"; ${gives("[lib, cjs, linked, beside()]")}`,
          "apps/one/package.json": '{"name":"one"}',
          "apps/one/node_modules/linked": {
            link: "../../../node_modules/.store/linked@1/node_modules/linked",
          },
          "node_modules/.store/linked@1/node_modules/linked/package.json": '{"name":"linked"}',
          "node_modules/.store/linked@1/node_modules/linked/index.js":
            "module.exports = ['linked', require('peer')];",
          "node_modules/.store/linked@1/node_modules/peer": {
            link: "../../peer@2/node_modules/peer",
          },
          "node_modules/.store/peer@2/node_modules/peer/package.json": '{"name":"peer"}',
          "node_modules/.store/peer@2/node_modules/peer/index.js": "module.exports = 'peer';",
          "node_modules/@org/lib": { link: "../../packages/lib" },
          "node_modules/@org/cjs": { link: "../../packages/cjs" },
          "packages/lib/package.json":
            '{"name":"@org/lib","type":"module","exports":"./src/index.ts"}',
          "packages/lib/.env": "SECRET=1",
          "packages/lib/src/index.ts":
            'import { beside } from "./beside.ts"; import cjs from "@org/cjs"; enum E { A = "a" } export const lib: unknown[] = [E.A, beside(), cjs];',
          "packages/lib/src/beside.ts":
            'import { readFileSync } from "node:fs"; export const beside = () => readFileSync(new URL("./data.txt", import.meta.url), "utf8");',
          "packages/lib/src/data.txt": "beside",
          "packages/cjs/package.json": '{"name":"@org/cjs","main":"main.js"}',
          "packages/cjs/main.js":
            "const fs = require('fs'); module.exports = fs.readFileSync(__dirname + '/data.txt', 'utf8');",
          "packages/cjs/data.txt": "cjs data",
        },
      },
    ],
    [
      "have the exports that the runtime's conditions choose, whatever imports them",
      {
        files: {
          "fn.ts": `import one from "dual"; import { createRequire } from "node:module"; import inner from "dual/inner/x"; ${gives("[one, require('dual'), createRequire(import.meta.url)('dual'), inner, (await import('dual')).default]")}`,
          "node_modules/dual/package.json":
            '{"name":"dual","imports":{"#secret":"./secret.js"},"exports":{".":{"development":"./development.js","production":"./production.js","browser":"./browser.js","bun":{"require":"./bun.cjs","default":"./bun.mjs"},"node":"./node.js","default":"./default.js"},"./inner/*":"./hidden/*.mjs"}}',
          "node_modules/dual/bun.mjs":
            "import secret from '#secret'; export default ['bun', secret];",
          "node_modules/dual/bun.cjs": "module.exports = 'bun, required';",
          "node_modules/dual/secret.js": "module.exports = 'secret';",
          "node_modules/dual/hidden/x.mjs": "import dual from 'dual'; export default ['x', dual];",
          "node_modules/dual/development.js": "module.exports = 'development';",
          "node_modules/dual/production.js": "module.exports = 'production';",
          "node_modules/dual/browser.js": "module.exports = 'browser';",
          "node_modules/dual/node.js": "module.exports = 'node';",
          "node_modules/dual/default.js": "module.exports = 'default';",
        },
      },
    ],
  ])("%s", async (_, given) => await same(given));

  test("do not bring what is secret, nor an installed rfaas", async () => {
    const folder = project({
      "fn.ts": `import { Type } from "rfaas/function"; import "rfaas"; import { secret } from "dep"; import "@org/own"; ${gives("[typeof Type, secret]")}`,
      "node_modules/rfaas/package.json":
        '{"name":"rfaas","exports":{".":"./index.ts","./function":"./function.ts"}}',
      "node_modules/rfaas/index.ts": "export const installed = 1;",
      "node_modules/rfaas/function.ts": "export const Type = 1;",
      "node_modules/rfaas/lib.node": "native",
      "node_modules/dep/package.json":
        '{"name":"dep","_where":"/home/somebody","dependencies":{"rfaas":"1"}}',
      "node_modules/dep/index.js":
        "exports.secret = require('fs').existsSync(__dirname + '/.env');",
      "node_modules/dep/.env": "SECRET=1",
      "node_modules/dep/build/config.gypi": "/home/somebody",
      "node_modules/@org/own": { link: "../../own" },
      "own/package.json": '{"name":"@org/own"}',
      "own/index.js": "exports.dir = __dirname;",
      "own/.git/config": "token",
      "own/.env.local": "SECRET=1",
    });
    const { package: made } = await buildPackage(`${folder}/fn.ts`);
    expect(made.manifest.files.map(({ path }) => path)).toEqual([
      "fn.js",
      "node_modules/@org/own/index.js",
      "node_modules/@org/own/package.json",
      "node_modules/dep/index.js",
      "node_modules/dep/package.json",
    ]);
    const description = made.contents.get("node_modules/dep/package.json") as Uint8Array;
    expect(new TextDecoder().decode(description)).not.toContain("somebody");
  });
});

describe("the environment", () => {
  const FILES: Files = {
    "tsconfig.json": '{"compilerOptions":{"jsx":"react-jsx"}}',
    "fn.tsx": `import dual from "dual"; import old from "old"; const element = <p>hi</p>; const { NODE_ENV } = process.env;
${gives('[process.env.NODE_ENV ?? null, process.env["NODE_ENV"] ?? null, Bun.env.NODE_ENV ?? null, import.meta.env.NODE_ENV ?? null, NODE_ENV ?? null, process.env.NODE_ENV === "production" ? "fast" : "slow", old, dual, element, process.env.WHO ?? null]')}`,
    "node_modules/dual/package.json":
      '{"name":"dual","type":"module","exports":{"development":"./d.js","production":"./p.js","default":"./x.js"}}',
    "node_modules/dual/d.js": "export default 'd';",
    "node_modules/dual/p.js": "export default 'p';",
    "node_modules/dual/x.js": "export default 'x';",
    "node_modules/old/package.json": '{"name":"old"}',
    "node_modules/old/index.js":
      "if (process.env.NODE_ENV === 'production') module.exports = require('./p.js'); else module.exports = require('./d.js');",
    "node_modules/old/p.js": "module.exports = 'production';",
    "node_modules/old/d.js": "module.exports = 'development';",
    "node_modules/react/package.json": '{"name":"react"}',
    "node_modules/react/jsx-runtime.js":
      "exports.jsx = exports.jsxs = (type, props) => ({ type, props });",
    "node_modules/react/jsx-dev-runtime.js":
      "exports.jsxDEV = process.env.NODE_ENV === 'production' ? undefined : (type, props) => ({ type, props });",
  };

  test("of the client makes no other package, and the node's is what functions see", async () => {
    const folder = project(FILES);
    const builds = await Promise.all(
      [{}, { NODE_ENV: "production" }, { NODE_ENV: "development", WHO: "client" }].map(
        async (env, i) => {
          const archive = scratch.join(`${i}.rfaas`);
          const child = Bun.spawn(
            [RFAAS, "package", "build", `${folder}/fn.tsx`, "--output", archive],
            { env: { ...process.env, NODE_ENV: undefined, ...env }, stdio: ["ignore", 1, 2] },
          );
          expect(await child.exited).toBe(0);
          return await Bun.file(archive).bytes();
        },
      ),
    );
    expect(builds[1]).toEqual(builds[0]!);
    expect(builds[2]).toEqual(builds[0]!);

    for (const mode of ["production", "test"]) {
      const here = await runHere(`${folder}/fn.tsx`, { NODE_ENV: mode, WHO: "node" });
      const package0 = `${scratch.join("0.rfaas")}#say`;
      const child = Bun.spawn([RFAAS, "invoke", package0, "--env", "WHO=node"], {
        env: { ...process.env, NODE_ENV: mode },
        stdio: ["ignore", "pipe", 2],
      });
      expect(JSON.parse(await child.stdout.text())).toEqual(here);
    }
  });
});

describe("a build says what a module will miss:", () => {
  test("folders that it names, and what only a run decides", async () => {
    const files = {
      "src/fn.ts": `import { readdirSync } from "node:fs"; import { join } from "node:path"; export const f = async (name: string) => [readdirSync(join(import.meta.dir, "data")), readdirSync(join(__dirname, "../up")), await import(\`./plugins/\${name}.ts\`)];`,
      "src/data/a": "a",
      "up/b": "b",
    };
    const path = `${project(files)}/src/fn.ts`;
    const { warnings } = await buildPackage(path);
    expect(warnings).toEqual([
      expect.stringContaining("imports what only its run decides"),
      expect.stringContaining(
        'names data, which is not in the package; bring it along by --include "data"',
      ),
      expect.stringContaining("names ../up, which is not below the folder of the module to run"),
    ]);
    const included = await buildPackage(path, { include: ["data"] });
    expect(included.warnings).toEqual([expect.stringContaining("names ../up")]);
  });

  test("files that it reads by its place and does not name", async () => {
    const path = `${project({ "fn.ts": `import { readFileSync } from "node:fs"; export const f = (name: string) => readFileSync(import.meta.dir + name);` })}/fn.ts`;
    expect((await buildPackage(path)).warnings).toEqual([
      `${path} reads files by its own place, and names none that is there; bring those it needs along by --include`,
    ]);
  });

  test("nothing of a module that has all it needs", async () => {
    const path = `${project({ "fn.ts": `import data from "./data.txt" with { type: "file" }; import text from "node:path"; ${gives("[data, text, import.meta.url, import.meta.main, __filename]")}`, "data.txt": "data" })}/fn.ts`;
    expect((await buildPackage(path)).warnings).toEqual([]);
  });

  test("what is imported in any case and not installed is an error with the author's line", async () => {
    const folder = project({
      "fn.ts": `import { a } from "./lib/a.ts"; ${gives("a")}`,
      "lib/a.ts": 'export const n = 1;\nexport { a } from "not-installed";',
      "place.ts": `import "./lib/b.ts"; ${gives("1")}`,
      "lib/b.ts": 'export const dir = import.meta.dir;\nimport "not-installed";',
    });
    await expect(buildPackage(`${folder}/fn.ts`)).rejects.toThrow(
      `${folder}/lib/a.ts:2:19: Could not resolve: "not-installed"`,
    );
    await expect(buildPackage(`${folder}/place.ts`)).rejects.toThrow(
      `Could not resolve: "not-installed", which ${folder}/lib/b.ts imports`,
    );
    await expect(buildPackage(`${folder}/place.ts`)).rejects.toBeInstanceOf(ModuleLoadError);
  });
});

describe("errors and packages name no folder of this machine:", () => {
  const FILES: Files = {
    "src/fn.ts": `import { fail } from "../lib/fail.ts"; import { late } from "./own.cjs"; import { deep } from "dep";
export const value = () => 0;
export const say = async (input: Uint8Array) => { const which = [fail, late, deep, () => import("./absent.ts")][input[0]!]!; await which(); return 0; };`,
    "src/absent.ts": 'import "gone"; export {};',
    "src/own.cjs": "\n\nexports.late = () => { throw new Error('of own.cjs'); };",
    "lib/fail.ts":
      "interface A { a: 1 }\n\nexport function fail(): never {\n  throw new Error('of lib');\n}",
    "node_modules/dep/package.json": '{"name":"dep"}',
    "node_modules/dep/index.js": "exports.deep = () => {\n  throw new Error('of ' + __dirname); };",
  };
  const failures = async (module: string): Promise<string[]> => {
    await using lease = await rf.allocate(module, { workers: 1 });
    const input = lease.input(Uint8Array, 1);
    const said: string[] = [];
    for (let which = 0; which < 4; which++) {
      input[0] = which;
      const error = await lease.submit("say", input, lease.output(Uint8Array, 8)).then(
        () => undefined,
        (thrown: unknown) => thrown as FunctionError,
      );
      said.push(`${error?.message}\n${error?.remoteStack}`);
    }
    return said;
  };

  test("who built the package sees his own paths, others the places in the package", async () => {
    const folder = project(FILES);
    const path = `${folder}/src/fn.ts`;
    const [lib, own, dep, absent] = await failures(path);
    expect(lib).toContain(`${folder}/lib/fail.ts:4:`);
    expect(own).toContain(`${folder}/src/own.cjs:3:`);
    expect(dep).toContain(`${folder}/node_modules/dep/index.js:2:`);
    expect(absent).toContain(`${folder}/src/absent.ts`);

    const { package: made } = await buildPackage(path);
    for (const content of made.contents.values()) {
      const bytes = content instanceof Uint8Array ? content : await Bun.file(content.path).bytes();
      const text = Buffer.from(bytes).toString("latin1");
      expect(text).not.toContain(scratch.path);
      for (const [, map] of text.matchAll(/base64,([\w+/=]+)/g))
        expect(Buffer.from(map!, "base64").toString()).not.toContain(scratch.path);
    }
    const archive = scratch.join("elsewhere.rfaas");
    const build = Bun.spawnSync([RFAAS, "package", "build", path, "--output", archive]);
    expect(build.exitCode).toBe(0);
    await Bun.write(scratch.join("zero"), new Uint8Array(1));
    const invoked = Bun.spawnSync([
      RFAAS,
      "invoke",
      `${archive}#say`,
      "--node",
      node.address,
      "--input",
      scratch.join("zero"),
    ]);
    const stderr = invoked.stderr.toString();
    expect(stderr).toContain("(lib/fail.ts:4:");
    expect(stderr).not.toContain(scratch.path);
  });
});

test("an export named then is a function like others", async () => {
  const folder = project({
    "fn.ts":
      "export function then(_: Uint8Array, output: Uint8Array) { output[0] = 1; return 1; } export const ok = (_: Uint8Array, output: Uint8Array) => { output[0] = 65; return 1; };",
  });
  await using lease = await rf.allocate(`${folder}/fn.ts`, { workers: 1 });
  const output = lease.output(Uint8Array, 1);
  expect(lease.invoke("ok", lease.input(Uint8Array, 1), output)).toBe(1);
  expect(output[0]).toBe(65);
  lease.invoke("then", lease.input(Uint8Array, 1), output);
  expect(output[0]).toBe(1);
});
