/** Packages as files: what is written, what is read back, and what is refused. */
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type TarEntry, type TarHeader, packTar } from "modern-tar";
import { EnvironmentError, PackageInvalid } from "../../src/base/errors.ts";
import { readArchive, writeArchive } from "../../src/package/contents/archive.ts";
import { pathFault } from "../../src/package/contents/manifest.ts";
import {
  type Content,
  type Package,
  type PackedFile,
  pack,
  piecesOf,
} from "../../src/package/contents/package.ts";
import { Scratch } from "../support/scratch.ts";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const file = (path: string, content: string | Uint8Array = path, executable = false) => ({
  ...{ path, executable },
  content: typeof content === "string" ? text(content) : content,
});

async function bytesOf(content: Content): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of piecesOf(content)) pieces.push(new Uint8Array(piece));
  return Buffer.concat(pieces);
}

const LONG = `${"long-folder-name/".repeat(20)}tool.sh`;
const FILES: readonly PackedFile[] = [
  file("fn.js", "export const f = 1;"),
  file("bin/run", "#!/bin/sh\n", true),
  file("empty", ""),
  file("two blocks", "x".repeat(1024)),
  file("naïve/価格.bin", new Uint8Array([0, 255, 1])),
  file(LONG, "echo hello", true),
];
const make = (files: readonly PackedFile[] = FILES): Promise<Package> =>
  pack("fn.ts", files[0]!.path, files);

/** Equal files at equal paths, by the bytes of their contents. */
async function expectEqual(read: Package, made: Package): Promise<void> {
  expect([read.hash, read.manifest]).toEqual([made.hash, made.manifest]);
  for (const { path } of made.manifest.files)
    expect(await bytesOf(read.contents.get(path)!)).toEqual(
      await bytesOf(made.contents.get(path)!),
    );
}

