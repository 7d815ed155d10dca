import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EnvironmentError, UsageError } from "../../src/base/errors.ts";
import { fingerprintOf, readFingerprint } from "../../src/trust/fingerprint.ts";
import { pinnedCa } from "../../src/trust/pinned-ca.ts";

const HEX = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const COLONS = HEX.toUpperCase().match(/../g)!.join(":");

test("a fingerprint is the SHA-256 of the bytes", () => {
  expect(fingerprintOf(Buffer.from("abc"))).toBe(`sha256:${HEX}`);
});

describe("readFingerprint", () => {
  test.each([`sha256:${HEX}`, `SHA256:${HEX.toUpperCase()}`, `sha256:${COLONS}`])(
    "reads %s",
    (text) => {
      expect(readFingerprint(text)).toBe(`sha256:${HEX}`);
    },
  );

  test.each([
    ...["", "sha256:", HEX, `sha1:${HEX}`, `sha256:${HEX}0`, `sha256:${HEX.slice(1)}`],
    ...[`sha256:${HEX.slice(1)}g`, `sha256:${COLONS}:`, `sha256::${COLONS}`],
    ...[`sha256:${HEX.slice(0, 2)}:${HEX.slice(2)}`, ` sha256:${HEX}`, `sha256:${HEX}\n`],
  ])("refuses %j", (text) => {
    expect(readFingerprint(text)).toBeUndefined();
  });
});

describe("RFAAS_CA", () => {
  test("is a fingerprint, or nothing", () => {
    expect(pinnedCa(`sha256:${COLONS}`)).toEqual({ of: "ca", fingerprint: `sha256:${HEX}` });
    expect(pinnedCa("")).toBeUndefined();
  });

  test("is the path of a certificate, of which it takes the fingerprint", () => {
    const folder = mkdtempSync(join(tmpdir(), "rfaas-ca-"));
    try {
      const path = join(folder, "ca.pem");
      const base64 = Buffer.from("abc").toString("base64");
      writeFileSync(path, `x\n-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`);
      expect(pinnedCa(path)?.fingerprint).toBe(`sha256:${HEX}`);
      writeFileSync(path, "no certificate");
      expect(() => pinnedCa(path)).toThrow(UsageError);
      expect(() => pinnedCa(join(folder, "gone.pem"))).toThrow(EnvironmentError);
      expect(() => pinnedCa("sha256:abc")).toThrow("64 hexadecimal digits");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
