/** A project of functions as `rfaas new` makes it, from an empty folder, with nothing but the executable. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { ROOT, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

/** Without a Bun of the user's. */
const env = { PATH: "/usr/bin:/bin" };

test("tests of a folder without rfaas import it from the executable, and nothing of it is left", async () => {
  scratch.file(
    "fn.ts",
    `import { Type, defineFunction } from "rfaas/function";
     export const same = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => n);\n`,
  );
  scratch.file(
    "fn.test.ts",
    `import { expect, test } from "bun:test";
     import { QueueFull } from "rfaas";
     import { testWorker } from "rfaas/testing";
     import * as fn from "./fn.ts";
     test("works", async () => {
       await using worker = await testWorker(fn);
       expect([await worker.function("same")(1), typeof QueueFull]).toEqual([1, "function"]);
     });\n`,
  );
  mkdirSync(scratch.join("tmp"));
  const { stderr, exitCode } = await rfaas(["test"], {
    ...{ cwd: scratch.path, env: { ...env, TMPDIR: scratch.join("tmp") } },
  });
  expect(stderr).toContain("1 pass");
  expect(exitCode).toBe(EXIT.ok);
  expect(readdirSync(scratch.join("tmp"))).toEqual([]);
});

describe("a new project", () => {
  test("has a function that works, and a test that passes and can fail", async () => {
    const made = await rfaas(["new", "summary"], { cwd: scratch.path, env });
    expect(made.exitCode).toBe(EXIT.ok);
    const cwd = scratch.join("summary");
    expect(made.stdout).toContain("rfaas run client.ts\n");

    const tested = await rfaas(["test"], { cwd, env });
    expect(tested.stderr).toContain("3 pass");
    expect(tested.exitCode).toBe(EXIT.ok);
    const some = await rfaas(["test", "--only", "wants at least"], { cwd, env });
    expect(some.stderr).toContain("1 pass");
    const invoked = await rfaas(
      ["invoke", "summary.ts#summarize", "--json", '{"samples":[2,4,4,4,5,5,7,9]}'],
      { cwd, env },
    );
    expect(JSON.parse(invoked.stdout)).toEqual({ count: 8, mean: 5, deviation: 2 });

    const source = readFileSync(join(cwd, "summary.ts"), "utf8");
    scratch.file("summary/summary.ts", source.replace("/ count;", "/ (count + 1);"));
    const failed = await rfaas(["test", "summary.test.ts", "--", "--bail"], { cwd, env });
    expect(failed.exitCode).not.toBe(EXIT.ok);
    expect(failed.stderr).toContain("summary.test.ts");
  });

  test("has a client that calls the function, and that a test may import, too", async () => {
    await rfaas(["new", "summary"], { cwd: scratch.path, env });
    const cwd = scratch.join("summary");
    expect(statSync(join(cwd, "client.ts")).mode & 0o100).toBe(0o100);
    const { stdout, stderr, exitCode } = await rfaas(["run", "client.ts", "1", "3"], { cwd, env });
    expect({ stdout, stderr, exitCode }).toEqual({
      ...{ stdout: "2 samples, mean 2, standard deviation 1\n", stderr: "", exitCode: EXIT.ok },
    });
    scratch.file(
      "summary/client.test.ts",
      `import { expect, test } from "bun:test";
       import { invoker } from "rfaas";
       import type * as functions from "./summary.ts";
       test("calls on a node", async () => {
         await using rf = await invoker({ prewarm: 0 });
         await using lease = await rf.allocate<typeof functions>("summary.ts");
         expect(await lease.function("summarize")({ samples: [1, 3] })).toMatchObject({ mean: 2 });
       }, 60_000);\n`,
    );
    const tested = await rfaas(["test", "client.test.ts"], { cwd, env });
    expect(tested.stderr).toContain("1 pass");

    const TMPDIR = scratch.join("none");
    const refused = await rfaas(["test"], { cwd: scratch.path, env: { ...env, TMPDIR } });
    expect(refused.stderr).toContain(`cannot be written to ${TMPDIR}: there is no such file`);
    expect(refused.stderr).toContain("let TMPDIR name a folder with room");
    expect(refused.exitCode).toBe(EXIT.failed);
  });

  // Both come with this repository: a project needs neither a compiler nor a registry to have types.
  test.each(["typescript", "typescript-7"])(
    "has types of all that it imports, and %s finds mistakes in a client",
    async (compiler) => {
      await rfaas(["new", "summary"], { cwd: scratch.path, env });
      scratch.file(
        "summary/mistakes.ts",
        `import { invoker } from "rfaas";
import { readFileSync } from "node:fs";
import type * as functions from "./summary.ts";
await using rf = await invoker({ node: readFileSync(Bun.main, "utf8"), prewarm: 1 });
await using lease = await rf.allocate<typeof functions>("summary.ts");
await lease.function("sumarize");
await lease.function("summarize")({ samples: "1" });
const mean: string = (await lease.function("summarize")({ samples: [1] })).mean;
await invoker({ prewarn: mean });
`,
      );
      const tsc = join(ROOT, "node_modules", compiler, "bin", "tsc");
      const child = Bun.spawn(["node", tsc, "--skipLibCheck", "false", "--pretty", "false"], {
        ...{ cwd: scratch.join("summary"), stdin: "ignore", stdout: "pipe" },
      });
      const places = [...(await child.stdout.text()).matchAll(/^(\S+)\((\d+),(\d+)\)/gm)];
      expect(places.map(([, file, line, column]) => `${file}:${line}:${column}`)).toEqual([
        ...["mistakes.ts:6:22", "mistakes.ts:7:37", "mistakes.ts:8:7", "mistakes.ts:9:17"],
      ]);
    },
    180_000,
  );

  test("is made of the empty folder that one is in, whatever it is called", async () => {
    for (const [folder, file] of [
      ["Ärger & Co (1)", "rger-co-1.ts"],
      ["client", "functions.ts"],
      ["123", "functions.ts"],
    ] as const) {
      mkdirSync(scratch.join(`${folder}/.git`), { recursive: true });
      const cwd = scratch.join(folder);
      const made = await rfaas(["new"], { cwd, env });
      expect(made.stdout).toContain(`made .: ${file}, client.ts`);
      expect(made.stdout).not.toContain("cd ");
      expect((await rfaas(["run", "client.ts"], { cwd, env })).stdout).toContain("mean 5");
      const again = await rfaas(["new", "."], { cwd, env });
      expect(again.stderr).toContain("is there and not empty");
      expect(again.exitCode).toBe(EXIT.usage);
    }
    const quoted = await rfaas(["new", "it's new"], { cwd: scratch.path, env });
    expect(quoted.stdout).toContain("cd 'it'\\''s new'\n");
  });

  test("gets what it was given again with --kit, and keeps what is its own", async () => {
    await rfaas(["new", "summary"], { cwd: scratch.path, env });
    const cwd = scratch.join("summary");
    scratch.file("summary/summary.ts", "export const mine = 1;\n");
    rmSync(join(cwd, ".rfaas"), { recursive: true });
    rmSync(join(cwd, "node_modules"), { recursive: true });
    expect((await rfaas(["new", "--kit"], { cwd, env })).exitCode).toBe(EXIT.ok);
    expect(existsSync(join(cwd, "node_modules", "rfaas", "package.json"))).toBe(true);
    expect(readFileSync(join(cwd, "summary.ts"), "utf8")).toBe("export const mine = 1;\n");
    // A package of npm's stays as it is, and those that are gone come back.
    scratch.file("summary/node_modules/bun-types/package.json", '{"version":"9.9.9"}\n');
    rmSync(join(cwd, "node_modules", "undici-types"), { recursive: true });
    expect((await rfaas(["new", "--kit"], { cwd, env })).exitCode).toBe(EXIT.ok);
    const kept = readFileSync(join(cwd, "node_modules/bun-types/package.json"), "utf8");
    expect(kept).toContain("9.9.9");
    expect(existsSync(join(cwd, "node_modules/undici-types/index.d.ts"))).toBe(true);
    rmSync(join(cwd, "node_modules", "rfaas"));
    mkdirSync(join(cwd, "node_modules", "rfaas"));
    scratch.file("summary/node_modules/rfaas/package.json", '{"version":"9.9.9"}\n');
    expect((await rfaas(["new", "--kit"], { cwd, env })).exitCode).toBe(EXIT.ok);
    const library = readFileSync(join(cwd, "node_modules/rfaas/package.json"), "utf8");
    expect(library).toContain("9.9.9");
  });

  test.each<[string, string[], string]>([
    ["a folder with files in it", ["new", "taken"], "is there and not empty"],
    ["a file", ["new", "taken/file"], "is there and no folder"],
    ["two folders", ["new", "a", "b"], "one folder, or --kit"],
    ["a folder and --kit", ["new", "a", "--kit"], "one folder, or --kit"],
    ["--kit where no project is", ["new", "--kit"], "is no project"],
  ])("is refused for %s", async (_, args, says) => {
    mkdirSync(scratch.join("taken"));
    scratch.file("taken/file", "");
    const { exitCode, stderr } = await rfaas(args, { cwd: scratch.path, env });
    expect(stderr).toContain(says);
    expect(exitCode).toBe(EXIT.usage);
  });

  test("cannot be written where nothing can", async () => {
    const { exitCode, stderr } = await rfaas(["new", "/proc/none"], { cwd: "/", env });
    expect(stderr).toContain("cannot be written");
    expect(exitCode).toBe(EXIT.failed);
  });
});
