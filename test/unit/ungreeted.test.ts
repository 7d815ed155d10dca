import { describe, expect, test } from "bun:test";
import { Ungreeted, descriptorLimit } from "../../src/control/ungreeted.ts";

describe("connections that have not greeted", () => {
  test("make room for a new one of their peer, the oldest first", () => {
    const all = new Ungreeted<number>({ perPeer: 2, total: 10 });
    expect([1, 2, 3, 4].map((one) => all.add(one, "a"))).toEqual([undefined, undefined, 1, 2]);
    expect([...all]).toEqual([3, 4]);
    expect(all.add(5, "b")).toBeUndefined();
    expect([...all]).toEqual([3, 4, 5]);
  });

  test("make room for anybody's when they are too many in all", () => {
    const all = new Ungreeted<number>({ perPeer: 2, total: 3 });
    expect([1, 2, 3, 4].map((one) => all.add(one, `peer ${one}`))).toEqual([
      ...[undefined, undefined, undefined],
      1,
    ]);
    expect(all.size).toBe(3);
  });

  test("are not counted once they have greeted", () => {
    const all = new Ungreeted<number>({ perPeer: 1, total: 2 });
    for (let one = 0; one < 100; one++) {
      expect(all.add(one, "a")).toBeUndefined();
      all.delete(one);
      all.delete(one);
    }
    expect([all.size, ...all]).toEqual([0]);
  });

  test("of one peer alone are bounded, even to one", () => {
    const all = new Ungreeted<number>({ perPeer: 1, total: 1 });
    expect([1, 2, 3].map((one) => all.add(one, "a"))).toEqual([undefined, 1, 2]);
    expect(all.add(4, "b")).toBe(3);
    expect([...all]).toEqual([4]);
  });
});

test("a process knows how many descriptors it may have", () => {
  expect(descriptorLimit()).toBeGreaterThan(0);
});
