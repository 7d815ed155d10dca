/** Addresses that are read and written back are the same, and nothing that is read can name what nobody meant. */
import { expect, test } from "bun:test";
import { isIPv6 } from "node:net";
import fc from "fast-check";
import { MAX_SOCKET_PATH_BYTES, formatAddress, parseAddress } from "../../src/control/address.ts";
import { UsageError } from "../../src/base/errors.ts";
import { type Fingerprint, readFingerprint } from "../../src/trust/fingerprint.ts";

const port = fc.integer({ min: 0, max: 65535 });
const label = fc.stringMatching(/^[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?$/);
const name = fc
  .array(label, { minLength: 1, maxLength: 4 })
  .map((labels) => labels.join("."))
  .filter((host) => !/^[\d.]+$/.test(host));
const scope = fc.stringMatching(/^[a-z0-9_.-]{1,15}$/);
const scoped = fc
  .tuple(fc.ipV6(), fc.option(scope))
  .map(([ip, scope]) => (scope ? `${ip}%${scope}` : ip));
const host = fc.oneof(fc.ipV4(), name, scoped);

const fingerprint = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes): Fingerprint => `sha256:${bytes.toHex()}`);
const pin = fc.record({ of: fc.constantFrom("ca", "key"), fingerprint });
const secure = fc.oneof(
  fc.constant({}),
  fc.constant({ secure: {} }),
  pin.map((pin) => ({ secure: { pin } })),
);

test("every host and port is read back as it was written, with whom it trusts", () => {
  fc.assert(
    fc.property(host, port, secure, (host, port, secure) => {
      const address = { kind: "tcp", host, port, ...secure } as const;
      expect(parseAddress(formatAddress(address))).toEqual(address);
    }),
  );
});

test("a fingerprint is read in upper or lower case, with or without colons", () => {
  fc.assert(
    fc.property(fingerprint, fc.boolean(), fc.boolean(), (fingerprint, upper, colons) => {
      const [scheme, digits = ""] = fingerprint.split(":");
      const shown = colons ? digits.match(/../g)!.join(":") : digits;
      const text = `${scheme}:${shown}`;
      expect(readFingerprint(upper ? text.toUpperCase() : text)).toBe(fingerprint);
    }),
  );
});

test("an IPv6 address without brackets is read in the one way that there is, or refused", () => {
  fc.assert(
    fc.property(scoped, port, (host, port) => {
      const text = `${host}:${port}`;
      if (isIPv6(text) && !host.includes("%")) expect(() => parseAddress(text)).toThrow("brackets");
      else expect(parseAddress(text)).toEqual({ kind: "tcp", host, port });
    }),
  );
});

test("whatever text is given, it is refused as a usage error, or what was read reads the same again", () => {
  const piece = fc.constantFrom(
    ...[
      "tcp",
      "rfaas",
      "?key=",
      `sha256:${"ab".repeat(32)}`,
      "unix",
      "C",
      ":",
      "//",
      "/",
      "\\",
      "[",
      "]",
      "%",
      "::1",
      "eth0",
      "@",
      "~",
      ".",
      "..",
    ],
    ...["7700", "0", "-1", " ", "\n", "\0", "é", "*", ".sock", "node"],
  );
  const text = fc.oneof(
    fc.array(piece, { maxLength: 8 }).map((parts) => parts.join("")),
    fc.string(),
  );
  fc.assert(
    fc.property(text, (text) => {
      let address;
      try {
        address = parseAddress(text);
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
        return;
      }
      expect(parseAddress(formatAddress(address))).toEqual(address);
      if (address.kind === "tcp") {
        expect(address.host).toMatch(/^[\w.:%-]+$/);
        expect(address.port).toBeLessThan(65536);
      } else {
        // No folder is ever made of a scheme, a host or a home that the shell has left.
        expect(address.path.split("/")[0]).not.toMatch(/^[~@]|:/);
        expect(Buffer.byteLength(address.path)).toBeLessThanOrEqual(MAX_SOCKET_PATH_BYTES);
        expect(address.path.split("/").at(-1)).not.toMatch(/^\.{0,2}$/);
      }
    }),
    { numRuns: 5_000 },
  );
});
