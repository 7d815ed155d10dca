/** Tables of commands, as a terminal shows them. */
import { expect, test } from "bun:test";
import { logLine, padded, printable, table } from "../../src/commands/shared/table.ts";

test("columns of text begin, and columns of numbers end, at one place of a terminal", () => {
  const rows = [
    ["name", "user", "cores"],
    ["価格.ts", "zoë", "8"],
    ["👩‍👩‍👧.ts", "ada", "128"],
    ["e\u0301.ts", "b", "1"],
  ];
  const lines = table(rows, 2).trimEnd().split("\n");
  const columnOf = (line: string, what: string): number =>
    Bun.stringWidth(line.slice(0, line.lastIndexOf(what)));
  expect(lines.map((line, i) => columnOf(line, rows[i]![1]!))).toEqual([9, 9, 9, 9]);
  expect(lines.map((line) => Bun.stringWidth(line))).toEqual([20, 20, 20, 20]);
});

test("a line ends with its last cell", () => {
  expect(table([["name"], ["a"]])).toBe("name\na\n");
});

test("what is wider than its place is left as it is", () => {
  expect([padded("価格", 6), padded("価格", 6, "start"), padded("価格", 3)]).toEqual([
    "価格  ",
    "  価格",
    "価格",
  ]);
});

test("text of others moves no cursor", () => {
  expect(printable("a\u001b[31m\u202eb\n")).toBe("a?[31m?b?");
});

test("a line of a log that foreign text is in stays one line, without what a terminal obeys", () => {
  expect(
    logLine("hello\nℹ lease 999 granted\x1b[2J\r\u009b1m\u202ereversed\u2028next\tin a column"),
  ).toBe(
    "hello\\nℹ lease 999 granted\\u001b[2J\\u000d\\u009b1m\\u202ereversed\\u2028next\tin a column",
  );
});
