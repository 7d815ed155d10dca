/** `rfaas run`: a script of a folder with nothing installed, on a machine without Bun, runs as Bun would run it. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import * as errors from "../../src/base/errors.ts";
import { VERSION } from "../../src/base/version.ts";
import { type Finished, RFAAS, type RunOptions, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const { EXIT, RfaasError } = errors;

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

/** Without a Bun of the user's. */
const env = { PATH: "/usr/bin:/bin" };

/** Runs a script with this text. */
async function run(
  source: string,
  {
    name = "script.ts",
    args = [],
    ...options
  }: RunOptions & { name?: string; args?: string[] } = {},
): Promise<Finished> {
  scratch.file(name, source);
  return await rfaas(["run", name, ...args], { cwd: scratch.path, env, ...options });
}

const DOUBLE = `import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => {
  if (n < 0) throw new RangeError("negative");
  return 2 * n;
});
`;

const CLIENT = `import { invoker } from "rfaas";
import type * as fn from "./fn.ts";

await using rf = await invoker({ prewarm: 0 });
await using lease = await rf.allocate<typeof fn>(\`\${import.meta.dir}/fn.ts\`);
`;

describe("a script", () => {
  test("sees every class of errors by its own name, and so does a function", async () => {
    const classes = Object.entries(errors)
      .filter(
        ([, value]) =>
          (value as object) === RfaasError ||
          (value as { prototype?: unknown }).prototype instanceof RfaasError,
      )
      .map(([name]) => name);
    expect(classes).toContain("UsageError");
    const script = await run(
      `import * as api from "rfaas";
       console.log(JSON.stringify(${JSON.stringify(classes)}.map((name) => api[name].name)));`,
    );
    expect(JSON.parse(script.stdout)).toEqual(classes);
    scratch.file(
      "fn.ts",
      `import { LeaseLost } from "rfaas";
       import { Type, defineFunction } from "rfaas/function";
       export const named = defineFunction(
         { input: Type.Null(), output: Type.String() },
         () => new LeaseLost("m").constructor.name,
       );`,
    );
    const inFunction = await run(`${CLIENT}console.log(await lease.function("named")(null));`);
    expect(inFunction.stdout).toBe("LeaseLost\n");
  });

  test("calls a function on a private node, as a module and as CommonJS", async () => {
    scratch.file("fn.ts", DOUBLE);
    const module = await run(`${CLIENT}console.log(await lease.function("double")(21));`);
    expect(module).toMatchObject({ stdout: "42\n", stderr: "", exitCode: EXIT.ok });
    const common = await run(
      `const { invoker } = require("rfaas");
       invoker({ prewarm: 0 }).then(async (rf) => {
         const lease = await rf.allocate(__dirname + "/fn.ts");
         console.log(await lease.function("double")(4), require.main === module);
         await rf[Symbol.asyncDispose]();
       });`,
      { name: "script.cjs" },
    );
    expect(common).toMatchObject({ stdout: "8 true\n", stderr: "", exitCode: EXIT.ok });
  });

  test("tests a function in its own process", async () => {
    scratch.file("fn.ts", DOUBLE);
    const { stdout } = await run(`import { testWorker } from "rfaas/testing";
      import * as fn from "./fn.ts";
      await using worker = await testWorker(fn);
      console.log(await worker.function("double")(3));`);
    expect(stdout).toBe("6\n");
  });

  test("is the main module, and knows its place and its arguments", async () => {
    const words = ["--help", "-x", "--", "a b"];
    const { stdout } = await run(
      `console.log(JSON.stringify([import.meta.main, Bun.main, process.argv, import.meta.path,
         import.meta.url, require.main?.filename, Bun.argv.length]));`,
      { args: words },
    );
    const path = scratch.join("script.ts");
    expect(JSON.parse(stdout)).toEqual([
      ...[true, path, [RFAAS, path, ...words], path],
      ...[`file://${path}`, path, 2 + words.length],
    ]);
  });

  test("has the packages and the tsconfig.json of its folder, from every folder", async () => {
    mkdirSync(scratch.join("lib"));
    mkdirSync(scratch.join("node_modules/marks"), { recursive: true });
    scratch.file("lib/mark.ts", "export enum Mark { One = 1 }\n");
    scratch.file(
      "node_modules/marks/package.json",
      '{"name":"marks","exports":{"./jsx-runtime":"./x.js","./jsx-dev-runtime":"./x.js"}}',
    );
    scratch.file(
      "node_modules/marks/x.js",
      "const jsx = (type, { mark }) => `${type} ${mark}`;\nmodule.exports = { jsx, jsxDEV: jsx };\n",
    );
    scratch.file("base.json", '{ "compilerOptions": { "jsxImportSource": "marks" } }');
    scratch.file(
      "tsconfig.json",
      `{ // With a comment.
        "extends": "./base.json",
        "compilerOptions": { "jsx": "react-jsx", "paths": { "@lib/*": ["./lib/*"] } },
      }`,
    );
    const { stdout, stderr } = await run(
      `import { Mark } from "@lib/mark.ts";\nconsole.log(<b mark={Mark.One} />);`,
      { name: "script.tsx", cwd: "/" },
    );
    expect(stderr).toContain("there is no file script.tsx");
    expect(stdout).toBe("");
    const found = await rfaas(["run", scratch.join("script.tsx")], { cwd: "/", env });
    expect(found).toMatchObject({ stdout: "b 1\n", stderr: "" });
  });

  test("comes from standard input, after --, without an extension, by a link and by its first line", async () => {
    const main = "console.log(import.meta.main, process.argv.slice(2).join());\n";
    const piped = await rfaas(["run", "-", "a"], { cwd: scratch.path, env, stdin: main });
    expect(piped.stdout).toBe("true a\n");
    scratch.file("-odd.ts", main);
    const odd = await rfaas(["run", "--", "-odd.ts", "--", "b"], { cwd: scratch.path, env });
    expect(odd.stdout).toBe("true --,b\n");
    scratch.file("tool", `#!/usr/bin/env -S rfaas run\n${main}`);
    chmodSync(scratch.join("tool"), 0o755);
    symlinkSync(scratch.join("tool"), scratch.join("link"));
    symlinkSync(RFAAS, scratch.join("rfaas"));
    for (const name of ["tool", "link"]) {
      const { stdout } = Bun.spawnSync([scratch.join(name), "c"], {
        env: { PATH: `${scratch.path}:${env.PATH}` },
      });
      expect(stdout.toString()).toBe("true c\n");
    }
  });

  test("reads standard input, and its default export serves", async () => {
    const read = await run("console.log(await Bun.stdin.text());", { stdin: "some" });
    expect(read.stdout).toBe("some\n");
    const served = await run(
      `export default { port: 0, fetch: () => new Response("hello") };
       const debug = console.debug;
       console.debug = async (line: string) => {
         const url = line.split(" ").at(-1)!;
         debug(await (await fetch(url)).text());
         process.exit(0);
       };`,
    );
    expect(served.stdout).toBe("hello\n");
  });

  test("gets TypeBox, too, if none is installed", async () => {
    const source = `import { Type } from "@sinclair/typebox";
      import { Value } from "@sinclair/typebox/value";
      import { Type as Own } from "rfaas/function";
      console.log(Type === Own, Value.Check?.(Type.Number(), 1));`;
    expect((await run(source)).stdout).toBe("true true\n");
    mkdirSync(scratch.join("node_modules/@sinclair/typebox/value"), { recursive: true });
    scratch.file("node_modules/@sinclair/typebox/package.json", "{}");
    scratch.file("node_modules/@sinclair/typebox/index.js", "exports.Type = 1;");
    scratch.file("node_modules/@sinclair/typebox/value/index.js", "exports.Value = {};");
    expect((await run(source)).stdout).toBe("false undefined\n");
  });

  test("gets the executable's own rfaas, and hears of another version beside it", async () => {
    const folder = "node_modules/rfaas";
    mkdirSync(scratch.join(folder), { recursive: true });
    scratch.file(`${folder}/index.js`, "exports.invoker = undefined;\n");
    const source = 'import { invoker } from "rfaas";\nconsole.log(typeof invoker);\n';
    for (const [version, says] of [
      [VERSION, ""],
      ["0.0.1", `${scratch.join(folder)} is version 0.0.1, and`],
    ] as const) {
      scratch.file(`${folder}/package.json`, JSON.stringify({ name: "rfaas", version }));
      const { stdout, stderr } = await run(source);
      expect(stdout).toBe("function\n");
      if (says === "") expect(stderr).toBe("");
      else expect(stderr).toContain(says);
    }
  });
});

