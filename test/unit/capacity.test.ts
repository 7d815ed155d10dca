import { describe, expect, test } from "bun:test";
import { UNPINNED } from "../../src/executor/machine/cores.ts";
import { Capacity, type Share } from "../../src/lease/capacity.ts";

const MIB = 1024 ** 2;

function granted(answer: Share | string): Share {
  if (typeof answer === "string") throw new Error(`refused: ${answer}`);
  return answer;
}

describe("Capacity", () => {
  test("starts with everything free", () => {
    const capacity = new Capacity([3, 2, 1], 8 * MIB);
    expect([capacity.totalCores, capacity.freeCores]).toEqual([3, 3]);
    expect([capacity.totalMemoryBytes, capacity.freeMemoryBytes]).toEqual([8 * MIB, 8 * MIB]);
  });

  test("does not share the list of CPUs that it was made of", () => {
    const cpus = [3, 2, 1];
    const capacity = new Capacity(cpus, MIB);
    capacity.take(2, 1);
    expect(cpus).toEqual([3, 2, 1]);
    cpus.length = 0;
    expect(granted(capacity.take(1, 1)).cpus).toEqual([1]);
  });

  test("takes cores and memory out of what is free", () => {
    const capacity = new Capacity([3, 2, 1], 8 * MIB);
    expect(capacity.take(2, 3 * MIB)).toEqual({ cpus: [3, 2], memoryBytes: 3 * MIB });
    expect([capacity.freeCores, capacity.freeMemoryBytes]).toEqual([1, 5 * MIB]);
  });

  test("takes the last core and the last byte", () => {
    const capacity = new Capacity([1], 100);
    expect(capacity.take(1, 100)).toEqual({ cpus: [1], memoryBytes: 100 });
    expect([capacity.freeCores, capacity.freeMemoryBytes]).toEqual([0, 0]);
  });

  test("hands out pinned CPUs before unpinned ones", () => {
    const capacity = new Capacity([3, 2, UNPINNED, UNPINNED], 100);
    expect(granted(capacity.take(3, 1)).cpus).toEqual([3, 2, UNPINNED]);
  });

  test("hands out a pinned CPU first after it came back behind unpinned ones", () => {
    const capacity = new Capacity([3, 2, UNPINNED, UNPINNED], 100);
    const pinned = granted(capacity.take(2, 1));
    const unpinned = granted(capacity.take(1, 1));
    capacity.give(pinned);
    capacity.give(unpinned);
    expect(granted(capacity.take(4, 1)).cpus).toEqual([3, 2, UNPINNED, UNPINNED]);
  });

  test("gives each worker cores that are near each other, the best ones where several are", () => {
    expect(granted(new Capacity([7, 6, 5, 4, 3], 100).take(2, 1, 2)).cpus).toEqual([7, 6, 5, 4]);
    const torn = new Capacity([15, 13, 9, 8, 7, 2, UNPINNED], 100);
    expect(granted(torn.take(1, 1, 3)).cpus).toEqual([9, 8, 7]);
    expect(granted(torn.take(1, 1, 2)).cpus).toEqual([15, 13]);
    // No two are left that have a CPU.
    expect(granted(torn.take(1, 1, 2)).cpus).toEqual([2, UNPINNED]);
    expect(torn.freeCores).toBe(0);
  });

  test("takes all cores of all workers, or none, and says how many each worker wants", () => {
    const capacity = new Capacity([4, 3, 2, 1], 100);
    expect(capacity.take(2, 1, 3)).toBe(
      "the node has 4 cores for leases and 6 are asked for, 3 for each worker; ask for fewer workers, or serve with --cores 6 (a private node: invoker({ cores: 6 }))",
    );
    const share = granted(capacity.take(1, 1, 3));
    expect(capacity.take(1, 1, 2)).toBe(
      "1 of 4 cores are free and 2 are asked for, 2 for each worker; release another lease or try again later",
    );
    expect(capacity.freeCores).toBe(1);
    capacity.give(share);
    expect(granted(capacity.take(2, 1, 2)).cpus).toEqual([4, 3, 2, 1]);
  });

  test("has what it had before a lease when the lease's share is given back", () => {
    const capacity = new Capacity([3, 2, 1], 100);
    const kept = granted(capacity.take(1, 10));
    capacity.give(granted(capacity.take(2, 90)));
    expect([capacity.freeCores, capacity.freeMemoryBytes]).toEqual([2, 90]);
    capacity.give(kept);
    expect(capacity.take(3, 100)).toEqual({ cpus: [3, 2, 1], memoryBytes: 100 });
  });
});

describe("Capacity refuses, in words,", () => {
  const refusals: readonly [string, () => Capacity, number, number, string][] = [
    [
      "more workers than the node has cores",
      () => new Capacity([1, 0], 100),
      3,
      1,
      "the node has 2 cores for leases and 3 are asked for; ask for fewer workers, or serve with --cores 3 (a private node: invoker({ cores: 3 }))",
    ],
    [
      "more workers than a node of one core has",
      () => new Capacity([0], 100),
      2,
      1,
      "the node has 1 core for leases and 2 are asked for; ask for fewer workers, or serve with --cores 2 (a private node: invoker({ cores: 2 }))",
    ],
    [
      "more memory than the node has",
      () => new Capacity([1, 0], 100),
      1,
      101,
      "the node has 100 bytes for leases and 101 are asked for; ask for less memory or heap, or serve with more --memory (a private node: invoker({ memory }))",
    ],
    [
      "more workers than are free now",
      () => afterTaking(1, 1),
      2,
      1,
      "1 of 2 cores are free and 2 are asked for; release another lease or try again later",
    ],
    [
      "more memory than is free now",
      () => afterTaking(1, 60),
      1,
      41,
      "40 of 100 bytes are free and 41 are asked for; release another lease or ask for less memory or heap",
    ],
  ];

  function afterTaking(workers: number, memoryBytes: number): Capacity {
    const capacity = new Capacity([1, 0], 100);
    granted(capacity.take(workers, memoryBytes));
    return capacity;
  }

  test.each(refusals)("%s", (_, make, workers, memoryBytes, sentence) => {
    expect(make().take(workers, memoryBytes)).toBe(sentence);
  });

  test.each(refusals)("%s, and takes nothing then", (_, make, workers, memoryBytes) => {
    const capacity = make();
    const before = [capacity.freeCores, capacity.freeMemoryBytes];
    capacity.take(workers, memoryBytes);
    expect([capacity.freeCores, capacity.freeMemoryBytes]).toEqual(before);
  });
});
