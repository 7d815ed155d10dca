/** The archives of packages: what is in them, and that their bytes depend on the files alone. */
import { expect, test } from "bun:test";
import { unpackTar } from "modern-tar";
import { type PackedFile, tarOf, textFile, writeGzipped } from "../../build/pack/archive.ts";
import { Scratch } from "../support/scratch.ts";

const EPOCH_S = 1_700_000_000;
const FILES: PackedFile[] = [
  textFile("share/doc/a", "a"),
  textFile("bin/b", "b", 0o755),
  textFile("share/c", ""),
];

const listed = async (tar: Uint8Array) =>
  (await unpackTar(tar)).map(({ header: { name, mode, uname } }) => [name, mode, uname]);

test("an archive has each folder before what lies in it, if it has folders at all", async () => {
  const files = [
    ["./usr/bin/b", 0o755, "root"],
    ["./usr/share/c", 0o644, "root"],
    ["./usr/share/doc/a", 0o644, "root"],
  ];
  const folder = (name: string) => [name, 0o755, "root"];
  const [bin, ...shared] = files;
  expect(await listed(await tarOf("./usr", FILES, EPOCH_S))).toEqual([
    ...["./", "./usr/", "./usr/bin/"].map(folder),
    bin!,
    folder("./usr/share/"),
    shared[0]!,
    folder("./usr/share/doc/"),
    shared[1]!,
  ]);
  expect(await listed(await tarOf("./usr", FILES, EPOCH_S, { folders: false }))).toEqual(files);
});

test("its bytes are the same whatever the order of its files, and others at another time", async () => {
  using scratch = new Scratch();
  const sumOf = async (name: string, files: PackedFile[], epochS: number) =>
    writeGzipped(scratch.join(name), await tarOf("a", files, epochS));
  const sum = await sumOf("one", FILES, EPOCH_S);
  expect(await sumOf("two", FILES.toReversed(), EPOCH_S)).toBe(sum);
  expect(await sumOf("three", FILES, EPOCH_S + 1)).not.toBe(sum);
});