describe("threads and processes of a script", () => {
  test("may import rfaas", async () => {
    const part = 'import { invoker } from "rfaas";\n';
    scratch.file("web.ts", `${part}postMessage(typeof invoker);`);
    scratch.file(
      "node.ts",
      `${part}import { parentPort, workerData } from "node:worker_threads";
       parentPort!.postMessage(typeof invoker + workerData);`,
    );
    scratch.file(
      "forked.ts",
      `${part}process.send!(typeof invoker + process.argv[2] + import.meta.main);`,
    );
    const { stdout, stderr } = await run(`import { fork } from "node:child_process";
      import { Worker as NodeWorker } from "node:worker_threads";
      const web = new Worker(new URL("./web.ts", import.meta.url));
      console.log(await new Promise((done) => (web.onmessage = ({ data }) => done(data))));
      web.terminate();
      const node = new NodeWorker(new URL("./node.ts", import.meta.url), { workerData: 5 });
      console.log(await new Promise((done) => node.once("message", done)));
      await node.terminate();
      const forked = fork(import.meta.dir + "/forked.ts", ["!"]);
      console.log(await new Promise((done) => forked.once("message", done)));
      forked.disconnect();`);
    expect(stderr).toBe("");
    expect(stdout.split("\n")).toEqual(["function", "function5", "function!true", ""]);
  });
});

