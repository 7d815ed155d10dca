/** The man pages: all that help says, without a warning of `man`, and the same bytes every time. */
import { describe, expect, test } from "bun:test";
import { nameOf } from "../../src/commands/shared/command.ts";
import { manPages } from "../../src/commands/manual/man.ts";
import { visibleCommands } from "../../src/commands/tree.ts";
import { VERSION } from "../../src/base/version.ts";
import { flagSentence } from "../../src/options/describe.ts";
import { flagsOf, usageOf } from "../../src/options/flags.ts";
import { Type } from "@sinclair/typebox";
import { text as textField } from "../../src/options/fields.ts";
import { type Command, defineCommand } from "../../src/commands/shared/command.ts";

const commands = await visibleCommands();
const pages = manPages(commands);
const hasMan = Bun.which("man") !== null && Bun.which("groff") !== null;
if (!hasMan) console.warn("skipped: what man says of the pages, since man and groff are not here");

/** As a terminal shows it, on one long line a paragraph. */
async function shown(page: string): Promise<{ text: string; warnings: string }> {
  const child = Bun.spawn(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", "-"], {
    stdin: Buffer.from(page),
    env: { ...process.env, MANWIDTH: "500", LC_ALL: "C.UTF-8", MANROFFOPT: "" },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [formatted, warnings] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  const terminal = Bun.spawnSync(["grotty", "-c", "-b", "-o", "-u"], {
    stdin: Buffer.from(formatted),
  });
  return { text: terminal.stdout.toString().replace(/\s+/g, " "), warnings };
}

test("there is a page for the program and for each command", () => {
  expect(pages.map(({ name }) => name)).toEqual([
    "rfaas.1",
    ...commands.map((command) => `rfaas-${nameOf(command)}.1`),
  ]);
});

describe.each(pages.map((page) => [page.name, page.text] as const))("%s", (name, text) => {
  test("has the sections of a man page, a title with the version, and no date", () => {
    const titles = [...text.matchAll(/^\.SH (.*)$/gm)].map(([, title]) => title!);
    expect(titles.slice(0, 2)).toEqual(["NAME", "SYNOPSIS"]);
    expect(titles).toEqual(expect.arrayContaining(["ENVIRONMENT", "EXIT STATUS", "EXAMPLES"]));
    expect(titles.at(-1)).toBe("SEE ALSO");
    if (name !== "rfaas.1") expect(titles).toContain("DESCRIPTION");
    const title = name.replace(/\.1$/, "").toUpperCase().replaceAll("-", "\\-");
    expect(text).toStartWith(`.TH "${title}" 1 "" "rfaas ${VERSION}" "rfaas manual"\n`);
    expect(text).not.toMatch(/[^\n\x20-\x7e]/);
  });

  test.skipIf(!hasMan)(
    "is formatted by man without a warning, with every flag and sentence",
    async () => {
      const { text: page, warnings } = await shown(text);
      expect(warnings).toBe("");
      expect(page).toContain("SEE ALSO");
      const command = commands.find((one) => `rfaas-${nameOf(one)}.1` === name);
      const bare = page.replaceAll(" ", "");
      for (const flag of command ? flagsOf(command.options) : [])
        expect(bare).toContain(`${usageOf(flag)}${flagSentence(flag.field)}`.replaceAll(" ", ""));
      for (const [example, effect] of command?.examples ?? [])
        expect(bare).toContain(`${example}${effect}`.replaceAll(" ", ""));
      for (const paragraph of command?.description.split("\n\n") ?? [])
        expect(bare).toContain(paragraph.replaceAll(/\s+/g, ""));
    },
  );
});

test("a page names the pages of the commands that it mentions, the overview all", () => {
  const seen = (name: string): string =>
    pages.find((page) => page.name === name)!.text.split(".SH SEE ALSO\n")[1]!;
  expect(seen("rfaas.1").match(/\\fBrfaas/g)).toHaveLength(commands.length);
  expect(seen("rfaas-manager.1")).toContain("\\fBrfaas\\-token\\fR(1)");
});

test("the pages are the same every time, and whatever the day", () => {
  expect(manPages(commands)).toEqual(pages);
});

test.skipIf(!hasMan)(
  "nothing that a command says is taken for a request or an escape",
  async () => {
    const odd = ".so it begins\n'tis \\fBnot\\fR bold, \\(rs, ^~`\" -- --a-b | é → 🚀";
    const command: Command = defineCommand({
      usage: "odd [file]",
      summary: ".SH a heading \\n no",
      description: odd,
      options: Type.Object({
        odd: Type.Optional(textField("a text", { description: `.TH "x" \\e` })),
      }),
      examples: [["rfaas odd '.\\'", "'\\\"'"]],
      run: async () => {},
    });
    const { text, warnings } = await shown(manPages([command])[1]!.text);
    expect(warnings).toBe("");
    const bare = text.replaceAll(" ", "");
    for (const said of [odd, ".SH a heading \\n no", `.TH "x" \\e`, "rfaas odd '.\\'", "'\\\"'"])
      expect(bare).toContain(said.replaceAll(/\s+/g, ""));
  },
);
