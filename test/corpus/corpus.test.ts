/**
 * Packages of npm as functions use them: each module is packed here, then called on a node when its sources and node_modules have
 * gone. Installs what the lockfile beside this file says, from npm's registry and without install scripts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { homedir, hostname } from "node:os";
import { dirname } from "node:path";
import { type Invoker, invoker } from "../../src/index.ts";
import { writeArchive } from "../../src/package/contents/archive.ts";
import { type Built, buildPackage } from "../../src/package/builder.ts";
import { piecesOf } from "../../src/package/contents/package.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { gives } from "../support/giving.ts";
import { doublingModel } from "../support/onnx.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const registry = await reachesRegistry("the corpus of packages");

interface Case {
  /** Before `value`. */
  imports: string;
  value: string;
  expected: unknown;
  /** Where the node's rule is too little. */
  heap?: string;
  /** It starts programs. */
  processes?: boolean;
}

/** Modules by name; those of `LOCAL` import packages that are written here. */
const CASES: Record<string, Case> = {
  "lodash-es": {
    imports: 'import { chunk, sortBy } from "lodash-es";',
    value: "[chunk([1, 2, 3], 2), sortBy([3, 1, 2])]",
    expected: [
      [[1, 2], [3]],
      [1, 2, 3],
    ],
  },
  "date-fns": {
    imports: 'import { addDays, format } from "date-fns"; import { de } from "date-fns/locale";',
    value: 'format(addDays(new Date(2020, 1, 28), 1), "EEEE d MMMM", { locale: de })',
    expected: "Samstag 29 Februar",
  },
  mathjs: {
    imports: 'import { det, evaluate, matrix } from "mathjs";',
    value:
      '[evaluate("sqrt(16) + 2^3"), det(matrix([[1, 2], [3, 4]])), String(evaluate("bignumber(1)/3")).slice(0, 6)]',
    expected: [12, -2, "0.3333"],
  },
  handlebars: {
    imports: 'import Handlebars from "handlebars";',
    value: 'Handlebars.compile("Hi {{#each a}}{{this}},{{/each}}")({ a: [1, 2] })',
    expected: "Hi 1,2,",
  },
  cheerio: {
    imports: 'import * as cheerio from "cheerio";',
    value: 'cheerio.load("<p>a<b>c</b></p>")("b").text()',
    expected: "c",
  },
  papaparse: {
    imports: 'import Papa from "papaparse";',
    value: 'Papa.parse("a,b\\n1,2", { header: true }).data',
    expected: [{ a: "1", b: "2" }],
  },
  "sql.js": {
    imports: 'import initSqlJs from "sql.js"; const { Database } = await initSqlJs();',
    value: 'new Database().exec("select 1 + 1 as x")[0]!.values',
    expected: [[2]],
  },
  "esbuild-wasm": {
    imports: 'import { transform } from "esbuild-wasm";',
    value: '(await transform("let a: number = 1", { loader: "ts" })).code',
    expected: "let a = 1;\n",
    processes: true,
  },
  "web-tree-sitter": {
    imports:
      'import Parser from "web-tree-sitter"; await Parser.init(); const parser = new Parser(); parser.setLanguage(await Parser.Language.load(require.resolve("tree-sitter-json/tree-sitter-json.wasm")));',
    value: 'parser.parse("[1]").rootNode.toString()',
    expected: "(document (array (number)))",
  },
  "@electric-sql/pglite": {
    imports: 'import { PGlite } from "@electric-sql/pglite"; const db = new PGlite();',
    value: '(await db.query("select 1 + 1 as x")).rows',
    expected: [{ x: 2 }],
    // A database unpacked into memory, compiled.
    heap: "2GiB",
  },
  "@resvg/resvg-wasm": {
    imports:
      'import { readFileSync } from "node:fs"; import { Resvg, initWasm } from "@resvg/resvg-wasm"; await initWasm(readFileSync(new URL(import.meta.resolve("@resvg/resvg-wasm/index_bg.wasm"))));',
    value:
      'new Resvg(\'<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"/>\').render().width',
    expected: 3,
  },
  sharp: {
    imports: 'import sharp from "sharp";',
    value:
      "[...await sharp({ create: { width: 2, height: 1, channels: 3, background: { r: 7, g: 0, b: 255 } } }).png().toBuffer().then((png) => sharp(png).raw().toBuffer())]",
    expected: [7, 0, 255, 7, 0, 255],
  },
  "onnxruntime-node": {
    imports:
      'import { InferenceSession, Tensor } from "onnxruntime-node"; const session = await InferenceSession.create(new URL("./model.onnx", import.meta.url).pathname);',
    value:
      'Array.from((await session.run({ x: new Tensor("float32", [1, 2.5, -3], [3]) })).y!.data as Float32Array)',
    expected: [2, 5, -6],
  },
  argon2: {
    imports: 'import argon2 from "argon2";',
    value: 'await argon2.verify(await argon2.hash("x", { memoryCost: 1024 }), "x")',
    expected: true,
  },
  bcrypt: {
    imports: 'import bcrypt from "bcrypt";',
    value: 'bcrypt.compareSync("x", bcrypt.hashSync("x", 4))',
    expected: true,
  },
  knex: {
    imports:
      'import knex from "knex"; const missing = () => { try { knex({ client: "mysql2", connection: {} }); } catch (error) { return /mysql2/.test(String(error)); } };',
    value: '[knex({ client: "pg", connection: undefined }) && missing()]',
    expected: [true],
  },
  "@nestjs/core": {
    imports: `import "reflect-metadata"; import { Injectable, Module } from "@nestjs/common"; import { NestFactory } from "@nestjs/core";
@Injectable() class A { seven() { return 7; } }
@Injectable() class B { constructor(private a: A) {} eight() { return this.a.seven() + 1; } }
@Module({ providers: [A, B] }) class Whole {}`,
    value: "(await NestFactory.createApplicationContext(Whole, { logger: false })).get(B).eight()",
    expected: 8,
  },
  "@mui/icons-material": {
    imports:
      'import Add from "@mui/icons-material/Add"; import { createElement } from "react"; import { renderToString } from "react-dom/server";',
    value: '/<svg.*<path d="[^"]+"/.test(renderToString(createElement(Add)))',
    expected: true,
  },
  "reads-beside-itself": {
    imports: 'import beside from "reads-beside-itself";',
    value: 'beside.read("data")',
    expected: "data 1.2.3",
  },
  "no-side-effects": {
    imports: 'import { n } from "no-side-effects";',
    value: "[n, (globalThis as any).registered]",
    expected: [1, 7],
  },
  sloppy: {
    imports: 'import { next } from "sloppy";',
    value: "next(1)",
    expected: 2,
  },
  "with-a-worker": {
    imports: 'import { ask } from "with-a-worker";',
    value: "await ask(20)",
    expected: 23,
  },
  linked: {
    imports: 'import { linked } from "linked";',
    value: "linked()",
    expected: ["linked", "data of linked"],
  },
};

