/** The README and the pages of docs/ do what they say: their files are written to an empty folder, their commands are run there. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { RFAAS, ROOT, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const PAGES = [
  "README.md",
  ...[...new Bun.Glob("docs/**/*.md").scanSync(ROOT)].toSorted(),
] as const;
const textOf = (page: string): string => readFileSync(join(ROOT, page), "utf8");
const ALL = PAGES.map(textOf).join("\n");

interface Block {
  info: string;
  text: string;
}

function blocksOf(page: string): Block[] {
  return [...textOf(page).matchAll(/^```(\S[^\n]*)\n([\s\S]*?)^```$/gm)].map(([, info, text]) => ({
    info: info!,
    text: text!,
  }));
}

/** Has every file that a block of the page names, and the library where a program looks for it. */
function folderOf(page: string): Scratch {
  const scratch = new Scratch();
  for (const { info, text } of blocksOf(page)) {
    const name = /file=(\S+)/.exec(info)?.[1];
    if (name) scratch.file(name, text);
  }
  mkdirSync(scratch.join("node_modules"));
  symlinkSync(ROOT, scratch.join("node_modules/rfaas"));
  return scratch;
}

/** What a reader sees who types the commands of a block, one after the other. */
async function typed(text: string, cwd: string): Promise<{ stdout: string; stderr: string }> {
  const commands = text.split("\n").filter((line) => line.startsWith("$ "));
  // A node in the background is given the time to serve, and is stopped when the block has run.
  const script = [
    "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT",
    ...commands.flatMap((line) => {
      const command = line.slice(2);
      return command.endsWith("&")
        ? [command, "until [ -S ./node.sock ]; do sleep 0.05; done"]
        : [command];
    }),
  ].join("\n");
  const path = [dirname(RFAAS), dirname(process.execPath), process.env["PATH"]].join(":");
  const child = Bun.spawn(["bash", "-euc", script], {
    cwd,
    env: { ...process.env, PATH: path, RFAAS_EXECUTABLE: RFAAS },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr };
}

const consoles = PAGES.flatMap((page) =>
  blocksOf(page)
    .filter(({ info }) => info === "console")
    .map(({ text }) => [page, text] as const),
);

test("there are blocks to try", () => expect(consoles.length).toBeGreaterThan(5));

test.each(consoles)(
  "%s: a reader who types\n%s sees what it shows",
  async (page, text) => {
    using scratch = folderOf(page);
    const { stdout, stderr } = await typed(text, scratch.path);
    if (!text.includes("exit code")) expect(stderr).not.toContain("ERROR");
    const shown = text.split("\n").filter((line) => !line.startsWith("$ "));
    expect(stdout).toBe(shown.join("\n"));
  },
  60_000,
);

describe.each(PAGES)("%s", (page) => {
  test("names npm scripts that are there, and links to files that are", () => {
    const text = textOf(page);
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    for (const [, name] of text.matchAll(/npm run (\w+)/g)) expect(scripts).toHaveProperty(name!);
    const links = [...text.matchAll(/\]\((?!http)([^)#]+)(?:#[^)]*)?\)/g)].map(([, to]) => to!);
    const broken = links.filter(
      (to) => !statSync(join(ROOT, dirname(page), to), { throwIfNoEntry: false }),
    );
    expect(broken).toEqual([]);
  });

  test("shows TypeScript that can be read", () => {
    const transpiler = new Bun.Transpiler({ loader: "ts" });
    for (const { info, text } of blocksOf(page))
      if (info.startsWith("ts")) expect(() => transpiler.transformSync(text)).not.toThrow();
  });

  test("can be reached from the README", () => {
    const reached = new Set(["README.md"]);
    for (const from of reached)
      for (const [, to] of textOf(from).matchAll(/\]\((?!http)([^)#]+\.md)[^)]*\)/g)) {
        const target = join(dirname(from), to!);
        if (target.startsWith("docs/")) reached.add(target);
      }
    expect(reached).toContain(page);
  });
});

test("every subcommand is told of", async () => {
  const { stdout } = await rfaas(["help"]);
  const commands = /COMMANDS\n([\s\S]*?)\n\n/
    .exec(stdout)![1]!
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[0]!);
  for (const command of commands) expect(ALL).toContain(`rfaas ${command}`);
});

test("every code of an error has its place in the troubleshooting, and no other", () => {
  const variables = new Set(
    [...textOf("src/commands/shared/manual.ts").matchAll(/"(RFAAS_\w+)"/g)].map(([, name]) => name),
  );
  const codes = new Set<string>();
  for (const folder of ["src", "ffi"])
    for (const file of new Bun.Glob("**/*.ts").scanSync(join(ROOT, folder)))
      for (const [, code] of textOf(join(folder, file)).matchAll(/(?<!env\[)"(RFAAS_[A-Z_]+)"/g))
        codes.add(code!);
  const both = ["RFAAS_TOKEN", "RFAAS_REGISTRY"];
  for (const name of variables) if (!both.includes(name!)) codes.delete(name!);
  for (const prefix of ["RFAAS_MODULE"]) codes.delete(prefix);
  const told = new Set(
    [...textOf("docs/troubleshooting.md").matchAll(/^(?:###|\|) .*$/gm)].flatMap(([line]) =>
      [...line.matchAll(/RFAAS_[A-Z_]+/g)].map(([code]) => code),
    ),
  );
  expect([...codes].filter((code) => !told.has(code))).toEqual([]);
  expect([...told].filter((code) => !codes.has(code))).toEqual([]);
});

test("the demonstration runs, small, and leaves nothing behind", async () => {
  const child = Bun.spawn(
    [process.execPath, join(ROOT, "bench/demo/demo.ts"), "--options", "200000"],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(stderr).not.toContain("rror");
  expect(stdout).toContain("Priced 200,000 options");
  expect(await child.exited).toBe(0);
}, 60_000);
