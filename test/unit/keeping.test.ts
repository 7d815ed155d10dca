/** Which hosts a node keeps after their leases: how many, how long, and which go first. */
import { describe, expect, test } from "bun:test";
import { Keeping } from "../../src/lease/keeping.ts";

const ROOM = 1000;

/** A host of this name, for the key `k` unless it says another. */
const kept = (
  host: string,
  more: { key?: string; memoryBytes?: number; untilNs?: number } = {},
) => ({
  ...{ host, key: "k", memoryBytes: 100, untilNs: 50 },
  ...more,
});

describe("a host is kept", () => {
  test("for leases of its key alone, and once", () => {
    const keeping = new Keeping<string>(4);
    expect(keeping.keep(kept("a", { key: "ada" }), ROOM)).toEqual([]);
    expect(keeping.take("bob", 0)).toBeUndefined();
    expect(keeping.take("ada", 0)).toBe("a");
    expect(keeping.take("ada", 0)).toBeUndefined();
  });

  test("until its time is over, and not at that time", () => {
    const keeping = new Keeping<string>(4);
    keeping.keep(kept("a", { untilNs: 50 }), ROOM);
    keeping.keep(kept("b", { untilNs: 30, key: "other" }), ROOM);
    expect(keeping.nextDueNs()).toBe(30);
    expect(keeping.passTime(29)).toEqual([]);
    expect(keeping.take("other", 30)).toBeUndefined();
    expect(keeping.passTime(30)).toEqual(["b"]);
    expect(keeping.nextDueNs()).toBe(50);
    expect(keeping.passTime(1e9)).toEqual(["a"]);
    expect([keeping.nextDueNs(), keeping.size]).toEqual([Infinity, 0]);
  });

  test("so that the next lease gets the one that was kept last, which is the warmest", () => {
    const keeping = new Keeping<string>(4);
    for (const host of ["a", "b", "c"]) keeping.keep(kept(host), ROOM);
    expect(keeping.take("k", 0)).toBe("c");
    expect(keeping.take("k", 0)).toBe("b");
  });
});

describe("a host goes", () => {
  test("that was kept longest, when there are too many", () => {
    const keeping = new Keeping<string>(2);
    keeping.keep(kept("a"), ROOM);
    keeping.keep(kept("b"), ROOM);
    expect(keeping.keep(kept("c"), ROOM)).toEqual(["a"]);
    expect([keeping.size, keeping.memoryBytes]).toEqual([2, 200]);
  });

  test("at once, where none is kept or the host is larger than the room", () => {
    expect(new Keeping<string>(0).keep(kept("a"), ROOM)).toEqual(["a"]);
    const keeping = new Keeping<string>(4);
    keeping.keep(kept("small"), ROOM);
    expect(keeping.keep(kept("large", { memoryBytes: ROOM + 1 }), ROOM)).toEqual(["large"]);
    expect(keeping.take("k", 0)).toBe("small");
  });

  test("when leases take the memory, the one that was kept longest first, and no more than must", () => {
    const keeping = new Keeping<string>(4);
    for (const host of ["a", "b", "c"]) keeping.keep(kept(host, { memoryBytes: 300 }), ROOM);
    expect(keeping.fit(900)).toEqual([]);
    expect(keeping.fit(599)).toEqual(["a", "b"]);
    expect(keeping.memoryBytes).toBe(300);
    expect(keeping.fit(0)).toEqual(["c"]);
  });

  test("when something else needs it, and when it has died or all are to end", () => {
    const keeping = new Keeping<string>(4);
    for (const host of ["a", "b", "c", "d"]) keeping.keep(kept(host), ROOM);
    expect(keeping.evict()).toBe("a");
    keeping.forget("c");
    expect(keeping.clear()).toEqual(["b", "d"]);
    expect(keeping.evict()).toBeUndefined();
  });
});