describe("a script ends", () => {
  test("with its own exit code, after beforeExit", async () => {
    const set = await run(
      'process.exitCode = 7;\nprocess.on("beforeExit", () => console.log("before"));',
    );
    expect(set).toMatchObject({ stdout: "before\n", exitCode: 7 });
    expect((await run("process.exit(9);")).exitCode).toBe(9);
  });

  test("by its handler of a signal, or by the signal", async () => {
    const waiting = 'console.error("ready");\nsetInterval(() => {}, 1000);\n';
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      for (const [source, end] of [
        [`process.on("${signal}", () => process.exit(5));\n${waiting}`, { exitCode: 5 }],
        [waiting, { signal }],
      ] as const) {
        scratch.file("script.ts", source);
        const child = Bun.spawn([RFAAS, "run", scratch.join("script.ts")], { stderr: "pipe" });
        let told = "";
        void (async () => {
          for await (const part of child.stderr) told += new TextDecoder().decode(part);
        })();
        await until(() => told.includes("ready"), "the script is ready");
        child.kill(signal);
        await child.exited;
        expect({ exitCode: child.exitCode, signal: child.signalCode }).toMatchObject(end);
      }
    }
  });

  const thrown: [what: string, source: string, line: number][] = [
    ["throws", '\nthrow new TypeError("mine");', 2],
    ["throws later", '\n\nsetTimeout(() => { throw new Error("mine"); }, 1);', 3],
    ["rejects", '\nawait Promise.reject(new Error("mine"));', 2],
    ["leaves a rejection", '\nvoid (async () => { await 1; throw new Error("mine"); })();', 2],
  ];
  test.each(thrown)("with an error at its line when it %s", async (_, source, line) => {
    const { exitCode, stderr } = await run(source);
    expect(stderr).toContain("mine");
    expect(stderr).toContain(`script.ts:${line}:`);
    expect(stderr).not.toContain("$bunfs");
    expect(exitCode).toBe(EXIT.failed);
  });

  test("with an error of the library at the line of the call", async () => {
    scratch.file("fn.ts", DOUBLE);
    const lines = CLIENT.split("\n").length;
    for (const [call, says, place] of [
      ['await lease.function("double")(-1);', "negative", "fn.ts:3:"],
      ['lease.function("triple" as never);', "no function", `script.ts:${lines}:`],
      ['await lease.function("double")("x" as never);', "wrong at /", `script.ts:${lines}:`],
      ["await invoker(5 as never);", "must be an object", `script.ts:${lines}:`],
    ] as const) {
      const { exitCode, stderr } = await run(CLIENT + call);
      expect(stderr).toContain(says);
      expect(stderr).toContain(place);
      expect(stderr).not.toContain("$bunfs");
      expect(exitCode).toBe(EXIT.failed);
    }
  });

  test("without the executable's own lines in what caused it", async () => {
    const schema = '{ type: "object", properties: { "a\\nb": Type.Number() }, required: [] }';
    const wrong = `import { Type, defineFunction } from "rfaas/function";
      const broken = Object.assign(Type.Object({}), ${schema});
      export const double = defineFunction({ input: broken, output: Type.Number() }, () => 1);`;
    scratch.file("fn.ts", wrong);
    const { exitCode, stderr } = await run(CLIENT);
    scratch.file("fn.ts", DOUBLE);
    expect(stderr).toContain("TypeBox cannot check its schema");
    expect(stderr).not.toContain("$bunfs");
    expect(exitCode).toBe(EXIT.failed);
  });

  test("before it begins when it has a wrong syntax or imports what is not there", async () => {
    const syntax = await run("const a = 1;\nconst b = = 2;\n");
    expect(syntax.stderr).toContain("script.ts:2:11");
    const file = await run('import { x } from "./missing.ts";\nconsole.log(x);');
    expect(file.stderr).toContain("Cannot find module './missing.ts'");
    expect(file.stderr).toContain("script.ts");
    const part = await run('import * as x from "rfaas/missing";\nconsole.log(x);');
    expect(part.stderr).toContain("rfaas/missing");
    for (const { exitCode, stderr } of [syntax, file, part]) {
      expect(exitCode).toBe(EXIT.failed);
      expect(stderr).not.toContain("$bunfs");
    }
  });
});

