import { afterEach, describe, expect, test } from "bun:test";
import { type Address, defaultAddress, formatAddress, parseAddress } from "../../src/address.ts";
import { UsageError } from "../../src/errors.ts";

describe("parseAddress", () => {
  test.each(["/run/rfaas.sock", "./node.sock", "node.sock", "folder/with:9000", "/tmp/a b.sock"])(
    "takes %p as a socket path",
    (path) => {
      expect(parseAddress(path)).toEqual({ kind: "unix", path });
    },
  );

  test.each<[string, string, number]>([
    ["localhost:9000", "localhost", 9000],
    ["127.0.0.1:1", "127.0.0.1", 1],
    ["node7.cluster.example:65535", "node7.cluster.example", 65535],
    ["[::1]:9000", "::1", 9000],
    ["[fe80::1]:80", "fe80::1", 80],
    ["[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80],
  ])("takes %p as host %p and port %p", (text, host, port) => {
    expect(parseAddress(text)).toEqual({ kind: "tcp", host, port });
  });

  test.each([
    "",
    "localhost",
    "localhost:",
    ":9000",
    "::1:9000",
    "localhost:65536",
    "localhost:100000",
    "localhost:-1",
    "localhost:http",
    "two words:9000",
    "[::1]",
  ])("refuses %p as a usage error that quotes it", (text) => {
    expect(() => parseAddress(text)).toThrow(UsageError);
    expect(() => parseAddress(text)).toThrow(`"${text}" is no address`);
  });
});

describe("formatAddress", () => {
  test.each<[Address, string]>([
    [{ kind: "unix", path: "/run/rfaas.sock" }, "/run/rfaas.sock"],
    [{ kind: "tcp", host: "10.0.0.1", port: 9000 }, "10.0.0.1:9000"],
    [{ kind: "tcp", host: "::1", port: 9000 }, "[::1]:9000"],
  ])("writes %j as %j, which reads back as the same", (address, text) => {
    expect(formatAddress(address)).toBe(text);
    expect(parseAddress(text)).toEqual(address);
  });
});

describe("defaultAddress", () => {
  const before = process.env["XDG_RUNTIME_DIR"];
  afterEach(() => {
    if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = before;
  });

  test("is a socket in the runtime directory of the user", () => {
    process.env["XDG_RUNTIME_DIR"] = "/run/user/1000";
    expect(defaultAddress()).toEqual({ kind: "unix", path: "/run/user/1000/rfaas/node.sock" });
  });

  test.each(["", undefined])(
    "is in a folder of /tmp that carries the user's id when the runtime directory is %p",
    (runtime) => {
      if (runtime === undefined) delete process.env["XDG_RUNTIME_DIR"];
      else process.env["XDG_RUNTIME_DIR"] = runtime;
      const path = `/tmp/rfaas-${process.getuid?.() ?? 0}/node.sock`;
      expect(defaultAddress()).toEqual({ kind: "unix", path });
    },
  );
});
