/** Completion in the real shells: their scripts, and what they make of the words of `rfaas __complete`. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { nodeAddress } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { ownAddress } from "../support/own-address.ts";
import { Scratch } from "../support/scratch.ts";
import { TerminalProgram } from "../support/terminal.ts";
import { until } from "../support/until.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];
const has = (shell: Shell): boolean => Bun.which(shell) !== null;
for (const shell of SHELLS)
  if (!has(shell)) console.warn(`skipped: completion in ${shell}, which is not installed`);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
mkdirSync(scratch.join("bin"));
mkdirSync(scratch.join("here"));
mkdirSync(scratch.join("here/folder"));
symlinkSync(RFAAS, scratch.join("bin/rfaas"));
const MODULE = `throw new Error("it ran");
export function double() {}
export const sum = () => 0;
export type Shape = number;
`;
scratch.file("here/fn.ts", MODULE);
scratch.file("here/my fn.ts", MODULE);
const HERE = scratch.join("here");

const env = (more: Record<string, string> = {}): Record<string, string> => ({
  PATH: `${scratch.join("bin")}:${process.env["PATH"]}`,
  HOME: scratch.path,
  XDG_CONFIG_HOME: scratch.join("config"),
  XDG_DATA_HOME: scratch.join("data"),
  XDG_CACHE_HOME: scratch.join("cache"),
  XDG_RUNTIME_DIR: scratch.join("run"),
  LC_ALL: "C.UTF-8",
  ...more,
});

const scripts: Record<string, string> = {};
for (const shell of SHELLS) {
  const { stdout } = await rfaas(["completion", shell]);
  scripts[shell] = scratch.file(`rfaas.${shell}`, stdout);
}

/** bash calls the function with the line cut at spaces, `=` and `:`. */
const DRIVERS: Record<Shell, (line: string) => string[]> = {
  bash: (line) => {
    const [cut] = /[^\s=:]*$/.exec(line)!;
    return [
      ...["bash", "--norc", "-c"],
      `source "$1"; COMP_LINE=$2; COMP_POINT=\${#2}; COMP_WORDS=(rfaas); COMP_CWORD=0
       _rfaas rfaas "$3" ""; printf '%s\\n' "\${COMPREPLY[@]}"`,
      ...["bash", scripts["bash"]!, line, cut],
    ];
  },
  // What zsh's own functions would be handed.
  zsh: (line) => [
    ...["zsh", "-f", "-c"],
    `compdef() { }; _describe() { local words_of=$3; print -rl -- "\${(@P)words_of}" }
     _files() { print -r -- "files $*" }; compset() { PREFIX=\${PREFIX#*=} }
     source "$1"; words=("\${(@s: :)2}"); CURRENT=$#words; PREFIX=$words[-1]; _rfaas`,
    ...["zsh", scripts["zsh"]!, line],
  ],
  fish: (line) => [
    ...["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", "--"],
    ...[scripts["fish"]!, line],
  ],
};

