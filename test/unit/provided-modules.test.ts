/** What of a user's imports is left to modules of the worker's own. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { TYPEBOX_PARTS } from "../../src/commands/run/modules.ts";
import { providedModule } from "../../src/package/bundle/provided-modules.ts";
import { PROVIDED_NAMES } from "../../src/package/bundle/provided-names.ts";
import { Scratch } from "../support/scratch.ts";

/** The folder of a project that has this version of TypeBox, and what one that depends on another has. */
function install(scratch: Scratch, version: string): string {
  const files = {
    "package.json": JSON.stringify({
      name: "@sinclair/typebox",
      version,
      exports: { ".": "./build/index.js", "./value": "./build/value/index.js" },
    }),
    "build/package.json": '{"type":"commonjs"}',
    "build/index.js": "",
    "build/value/index.js": "",
  };
  for (const [name, text] of Object.entries(files)) {
    const path = scratch.join(`project/node_modules/@sinclair/typebox/${name}`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return scratch.join("project");
}

test.each([
  ["0.34.0", "rfaas/typebox"],
  ["0.34.999", "rfaas/typebox"],
  ["0.33.22", undefined],
  ["0.35.0", undefined],
  ["0.340.0", undefined],
  ["1.0.0", undefined],
])("a copy of TypeBox %s is left to %p", (version, name) => {
  using scratch = new Scratch();
  const project = install(scratch, version);
  expect(providedModule("@sinclair/typebox", project)).toBe(name);
  const part = name === undefined ? undefined : `${name}/value`;
  expect(providedModule("@sinclair/typebox/value", join(project, "src"))).toBe(part);
});

test("TypeBox is there for whoever has not installed it, as what functions are written with is", () => {
  using scratch = new Scratch();
  expect(providedModule("@sinclair/typebox/compiler", scratch.path)).toBe("rfaas/typebox/compiler");
  expect(providedModule("rfaas/function", scratch.path)).toBe("rfaas/function");
});

test.each([
  "@sinclair/typebox-codegen",
  "@sinclair/typebox/nothing",
  "@sinclair/typebox/package.json",
  "@sinclair/hammer",
  "typebox",
  "rfaas/testing",
  "rfaas/typebox/nothing",
  "./rfaas/function",
  "constructor",
])("%s is the package's own affair", (specifier) => {
  using scratch = new Scratch();
  expect(providedModule(specifier, scratch.path)).toBeUndefined();
});

test("a script is given every part of TypeBox that a worker has", () => {
  expect(TYPEBOX_PARTS.map((part) => `rfaas/typebox${part}`)).toEqual(
    PROVIDED_NAMES.filter((name) => name.startsWith("rfaas/typebox")),
  );
});
