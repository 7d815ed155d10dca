import { afterEach, describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import {
  addressOption,
  bytesOption,
  durationOption,
  flag,
  polling,
  readOptions,
  size,
  smallSizeOption,
  tcpAddressOption,
  text,
  whole,
} from "../../src/commands/shared/options.ts";
import { UsageError } from "../../src/base/errors.ts";

const Options = Type.Object({
  cores: Type.Optional(whole(1, 1024)),
  outputSize: Type.Optional(size),
  node: Type.Optional(text),
  json: Type.Optional(flag),
  polling: Type.Optional(polling),
  n: Type.Optional(whole(0, 9)),
});

describe("readOptions", () => {
  test("returns what was given, without the words behind --", () => {
    const given = { cores: 4, outputSize: "2MiB", node: "/run/a.sock", json: true, polling: "hot" };
    expect(readOptions(Options, { ...given, "--": ["x"] })).toEqual({ ...given, polling: "hot" });
  });

  test("does not need options that may be left out", () => {
    expect(readOptions(Options, {})).toEqual({});
  });

  test("takes numbers where a text or a size may look like one", () => {
    expect(readOptions(Options, { node: 9000, outputSize: 4096 })).toEqual({
      node: 9000,
      outputSize: 4096,
    });
  });

  test.each<[Record<string, unknown>, string]>([
    [{ cores: 0 }, "--cores must be a whole number from 1 to 1024; it is 0"],
    [{ cores: 1025 }, "--cores must be a whole number from 1 to 1024; it is 1025"],
    [{ cores: 1.5 }, "--cores must be a whole number from 1 to 1024; it is 1.5"],
    [{ cores: "many" }, '--cores must be a whole number from 1 to 1024; it is "many"'],
    [{ cores: true }, "--cores must be a whole number from 1 to 1024; it is true"],
    [{ outputSize: true }, "--output-size must be a size such as 512MiB or 4096; it is true"],
    [{ node: true }, "--node needs a value; it is true"],
    [{ json: "yes" }, '--json takes no value; it is "yes"'],
    [{ polling: "cold" }, '--polling must be hot, warm or adaptive; it is "cold"'],
    [{ n: 10 }, "-n must be a whole number from 0 to 9; it is 10"],
  ])("refuses %j: %s", (given, message) => {
    expect(() => readOptions(Options, given)).toThrow(UsageError);
    expect(() => readOptions(Options, given)).toThrow(message);
  });

  test.each<[string, unknown[]]>([
    ["cores", [1, 2]],
    ["outputSize", ["1k", "2k"]],
    ["node", ["a", "b"]],
    ["json", [true, true]],
    ["polling", ["hot", "hot"]],
  ])("refuses --%s that is given twice", (name, value) => {
    const flag = name === "outputSize" ? "output-size" : name;
    expect(() => readOptions(Options, { [name]: value })).toThrow(UsageError);
    expect(() => readOptions(Options, { [name]: value })).toThrow(
      `--${flag} is given more than once`,
    );
  });

  test("says that an option which must be there is not", () => {
    const Required = Type.Object({ parent: whole(1, 9) });
    expect(() => readOptions(Required, {})).toThrow(UsageError);
    expect(() => readOptions(Required, {})).toThrow(/^--parent /);
  });

  test("names the first of several mistakes", () => {
    expect(() => readOptions(Options, { cores: 0, polling: "cold" })).toThrow(/^--cores /);
  });
});

describe("whole", () => {
  test("includes both of its bounds", () => {
    expect(readOptions(Options, { cores: 1 })).toEqual({ cores: 1 });
    expect(readOptions(Options, { cores: 1024 })).toEqual({ cores: 1024 });
  });
});

describe("numbers", () => {
  test.each(["007", "1e9", "0x10", "+5", "5.0", "1_000", "NaN", "Infinity", ""])(
    "refuses %p, which is not how one is written",
    (cores) => {
      expect(() => readOptions(Options, { cores })).toThrow(
        `--cores must be a whole number from 1 to 1024; it is ${JSON.stringify(cores)}`,
      );
    },
  );

  test("takes a text that is one", () => {
    expect(readOptions(Options, { cores: "4", node: "4", n: "0" })).toEqual({
      ...{ cores: 4, node: "4", n: 0 },
    });
  });
});

describe("durationOption", () => {
  const limits = { bare: "s", minimumMs: 0, maximumMs: 86_400_000 } as const;

  test("is in milliseconds, or nothing when the option was not given", () => {
    expect(durationOption("--drain", "5m", limits)).toBe(300_000);
    expect(durationOption("--drain", "5", limits)).toBe(5_000);
    expect(durationOption("--drain", undefined, limits)).toBeUndefined();
  });

  test.each([
    ["2d", '--drain must be from 0ms to 1d; it is "2d"'],
    [
      "soon",
      "--drain must be a duration such as 500ms, 30s, 5m, 2h or 30d, or a number of seconds",
    ],
    ["-1", "--drain must be a duration"],
  ])("refuses %p", (value, message) => {
    expect(() => durationOption("--drain", value, limits)).toThrow(UsageError);
    expect(() => durationOption("--drain", value, limits)).toThrow(message);
  });
});

describe("smallSizeOption", () => {
  test("takes nothing at all, and no more than its maximum", () => {
    expect(smallSizeOption("--inline-max", "0", 4096)).toBe(0);
    expect(smallSizeOption("--inline-max", "4KiB", 4096)).toBe(4096);
    expect(smallSizeOption("--inline-max", undefined, 4096)).toBeUndefined();
    expect(() => smallSizeOption("--inline-max", "8KiB", 4096)).toThrow("is at most 4 KiB");
  });
});

describe("addressOption", () => {
  const before = process.env["RFAAS_NODE"];
  afterEach(() => {
    if (before === undefined) delete process.env["RFAAS_NODE"];
    else process.env["RFAAS_NODE"] = before;
  });

  test("is what the option says, or else the environment, or nothing", () => {
    process.env["RFAAS_NODE"] = "a:1";
    const at = (host: string) => ({ kind: "tcp", host, port: 1 }) as const;
    expect(addressOption("--node", "b:1", "RFAAS_NODE")).toEqual(at("b"));
    expect(addressOption("--node", undefined, "RFAAS_NODE")).toEqual(at("a"));
    expect(addressOption("--node", undefined)).toBeUndefined();
    process.env["RFAAS_NODE"] = "";
    expect(addressOption("--node", undefined, "RFAAS_NODE")).toBeUndefined();
  });

  test("says which of them is wrong", () => {
    process.env["RFAAS_NODE"] = "tcp://a:1";
    const wrong = (given?: string) => () => addressOption("--node", given, "RFAAS_NODE");
    expect(wrong()).toThrow('RFAAS_NODE: "tcp://a:1" is no address');
    expect(wrong("b")).toThrow('--node: "b" is no address');
    expect(wrong("b")).toThrow(UsageError);
  });

  test("may have to be reached by TCP", () => {
    expect(tcpAddressOption("--manager", "a:1")).toEqual({ kind: "tcp", host: "a", port: 1 });
    expect(() => tcpAddressOption("--manager", "./a.sock")).toThrow(
      "--manager must be HOST:PORT; it is the path ./a.sock",
    );
  });
});

describe("bytesOption", () => {
  test("is the size in bytes, or nothing when the option was not given", () => {
    expect(bytesOption("--memory", "2k")).toBe(2048);
    expect(bytesOption("--memory", 4096)).toBe(4096);
    expect(bytesOption("--memory", undefined)).toBeUndefined();
  });

  test("names the option when it is no size", () => {
    expect(() => bytesOption("--memory", "lots")).toThrow(UsageError);
    expect(() => bytesOption("--memory", "lots")).toThrow(/^--memory must be a size.*"lots"/);
  });
});
