/** What is touched to add an option (its schema, and its use) or a command (its file, and a line of the tree): a further place fails here. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TObject, TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { OPTIONS } from "../../build/reference/options.ts";
import { AllocateOptions } from "../../src/client/options/allocate-options.ts";
import { SubmitOptions } from "../../src/client/options/call-options.ts";
import { nameOf } from "../../src/commands/shared/command.ts";
import { invoke } from "../../src/commands/invoke.ts";
import { visibleCommands } from "../../src/commands/tree.ts";
import { flagsOf, marked } from "../../src/options/flags.ts";

const ROOT = join(import.meta.dir, "..", "..");
const sources = new Map(
  ["src", "build", "bench"].flatMap((folder) =>
    [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)].map(
      (path) => [path, readFileSync(join(ROOT, path), "utf8")] as const,
    ),
  ),
);
const filesWith = (pattern: RegExp): string[] =>
  [...sources].filter(([, source]) => pattern.test(source)).map(([path]) => path);

const fieldsOf = ({ properties }: TObject): [string, TSchema][] =>
  Object.entries(properties as Record<string, TSchema>);

describe("an option", () => {
  test("has its sentence in one file", async () => {
    const commands = (await visibleCommands()).map(({ options }) => options);
    const schemas = [...OPTIONS.map(([, schema]) => schema), ...commands];
    const sentences = new Set(
      schemas.flatMap(fieldsOf).map(([, { description }]) => String(description)),
    );
    expect(sentences.size).toBeGreaterThan(80);
    const places = [...sentences].map((sentence) => {
      const told = filesWith(new RegExp(`description:\\s*"${RegExp.escape(sentence)}"`));
      return [sentence, told] as const;
    });
    expect(places.filter(([, files]) => files.length > 1)).toEqual([]);
    expect(places.filter(([, files]) => files.length === 1).length).toBeGreaterThan(70);
  });

  const passed = [AllocateOptions, SubmitOptions].flatMap((schema) =>
    fieldsOf(schema).filter(([name]) => name in marked(schema)),
  );

  test.each(passed)("of the library that is marked is a flag of invoke: %s", (name, field) => {
    expect((invoke.options.properties as Record<string, TSchema>)[name]).toBe(field);
  });

  test("of the library that a command only passes on is not named there", () => {
    // What invoke does itself with these: it spreads calls over workers, and prints the timings of the last.
    const used = ["workers", "timings"];
    const names = passed.map(([name]) => name).filter((name) => !used.includes(name));
    expect(names).toContain("loadTimeoutMs");
    const source = sources.get("src/commands/invoke.ts")!;
    expect(names.filter((name) => new RegExp(`(?<!--)\\b${name}\\b`).test(source))).toEqual([]);
  });
});

describe("a command", () => {
  test("is loaded by the tree and known by no other file", () => {
    const files = [...new Bun.Glob("*.ts").scanSync(join(ROOT, "src/commands"))].filter(
      (file) => file !== "tree.ts",
    );
    expect(files.length).toBeGreaterThan(8);
    for (const file of files) {
      const imported = new RegExp(
        `(?:from|import\\()\\s*"(?:\\./|.*/commands/)${RegExp.escape(file)}"`,
      );
      const importers = filesWith(imported).filter(
        (path) => path.startsWith("src/commands/") && path.split("/").length === 3,
      );
      const elsewhere = filesWith(new RegExp(`commands/${RegExp.escape(file)}"`)).filter(
        (path) => !path.startsWith("src/commands/"),
      );
      expect([file, importers, elsewhere]).toEqual([file, ["src/commands/tree.ts"], []]);
    }
  });

  test("takes one line of the tree", () => {
    const tree = sources.get("src/commands/tree.ts")!;
    const lines = tree
      .split("\n")
      .filter((line) => /await import\("\.\/(?!shared|completion\/complete\.)/.test(line));
    const known = [...tree.matchAll(/^ {2}(\w+): async \(\) => \(await import/gm)];
    expect(lines.length).toBe(known.length);
    expect(lines.length).toBeGreaterThan(12);
  });
});

test("docs/adding.md names files that are there", () => {
  const page = readFileSync(join(ROOT, "docs/adding.md"), "utf8");
  const paths = [...page.matchAll(/`((?:src|test|docs|bench)\/[\w./-]+)`/g)].map(
    ([, path]) => path!,
  );
  expect(paths.length).toBeGreaterThan(8);
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});

describe.each((await visibleCommands()).map((command) => [nameOf(command), command] as const))(
  "the options of rfaas %s",
  (_, { options }) => {
    const flags = flagsOf(options);

    test("have names and letters of their own, and none that every command has", () => {
      const names = flags.flatMap(({ long, short }) => [long, ...(short ? [short] : [])]);
      expect(names.toSorted()).toEqual([...new Set(names)].toSorted());
      expect(names).not.toContain("help");
      expect(names).not.toContain("h");
    });

    test("say what they take and what they are for, and would accept their own default", () => {
      for (const { long, field } of flags) {
        expect([long, field.description, field["errorMessage"]]).toEqual([
          long,
          expect.stringMatching(/\w/),
          expect.stringMatching(/\w/),
        ]);
        if (field.default !== undefined)
          expect([long, Value.Check(field, field.default)]).toEqual([long, true]);
      }
    });
  },
);
