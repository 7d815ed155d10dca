import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { ModuleLoadError } from "../../src/base/errors.ts";
import { PackageBuilder, buildPackage } from "../../src/package/builder.ts";
import type { PackageOptions } from "../../src/package/options.ts";
import { until } from "../support/until.ts";
import { Scratch } from "../support/scratch.ts";

class Project implements Disposable {
  readonly scratch = new Scratch();
  readonly builder = new PackageBuilder();

  file(path: string, text: string): string {
    mkdirSync(dirname(this.scratch.join(path)), { recursive: true });
    return this.scratch.file(path, text);
  }

  async build(path: string, options?: PackageOptions) {
    return (await this.builder.build(this.scratch.join(path), options)).package;
  }

  /** Builds until the package is one that is kept: files that are younger than the build are read again. */
  async kept(path: string, options?: PackageOptions) {
    let made = await this.build(path, options);
    await until(async () => {
      const before = made;
      made = await this.build(path, options);
      return made === before;
    }, "the package is kept");
    return made;
  }

  [Symbol.dispose](): void {
    this.scratch[Symbol.dispose]();
  }
}

const codeOf = (made: { contents: ReadonlyMap<string, unknown>; manifest: { entry: string } }) =>
  new TextDecoder().decode(made.contents.get(made.manifest.entry) as Uint8Array);

describe("a package is built again", () => {
  test("not before something that went into it has changed", async () => {
    using project = new Project();
    project.file("lib/a.ts", "export const a = 1;\n");
    project.file("fn.ts", 'import { a } from "./lib/a.ts";\nexport const f = () => a;\n');
    const first = await project.kept("fn.ts");
    expect(await Promise.all([project.build("fn.ts"), project.build("fn.ts")])).toEqual([
      first,
      first,
    ]);
    project.file("lib/a.ts", "export const a = 2;\n");
    const second = await project.build("fn.ts");
    expect(second.hash).not.toBe(first.hash);
    project.file("lib/a.ts", "export const a = 1;\n");
    expect((await project.build("fn.ts")).hash).toBe(first.hash);
  });

  test("when a pattern names more files, a file in it changes, or the compiler's settings do", async () => {
    using project = new Project();
    project.file("data/a.bin", "a");
    project.file("fn.ts", 'import { a } from "@a";\nexport const f = () => a;\n');
    project.file("one.ts", "export const a = 1;\n");
    project.file("two.ts", "export const a = 2;\n");
    project.file("tsconfig.json", '{"compilerOptions":{"paths":{"@a":["./one.ts"]}}}');
    const include = ["data/*"];
    const hashes = [(await project.kept("fn.ts", { include })).hash];
    project.file("data/b.bin", "b");
    hashes.push((await project.kept("fn.ts", { include })).hash);
    project.file("data/b.bin", "c");
    hashes.push((await project.kept("fn.ts", { include })).hash);
    project.file("tsconfig.json", '{"compilerOptions":{"paths":{"@a":["./two.ts"]}}}');
    hashes.push((await project.kept("fn.ts", { include })).hash);
    expect(new Set(hashes).size).toBe(4);
  });

  test("with files and packages that came after its folder was read first", async () => {
    using project = new Project();
    project.file("fn.ts", 'import { a } from "./lib/late.ts";\nexport const f = () => a;\n');
    await expect(project.build("fn.ts")).rejects.toThrow("Could not resolve");
    project.file("lib/late.ts", 'import { b } from "dep";\nexport const a = b;\n');
    await expect(project.build("fn.ts")).rejects.toThrow('Could not resolve: "dep"');
    project.file("node_modules/dep/package.json", '{"name":"dep","main":"main.js"}');
    project.file("node_modules/dep/main.js", "exports.b = 'installed later';\n");
    const { manifest } = await project.build("fn.ts");
    expect(manifest.files.map(({ path }) => path)).toContain("node_modules/dep/main.js");
    project.file("fn.ts", "export const f = ;\n");
    await expect(project.build("fn.ts")).rejects.toThrow("Unexpected ;");
  });

  test("after it did not compile", async () => {
    using project = new Project();
    const path = project.file("fn.ts", "export const f = ;\n");
    await expect(project.build("fn.ts")).rejects.toBeInstanceOf(ModuleLoadError);
    project.file("fn.ts", "export const f = () => 0;\n");
    expect((await project.build("fn.ts")).manifest).toMatchObject({
      name: "fn.ts",
      entry: "fn.js",
    });
    await expect(project.build("none.ts")).rejects.toMatchObject({
      code: "RFAAS_MODULE_NOT_FOUND",
      module: project.scratch.join("none.ts"),
    });
    expect(path).toEndWith("fn.ts");
  });
});

test("a module that is not there is refused with where its path starts", async () => {
  await expect(buildPackage("none.ts")).rejects.toThrow(
    /by its full path, or by one from the current/,
  );
});

test("code has a source map that names the author's files by their place, and nothing of this machine", async () => {
  using project = new Project();
  project.file("fn.ts", "// a comment\nexport const f = (n: number) => n;\n");
  const code = codeOf(await project.build("fn.ts"));
  const [, encoded] = /sourceMappingURL=data:application\/json;base64,(\S+)\n$/.exec(code)!;
  const map = JSON.parse(Buffer.from(encoded!, "base64").toString());
  expect(map.sources).toEqual(["fn.ts"]);
  expect(code).not.toContain(project.scratch.path);
  expect(code).not.toContain("comment");
});

test("types vanish, and what workers have stays an import", async () => {
  using project = new Project();
  project.file(
    "types.ts",
    'import type { RawFunction } from "rfaas/function";\nexport const f: RawFunction = () => 0;\n',
  );
  expect(codeOf(await project.build("types.ts"))).not.toContain("rfaas/function");
  project.file(
    "value.ts",
    'import { defineFunction } from "rfaas/function";\nexport const f = () => defineFunction;\n',
  );
  expect(codeOf(await project.build("value.ts"))).toMatch(/from ?"rfaas\/function"/);
});

test.each(["shared.so", "module.wasm"])("%s is packed as it is", async (name) => {
  using project = new Project();
  chmodSync(project.file(name, "not really"), 0o644);
  const made = await buildPackage(project.scratch.join(name));
  expect(made.package.manifest).toMatchObject({
    name,
    entry: name,
    files: [{ path: name, bytes: 10, executable: true }],
  });
  const { path } = made.package.contents.get(name) as { path: string };
  expect(readFileSync(path, "utf8")).toBe("not really");
});

test.each(["picture.png"])("%s is no module", async (name) => {
  using project = new Project();
  project.file(name, "x");
  await expect(project.build(name)).rejects.toMatchObject({
    code: "RFAAS_MODULE_FAILED",
    message: expect.stringContaining("is no module"),
  });
});
