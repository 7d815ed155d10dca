/** `SPECIFICATION.md` promises nothing that no test holds: each test that it names is there, and what is not held yet says so. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
const LEAST = 20;
const NOT_YET = /^not held yet: \S/;

interface Line {
  number: number;
  promise: string;
  limits: string;
  heldBy: string;
}

/** The rows of its tables: number, promise, limits, and what holds it. */
function linesOf(page: string): Line[] {
  const rows = page.matchAll(/^\| (\d+) +\| (.+?) \| (.+?) \| (.+?) \|$/gm);
  return [...rows].map(([, number, ...cells]) => {
    const [promise, limits, heldBy] = cells.map((cell) => cell!.trim());
    return { number: Number(number), promise: promise!, limits: limits!, heldBy: heldBy! };
  });
}

/** Each test is named as `path`: "name", the name as it stands in the file; several are divided by semicolons. */
const namedIn = (heldBy: string): [path: string, name: string][] =>
  [...heldBy.matchAll(/`([^`]+)`: "([^"]+)"/g)].map(([, path, name]) => [path!, name!]);

/** Whether a file calls a function, such as `test`, with this name first. */
function hasTest(path: string, name: string): boolean {
  const file = join(ROOT, "test", path);
  if (!existsSync(file)) return false;
  const literal = name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`\\(\\s*(["'\`])${literal}\\1\\s*[,)]`).test(readFileSync(file, "utf8"));
}

const page = readFileSync(join(ROOT, "SPECIFICATION.md"), "utf8");
const lines = linesOf(page);

test("the page numbers at least twenty promises, one after another, each with its limits", () => {
  expect(lines.length).toBeGreaterThanOrEqual(LEAST);
  expect(lines.map(({ number }) => number)).toEqual(lines.map((_, i) => i + 1));
  // Every row that begins with a number was read.
  expect(page.match(/^\| \d+ /gm)).toHaveLength(lines.length);
  for (const { promise, limits } of lines) {
    expect(promise.length).toBeGreaterThan(20);
    expect(limits).not.toBe("");
  }
});

test("each promise names tests that are there, or says that it is not held yet and of which issue it is", () => {
  const unheld = lines.filter(({ heldBy }) => {
    if (NOT_YET.test(heldBy)) return false;
    const named = namedIn(heldBy);
    return named.length === 0 || !named.every(([path, name]) => hasTest(path, name));
  });
  expect(unheld).toEqual([]);
});

test("more promises are held than are not", () => {
  const held = lines.filter(({ heldBy }) => !NOT_YET.test(heldBy));
  expect(held.length).toBeGreaterThan(lines.length / 2);
  expect(held.length).toBeGreaterThanOrEqual(LEAST);
});

test("a test that is not there would be missed", () => {
  expect(hasTest("unit/specification.test.ts", "a test that is not there would be missed")).toBe(
    true,
  );
  const other = ["a test that is", "there"].join(" ");
  expect(hasTest("unit/specification.test.ts", other)).toBe(false);
  expect(hasTest("unit/nowhere.test.ts", "a test")).toBe(false);
  expect(namedIn('`a.test.ts`: "one"; `b.test.ts`: "two"')).toEqual([
    ["a.test.ts", "one"],
    ["b.test.ts", "two"],
  ]);
});
