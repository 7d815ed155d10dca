/** The pages of docs/reference/ that are generated say what the code says. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TSchema } from "@sinclair/typebox";
import { docstringOf } from "../../build/reference/docstrings.ts";
import { OPTIONS } from "../../build/reference/options.ts";
import { FOLDER, PAGES } from "../../build/reference.ts";
import { formatBytes, formatDuration } from "../../src/base/units.ts";
import { nameOf } from "../../src/commands/shared/command.ts";
import { visibleCommands } from "../../src/commands/tree.ts";
import { flagDefault, flagSentence } from "../../src/options/describe.ts";
import { flagsOf, usageOf } from "../../src/options/flags.ts";

const committed = (path: string): string => readFileSync(join(FOLDER, path), "utf8");

test.each(PAGES.map(({ path, text }) => [path, text] as const))(
  "docs/reference/%s is as `bun run build/reference.ts` writes it",
  async (path, text) => {
    expect(committed(path)).toBe(await text());
  },
);

describe("the reference", () => {
  test("has every command with every flag of its schema", async () => {
    const page = committed("commands.md").replace(/ +/g, " ").replaceAll("\n ", " ");
    const commands = await visibleCommands();
    expect(commands.length).toBeGreaterThan(10);
    for (const command of commands) {
      expect(page).toContain(`## rfaas ${nameOf(command)}\n`);
      for (const flag of flagsOf(command.options))
        expect(page).toContain(`${usageOf(flag)} ${flagSentence(flag.field)}`);
    }
  });

  test("has every option of the library with its sentence and its bounds", () => {
    expect(OPTIONS.length).toBeGreaterThan(14);
    for (const [name, { properties }] of OPTIONS) {
      const section = committed("options.md").split(`\n## ${name}\n`)[1]?.split("\n## ")[0] ?? "";
      for (const [option, field] of Object.entries(properties as Record<string, TSchema>)) {
        const row = section.split("\n").find((line) => line.startsWith(`| \`${option}\` `));
        const sentence = docstringOf(option, field)?.split(".")[0] ?? field.description!;
        const told = [name, option, String(row).toLowerCase()];
        expect(told).toEqual([name, option, expect.stringContaining(sentence.toLowerCase())]);
        for (const bound of [field["minimum"], field["maximum"]])
          if (bound !== undefined && field["placeholder"] === "n")
            expect(row).toContain(String(bound));
      }
    }
  });

  test("has the docstring of a field, which names the field's own default", () => {
    let compared = 0;
    const differing = OPTIONS.flatMap(([, { properties }]) =>
      Object.entries(properties as Record<string, TSchema>).flatMap(([option, field]) => {
        const docstring = docstringOf(option, field);
        if (docstring === undefined) return [];
        const told = /default\b(.*)/i.exec(docstring)?.[1];
        const { default: value } = field;
        if (value === undefined && told !== undefined && flagDefault(field) === "")
          return [`${option} has no default; its docstring says${told}`];
        if (value === undefined || value === false) return [];
        compared++;
        const forms = [String(value), ...formsOf(value, String(field["unit"]))];
        const plain = docstring.replaceAll(/[\s,_]/g, "");
        return forms.some((form) =>
          new RegExp(`default:?${form}(?!\\d)|${form}"?.?\\(default`, "i").test(plain),
        )
          ? []
          : [`${option} is ${String(value)} by default; its docstring says ${told ?? "nothing"}`];
      }),
    );
    expect(differing).toEqual([]);
    expect(compared).toBeGreaterThan(20);
  });
});

/** A default as docstrings have it. */
function formsOf(value: unknown, unit: string): string[] {
  if (typeof value !== "number") return [];
  if (unit === "ms") return [formatDuration(value)];
  if (unit === "ns") return [`${value / 1000}us`];
  return unit === "bytes" ? [formatBytes(value).replace(" ", "")] : [];
}
