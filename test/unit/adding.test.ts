/** What docs/adding.md says of benchmarks and errors: a further place that has to know one would be found here. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SCENARIOS } from "../../bench/scenarios/registry.ts";

const ROOT = join(import.meta.dir, "..", "..");
const sources = new Map(
  ["src", "bench", "ffi"]
    .flatMap((folder) => [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)])
    .map((path) => [
      path,
      readFileSync(join(ROOT, path), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ""),
    ]),
);
const filesWith = (pattern: RegExp): string[] =>
  [...sources].flatMap(([path, source]) => (pattern.test(source) ? [path] : [])).toSorted();

describe("a benchmark", () => {
  test.each(SCENARIOS.map(({ name }) => name))(
    "%s is a file and a line of the registry",
    (name) => {
      expect(filesWith(new RegExp(`scenarios/${name}\\.ts|"\\./${name}\\.ts"`))).toEqual([
        // The demonstration measures a call by the way.
        ...(name === "latency" ? ["bench/demo/demo.ts"] : []),
        "bench/scenarios/registry.ts",
      ]);
      expect(filesWith(new RegExp(`name: "${name}"`))).toEqual([`bench/scenarios/${name}.ts`]);
    },
  );
});

describe("an error", () => {
  test("is a class of one file, which the library exports whole", () => {
    expect(sources.get("src/index.ts")).toContain('export * from "./base/errors.ts";');
  });
});
