/** Which words completion offers at a place of a command line, by the command tree; and what bash does to words. */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { forBash, splitLine } from "../../src/commands/completion/bash-words.ts";
import { offerFor } from "../../src/commands/completion/offer.ts";
import type { Offer } from "../../src/commands/completion/word.ts";
import { type CommandTree, defineCommand } from "../../src/commands/shared/command.ts";
import { SCOPES } from "../../src/protocol/token.ts";
import { visibleCommands } from "../../src/commands/tree.ts";
import { nameOf } from "../../src/commands/shared/command.ts";
import { flagsOf } from "../../src/options/flags.ts";
import { choice, truth, whole } from "../../src/options/fields.ts";
import { pathField } from "../../src/commands/shared/fields.ts";

const commands = await visibleCommands();
const tree: CommandTree = {
  names: commands.map(nameOf),
  load: (name) => Promise.resolve(commands.find((command) => nameOf(command) === name)!),
};

const offer = (...typed: string[]): Promise<Offer> => offerFor(tree, typed, true);
const words = async (...typed: string[]): Promise<string[]> =>
  (await offer(...typed)).words.map(([word]) => word);

describe("the first word", () => {
  test("is a command, with what it does", async () => {
    expect((await offer("")).words).toEqual(
      commands.map((command) => [nameOf(command), command.summary]),
    );
    expect(await words("pa")).toEqual(["package"]);
    expect(await words("__")).toEqual([]);
    expect(await words("zz")).toEqual([]);
  });

  test("may be --help or --version", async () => {
    expect(await words("-")).toEqual(["--help", "--version"]);
    expect(await words("--v")).toEqual(["--version"]);
  });

  test("loads only the commands that begin with it, and none where no meaning is shown", async () => {
    const loaded: string[] = [];
    const watched: CommandTree = {
      names: tree.names,
      load: (name) => (loaded.push(name), tree.load(name)),
    };
    await offerFor(watched, ["p"], true);
    expect(loaded).toEqual(["ps", "package"]);
    await offerFor(watched, [""], false);
    expect(loaded).toHaveLength(2);
  });
});

describe.each(commands.map((command) => [nameOf(command), command] as const))(
  "of rfaas %s",
  (name, command) => {
    test("every flag is offered, and --help", async () => {
      const flags = flagsOf(command.options).map(({ long }) => `--${long}`);
      expect(await words(name, "-")).toEqual([...flags, "--help"]);
      for (const flag of flags) expect(await words(name, flag)).toContain(flag);
    });
  },
);

describe("a further command", () => {
  const further = defineCommand({
    usage: "further <up|down> [FILE]",
    summary: "a command that nothing else knows",
    description: "",
    options: Type.Object({
      quick: Type.Optional(truth({ description: "quickly" })),
      way: Type.Optional(choice(["left", "right"], { description: "which way", short: "w" })),
      repeat: Type.Optional(whole(1, 9, { description: "so often", short: "n" })),
      output: pathField("file", { description: "where to" }),
    }),
    examples: [],
    completes: ([, file]) => (file === undefined ? "file" : undefined),
    run: async () => {},
  });
  const one: CommandTree = { names: ["further"], load: async () => further };
  const at = (...typed: string[]) => offerFor(one, ["further", ...typed], true);
  const wordsAt = async (...typed: string[]) => (await at(...typed)).words.map(([word]) => word);

  test("needs nothing but its definition", async () => {
    expect(await wordsAt("")).toEqual(["up", "down"]);
    expect(await wordsAt("d")).toEqual(["down"]);
    expect(await at("up", "x")).toMatchObject({ words: [], kind: "file" });
    expect(await at("up", "x", "")).not.toHaveProperty("kind");
  });

  test("has the values of its flags", async () => {
    expect(await wordsAt("--way", "")).toEqual(["left", "right"]);
    expect(await wordsAt("-w", "l")).toEqual(["left"]);
    expect(await wordsAt("--way=")).toEqual(["--way=left", "--way=right"]);
    expect(await wordsAt("--way=r")).toEqual(["--way=right"]);
    expect(await at("--output", "")).toMatchObject({ words: [], kind: "file" });
    expect(await at("--output=x")).toMatchObject({ words: [], kind: "file", prefix: "--output=" });
    expect(await wordsAt("--repeat", "")).toEqual([]);
    expect(await wordsAt("--quick=")).toEqual([]);
  });

  test("has the words of a list, behind those that are written", async () => {
    expect(await words("token", "create", "--scope", "")).toEqual([...SCOPES]);
    expect(await words("token", "create", "--scope", "client,rea")).toEqual(["client,read"]);
    expect(await words("token", "create", "--scope=client,")).toEqual(
      SCOPES.filter((scope) => scope !== "client").map((scope) => `--scope=client,${scope}`),
    );
  });

  test("offers no flag twice, and takes their values for no arguments", async () => {
    expect(await wordsAt("--quick", "--way", "left", "--")).toEqual([
      "--repeat",
      "--output",
      "--help",
    ]);
    expect(await wordsAt("--way", "up", "-n5", "-n", "5", "")).toEqual(["up", "down"]);
    expect(await wordsAt("--way=up", "")).toEqual(["up", "down"]);
    expect(await wordsAt("--", "")).toEqual(["up", "down"]);
  });

  test("is not there under another name", async () => {
    expect((await offerFor(one, ["other", ""], true)).words).toEqual([]);
  });
});

