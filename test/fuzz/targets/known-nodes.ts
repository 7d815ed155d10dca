import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { KeyChanged, PeerNotTrusted } from "../../../src/base/errors.ts";
import { showNoWarnings, showWarningsBy } from "../../../src/base/warnings.ts";
import { fingerprintOf } from "../../../src/trust/fingerprint.ts";
import { forget, knownNodesFile, meet } from "../../../src/trust/remembered-keys.ts";
import { Scratch } from "../../support/scratch.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome } from "./outcome.ts";

const unheard = (): void => {};
showWarningsBy(unheard);
const scratch = new Scratch();
process.on("exit", () => scratch[Symbol.dispose]());
process.env["XDG_CONFIG_HOME"] = scratch.path;
const path = knownNodesFile();
mkdirSync(dirname(path));
const [own, other] = ["own", "other"].map((text) => fingerprintOf(bytesOf(text))) as [
  `sha256:${string}`,
  `sha256:${string}`,
];

/** Where the file cannot be read, or nobody would hear of a new key. */
function withoutFile(): void {
  rmSync(path, { force: true });
  must(forget("node:1") === undefined, "remembers without a file");
  showNoWarnings();
  outcome(() => meet("node:1", own), PeerNotTrusted);
  showWarningsBy(unheard);
  mkdirSync(path);
  meet("node:1", own);
  rmSync(path, { recursive: true });
  process.env["XDG_CONFIG_HOME"] = "relative";
  knownNodesFile();
  process.env["XDG_CONFIG_HOME"] = scratch.path;
}

/** Whatever the file holds, a key that is met is remembered, another one is noticed, and a forgotten one is gone. */
export const subject: Subject = {
  seeds: [
    "",
    `node:1 ${own}\n`,
    `node:1 ${other}\n# comment\n\nNODE:1 ${own}`,
    `node:1 ${other}\nnode:1 forgotten\nelse:2 ${own}\n`,
    `node:1 ${own} more\nnode:1\n`,
  ].map(bytesOf),
  tokens: [own, other, "node:1 ", "forgotten\n", "\n", "# "],
  maxBytes: 600,
  run(input) {
    if (input.length === 0) return withoutFile();
    writeFileSync(path, input);
    outcome(() => meet("node:1", own), KeyChanged);
    const kept = readFileSync(path);
    must(kept.subarray(0, input.length).equals(input), "writes over what is there");
    const key = forget("Node:1", path);
    must(key !== undefined && /^sha256:[0-9a-f]{64}$/.test(key), "remembers nothing");
    must(forget("node:1", path) === undefined, "does not forget");
    meet("node:1", other, path, "manager");
    let refused = false;
    try {
      meet("node:1", own, path);
    } catch (error) {
      refused = error instanceof KeyChanged;
    }
    must(refused, "takes another key");
  },
};