const LOCAL: Record<string, string> = {
  "node_modules/reads-beside-itself/package.json":
    '{"name":"reads-beside-itself","version":"1.2.3","main":"lib/index.js"}',
  "node_modules/reads-beside-itself/lib/index.js":
    'const { readFileSync } = require("fs"); exports.read = (name) => readFileSync(require("path").join(__dirname, "..", name + ".txt"), "utf8") + " " + JSON.parse(readFileSync(__dirname + "/../package.json", "utf8")).version;',
  "node_modules/reads-beside-itself/data.txt": "data",
  "node_modules/no-side-effects/package.json":
    '{"name":"no-side-effects","type":"module","sideEffects":false,"exports":"./index.js"}',
  "node_modules/no-side-effects/index.js": 'import "./register.js"; export const n = 1;',
  "node_modules/no-side-effects/register.js": "globalThis.registered = 7;",
  "node_modules/sloppy/package.json": '{"name":"sloppy"}',
  "node_modules/sloppy/index.js":
    "exports.next = function (n) { undeclared = n + 1; return undeclared; };",
  "node_modules/with-a-worker/package.json": '{"name":"with-a-worker"}',
  "node_modules/with-a-worker/index.js":
    'const { Worker } = require("node:worker_threads"); exports.ask = (n) => new Promise((done, fail) => { const worker = new Worker(require.resolve("./worker.js"), { workerData: n }); worker.once("message", (said) => worker.terminate().then(() => done(said))); worker.once("error", fail); });',
  "node_modules/with-a-worker/worker.js":
    'const { parentPort, workerData } = require("node:worker_threads"); parentPort.postMessage(workerData + require("./three.js"));',
  "node_modules/with-a-worker/three.js": "module.exports = 3;",
  "workspace/linked/package.json": '{"name":"linked","type":"module","main":"./src/index.ts"}',
  "workspace/linked/src/index.ts":
    'import { readFileSync } from "node:fs"; export const linked = (): string[] => ["linked", readFileSync(new URL("./data.txt", import.meta.url), "utf8")];',
  "workspace/linked/src/data.txt": "data of linked",
  "tsconfig.json":
    '{"compilerOptions":{"experimentalDecorators":true,"emitDecoratorMetadata":true}}',
};

