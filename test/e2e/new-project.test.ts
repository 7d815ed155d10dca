/** A project of functions as `rfaas new` makes it, from an empty folder, with nothing but the executable. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
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

describe("a new project", () => {
  test("has a function that works, and a test that passes and can fail", async () => {
    const made = await rfaas(["new", "summary"], { cwd: scratch.path, env });
    expect(made.exitCode).toBe(EXIT.ok);
    const cwd = scratch.join("summary");
    expect(made.stdout).toContain("rfaas invoke summary.ts#summarize");

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

  test("has no type errors, in its files or in what it was given", async () => {
    await rfaas(["new", "summary"], { cwd: scratch.path, env });
    const cwd = scratch.join("summary");
    for (const name of ["bun-types", "@sinclair"])
      symlinkSync(join(ROOT, "node_modules", name), join(cwd, "node_modules", name));
    const checked = Bun.spawnSync([process.execPath, "check"], { cwd });
    expect(checked.stdout.toString() + checked.stderr.toString()).toContain("No type errors");
    expect(checked.exitCode).toBe(0);
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
  });

  test.each<[string, string[], string]>([
    ["a folder with files in it", ["new", "taken"], "is there and not empty"],
    ["a name that no file should have", ["new", "No_Name"], "small letters, digits and -"],
    ["no name", ["new"], "one name, or --kit"],
    ["two names", ["new", "a", "b"], "one name, or --kit"],
    ["a name and --kit", ["new", "a", "--kit"], "one name, or --kit"],
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
