/** Plain English: sentences of code and pages name who acts. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
/** Each has a plainer one: the client, the worker, the caller; none; for ever; at last. */
const AVOIDED = [
  ...["whoever", "nobody", "somebody", "anybody", "everybody"],
  ...["what there is", "for good", "in the end"],
];
const pages = [
  "README.md",
  "CONTRIBUTING.md",
  ...["src", "ffi", "bench", "build", "functions", "docs", "examples"].flatMap((folder) => [
    ...new Bun.Glob(`${folder}/**/*.{ts,md,c,h}`).scanSync(ROOT),
  ]),
].filter((page) => !page.includes("node_modules"));

test("comments, messages and pages have no actor without a name", () => {
  expect(pages.length).toBeGreaterThan(300);
  const avoided = new RegExp(`\\b(?:${AVOIDED.join("|").replaceAll(" ", "\\s+")})\\b`, "i");
  const found = pages.flatMap((page) =>
    readFileSync(join(ROOT, page), "utf8")
      .split("\n")
      .flatMap((line, i) => (avoided.test(line) ? [`${page}:${i + 1}: ${line.trim()}`] : [])),
  );
  expect(found).toEqual([]);
});
