/** What is touched to add a control message: its declaration, the place that says or asks it, and its handler. A further place fails here. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Declared, isRequest } from "../../src/protocol/declare.ts";
import * as host from "../../src/protocol/host-messages.ts";
import * as manager from "../../src/protocol/manager-messages.ts";
import * as node from "../../src/protocol/messages.ts";

const ROOT = join(import.meta.dir, "..", "..");
/** Plays the agent of its own host, and says a lease's usual messages. */
const REHEARSAL = "src/executor/host/rehearsal.ts";
const sources = new Map(
  [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)]
    .filter((path) => path !== REHEARSAL)
    .map((path) => [path, readFileSync(join(ROOT, path), "utf8")]),
);

/** Who talks over a link, by folder: a name may mean something else between others. */
const links: [name: string, messages: readonly Declared[], folders: string[]][] = [
  [
    "client and node",
    [...node.clientMessages, ...node.nodeMessages],
    ["src/client/node/", "src/executor/agent/", "src/executor/packages/"],
  ],
  [
    "agent and host",
    [...host.agentMessages, ...host.hostMessages],
    ["src/executor/agent/", "src/executor/host/"],
  ],
  [
    "node and manager",
    [manager.Announce, ...manager.nodeToManager, ...manager.managerToNode],
    ["src/executor/accounts/", "src/manager/"],
  ],
  [
    "a node that enrols and manager",
    // `refused` is said and heard as between a node that has joined and the manager.
    [manager.Enrol, ...manager.managerToNewcomer.filter(({ name }) => name !== "refused")],
    ["src/executor/membership/", "src/manager/"],
  ],
  [
    "client and manager",
    [manager.Subscribe, ...manager.clientToManager, ...manager.managerToClient],
    ["src/client/cluster/", "src/manager/"],
  ],
];

const DECLARATION = /const (\w+) = (?:notice|request)\(\s*"([\w-]+)"/g;
const declarations = [...sources].flatMap(([, source]) =>
  [...source.replace(/^ \*.*$/gm, "").matchAll(DECLARATION)].map(([, constant, name]) => ({
    constant: constant!,
    name: name!,
  })),
);

/** The tables of handlers in a file, each up to its closing brace. */
const handlers = (source: string): string[] =>
  source
    .split("Handlers<typeof")
    .slice(1)
    .map((table) => table.split("\n  }")[0]!);

/** Files of these folders that say a message, ask a request, or do something when it comes. */
function places({ name }: Declared, folders: readonly string[]): string[] {
  const constants = declarations.filter((one) => one.name === name).map((one) => one.constant);
  const says = new RegExp(
    [
      String.raw`\bt: "${name}"|\bmessage\.t [!=]== "${name}"`,
      String.raw`switch \(message\.t\)[^]*case "${name}"`,
      String.raw`\bask\(\s*(?:${constants.join("|")})\b`,
    ].join("|"),
  );
  const handles = new RegExp(String.raw`^\s*(?:"${name}"|${name})(?::|\()`, "m");
  return [...sources]
    .filter(([path]) => folders.some((folder) => path.startsWith(folder)))
    .filter(([, source]) => says.test(source) || handlers(source).some((one) => handles.test(one)))
    .map(([path]) => path);
}

describe.each(links)("between %s", (_, messages, folders) => {
  test("a message has a declaration, a place that says it and one that hears it, and no other", () => {
    const many = messages
      .map((message) => [message.name, places(message, folders)] as const)
      .filter(([, found]) => found.length !== 2);
    expect(many).toEqual([]);
  });

  test("names are unique, and no message is called as if it were an answer", () => {
    const names = messages.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => name.endsWith("-reply") || name === "failed")).toEqual([]);
  });
});

test("every message that is declared belongs to a link", () => {
  const linked = new Set(links.flatMap(([, messages]) => messages.map(({ name }) => name)));
  expect(declarations.map(({ name }) => name).filter((name) => !linked.has(name))).toEqual([]);
  expect(declarations.length).toBeGreaterThan(40);
  expect(links.flatMap(([, messages]) => messages).filter(isRequest).length).toBeGreaterThan(15);
});
