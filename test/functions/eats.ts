/** Functions that take memory, piece by piece, until something stops them. An input of one number says how many MiB at most. */
import { dlopen } from "bun:ffi";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MIB = 1024 * 1024;
const kept: unknown[] = [];

const most = (input: Uint8Array): number =>
  new DataView(input.buffer, input.byteOffset).getFloat64(0, true);

/** Objects of JavaScript, some 100 bytes each. */
export function objects(input: Uint8Array): number {
  for (let taken = 0; taken < most(input); taken++)
    for (let i = 0; i < 10_000; i++) kept.push({ id: i, weight: i + 0.5, name: `number ${i}` });
  return 0;
}

export function typedArrays(input: Uint8Array): number {
  for (let taken = 0; taken < most(input); taken++) kept.push(new Uint8Array(MIB).fill(1));
  return 0;
}

/** Memory of malloc, which the engine does not know of. */
export function native(input: Uint8Array): number {
  const { symbols } = dlopen("libc.so.6", {
    malloc: { args: ["u64"], returns: "ptr" },
    memset: { args: ["ptr", "i32", "u64"], returns: "ptr" },
  });
  for (let taken = 0; taken < most(input); taken++) {
    const piece = symbols.malloc(MIB);
    if (!piece) throw new Error("malloc has no memory");
    symbols.memset(piece, 1, MIB);
  }
  return 0;
}

/** Mappings of its own, which the engine does not know of either. */
export function mappings(input: Uint8Array): number {
  const { symbols } = dlopen("libc.so.6", {
    mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
    memset: { args: ["ptr", "i32", "u64"], returns: "ptr" },
  });
  const [READ_WRITE, PRIVATE_ANONYMOUS] = [3, 0x22];
  for (let taken = 0; taken < most(input); taken += 4) {
    const piece = symbols.mmap(0, 4 * MIB, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
    if (!piece || piece >= 2 ** 63) throw new Error("mmap has no memory");
    symbols.memset(piece, 1, 4 * MIB);
  }
  return 0;
}

/** The memory of a module of WebAssembly, which grows. */
export function memories(input: Uint8Array): number {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65_536 });
  const pages = MIB / 65_536;
  for (let taken = 0; taken < most(input); taken++) {
    const before = memory.grow(pages) * 65_536;
    new Uint8Array(memory.buffer, before).fill(1);
  }
  return 0;
}

/** Several programs, none of which has much: each keeps the end of what it has read, and waits for more. */
export async function children(input: Uint8Array): Promise<number> {
  const bytes = Math.ceil(most(input) / 8) * MIB;
  const hold = `(head -c ${bytes} /dev/zero; sleep 1000) | tail -c ${bytes}`;
  const started = Array.from({ length: 8 }, () => Bun.spawn(["/bin/sh", "-c", hold]));
  await Promise.all(started.map(({ exited }) => exited));
  return 0;
}

/** A file in the folder for temporary files. */
export function scratch(input: Uint8Array): number {
  const folder = mkdtempSync(join(tmpdir(), "eats-"));
  try {
    const piece = Buffer.alloc(MIB, 1);
    for (let taken = 0; taken < most(input); taken++) appendFileSync(join(folder, "data"), piece);
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What it was given comes back. */
export function echo(input: Uint8Array, output: Uint8Array): number {
  output.set(input);
  return input.length;
}
