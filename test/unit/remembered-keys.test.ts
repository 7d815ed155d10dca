/** `known_nodes`: keys that were met, by several programs at once, in files that people edit. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KeyChanged } from "../../src/base/errors.ts";
import { showWarningsBy } from "../../src/base/warnings.ts";
import type { Fingerprint } from "../../src/trust/fingerprint.ts";
import { forget, knownNodesFile, meet } from "../../src/trust/remembered-keys.ts";

const MODULE = join(import.meta.dir, "../../src/trust/remembered-keys.ts");
const keyNamed = (digit: string): Fingerprint => `sha256:${digit.repeat(64)}`;
const A = keyNamed("a");
const B = keyNamed("b");

let folder: string;
let file: string;
let said: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rfaas-known-"));
  file = join(folder, "deep", "known_nodes");
  said = [];
  showWarningsBy((message, level) => void said.push(`${level}: ${message}`));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The error of meeting what is not remembered there. */
function changed(place: string, key: Fingerprint): KeyChanged {
  try {
    meet(place, key, file);
  } catch (error) {
    if (error instanceof KeyChanged) return error;
    throw error;
  }
  throw new Error("it was taken for the one that was met");
}

describe("a key", () => {
  test("is remembered once, in a file of the user alone, and said so in one line", () => {
    meet("node1:7700", A, file);
    meet("node1:7700", A, file);
    expect(readFileSync(file, "utf8")).toBe(`node1:7700 ${A}\n`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(said).toEqual([
      `info: the node at node1:7700 is new to you: its key ${A} is remembered in ${file}`,
    ]);
  });

  test("that has changed is refused with both, the file and the command that forgets", () => {
    meet("node1:7700", A, file);
    const error = changed("node1:7700", B);
    expect(error).toMatchObject({ seen: B, remembered: A, file, address: "node1:7700" });
    for (const part of [A, B, file, "rfaas node forget node1:7700"])
      expect(error.message).toContain(part);
    expect(readFileSync(file, "utf8")).not.toContain(B);
  });

  test("is of one host and port, in upper and lower case", () => {
    meet("Node1:7700", A, file);
    meet("node1:7701", B, file);
    meet("[::1]:7700", B, file);
    expect(changed("NODE1:7700", B).remembered).toBe(A);
  });

  test("is forgotten by name, and another one remembered", () => {
    meet("node1:7700", A, file);
    meet("node2:7700", A, file);
    expect(forget("NODE1:7700", file)).toBe(A);
    expect(forget("node1:7700", file)).toBeUndefined();
    meet("node1:7700", B, file);
    expect(changed("node1:7700", A).remembered).toBe(B);
    expect(changed("node2:7700", B).remembered).toBe(A);
  });
});

describe("the file", () => {
  test("may have comments, empty lines and lines that are damaged, which are told of", () => {
    meet("node1:7700", A, file);
    appendFileSync(file, `# mine\n\nnode2:7700 sha256:12\nnode3:7700\nnode4:7700 ${B} more\n`);
    said = [];
    meet("node1:7700", A, file);
    expect(said.map((line) => /^warn: line (\d) of/.exec(line)?.[1])).toEqual(["4", "5", "6"]);
    expect(() => meet("node1:7700", B, file)).toThrow(KeyChanged);
  });

  test("that ends within a line costs that line alone", () => {
    meet("node1:7700", A, file);
    appendFileSync(file, `node2:7700 ${B.slice(0, 20)}`);
    meet("node3:7700", B, file);
    expect(changed("node3:7700", A).remembered).toBe(B);
    expect(changed("node1:7700", B).remembered).toBe(A);
  });

  test("that cannot be written hinders nothing, and is told of", () => {
    writeFileSync(join(folder, "deep"), "a file in the place of the folder");
    meet("node1:7700", A, file);
    expect(said.some((line) => line.includes("cannot be remembered"))).toBe(true);
    expect(said.every((line) => line.startsWith("warn: "))).toBe(true);
  });

  test("is in the user's folder for settings", () => {
    const before = process.env["XDG_CONFIG_HOME"];
    try {
      process.env["XDG_CONFIG_HOME"] = "/a";
      expect(knownNodesFile()).toBe("/a/rfaas/known_nodes");
      delete process.env["XDG_CONFIG_HOME"];
      expect(knownNodesFile()).toEndWith("/.config/rfaas/known_nodes");
    } finally {
      if (before !== undefined) process.env["XDG_CONFIG_HOME"] = before;
    }
  });
});

test("of programs that meet different keys at one place at once, those with one key go on", async () => {
  const keys = [A, B, keyNamed("c"), keyNamed("d")];
  const program = (key: string) => `
    import { meet } from ${JSON.stringify(MODULE)};
    await Bun.stdin.text();
    for (let i = 0; i < 20; i++) meet("own" + i + process.pid + ":1", "${A}", ${JSON.stringify(file)});
    meet("node1:7700", "${key}", ${JSON.stringify(file)});`;
  const programs = [...keys, ...keys].map((key) =>
    Bun.spawn([process.execPath, "-e", program(key)], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
    }),
  );
  // All begin together, once they are there.
  for (const { stdin } of programs) await stdin.end();
  const codes = await Promise.all(programs.map(({ exited }) => exited));
  const right = keys.filter((_, i) => codes[i] === 0);
  expect(right).toHaveLength(1);
  expect(codes.slice(4)).toEqual(codes.slice(0, 4));
  const lines = readFileSync(file, "utf8").trim().split("\n");
  expect(lines.every((line) => /^\S+:\d+ sha256:[0-9a-f]{64}$/.test(line))).toBe(true);
  expect(lines.filter((line) => line.startsWith("own"))).toHaveLength(20 * programs.length);
  expect(lines.find((line) => line.startsWith("node1:7700 "))).toBe(`node1:7700 ${right[0]}`);
});
