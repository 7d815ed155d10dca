import { describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, nameOf } from "../../src/commands/shared/command.ts";
import { manual, overview } from "../../src/commands/shared/manual.ts";
import { flagSentence } from "../../src/options/describe.ts";
import { flagsOf, usageOf } from "../../src/options/flags.ts";
import { runCommandLine } from "../../src/commands/tree.ts";
import { EXIT } from "../../src/base/errors.ts";

const ROOT = join(import.meta.dir, "..", "..");

function isCommand(value: unknown): value is Command {
  return typeof value === "object" && value !== null && "usage" in value && "run" in value;
}

/** Every command there is, found by its file: a new one is tested from its first day. */
async function commandsOfFolder(): Promise<Command[]> {
  const found: Command[] = [];
  for (const file of new Bun.Glob("**/*.ts").scanSync(join(ROOT, "src", "commands"))) {
    if (file === "tree.ts") continue;
    const module: object = await import(join(ROOT, "src", "commands", file));
    found.push(...Object.values(module).filter(isCommand));
  }
  return found;
}

const commands = await commandsOfFolder();
const visible = commands.filter((command) => !command.hidden);

/** Lines of a section of a manual page, without their indentation. */
function section(page: string, title: string): string[] {
  const lines = page.split("\n");
  const start = lines.indexOf(title);
  if (start < 0) throw new Error(`the page has no section ${title}:\n${page}`);
  const end = lines.findIndex((line, i) => i > start && /^[A-Z]/.test(line));
  return lines.slice(start + 1, end < 0 ? undefined : end).map((line) => line.trim());
}

async function printed(argv: string[]): Promise<string> {
  const write = spyOn(process.stdout, "write").mockImplementation(() => true);
  try {
    await runCommandLine(argv);
    return write.mock.calls.map(([text]) => String(text)).join("");
  } finally {
    write.mockRestore();
    // Every command line listens for a reader that goes away.
    process.stdout.removeAllListeners("error");
  }
}

test("the commands that people use are there", () => {
  expect(visible.map(nameOf)).toEqual(
    expect.arrayContaining(["serve", "invoke", "bench", "doctor"]),
  );
});

describe.each(visible.map((command) => [nameOf(command), command] as const))(
  "the manual of %s",
  (name, command) => {
    const page = manual(command);
    const flags = flagsOf(command.options);

    test("has the sections of a manual page, in their order", () => {
      const titles = page.split("\n").filter((line) => /^[A-Z][A-Z ]+$/.test(line));
      expect(titles).toEqual([
        ...["NAME", "SYNOPSIS", "DESCRIPTION", ...(flags.length > 0 ? ["OPTIONS"] : [])],
        ...["ENVIRONMENT", "EXIT STATUS", "EXAMPLES", "SEE ALSO"],
      ]);
    });

    test("says its name and how it is called", () => {
      expect(section(page, "NAME")[0]).toBe(`rfaas ${name} - ${command.summary}`);
      expect(section(page, "SYNOPSIS")[0]).toBe(
        `rfaas ${command.usage}${flags.length > 0 ? " [OPTIONS]" : ""}`,
      );
    });

    test("describes every option, beside it or below", () => {
      if (flags.length === 0) return expect(page).not.toContain("OPTIONS");
      const words = section(page, "OPTIONS").join(" ").replace(/ +/g, " ");
      for (const flag of flags) {
        expect(flag.field.description).not.toBeEmpty();
        expect(words).toContain(`${usageOf(flag)} ${flagSentence(flag.field)}`);
      }
    });

    test("names every exit code", () => {
      const codes = section(page, "EXIT STATUS").map((line) => Number.parseInt(line, 10));
      expect(codes.filter(Number.isInteger)).toEqual(Object.values(EXIT));
    });

    test("gives examples of the command", () => {
      expect(command.examples.length).toBeGreaterThan(0);
      for (const [example] of command.examples) expect(example).toContain(`rfaas ${name}`);
    });

    test("is what `help` and `--help` print", async () => {
      expect(await printed(["help", name])).toBe(page);
      expect(await printed([name, "--help"])).toBe(page);
      expect(await printed([name, "-h"])).toBe(page);
    });
  },
);

describe("the overview", () => {
  test("lists the visible commands with what they do, and no other", async () => {
    const listed = section(await printed(["help"]), "COMMANDS").filter(Boolean);
    const expected = visible.map((command) => [nameOf(command), command.summary]);
    expect(listed.map((line) => line.split(/ {2,}/)).sort()).toEqual(expected.sort());
  });

  test("is what a call without arguments prints", async () => {
    const help = await printed(["help"]);
    for (const argv of [[], ["--help"], ["-h"]]) expect(await printed(argv)).toBe(help);
  });

  test("names every variable of rfaas that the program reads", () => {
    const described = section(overview(visible), "ENVIRONMENT").map((line) => line.split(" ")[0]);
    const read = new Set<string>();
    for (const folder of ["src", "ffi"])
      for (const file of new Bun.Glob("**/*.ts").scanSync(join(ROOT, folder)))
        for (const [, name] of readFileSync(join(ROOT, folder, file), "utf8").matchAll(
          /process\.env(?:\.|\[")(RFAAS_\w+)/g,
        ))
          read.add(name!);
    for (const { options } of commands)
      for (const { field } of flagsOf(options))
        if (field["variable"] !== undefined) read.add(String(field["variable"]));
    // What rfaas tells its own children is no setting.
    read.delete("RFAAS_CHILD");
    expect(read.size).toBeGreaterThan(0);
    expect(described).toEqual(expect.arrayContaining([...read]));
  });
});
