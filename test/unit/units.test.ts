import { describe, expect, test } from "bun:test";
import { UsageError } from "../../src/base/errors.ts";
import {
  countOf,
  formatBytes,
  formatDuration,
  parseBytes,
  parseDuration,
  parseMoment,
} from "../../src/base/units.ts";

describe("parseBytes", () => {
  test.each([
    ["1", 1],
    ["4096", 4096],
    ["64b", 64],
    ["64k", 64 * 1024],
    ["64KiB", 64 * 1024],
    ["64kB", 64_000],
    ["512MiB", 512 * 1024 ** 2],
    ["512m", 512 * 1024 ** 2],
    ["3MB", 3_000_000],
    ["2GiB", 2 * 1024 ** 3],
    ["2g", 2 * 1024 ** 3],
    ["2GB", 2_000_000_000],
    ["1.5 MB", 1_500_000],
    ["1.5GiB", 1.5 * 1024 ** 3],
    ["2TiB", 2 * 1024 ** 4],
    ["1TB", 1e12],
    ["  8 KIB  ", 8192],
  ])("reads %p as %p bytes", (size, bytes) => {
    expect(parseBytes(size, "memory")).toBe(bytes);
  });

  test("takes a plain number as bytes", () => {
    expect(parseBytes(4096, "memory")).toBe(4096);
    expect(parseBytes(Number.MAX_SAFE_INTEGER, "memory")).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("drops what is less than a byte", () => {
    expect(parseBytes("1.0005 KiB", "memory")).toBe(1024);
    expect(parseBytes(2.75, "memory")).toBe(2);
  });

  test.each([
    "",
    " ",
    "0",
    "0GiB",
    "0.5",
    "-1",
    "+1",
    "1e3",
    "0x10",
    ".5k",
    "1.k",
    "1,5k",
    "k",
    "5 apples",
    "5 constructor",
    "NaN",
    "Infinity",
    "9007199254740992",
    "9000000GiB",
  ])("refuses %p as a usage error that quotes it", (size) => {
    expect(() => parseBytes(size, "memory")).toThrow(UsageError);
    expect(() => parseBytes(size, "memory")).toThrow(JSON.stringify(size));
  });

  test.each([0, -4096, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e21])(
    "refuses the number %p",
    (size) => {
      expect(() => parseBytes(size, "memory")).toThrow(UsageError);
    },
  );

  test("names the value in the error", () => {
    expect(() => parseBytes("much", "--output-size")).toThrow(/^--output-size must be a size/);
  });
});

describe("formatBytes", () => {
  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [4 * 1024 ** 2, "4 MiB"],
    [1.5 * 1024 ** 3, "1.5 GiB"],
    [1024 ** 4, "1 TiB"],
    [1024 ** 5, "1024 TiB"],
  ])("writes %p as %p", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test("writes whole sizes so that they can be read again", () => {
    for (const bytes of [1, 1000, 64 * 1024, 512 * 1024 ** 2, 8 * 1024 ** 3])
      expect(parseBytes(formatBytes(bytes), "memory")).toBe(bytes);
  });
});

test("decimal fractions of decimal units lose no byte", () => {
  expect(parseBytes("1.001kB", "x")).toBe(1001);
  expect(parseBytes("1.001MB", "x")).toBe(1_001_000);
  expect(parseBytes("1.001GB", "x")).toBe(1_001_000_000);
});

describe("parseDuration", () => {
  test.each([
    ["250ms", 250],
    ["30s", 30_000],
    ["5m", 300_000],
    ["5min", 300_000],
    ["2h", 7_200_000],
    ["1.5h", 5_400_000],
    ["30d", 30 * 86_400_000],
    ["2w", 14 * 86_400_000],
    [" 1 s ", 1000],
    ["0s", 0],
    ["0.0015s", 1],
    ["1.001s", 1001],
  ])("reads %p as %p ms", (duration, ms) => {
    expect(parseDuration(duration, "--ttl")).toBe(ms);
  });

  test.each(["", "30", 30, "s", "-1s", "1 year", "1e3s", "1s 5m", "constructor", "9e9w", "1S"])(
    "refuses %p",
    (duration) => {
      expect(() => parseDuration(duration, "--ttl")).toThrow(UsageError);
    },
  );

  test("names the value, and says what it may be", () => {
    expect(() => parseDuration("soon", "--ttl")).toThrow(
      '--ttl must be a duration such as 500ms, 30s, 5m, 2h or 30d; it is "soon"',
    );
  });

  test.each<[string | number, "ms" | "s", number]>([
    ["30", "s", 30_000],
    [30, "s", 30_000],
    ["1.5", "s", 1_500],
    [" 30 ", "s", 30_000],
    ["250", "ms", 250],
    ["5s", "ms", 5_000],
    ["250ms", "s", 250],
  ])("reads %p as %s where that is the unit of a bare number", (duration, bare, ms) => {
    expect(parseDuration(duration, "--drain", bare)).toBe(ms);
  });

  test.each(["", "s", "-1", "1e3", "0x10", "NaN", "Infinity", "5 s s", "1,5"])(
    "refuses %p, bare numbers or not, and says what one would be",
    (duration) => {
      expect(() => parseDuration(duration, "--drain", "s")).toThrow(UsageError);
      expect(() => parseDuration(duration, "--drain", "s")).toThrow(
        "or a number of seconds; it is",
      );
    },
  );

  test("refuses what no number holds exactly", () => {
    expect(() => parseDuration(`${"9".repeat(20)}w`, "--ttl")).toThrow(UsageError);
  });
});

test.each([
  [0, "0ms"],
  [1, "1ms"],
  [1_500, "1500ms"],
  [90_000, "90s"],
  [300_000, "5m"],
  [7_200_000, "2h"],
  [86_400_000, "1d"],
])("a duration of %p ms is written as %p, and read again", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
  expect(parseDuration(text, "x")).toBe(ms);
});

describe("parseMoment", () => {
  const now = Date.UTC(2026, 2, 10, 12);

  test.each([
    ["2026-03-01", Date.UTC(2026, 2, 1)],
    ["2026-03-01T12:30", Date.UTC(2026, 2, 1, 12, 30)],
    ["2026-03-01 12:30:15", Date.UTC(2026, 2, 1, 12, 30, 15)],
    ["2026-03-01T12:30:15.250Z", Date.UTC(2026, 2, 1, 12, 30, 15, 250)],
    ["2026-03-01T12:30:00+02:00", Date.UTC(2026, 2, 1, 10, 30)],
    ["7d", Date.UTC(2026, 2, 3, 12)],
    ["90m", Date.UTC(2026, 2, 10, 10, 30)],
  ])("reads %p", (moment, ms) => {
    expect(parseMoment(moment, "--since", now)).toBe(ms);
  });

  test.each(["", "yesterday", "2026", 2026, "2026-13-01", "2026-02-30", "2026-03-01T25:00", "-7d"])(
    "refuses %p",
    (moment) => {
      expect(() => parseMoment(moment, "--since", now)).toThrow(/^--since must be a date, a time/);
    },
  );
});

test("countOf names one, and several", () => {
  expect([0, 1, 2].map((count) => countOf(count, "core"))).toEqual([
    "0 cores",
    "1 core",
    "2 cores",
  ]);
  expect([1, 2].map((count) => countOf(count, "query", "queries"))).toEqual([
    "1 query",
    "2 queries",
  ]);
});
