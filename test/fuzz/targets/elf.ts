import { ElfError, readSharedLibrary } from "../../../src/library/elf.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { must, outcome } from "./outcome.ts";

const SEGMENT = { load: 1, dynamic: 2 };
const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;

/** A library as a linker would make it, and so small that most of its bytes say something. */
function library({
  gnu,
  versions = false,
  sections = false,
  rpath = 29,
  flags = 0,
}: Made): Uint8Array {
  const names = ["", "first", "second", "libm.so.6", "libx.so.1", "$ORIGIN:/opt", "label", "_init"];
  const strings = new TextEncoder().encode(`${names.join("\0")}\0`);
  const nameAt = (name: string) =>
    new TextEncoder().encode(names.slice(0, names.indexOf(name)).join("\0")).length +
    (name === "" ? 0 : 1);
  const bytes = new Uint8Array(768);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 3, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true);
  view.setUint16(54, SEGMENT_BYTES, true);
  view.setUint16(56, 2, true);
  let at = HEADER_BYTES + 2 * SEGMENT_BYTES;
  const place = (size: number): number => (at += size) - size;
  const stringsAt = place(strings.length + (-strings.length & 7));
  bytes.set(strings, stringsAt);
  const symbols = [
    { name: "", info: 0, section: 0, value: 0 },
    { name: "first", info: 0x12, section: 1, value: 16 },
    { name: "second", info: 0x22, section: 1, value: 16 },
    { name: "label", info: 0x10, section: 1, value: 16 },
    { name: "_init", info: 0x12, section: 1, value: 16 },
  ];
  const symbolsAt = place(24 * symbols.length);
  for (const [i, { name, info, section, value }] of symbols.entries()) {
    view.setUint32(symbolsAt + 24 * i, nameAt(name), true);
    view.setUint8(symbolsAt + 24 * i + 4, info);
    view.setUint16(symbolsAt + 24 * i + 6, section, true);
    view.setBigUint64(symbolsAt + 24 * i + 8, BigInt(value), true);
  }
  const hashAt = place(64);
  const words = gnu ? [1, 1, 1, 0, 0, 0, 1, 2, 2, 2, 3] : [1, symbols.length];
  for (const [i, word] of words.entries()) view.setUint32(hashAt + 4 * i, word, true);
  const versionsAt = place(16);
  view.setUint16(versionsAt + 4, 0x8002, true);
  const dynamic: [number, number][] = [
    [1, nameAt("libm.so.6")],
    [14, nameAt("libx.so.1")],
    [rpath, nameAt("$ORIGIN:/opt")],
    [5, stringsAt],
    [10, strings.length],
    [6, symbolsAt],
    [gnu ? 0x6ffffef5 : 4, hashAt],
    ...(versions ? [[0x6ffffff0, versionsAt] as [number, number]] : []),
    [0x6ffffffb, flags],
    [0, 0],
  ];
  const dynamicAt = place(16 * dynamic.length);
  for (const [i, [tag, value]] of dynamic.entries()) {
    view.setBigUint64(dynamicAt + 16 * i, BigInt(tag), true);
    view.setBigUint64(dynamicAt + 16 * i + 8, BigInt(value), true);
  }
  if (sections) {
    const sectionsAt = place(128);
    view.setBigUint64(40, BigInt(sectionsAt), true);
    view.setUint16(58, 64, true);
    view.setUint16(60, 2, true);
    view.setBigUint64(sectionsAt + 64 + 8, 4n, true);
  }
  const segments = [
    { type: SEGMENT.load, flags: 5, offset: 0, size: at },
    { type: SEGMENT.dynamic, flags: 6, offset: dynamicAt, size: 16 * dynamic.length },
  ];
  for (const [i, { type, flags, offset, size }] of segments.entries()) {
    const entry = HEADER_BYTES + i * SEGMENT_BYTES;
    view.setUint32(entry, type, true);
    view.setUint32(entry + 4, flags, true);
    for (const [at, value] of [
      [8, offset],
      [16, offset],
      [32, size],
    ] as const)
      view.setBigUint64(entry + at, BigInt(value), true);
  }
  return bytes.subarray(0, at);
}

interface Made {
  gnu: boolean;
  versions?: boolean;
  sections?: boolean;
  rpath?: number;
  flags?: number;
}

export const subject: Subject = {
  seeds: [
    library({ gnu: true }),
    library({ gnu: false, versions: true }),
    library({ gnu: true, sections: true, rpath: 15 }),
    library({ gnu: false, flags: 0x08000000 }),
  ],
  tokens: [new Uint8Array(8), new Uint8Array(8).fill(255)],
  run(input) {
    let read = 0;
    const found = outcome(
      () =>
        readSharedLibrary({
          size: input.length,
          read(offset, length) {
            must(offset >= 0 && offset + length <= input.length, "reads beyond the file");
            read += length;
            return input.slice(offset, offset + length);
          },
        }),
      ElfError,
    );
    // A chain of hashes is read in pieces, so a damaged one is read through once more.
    must(read <= 8 * input.length + 8192, `reads ${read} bytes of ${input.length}`);
    if (found)
      must(
        found.functions.every((name, i) => name > (found.functions[i - 1] ?? "")),
        "is not sorted",
      );
  },
};
