/** Words of commands that are shown to be typed: a shell reads each as what it stands for. */
import { expect, test } from "bun:test";
import { shellWord } from "../../src/base/show.ts";

test("a shell reads a word back as it was", () => {
  for (const word of [
    "",
    "fn.ts",
    "my fn.ts",
    "it's",
    "$HOME",
    "a;b",
    "`x`",
    '"',
    "~",
    "é",
    "a\nb",
  ]) {
    const { stdout } = Bun.spawnSync(["sh", "-c", `printf %s ${shellWord(word)}`]);
    expect(stdout.toString()).toBe(word);
  }
});

test("a plain word has no quotes", () => {
  for (const word of ["fn.ts", "10.0.0.5:7700", "--node", "/run/user/0/node.sock"])
    expect(shellWord(word)).toBe(word);
});
