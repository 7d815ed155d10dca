import { readFileSync, writeFileSync } from "node:fs";
import { PackageInvalid } from "../../../src/base/errors.ts";
import { readArchive, writeArchive } from "../../../src/package/contents/archive.ts";
import { pack } from "../../../src/package/contents/package.ts";
import { Scratch } from "../../support/scratch.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, same } from "./outcome.ts";

const scratch = new Scratch();
process.on("exit", () => scratch[Symbol.dispose]());
const path = scratch.join("fuzzed.rfaas");
const again = scratch.join("again.rfaas");

async function archive(...files: [path: string, text: string][]): Promise<Uint8Array> {
  const packed = files.map(([path, text]) => ({ path, content: bytesOf(text), executable: false }));
  await writeArchive(path, await pack("fn.ts", files[0]![0], packed));
  return new Uint8Array(readFileSync(path));
}

const plain = await archive(["a.js", "1"], ["b.txt", ""]);
const link = plain.slice();
link[512 + 512 + 156] = 0x32;

export const subject: Subject = {
  seeds: [
    plain,
    await archive([`${"long/".repeat(25)}a.js`, "x".repeat(600)]),
    link,
    bytesOf("rfaas package 1\nand more"),
    plain.subarray(0, 700),
    Buffer.concat([plain, new Uint8Array(512)]),
    new Uint8Array(0),
  ],
  maxBytes: 8192,
  async run(input) {
    writeFileSync(path, input);
    const read = await readArchive(path).catch((error: unknown) => {
      if (error instanceof PackageInvalid) return undefined;
      throw error;
    });
    if (!read) return;
    for (const content of read.contents.values()) {
      const { from = 0, bytes = 0 } = content as { from?: number; bytes?: number };
      must(from >= 0 && from + bytes <= input.length, "has a file outside of the archive");
    }
    await writeArchive(again, read).catch((error: unknown) => {
      // The bytes of its files may be others than its manifest says, but not more or fewer.
      throw error;
    });
    const second = await readArchive(again);
    same(second.manifest, read.manifest, "is another package when it is written");
  },
};