/** The words that the shell offers for the line, without what they mean. */
async function offered(
  shell: Shell,
  line: string,
  more: Record<string, string> = {},
): Promise<string[]> {
  const child = Bun.spawn(DRIVERS[shell](line), {
    cwd: HERE,
    env: env(more),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(stderr).toBe("");
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((word) =>
      shell === "zsh"
        ? word.replace(/(?<!\\):.*$/, "").replace(/\\(.)/g, "$1")
        : word.replace(/\t.*$/, ""),
    );
}

/** As {@link offered}, asked again while the machine is too busy for an answer within the limit of completion. */
async function offeredSoon(
  shell: Shell,
  line: string,
  more: Record<string, string> = {},
): Promise<string[]> {
  let words: string[] = [];
  await until(
    async () => (words = await offered(shell, line, more)).length > 0,
    `${shell} has words for: ${line}`,
  );
  return words;
}

/** bash replaces the part behind the last `=` or `:` only. */
const behindCut = (shell: Shell, words: readonly string[]): string[] =>
  words.map((word) => (shell === "bash" ? word.replace(/^.*[=:]/, "") : word));

const listed = (words: readonly string[]): string[] => words.toSorted();

describe.each(SHELLS)("%s", (shell) => {
  const there = test.skipIf(!has(shell));

  there("reads its script without a complaint", () => {
    const { exitCode, stderr } = Bun.spawnSync([shell, "-n", scripts[shell]!]);
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  });

  there("completes commands and subcommands", async () => {
    expect(await offered(shell, "rfaas pa")).toEqual(["package"]);
    expect(listed(await offered(shell, "rfaas "))).toEqual(
      expect.arrayContaining(["bench", "completion", "help", "invoke", "serve"]),
    );
    expect(listed(await offered(shell, "rfaas package "))).toEqual(["build", "ls", "push", "rm"]);
    expect(listed(await offered(shell, "rfaas completion "))).toEqual(["bash", "fish", "zsh"]);
    expect(await offered(shell, "rfaas help inv")).toEqual(["invoke"]);
  });

  there("completes flags and their values", async () => {
    expect(await offered(shell, "rfaas invoke --poll")).toEqual(["--polling"]);
    const values = ["adaptive", "hot", "warm"];
    expect(listed(await offered(shell, "rfaas invoke --polling "))).toEqual(values);
    const inline = values.map((value) => `--polling=${value}`);
    expect(listed(await offered(shell, "rfaas invoke --polling="))).toEqual(
      behindCut(shell, inline),
    );
  });

  there("completes functions of a file, which it does not run", async () => {
    const both = ["fn.ts#double", "fn.ts#sum"];
    expect(listed(await offered(shell, "rfaas invoke fn.ts#"))).toEqual(both);
    expect(listed(await offered(shell, "rfaas invoke fn.ts"))).toEqual(both);
    expect(await offered(shell, "rfaas invoke fn.ts#d")).toEqual(["fn.ts#double"]);
  });

  there("says nothing where a manager or a node does not answer, or a word is wrong", async () => {
    const nowhere = { RFAAS_HTTP: "127.0.0.1:1", RFAAS_NODE: "127.0.0.1:1" };
    expect(await offered(shell, "rfaas node drain ", nowhere)).toEqual([]);
    expect(await offered(shell, "rfaas package rm ", nowhere)).toEqual([]);
    expect(await offered(shell, "rfaas node drain ", { RFAAS_HTTP: "%%%" })).toEqual([]);
    expect(await offered(shell, "rfaas nonsense ")).toEqual([]);
    expect(await offered(shell, "rfaas invoke --nonsense=")).toEqual([]);
  });
});

const FIRST_SHELL = SHELLS.find(has)!;

test("completes nodes of a manager by their names and addresses, over HTTP and without", async () => {
  await using manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  const socket = nodeAddress(scratch.join("n.sock"));
  const joining = ["--manager", manager.address, "--name", "rack1:a", "--cores", "1"];
  await using _node = await ServedNode.start(socket, joining);
  const names = (env: Record<string, string>) => offeredSoon("bash", "rfaas node drain ra", env);
  expect(await names({ RFAAS_HTTP: manager.url })).toEqual(["rack1:a"]);
  expect(await names({ RFAAS_MANAGER: manager.address })).toEqual(["rack1:a"]);
  for (const shell of SHELLS.filter(has)) {
    const line = `rfaas node drain --http ${manager.url} rack1:`;
    expect(await offeredSoon(shell, line)).toEqual(behindCut(shell, ["rack1:a"]));
    const by = { RFAAS_MANAGER: manager.address };
    expect(await offeredSoon(shell, "rfaas ps --node ", by)).toContain(socket);
  }
});

const OTHER = ownAddress();
if (OTHER === undefined) console.warn("skipped, needs a network: completion over TLS");
test.skipIf(OTHER === undefined)(
  "meets no manager for the first time, which would be said where nobody reads it",
  async () => {
    const executor = { node: "far", address: "10.0.0.7", port: 10005, cores: 4, memory: 1024 };
    const nodes = scratch.file("nodes.json", JSON.stringify({ executors: [executor] }));
    const args = ["--nodes", nodes];
    await using manager = await RunningManager.start(scratch.join("far"), args, OTHER);
    const by = { RFAAS_MANAGER: manager.address, XDG_CONFIG_HOME: scratch.join("config-far") };
    const line = "rfaas node drain fa";
    expect(await offered(FIRST_SHELL, line, by)).toEqual([]);
    const met = await rfaas(["ps"], { env: env(by) });
    expect(met.stderr).toContain(`the manager at ${manager.address} is new to you`);
    expect(await offeredSoon(FIRST_SHELL, line, by)).toEqual(["far"]);
  },
);

test("completes the packages of a node, and of the user's cache", async () => {
  const socket = nodeAddress(scratch.join("p.sock"));
  await using _node = await ServedNode.start(socket, ["--cache", scratch.join("node-cache")]);
  const module = scratch.file(
    "plain.ts",
    "export const f = (input: Uint8Array) => input.length;\n",
  );
  const push = async (more: string[]): Promise<string> =>
    (await rfaas(["package", "push", module, ...more], { env: env() })).stdout.trim();
  const hash = await push(["--node", socket]);
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  for (const shell of SHELLS.filter(has)) {
    const at = { RFAAS_NODE: socket };
    expect(await offered(shell, "rfaas package rm ")).toEqual([]);
    expect(await offeredSoon(shell, "rfaas package rm ", at)).toEqual([hash]);
    expect(
      await offeredSoon(shell, `rfaas package rm --node ${socket} ${hash.slice(0, 5)}`),
    ).toEqual([hash]);
    expect(await offeredSoon(shell, "rfaas invoke package:", at)).toEqual(
      behindCut(shell, [`package:${hash}`]),
    );
  }
  expect(await push([])).toBe(hash);
  expect(await offeredSoon(FIRST_SHELL, "rfaas package rm ")).toEqual([hash]);
});

describe("at a prompt", () => {
  test("bash completes by the Tab key, across colons, quotes and spaces", async () => {
    const rc = scratch.file("bashrc", `source ${scripts["bash"]}; PS1='ready> '\n`);
    await using bash = new TerminalProgram(["bash", "--noprofile", "--rcfile", rc, "-i"], {
      cwd: HERE,
      env: env(),
    });
    await bash.shows("ready> ");
    for (const [typed, completed] of [
      ["rfaas compl", "rfaas completion "],
      ["rfaas invoke fn.ts#do", "rfaas invoke fn.ts#double "],
      ["rfaas invoke my\\ fn.ts#su", "rfaas invoke my\\ fn.ts#sum "],
      ['rfaas invoke "my fn.ts#su', 'rfaas invoke "my fn.ts#sum" '],
      ["rfaas invoke --polling=h", "rfaas invoke --polling=hot "],
      ["rfaas invoke --input=fn", "rfaas invoke --input=fn.ts"],
      ["rfaas invoke fn", "rfaas invoke fn.ts"],
      ["rfaas serve --cache fo", "rfaas serve --cache folder/"],
      ["rfaas nonsense x", "rfaas nonsense x"],
    ]) {
      const from = bash.shown.length;
      bash.type(`${typed}\t`);
      await bash.shows(completed!, from);
      // Ctrl-U empties the line; a fresh prompt says that bash is done with it.
      bash.type("\x15\r");
      await bash.shows("ready> ", from);
      await bash.shows(/ready> $/, from);
    }
    expect(bash.shown).not.toContain("it ran");
  });

  test.skipIf(!has("zsh"))("zsh completes by the Tab key, and shows what words mean", async () => {
    mkdirSync(scratch.join("zfunc"), { recursive: true });
    scratch.file("zfunc/_rfaas", await Bun.file(scripts["zsh"]!).text());
    // On the terminal, zsh would have to leave its mode for that, and keys that come meanwhile would not be its own.
    const told = scratch.file("told", "");
    scratch.file(
      ".zshrc",
      `fpath=(${scratch.join("zfunc")} $fpath); autoload -U compinit; compinit -u -d ${scratch.join("zdump")}
tell() { print -r -- "<$BUFFER>" >> ${told}; BUFFER=; }; zle -N tell; bindkey '^X' tell; PS1='ready> '\n`,
    );
    await using zsh = new TerminalProgram(["zsh", "-i"], { cwd: HERE, env: env() });
    await zsh.shows("ready> ");
    for (const [typed, completed] of [
      ["rfaas compl", "<rfaas completion >"],
      ["rfaas invoke fn.ts#do", "<rfaas invoke fn.ts\\#double >"],
      ["rfaas invoke --polling=h", "<rfaas invoke --polling=hot >"],
      ["rfaas invoke --input=fn", "<rfaas invoke --input=fn.ts >"],
      ["rfaas invoke fn", "<rfaas invoke fn.ts>"],
      ["rfaas serve --cache fo", "<rfaas serve --cache folder/>"],
      ["rfaas nonsense x", "<rfaas nonsense x>"],
    ]) {
      zsh.type(`${typed}\t\x18`);
      await until(
        async () => (await Bun.file(told).text()).includes(`${completed}\n`),
        `zsh makes of "${typed}": ${completed}`,
      );
    }
    const from = zsh.shown.length;
    zsh.type("rfaas p\t");
    await zsh.shows(/package +-- make packages of functions/, from);
  });
});

test("says first how the words are to be treated, then one a line, and nothing to stderr", async () => {
  const { exitCode, stderr, stdout } = await rfaas(["__complete", "fish", "--", "bench", "--"]);
  expect([exitCode, stderr]).toEqual([0, ""]);
  expect(stdout.split("\n")[0]).toBe("");
  expect(stdout).toContain("--pairs\t");
});