describe("a package as a file", () => {
  test("is read as it was written", async () => {
    using scratch = new Scratch();
    const made = await make();
    await writeArchive(scratch.join("fn.rfaas"), made);
    await expectEqual(await readArchive(scratch.join("fn.rfaas")), made);
  });

  test("is the same bytes in whatever order and whenever it is made", async () => {
    using scratch = new Scratch();
    const paths = ["a.rfaas", "b.rfaas"].map((name) => scratch.join(name));
    await writeArchive(paths[0]!, await make());
    await writeArchive(paths[1]!, await pack("fn.ts", "fn.js", FILES.toReversed()));
    expect(readFileSync(paths[1]!)).toEqual(readFileSync(paths[0]!));
  });

  test.skipIf(!Bun.which("tar"))("is unpacked by tar, with the executable bits", async () => {
    using scratch = new Scratch();
    await writeArchive(scratch.join("fn.rfaas"), await make());
    const { exitCode, stderr } = Bun.spawnSync(["tar", "xf", "fn.rfaas"], { cwd: scratch.path });
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
    for (const { path, content, executable } of FILES) {
      const at = scratch.join(`files/${path}`);
      expect(new Uint8Array(readFileSync(at))).toEqual(content as Uint8Array<ArrayBuffer>);
      expect((statSync(at).mode & 0o100) !== 0).toBe(executable);
      expect(statSync(at).mtime).toEqual(new Date(Date.UTC(2000, 0, 1)));
    }
    expect(readFileSync(scratch.join("manifest.json"))).toEqual(
      Buffer.from((await make()).manifestBytes),
    );
  });

  test("is read as it was written, whatever its paths are", async () => {
    using scratch = new Scratch();
    const at = scratch.join("any.rfaas");
    const segment = fc
      .array(fc.constantFrom("a", "é", "界", "👩", " ", ".x"), { minLength: 1, maxLength: 50 })
      .map((parts) => parts.join(""));
    const path = fc
      .array(segment, { minLength: 1, maxLength: 10 })
      .map((parts) => parts.join("/"))
      .filter((path) => pathFault(path) === undefined);
    const files = fc.uniqueArray(
      fc.record({ path, content: fc.uint8Array({ maxLength: 1100 }), executable: fc.boolean() }),
      { minLength: 1, maxLength: 6, selector: ({ path }) => path },
    );
    const run = fc.asyncProperty(files, async (files) => {
      // A file that is a folder too cannot be packed.
      const made = await make(files).catch(() => undefined);
      if (!made) return;
      await writeArchive(at, made);
      await expectEqual(await readArchive(at), made);
    });
    await fc.assert(run, { numRuns: 100 });
  });

  test("keeps each of many files of the disk, of one piece and of several, apart from the others", async () => {
    using scratch = new Scratch();
    const files = Array.from({ length: 20 }, (_, i) => {
      const content = new Uint8Array(i * 33_333).fill(i);
      content[content.length - 1] = 255;
      writeFileSync(scratch.join(`${i}.bin`), content);
      return { path: `${i}.bin`, content: { path: scratch.join(`${i}.bin`) }, executable: false };
    });
    const made = await make(files);
    await writeArchive(scratch.join("fn.rfaas"), made);
    await expectEqual(await readArchive(scratch.join("fn.rfaas")), made);
  });

  test("takes memory for a few pieces, however large it is", () => {
    using scratch = new Scratch();
    const large = scratch.file("large.bin", "");
    truncateSync(large, 320 * 1024 * 1024);
    const root = join(import.meta.dir, "../../src/package/contents");
    const code = `
      import { pack } from ${JSON.stringify(join(root, "package.ts"))};
      import { writeArchive } from ${JSON.stringify(join(root, "archive.ts"))};
      const content = { path: ${JSON.stringify(large)} };
      const made = await pack("large.bin", "large.bin", [{ path: "large.bin", content, executable: false }]);
      await writeArchive("/dev/null", made);
      const { readFileSync } = await import("node:fs");
      // Not of resourceUsage(), which has what the parent took before this program began, too.
      process.stdout.write(/VmHWM:\\s*(\\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]);`;
    const { stdout, exitCode } = Bun.spawnSync([process.execPath, "-e", code], {
      stderr: "inherit",
    });
    expect(exitCode).toBe(0);
    // In KiB.
    expect(Number(stdout.toString())).toBeLessThan(200 * 1024);
  }, 60_000);

  test("is not left half written, nor written of a file that changes", async () => {
    using scratch = new Scratch();
    const path = scratch.file("data.bin", "x".repeat(1000));
    const data = { path: "data.bin", content: { path }, executable: false };
    for (const size of [10, 2000]) {
      const made = await make([data]);
      truncateSync(path, size);
      const written = writeArchive(scratch.join("fn.rfaas"), made);
      await expect(written).rejects.toThrow(`${path} changed while it was packed`);
      await expect(written).rejects.toBeInstanceOf(PackageInvalid);
    }
    expect([...new Bun.Glob("*").scanSync(scratch.path)]).toEqual(["data.bin"]);
  });

  test("is not written where it cannot be, and the error says where else", async () => {
    const written = writeArchive("/proc/nowhere/fn.rfaas", await make());
    await expect(written).rejects.toBeInstanceOf(EnvironmentError);
    await expect(written).rejects.toThrow(/cannot be written: .*; choose another place with -o$/);
  });
});

