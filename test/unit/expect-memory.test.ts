import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { NativeError } from "../../ffi/errors.ts";
import { expectMemory } from "../../ffi/region.ts";

const MIB = 1024 * 1024;
/** Bytes of this process that its bound on memory counts. */
const dataBytes = (): number =>
  1024 * Number(/^VmData:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);

test("memory that is expected is not taken", () => {
  const before = dataBytes();
  expectMemory(1024 * MIB);
  expect(dataBytes() - before).toBeLessThan(64 * MIB);
  const mapped = readFileSync("/proc/self/maps", "utf8").matchAll(/^(\w+)-(\w+) ---p/gm);
  const reserved = [...mapped].map(([, from, to]) => parseInt(to!, 16) - parseInt(from!, 16));
  expect(reserved).not.toContain(1024 * MIB);
});

test("more than there is room for is an error with its reason", () => {
  expect(() => expectMemory(2 ** 60)).toThrow(NativeError);
});