/** What the machine is, which is nobody's matter; a home of one part is part of too many words. */
const secrets = (path: string): string[] =>
  [path, homedir(), hostname()].filter((text) => text.length > 8);

async function told(built: Built, words: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const [place, content] of built.package.contents)
    for await (const piece of piecesOf(content))
      if (words.some((word) => Buffer.from(piece).includes(word))) found.push(place);
  return found;
}

describe.skipIf(!registry)("the corpus of packages", () => {
  const scratch = new Scratch();
  const project = scratch.join("project");
  const fileOf = (name: string) => name.replace(/[^\w]/g, "_");
  let node: ServedNode;
  let rf: Invoker;

  beforeAll(async () => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    mkdirSync(project);
    for (const name of ["package.json", "package-lock.json"])
      cpSync(`${import.meta.dir}/${name}`, `${project}/${name}`);
    const install = Bun.spawnSync(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
      cwd: project,
      stdout: "ignore",
      stderr: "pipe",
    });
    if (install.exitCode !== 0) throw new Error(install.stderr.toString());
    for (const [path, text] of Object.entries(LOCAL)) {
      mkdirSync(dirname(`${project}/${path}`), { recursive: true });
      await Bun.write(`${project}/${path}`, text);
    }
    symlinkSync("../workspace/linked", `${project}/node_modules/linked`);
    await Bun.write(`${project}/model.onnx`, doublingModel());
    for (const [name, { imports, value }] of Object.entries(CASES)) {
      const path = `${project}/${fileOf(name)}.ts`;
      await Bun.write(path, `${imports}\n${gives(value)}`);
    }
    node = await ServedNode.start(scratch.join("node.sock"), [
      ...["--cache", scratch.join("cache"), "--allow-processes"],
    ]);
    rf = await invoker({ node: node.address });
  }, 600_000);
  afterAll(async () => {
    await rf?.close();
    await node?.[Symbol.asyncDispose]();
    scratch[Symbol.dispose]();
  });

  const built = new Map<string, string>();

  test.each(Object.keys(CASES))(
    "%s is packed, with nothing of this machine",
    async (name) => {
      const made = await buildPackage(`${project}/${fileOf(name)}.ts`);
      expect(await told(made, secrets(scratch.path))).toEqual([]);
      const archive = scratch.join(`${fileOf(name)}.rfaas`);
      await writeArchive(archive, made.package);
      built.set(name, archive);
    },
    120_000,
  );

  test("when the sources have gone, their packages are whole", async () => {
    renameSync(project, scratch.join("gone"));
    for (const archive of built.values()) await rf.packages.push(archive);
  }, 300_000);

  test.each(Object.entries(CASES))(
    "%s runs",
    async (name, { expected, heap, processes }) => {
      await using lease = await rf.allocate(built.get(name)!, {
        workers: 1,
        loadTimeoutMs: 100_000,
        ...(heap === undefined ? {} : { heap }),
        ...(processes === undefined ? {} : { processes }),
      });
      const output = lease.output(Uint8Array, 65_536);
      const written = await lease.submit("say", lease.input(Uint8Array, 1), output);
      const said: unknown = JSON.parse(new TextDecoder().decode(output.slice(0, written)));
      expect(said).toEqual(expected);
    },
    120_000,
  );
});
