import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
const transpiler = new Bun.Transpiler({ loader: "ts" });

/** All files of ours that are loaded with the entries, and by name what else is. */
function loadedWith(...entries: string[]): { files: Set<string>; others: Set<string> } {
  const files = new Set<string>();
  const others = new Set<string>();
  const waiting = [...entries];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (files.has(at)) continue;
    files.add(at);
    if (!at.endsWith(".ts")) continue;
    const source = readFileSync(join(ROOT, at), "utf8").replace(/^#!.*/, "");
    for (const { path, kind } of transpiler.scanImports(source)) {
      if (kind !== "import-statement") continue;
      if (path.startsWith(".")) waiting.push(relative(ROOT, join(ROOT, dirname(at), path)));
      else others.add(path);
    }
  }
  return { files, others };
}

/** Each module costs every host that starts: hundreds of page faults, and milliseconds before a first result. */
describe("is loaded by what a new host must wait for:", () => {
  test("in the host's main thread nothing but our own code", () => {
    const { files, others } = loadedWith("src/main.ts", "src/commands/internal/host.ts");
    expect([...others].toSorted()).toEqual(["bun:ffi"]);
    expect(files.has("src/executor/host/hosted-lease.ts")).toBe(true);
    expect(files.size).toBeLessThan(46);
  });

  test("in a worker nothing but our own code", () => {
    const { files, others } = loadedWith(
      "src/executor/worker/function-worker.ts",
      "src/executor/worker/worker.ts",
    );
    expect([...others].toSorted()).toEqual(["bun", "bun:ffi", "bun:jsc"]);
    expect(files.has("src/executor/worker/serve.datapath.ts")).toBe(true);
    expect(files.size).toBeLessThan(45);
  });

  test("and by `--version` nothing but the version", () => {
    const { files, others } = loadedWith("src/main.ts");
    expect([...files].toSorted()).toEqual(["package.json", "src/base/version.ts", "src/main.ts"]);
    expect(others.size).toBe(0);
  });
});
