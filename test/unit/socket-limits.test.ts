/** What the kernel's memory holds for sockets counts with a lease's heap. */
import { expect, test } from "bun:test";
import { SocketLooks } from "../../src/executor/limits/sockets.ts";
import { WatchLimiter } from "../../src/executor/limits/watch.ts";
import { describeExcess } from "../../src/protocol/ends/excess.ts";

const MIB = 2 ** 20;
const BARE = {
  ...{ processes: 1, threads: 8, descriptors: 20 },
  ...{ privateBytes: 10 * MIB, sharedBytes: 0 },
};

test("what sockets hold counts with all else, and the end says how much it was", () => {
  let bytes = 0;
  const asked: number[] = [];
  const usage = { ...BARE };
  const sockets = {
    bytes: (descriptors: number) => (asked.push(descriptors), bytes),
    isLooking: false,
    close() {},
  };
  const held = new WatchLimiter(
    () => ({ ...usage }),
    () => 0,
    () => sockets,
  ).hold(1);
  held.begin({ heapBytes: 48 * MIB, registeredBytes: 0, tasks: 10, cores: 1 });
  usage.descriptors += 7;
  bytes = 48 * MIB;
  expect(held.look().excess).toBeUndefined();
  expect(asked).toEqual([7]);
  bytes = 49 * MIB;
  const { excess } = held.look();
  expect(excess).toEqual({ what: "heap", used: 49 * MIB, bound: 48 * MIB, sockets: bytes });
  expect(describeExcess(excess!)).toContain("49 MiB (49 MiB of it data in its sockets)");
});

test("sockets are looked at only where so many could hold what matters, and those in flight count at the second look", () => {
  const looks: [least: number, many: boolean][] = [];
  const usage = { heldBytes: 3, inFlightBytes: 5, watchBytes: 7, tookMs: 0 };
  const sockets = new SocketLooks(1, (least, many) => {
    looks.push([least, many]);
    return { take: () => usage, abandon() {} };
  });
  expect(sockets.bytes(1, 8 * MIB)).toBe(0);
  expect(looks).toEqual([]);
  expect(sockets.bytes(2, 8 * MIB)).toBe(10);
  expect(sockets.bytes(1000, 8 * MIB)).toBe(15);
  expect(looks).toEqual([
    [MIB, false],
    [MIB, true],
  ]);
  expect(sockets.bytes(0, 8 * MIB)).toBe(0);
});
