import { afterEach, describe, expect, test } from "bun:test";
import {
  type Address,
  type TcpAddress,
  defaultAddress,
  formatAddress,
  isLoopback,
  parseAddress,
} from "../../src/control/address.ts";
import { UsageError } from "../../src/base/errors.ts";

const FINGERPRINT = `sha256:${"ab".repeat(32)}` as const;

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
    ["[fe80::1%eth0]:7700", "fe80::1%eth0", 7700],
    ["[fe80::1%2]:7700", "fe80::1%2", 7700],
    ["fe80::1%eth0:7700", "fe80::1%eth0", 7700],
    ["1:2:3:4:5:6:7:8:9000", "1:2:3:4:5:6:7:8", 9000],
    ["0.0.0.0:0", "0.0.0.0", 0],
    ["node_7.cluster.:80", "node_7.cluster.", 80],
    ["bücher.example:80", "xn--bcher-kva.example", 80],
  ])("takes %p as host %p and port %p", (text, host, port) => {
    expect(parseAddress(text)).toEqual({ kind: "tcp", host, port });
  });

  test.each<[string, TcpAddress]>([
    ["rfaas://node1:7700", { kind: "tcp", host: "node1", port: 7700, secure: {} }],
    ["RFAAS://[::1]:7700/", { kind: "tcp", host: "::1", port: 7700, secure: {} }],
    [
      `rfaas://node1:7700?key=${FINGERPRINT}`,
      {
        ...{ kind: "tcp", host: "node1", port: 7700 },
        secure: { pin: { of: "key", fingerprint: FINGERPRINT } },
      },
    ],
    [
      `rfaas://10.0.0.1:7800/?ca=SHA256:${"AB:".repeat(31)}AB`,
      {
        ...{ kind: "tcp", host: "10.0.0.1", port: 7800 },
        secure: { pin: { of: "ca", fingerprint: FINGERPRINT } },
      },
    ],
  ])("takes %p as one for TLS", (text, address) => {
    expect(parseAddress(text)).toEqual(address);
  });

  test.each([
    ["unix:/run/rfaas.sock", "/run/rfaas.sock"],
    ["unix:///run/rfaas.sock", "/run/rfaas.sock"],
    ["unix:node.sock", "node.sock"],
    ["unix:node", "./node"],
    // Without it, what is written of it would have a space around it.
    ["unix: /node.sock", "./ /node.sock"],
    ["./tcp:odd/node.sock", "./tcp:odd/node.sock"],
    [`/${"x".repeat(106)}`, `/${"x".repeat(106)}`],
  ])("takes %p as the socket path %p", (text, path) => {
    expect(parseAddress(text)).toEqual({ kind: "unix", path });
  });

  test.each([
    ["", "it is empty"],
    ["localhost", "has no port"],
    ["localhost:", "is no port"],
    [":9000", "has no host"],
    ["::1:9000", "brackets"],
    ["localhost:65536", "is no port"],
    ["localhost:100000", "is no port"],
    ["localhost:-1", "is no port"],
    ["localhost:+1", "is no port"],
    ["localhost:1e3", "is no port"],
    ["localhost:0x50", "is no port"],
    ["localhost:http", "is no port"],
    ["two words:9000", "no host's name"],
    ["[::1]", "has no port"],
    ["[::1", "is no address"],
    ["[localhost]:80", "no IPv6 address"],
    ["[fe80::1%]:80", "no IPv6 address"],
    ["[fe80::1%a%b]:80", "no IPv6 address"],
    ["10.0.0.1%eth0:80", "no host's name"],
    ["300.1.1.1:80", "no IPv4 address"],
    ["1.2.3:80", "no IPv4 address"],
    ["*:80", "no host's name"],
    ["-a:80", "no host's name"],
    ["a..b:80", "no host's name"],
    [`${"a".repeat(254)}:80`, "no host's name"],
    ["＊:80", "no host's name"],
    ["tcp://host:1", 'nothing is reached by "tcp:"'],
    [
      `host:1?key=${FINGERPRINT}`,
      `what follows ? is for rfaas://; write rfaas://host:1?key=${FINGERPRINT}`,
    ],
    ["rfaas://host", "has no port"],
    ["rfaas://", "has no port"],
    ["rfaas:///run/node.sock", "has no port"],
    ["rfaas://host:1/x", "is no port"],
    ["rfaas://host:1?", "?ca=sha256:HEX"],
    ["rfaas://host:1?key", "is no fingerprint"],
    ["rfaas://host:1?key=sha256:12", "is no fingerprint"],
    ["rfaas://host:1?token=x", "?ca=sha256:HEX"],
    [`rfaas://host:1?key=${FINGERPRINT}&ca=${FINGERPRINT}`, "is no fingerprint"],
    ["http://host:1/x", 'nothing is reached by "http:"'],
    ["https://[::1]:1", 'nothing is reached by "https:"'],
    ["file:///run/node.sock", 'nothing is reached by "file:"'],
    ["rfaas+tcp://host:1", "nothing is reached by"],
    ["tcp:/host", 'nothing is reached by "tcp:"'],
    ["tcp:node.sock", 'nothing is reached by "tcp:"'],
    ["tcp:host:1", "is no host"],
    ["C:\\run\\node.sock", 'nothing is reached by "C:"'],
    ["C:/run/node.sock", 'nothing is reached by "C:"'],
    ["host:7700/", 'nothing is reached by "host:"'],
    ["unix:", "names no file"],
    ["unix://node.sock", "a path from the root"],
    ["unix:tcp:node.sock", "begin the path with ./"],
    // Of these, the one that makes names for DNS would keep what is before the \\ and the #, or make a scheme.
    ["node\\ë:80", "no host's name"],
    ["node#ë:80", "no host's name"],
    ["ｕｎｉｘ:80", "no host's name"],
    ["unix:@node.sock", "has no owner"],
    ["@node", "has no owner"],
    ["/", "names no file"],
    ["/tmp/", "names no file"],
    ["../..", "names no file"],
    ["~/node.sock", "$HOME"],
    [`/${"x".repeat(107)}`, "has 108 bytes and a socket's has at most 107"],
    [`${"é".repeat(52)}.sock`, "has 109 bytes"],
    [" localhost:80", "space around it"],
    ["localhost:80 ", "space around it"],
  ])("refuses %p as a usage error that quotes it and says why", (text, why) => {
    expect(() => parseAddress(text)).toThrow(UsageError);
    expect(() => parseAddress(text)).toThrow(`"${text}" is no address: `);
    expect(() => parseAddress(text)).toThrow(why);
  });

  test.each(["localhost:80\n", "node\0.sock", "a\u200bb:80"])(
    "refuses %j, and shows what a terminal would not",
    (text) => {
      expect(() => parseAddress(text)).toThrow(`${JSON.stringify(text)} is no address`);
    },
  );
});

