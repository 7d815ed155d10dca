/** Which machines rfaas runs on, and the mark of processes that it starts. */
import { afterEach, describe, expect, test } from "bun:test";
import { markOf, withMark, withoutMark } from "../../src/base/program/marker.ts";
import { hostedEnvironment } from "../../src/base/process.ts";
import { type Machine, platformPackage, platformRefusal } from "../../src/base/program/platform.ts";

const GLIBC = "/lib64/ld-linux-x86-64.so.2";
const MUSL = "/lib/ld-musl-x86_64.so.1";

const machine = (system: string, cpu: string, ...files: string[]): Machine => ({
  system,
  cpu,
  exists: (path) => files.includes(path),
});

describe("a machine", () => {
  test.each([
    [machine("linux", "x64", GLIBC), "@rfaas/linux-x64"],
    [machine("linux", "arm64", "/lib/ld-linux-aarch64.so.1"), "@rfaas/linux-arm64"],
    // Debian's package "musl" brings a second C library.
    [machine("linux", "x64", GLIBC, MUSL), "@rfaas/linux-x64"],
    // NixOS has neither loader at its usual place.
    [machine("linux", "x64"), "@rfaas/linux-x64"],
  ])("of Linux with glibc has a package: %j", (of, name) => {
    expect(platformRefusal(of)).toBeUndefined();
    expect(platformPackage(of)).toBe(name);
  });

  test.each([
    ["with musl", machine("linux", "x64", MUSL), /needs glibc.*musl.*an image with glibc, such as/],
    ["of Apple's", machine("darwin", "arm64"), /Linux only, and this is macOS; .*Linux machine/],
    ["with Windows", machine("win32", "x64"), /this is Windows; .*WSL 2/],
    ["with FreeBSD", machine("freebsd", "x64"), /this is freebsd/],
    ["with another CPU", machine("linux", "riscv64"), /x64 and arm64, and this one is riscv64/],
  ])("%s is told in one sentence what to do", (_, of, says) => {
    expect(platformRefusal(of)).toMatch(says);
    expect(platformRefusal(of)).not.toContain(". ");
    expect(platformPackage(of)).toBeUndefined();
  });
});

test("a mark is read as it was written, and none is left in what children of others get", () => {
  const mark = { role: "__node", version: "1.2.3" };
  const marked = withMark({ HOME: "/" }, mark);
  expect(markOf(marked)).toEqual(mark);
  expect(withoutMark(marked)).toEqual({ HOME: "/" });
  expect(markOf({ HOME: "/" })).toBeUndefined();
  expect(markOf({ RFAAS_CHILD: "" })).toBeUndefined();
});

describe("the environment of functions", () => {
  const TOKENS = ["RFAAS_TOKEN", "RFAAS_JOIN_TOKEN"];
  const before = { ...process.env };
  afterEach(() => {
    for (const name of TOKENS)
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
  });

  test.each(TOKENS)("has not the node's %s", (name) => {
    process.env[name] = "secret";
    expect(hostedEnvironment()).not.toHaveProperty(name);
    expect(hostedEnvironment()["PATH"]).toBe(before["PATH"]);
  });
});