describe("the command line", () => {
  test.each<[string, string[], string]>([
    ["no script", [], "run takes a script, such as: rfaas run client.ts"],
    ["a missing file that has a near one", ["clint.ts", "--help"], "did you mean client.ts?"],
    ["a missing file", ["x/y.ts"], "there is no file x/y.ts; name a script by its path"],
    ["a folder", ["."], "is a folder; name a script, such as client.ts"],
    ["a file that is no script", ["tsconfig.json"], "tsconfig.json cannot be run; name a script"],
    ["a script of a shell", ["job.sh"], "job.sh cannot be run; name a script"],
    ["a path that the runtime cannot import", ["a?b.ts"], "rename it"],
    ["an option of its own", ["--watch", "client.ts"], "unknown option --watch"],
  ])("is refused for %s", async (_, args, says) => {
    scratch.file("client.ts", "");
    scratch.file("tsconfig.json", "{}");
    scratch.file("job.sh", "echo done\n");
    const { exitCode, stderr, stdout } = await rfaas(["run", ...args], { cwd: scratch.path, env });
    expect(stderr).toContain(says);
    expect(stdout).toBe("");
    expect(exitCode).toBe(EXIT.usage);
  });

  test("helps, and a script without run is told of it", async () => {
    scratch.file("client.ts", "");
    for (const args of [
      ["run", "--help"],
      ["help", "run"],
    ])
      expect((await rfaas(args, { env })).stdout).toContain("rfaas run <script> [args]");
    const { exitCode, stderr } = await rfaas(["client.ts", "a"], { cwd: scratch.path, env });
    expect(stderr).toContain("rfaas run client.ts");
    expect(exitCode).toBe(EXIT.usage);
  });
});