describe("formatAddress", () => {
  test.each<[Address, string]>([
    [{ kind: "unix", path: "/run/rfaas.sock" }, "/run/rfaas.sock"],
    [{ kind: "tcp", host: "10.0.0.1", port: 9000 }, "10.0.0.1:9000"],
    [{ kind: "tcp", host: "::1", port: 9000 }, "[::1]:9000"],
    [{ kind: "tcp", host: "fe80::1%eth0", port: 9000 }, "[fe80::1%eth0]:9000"],
    [{ kind: "tcp", host: "::1", port: 9000, secure: {} }, "rfaas://[::1]:9000"],
    [
      {
        ...{ kind: "tcp", host: "node1", port: 9000 },
        secure: { pin: { of: "ca", fingerprint: FINGERPRINT } },
      },
      `rfaas://node1:9000?ca=${FINGERPRINT}`,
    ],
  ])("writes %j as %j, which reads back as the same", (address, text) => {
    expect(formatAddress(address)).toBe(text);
    expect(parseAddress(text)).toEqual(address);
  });
});

describe("isLoopback", () => {
  test.each(["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])(
    "knows %s",
    (host) => {
      expect(isLoopback(host)).toBe(true);
    },
  );

  test.each([
    "127.example",
    "localhost.example",
    "10.0.0.1",
    "::2",
    "0.0.0.0",
    "::",
    "::ffff:10.0.0.1",
  ])("does not take %s for it", (host) => {
    expect(isLoopback(host)).toBe(false);
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
