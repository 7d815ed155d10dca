import { PackageInvalid } from "../../../src/base/errors.ts";
import {
  encodeManifest,
  hashOf,
  makeManifest,
  packageNamed,
  parseManifest,
  pathFault,
  totalBytes,
} from "../../../src/package/contents/manifest.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same, textOf } from "./outcome.ts";

const sha256 = "ab".repeat(32);
const file = (path: string) => ({ path, bytes: 1, sha256, executable: false });
const manifest = (files: string[], entry = files[0]!, name = "fn.ts") =>
  bytesOf(JSON.stringify({ format: 1, name, entry, files: files.map(file) }));

export const subject: Subject = {
  seeds: [
    manifest(["a.js"]),
    manifest(["a/b.js", "a/c/d.txt", "é.bin"], "a/c/d.txt"),
    manifest(["b.js", "a.js"]),
    manifest(["a", "a/b"]),
    manifest(["a.js"], "other.js"),
    manifest(["../a.js"]),
    manifest(["a.js"], "a.js", "a/b"),
    manifest(["a\u0001.js"]),
    manifest([`${"x".repeat(256)}/a`]),
    manifest([`${"y/".repeat(550)}a`]),
    manifest(["/a", "b//c"]),
    bytesOf(`package:${sha256}`),
  ],
  tokens: ["\\ud800", "\\u0000", "//", "../", "[]", "{}", "null", "1e400"],
  run(input) {
    const text = textOf(input);
    pathFault(text);
    packageNamed(text);
    const read = outcome(() => parseManifest(input), PackageInvalid);
    if (!read) return;
    same(encodeManifest(read), input, "is written otherwise");
    const made = outcome(
      () => makeManifest(read.name, read.entry, read.files.toReversed()),
      PackageInvalid,
    );
    same(made, read, "is put together otherwise");
    must(hashOf(input).length === 64 && totalBytes(read) >= 0, "has no address");
  },
};