describe("a file that is no package of ours is refused", () => {
  /** Reads the bytes as a package file; the message of what it throws, without the path. */
  async function refusal(bytes: Uint8Array): Promise<string> {
    using scratch = new Scratch();
    const path = scratch.join("odd.rfaas");
    writeFileSync(path, bytes);
    const error = await readArchive(path).then(
      () => new Error("it was read"),
      (error: Error) => error,
    );
    if (!(error instanceof PackageInvalid)) throw error;
    return error.message.replace(`${path} `, "");
  }

  /** A tar that is an archive, but for what `change` does to its entries. */
  async function odd(change: (entries: TarEntry[]) => TarEntry[]): Promise<Uint8Array> {
    const { manifest, manifestBytes, contents } = await make([file("fn.js", "1"), file("z", "2")]);
    const header = (name: string, size: number): TarHeader => ({ name, size, mode: 0o644 });
    return await packTar(
      change([
        { header: header("manifest.json", manifestBytes.length), body: manifestBytes },
        ...manifest.files.map(({ path, bytes }) => ({
          header: header(`files/${path}`, bytes),
          body: contents.get(path) as Uint8Array,
        })),
      ]),
    );
  }
  const last = (header: Partial<TarHeader>) => (entries: TarEntry[]) =>
    entries.with(2, { ...entries[2]!, header: { ...entries[2]!.header, ...header } });

  test("though not when another tar has made it alike", async () => {
    await expect(refusal(await odd((entries) => entries))).rejects.toThrow("it was read");
  });

  test.each<[string, (entries: TarEntry[]) => TarEntry[], string]>([
    [
      "a symbolic link",
      last({ type: "symlink", linkname: "/etc/passwd" }),
      'it holds a link, "files/z"',
    ],
    ["a hard link", last({ type: "link", linkname: "files/fn.js" }), 'it holds a link, "files/z"'],
    ["an absolute path", last({ name: "/etc/x" }), 'it holds "/etc/x", a path that is absolute'],
    [
      "a path that climbs",
      last({ name: "files/../../x" }),
      'it holds "files/../../x", a path that climbs out of its package',
    ],
    ["another file", last({ name: "files/y" }), 'its entry for "files/z" is not as rfaas'],
    ["a file of another size", last({ size: 0 }), 'its entry for "files/z" is not as rfaas'],
    ["a file with other rights", last({ mode: 0o755 }), 'its entry for "files/z" is not as rfaas'],
    ["a device", last({ type: "block-device" }), 'its entry for "files/z" is not as rfaas'],
    [
      "a file that its manifest does not name",
      (entries) => [...entries, { header: { name: "files/zz", size: 1 }, body: "3" }],
      'it holds "files/zz", which its manifest does not name',
    ],
    [
      "files in another order",
      ([manifest, first, second]) => [manifest!, second!, first!],
      'its entry for "files/fn.js" is not as rfaas',
    ],
  ])("when it has %s", async (_, change, says) => {
    // What is no file has no body.
    const bodiless = ({ header, body = "" }: TarEntry): TarEntry =>
      header.size === 0 || (header.type ?? "file") !== "file" ? { header } : { header, body };
    const message = await refusal(await odd((entries) => change(entries).map(bodiless)));
    expect(message).toStartWith(`is refused: ${says}`);
    expect(message).toEndWith("make it again with: rfaas package build");
  });

  test("at whichever byte it ends", async () => {
    const whole = await odd((entries) => entries);
    for (let length = 0; length < whole.length; length += 100)
      expect(await refusal(whole.subarray(0, length))).toMatch(
        length < 512
          ? /is no package of this version/
          : /is damaged, or was not written to its end/,
      );
  });

  test.each<[string, string | Uint8Array, string]>([
    ["empty", "", "is no package of this version; make one with: rfaas package build"],
    ["an archive of another kind", "PK\u0003\u0004", "is no package of this version"],
    [
      "a package of an earlier rfaas",
      "rfaas package 1\n\0\0\0\0{}",
      "was made by an earlier rfaas, in a format that this one does not read; make it again with: rfaas package build",
    ],
  ])("when it is %s", async (_, content, says) => {
    expect(await refusal(typeof content === "string" ? text(content) : content)).toContain(says);
  });

  test("when it is another tar", async () => {
    const header = { name: "readme", size: 1 };
    expect(await refusal(await packTar([{ header, body: "x" }]))).toContain(
      "is no package of this version",
    );
    const huge = await packTar([
      { header: { name: "manifest.json", size: 5e6 }, body: new Uint8Array(5e6) },
    ]);
    expect(await refusal(huge)).toContain("is no package of this version");
  });

  test("when it cannot be read, with the reason", async () => {
    using scratch = new Scratch();
    await expect(readArchive(scratch.join("none.rfaas"))).rejects.toThrow(
      /cannot be read \(ENOENT/,
    );
  });
});
