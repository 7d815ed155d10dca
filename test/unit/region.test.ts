/** What is mapped as a lease's memory: only what its sender cannot take away again. */
import { describe, expect, test } from "bun:test";
import { dlopen } from "bun:ffi";
import { closeSync, openSync, readFileSync, readdirSync, unlinkSync, writeFileSync } from "node:fs";
import { closeDescriptor, notifyPair } from "../../ffi/descriptors.ts";
import { Region, createRegion } from "../../ffi/region.ts";
import { openPidfd } from "../../ffi/system.ts";
import { ProtocolError } from "../../src/base/errors.ts";
import { attachSharedMemory } from "../../src/fabric/shm/attachment.ts";

const SLOTS = 16;
const SHAPE = { workers: 1, slots: SLOTS, arenaBytes: 65_536, polling: "hot", spinNs: 0 } as const;
const [F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SHRINK, MFD_ALLOW_SEALING] = [1033, 4, 2, 2];
const libc = dlopen("libc.so.6", {
  memfd_create: { args: ["ptr", "u32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
}).symbols;

/** What a node writes into the memory of a lease. */
function content(): Buffer {
  const fd = createRegion(SHAPE);
  const bytes = readFileSync(`/proc/self/fd/${fd}`);
  closeDescriptor(fd);
  return bytes;
}

function memory(seals: number): number {
  const fd = libc.memfd_create(Buffer.from("test\0"), MFD_ALLOW_SEALING);
  writeFileSync(`/proc/self/fd/${fd}`, content());
  if (seals > 0 && libc.fcntl(fd, F_ADD_SEALS, seals) !== 0) throw new Error("it cannot be sealed");
  return fd;
}

function file(folder: string): number {
  const path = `${folder}/rfaas-test-${process.pid}`;
  writeFileSync(path, content());
  const fd = openSync(path, "r+");
  unlinkSync(path);
  return fd;
}

const UNSOUND: Record<string, () => number> = {
  "memory without seals": () => memory(0),
  "memory that can only not grow": () => memory(F_SEAL_GROW),
  "a file": () => file("/tmp"),
  "a file in memory": () => file("/dev/shm"),
  "a device": () => openSync("/dev/zero", "r+"),
  "a socket": () => {
    const [watch, notify] = notifyPair();
    closeDescriptor(watch);
    return notify;
  },
  "a pidfd": () => openPidfd(process.pid),
  "a folder": () => openSync("/tmp", "r"),
};

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;
/** Of what the tests make; the engine maps and unmaps memory of its own meanwhile. */
const MADE = /\/(?:memfd:(?:test|rfaas-lease)|(?:tmp|dev\/shm)\/rfaas-test-|dev\/zero)/;
const mappings = (): number =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => MADE.test(line)).length;

describe("a lease's memory", () => {
  test("is memory that cannot shrink", () => {
    for (const make of [() => createRegion(SHAPE), () => memory(F_SEAL_SHRINK)]) {
      const fd = make();
      const region = Region.map(fd, 1, SLOTS);
      expect(region.arenaBytes).toBe(SHAPE.arenaBytes);
      region.close();
      closeSync(fd);
    }
  });

  for (const [what, make] of Object.entries(UNSOUND))
    test(`is not ${what}: it is refused, with the reason, and nothing of it is left open`, () => {
      const fd = make();
      expect(() => Region.map(fd, 1, SLOTS)).toThrow("ENOTSUP");
      closeSync(fd);
      const before = [openDescriptors(), mappings()];
      for (let i = 0; i < 10; i++) {
        const descriptors = [make(), openPidfd(process.pid), ...notifyPair()];
        expect(() => attachSharedMemory(descriptors, SLOTS)).toThrow(ProtocolError);
      }
      expect([openDescriptors(), mappings()]).toEqual(before);
    });

  test("is laid out as the node said, or is refused, and nothing of it is left open", () => {
    const before = openDescriptors();
    for (const [slots, change] of [
      [SLOTS / 2, () => {}],
      [SLOTS, (bytes: Buffer) => bytes.writeUInt32LE(1, 0)],
      [SLOTS, (bytes: Buffer) => bytes.writeUInt32LE(0, 4)],
    ] as const) {
      const fd = libc.memfd_create(Buffer.from("test\0"), MFD_ALLOW_SEALING);
      const bytes = content();
      change(bytes);
      writeFileSync(`/proc/self/fd/${fd}`, bytes);
      libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
      const descriptors = [fd, openPidfd(process.pid), ...notifyPair()];
      expect(() => attachSharedMemory(descriptors, slots)).toThrow("not laid out as it said");
    }
    expect(openDescriptors()).toBe(before);
  });

  test("leaves nothing open when it is closed, watched or not", async () => {
    const before = openDescriptors();
    for (const watched of [false, true]) {
      const descriptors = [createRegion(SHAPE), openPidfd(process.pid), ...notifyPair()];
      const attachment = attachSharedMemory(descriptors, SLOTS);
      if (watched) await attachment.watch(() => {});
      attachment.close();
    }
    expect(openDescriptors()).toBeLessThanOrEqual(before);
  });
});