test("the arguments and flags that the machine knows are of their kinds", async () => {
  const kinds = async (...typed: string[]) => (await offer(...typed)).kind;
  expect(await kinds("invoke", "fn")).toBe("function");
  expect(await kinds("invoke", "fn.ts", "")).toBeUndefined();
  expect(await kinds("node", "drain", "")).toBe("node");
  expect(await kinds("package", "rm", "")).toBe("package");
  expect(await kinds("package", "push", "")).toBe("file");
  expect(await kinds("help", "")).toBe("command");
  expect(await kinds("test", "--", "")).toBe("file");
  expect(await kinds("bench", "latency", "--module", "x")).toBe("function");
  expect(await kinds("serve", "--cache", "")).toBe("folder");
  for (const command of ["invoke", "ps", "package", "bench"])
    expect(await kinds(command, "--node", "")).toBe("address");
});

describe("a line of bash", () => {
  test.each([
    ["rfaas invoke fn", ["rfaas", "invoke", "fn"]],
    ["rfaas  invoke ", ["rfaas", "invoke", ""]],
    ['rfaas "a b" \'c"d\' e\\ f', ["rfaas", "a b", 'c"d', "e f"]],
    ['rfaas "a\\b\\"c', ["rfaas", 'a\\b"c']],
    ["rfaas ''", ["rfaas", ""]],
    ["", [""]],
    ["rfaas \\", ["rfaas", "\\"]],
  ])("%j has the words %j", (line, expected) => {
    expect(splitLine(line).words).toEqual(expected);
  });

  test("gets back what is behind its last cut, with what the shell would take apart quoted", () => {
    const whole = ["10.0.0.5:7700", "10.0.0.5:7701"];
    expect(forBash(whole, "rfaas ps --node 10.0.0.5:77", "77")).toEqual(["7700", "7701"]);
    expect(forBash(whole, "rfaas ps --node 10.0.0.5:", "")).toEqual(["7700", "7701"]);
    expect(forBash(whole, "rfaas ps --node 1", "1")).toEqual(whole);
    expect(forBash(["--way=left"], "rfaas further --way=l", "l")).toEqual(["left"]);
    expect(forBash(["my fn.ts#a"], "rfaas invoke my\\ fn.ts#", "my\\ fn.ts#")).toEqual([
      "my\\ fn.ts#a",
    ]);
    expect(forBash(["my fn.ts#a"], 'rfaas invoke "my fn.ts#', "my fn.ts#")).toEqual(["my fn.ts#a"]);
    expect(forBash(["$(x);y"], "rfaas invoke ", "")).toEqual(["\\$\\(x\\)\\;y"]);
    expect(forBash(["fn.ts#$a"], 'rfaas invoke "fn.ts#', "fn.ts#")).toEqual(["fn.ts#\\$a"]);
    expect(forBash(["fn.ts#$a"], "rfaas invoke 'fn.ts#", "fn.ts#")).toEqual(["fn.ts#$a"]);
  });
});
