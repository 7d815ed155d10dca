/** The README does what it says: its files are written to an empty folder, its commands are run there. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { RFAAS, ROOT, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const README = readFileSync(join(ROOT, "README.md"), "utf8");

interface Block {
  info: string;
  text: string;
}

function blocks(): Block[] {
  return [...README.matchAll(/^```(\S[^\n]*)\n([\s\S]*?)^```$/gm)].map(([, info, text]) => ({
    info: info!,
    text: text!,
  }));
}

/** Writes every block that names a file. */
function folder(): Scratch {
  const scratch = new Scratch();
  for (const { info, text } of blocks()) {
    const name = /file=(\S+)/.exec(info)?.[1];
    if (name) scratch.file(name, text);
  }
  return scratch;
}

test("every console block prints what it shows", async () => {
  const scripts = blocks().filter(({ info }) => info === "console");
  expect(scripts.length).toBeGreaterThan(1);
  for (const { text } of scripts) {
    using scratch = folder();
    const lines = text.trimEnd().split("\n");
    const commands = lines.filter((line) => line.startsWith("$ ")).map((line) => line.slice(2));
    // A node in the background is given the time to serve, and is stopped when the block has run.
    const script = [
      "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT",
      ...commands.flatMap((command) =>
        command.endsWith("&")
          ? [command, "until [ -S ./node.sock ]; do sleep 0.05; done"]
          : [command],
      ),
    ].join("\n");
    const child = Bun.spawn(["bash", "-euc", script], {
      cwd: scratch.path,
      env: { ...process.env, PATH: `${dirname(RFAAS)}:${process.env["PATH"]}` },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(stderr).not.toContain("ERROR");
    expect(stdout).toBe(
      lines
        .filter((line) => !line.startsWith("$ "))
        .map((line) => `${line}\n`)
        .join(""),
    );
  }
});

test("the client of the library section prints what it says", async () => {
  using scratch = folder();
  mkdirSync(scratch.join("node_modules"));
  symlinkSync(ROOT, scratch.join("node_modules/rfaas"));
  const child = Bun.spawn([process.execPath, "client.ts"], {
    cwd: scratch.path,
    env: { ...process.env, RFAAS_EXECUTABLE: RFAAS },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(stderr).toBe("");
  expect(stdout).toBe("500\n8\n42\n");
});

test("the npm scripts it names exist, and so do the files it links to", async () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  for (const [, name] of README.matchAll(/npm run (\w+)/g)) expect(scripts).toHaveProperty(name!);
  for (const [, path] of README.matchAll(/\]\((?!http)([^)#]+)\)/g))
    expect((await Bun.file(join(ROOT, path!)).exists()) || (await isFolder(path!))).toBe(true);
});

async function isFolder(path: string): Promise<boolean> {
  const { statSync } = await import("node:fs");
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.isDirectory() ?? false;
}

test("every subcommand has its line in the table", async () => {
  const { stdout } = await rfaas(["help"]);
  const commands = /COMMANDS\n([\s\S]*?)\n\n/
    .exec(stdout)![1]!
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[0]!);
  for (const command of commands) expect(README).toContain(`\`rfaas ${command}`);
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
});
