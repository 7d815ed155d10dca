/** The pages of docs/reference/ that are generated say what the code says. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TSchema } from "@sinclair/typebox";
import { OPTIONS } from "../../build/reference/options.ts";
import { FOLDER, PAGES } from "../../build/reference.ts";
import { nameOf } from "../../src/commands/shared/command.ts";
import { visibleCommands } from "../../src/commands/tree.ts";
import { flagSentence } from "../../src/options/describe.ts";
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
        expect([name, option, row ?? "no row"]).toEqual([
          name,
          option,
          expect.stringContaining(String(field.description)),
        ]);
        for (const bound of [field["minimum"], field["maximum"]])
          if (bound !== undefined && field["placeholder"] === "n")
            expect(row).toContain(String(bound));
      }
    }
  });
});
