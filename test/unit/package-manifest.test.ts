import { describe, expect, test } from "bun:test";
import { PackageInvalid } from "../../src/base/errors.ts";
import {
  type PackageFile,
  encodeManifest,
  hashOf,
  makeManifest,
  packageNamed,
  parseManifest,
  pathFault,
} from "../../src/package/contents/manifest.ts";

const SHA = "ab".repeat(32);
const file = (path: string, over: Partial<PackageFile> = {}): PackageFile => ({
  path,
  bytes: 3,
  sha256: SHA,
  executable: false,
  ...over,
});
const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe("a manifest", () => {
  test("is the same bytes in whatever order its files and their fields are given", () => {
    const one = makeManifest("fn.ts", "fn.js", [file("fn.js"), file("a/b.bin"), file("Z")]);
    const { path, bytes, sha256, executable } = file("a/b.bin");
    const other = makeManifest("fn.ts", "fn.js", [
      file("Z"),
      { executable, sha256, bytes, path },
      file("fn.js"),
    ]);
    expect(encodeManifest(other)).toEqual(encodeManifest(one));
    expect(one.files.map((each) => each.path)).toEqual(["Z", "a/b.bin", "fn.js"]);
    expect(hashOf(encodeManifest(one))).toMatch(/^[0-9a-f]{64}$/);
  });

  test("has another hash when anything in it is different", () => {
    const manifests = [
      makeManifest("fn.ts", "fn.js", [file("fn.js")]),
      makeManifest("fn2.ts", "fn.js", [file("fn.js")]),
      makeManifest("fn.ts", "fn.js", [file("fn.js", { bytes: 4 })]),
      makeManifest("fn.ts", "fn.js", [file("fn.js", { executable: true })]),
      makeManifest("fn.ts", "fn.js", [file("fn.js", { sha256: "cd".repeat(32) })]),
      makeManifest("fn.ts", "fn.js", [file("fn.js"), file("x")]),
      makeManifest("fn.ts", "x", [file("fn.js"), file("x")]),
    ];
    const hashes = manifests.map((manifest) => hashOf(encodeManifest(manifest)));
    expect(new Set(hashes).size).toBe(manifests.length);
  });

  test("has a bound of files, and the error says what to do", () => {
    const files = Array.from({ length: 20_001 }, (_, i) => file(`f${i}`));
    expect(() => makeManifest("fn.ts", "f0", files)).toThrow("20001 files");
    expect(() => makeManifest("fn.ts", "f0", files)).toThrow(PackageInvalid);
    const long = Array.from({ length: 5000 }, (_, i) => file(`${"x/".repeat(400)}${i}`));
    expect(() => makeManifest("fn.ts", long[0]!.path, long)).toThrow(PackageInvalid);
  });

  test("is read as it was written", () => {
    const manifest = makeManifest("fü.ts", "fn.js", [file("fn.js"), file("dätä/ü.bin")]);
    expect(parseManifest(encodeManifest(manifest))).toEqual(manifest);
  });

  const sound = { format: 1, name: "fn.ts", entry: "fn.js", files: [file("fn.js")] };
  test.each<[what: string, bytes: Uint8Array, says: string]>([
    ["no JSON", new TextEncoder().encode("{"), "not JSON"],
    ["no UTF-8", new Uint8Array([0x22, 0xff, 0x22]), "not JSON"],
    ["no object", bytesOf([]), "wrong at /"],
    ["of another format", bytesOf({ ...sound, format: 2 }), "wrong at /format"],
    ["with another field", bytesOf({ ...sound, more: 1 }), "wrong at /more"],
    ["without files", bytesOf({ ...sound, files: [] }), "wrong at /files"],
    [
      "with a size below zero",
      bytesOf({ ...sound, files: [file("fn.js", { bytes: -1 })] }),
      "bytes",
    ],
    ["with no hash", bytesOf({ ...sound, files: [file("fn.js", { sha256: "x" })] }), "sha256"],
    ["without its entry", bytesOf({ ...sound, entry: "other.js" }), "does not have its entry"],
    ["with a name that is a path", bytesOf({ ...sound, name: "../fn.ts" }), "cannot be named"],
    ["with a file twice", bytesOf({ ...sound, files: [file("fn.js"), file("fn.js")] }), "twice"],
    ["out of order", bytesOf({ ...sound, files: [file("x"), file("fn.js")] }), "out of order"],
    [
      "with a file that is a folder",
      bytesOf({ ...sound, files: [file("a"), file("a/b"), file("fn.js")] }),
      "a file and a folder",
    ],
    [
      "with fields in another order",
      bytesOf({ name: "fn.ts", format: 1, entry: "fn.js", files: [file("fn.js")] }),
      "canonical",
    ],
    ["with spaces", new TextEncoder().encode(JSON.stringify(sound, null, 1)), "canonical"],
  ])("%s is refused, and why is said", (_, bytes, says) => {
    expect(() => parseManifest(bytes)).toThrow(PackageInvalid);
    expect(() => parseManifest(bytes)).toThrow(says);
  });
});

test.each([
  "",
  "/etc/passwd",
  "../x",
  "a/../../x",
  "a/..",
  "./x",
  "a//b",
  "a/",
  "a\\..\\b",
  "a\0b",
  "a\nb",
  "\ud800",
  "x".repeat(256),
  `${"x/".repeat(600)}y`,
])("the path %j is not for a package", (path) => {
  expect(pathFault(path)).toBeString();
  expect(() => makeManifest("fn.ts", path, [file(path)])).toThrow(PackageInvalid);
});

test.each(["fn.js", "a/b/c.bin", "..a", "...", "a b#c?", "ü/日本.txt"])(
  "the path %j may be in a package",
  (path) => expect(pathFault(path)).toBeUndefined(),
);

test("a package is named by 64 digits", () => {
  expect(packageNamed(`package:${SHA}`)).toBe(SHA);
  for (const other of ["package:", SHA, `package:${SHA}0`, `package:${SHA.toUpperCase()}`])
    expect(packageNamed(other)).toBeUndefined();
});
