import { describe, expect, test } from "bun:test";
import { UNPINNED, leaseCpus, planCpus, workerCpus } from "../../src/executor/machine/cores.ts";

describe("planCpus", () => {
  test("takes the last usable CPUs first and leaves the first one alone", () => {
    expect(planCpus(2, [0, 1, 2, 3])).toEqual([3, 2]);
    expect(planCpus(3, [0, 1, 2, 3])).toEqual([3, 2, 1]);
  });

  test("does not pin the core that would need the first usable CPU", () => {
    expect(planCpus(4, [0, 1, 2, 3])).toEqual([3, 2, 1, UNPINNED]);
  });

  test("does not pin cores beyond the usable CPUs", () => {
    expect(planCpus(5, [0, 1])).toEqual([1, UNPINNED, UNPINNED, UNPINNED, UNPINNED]);
  });

  test("pins nothing where there is one usable CPU, or none is known", () => {
    expect(planCpus(2, [6])).toEqual([UNPINNED, UNPINNED]);
    expect(planCpus(1, [])).toEqual([UNPINNED]);
  });

  test("uses CPUs by their numbers, whichever the system left to this process", () => {
    expect(planCpus(2, [4, 9, 17])).toEqual([17, 9]);
  });

  test("does not change the list of usable CPUs", () => {
    const usable = [0, 1, 2];
    planCpus(3, usable);
    expect(usable).toEqual([0, 1, 2]);
  });

  test("plans as many cores as asked for, no CPU twice, on this machine too", () => {
    for (const count of [1, 2, 16, 1024]) {
      const cpus = planCpus(count);
      const pinned = cpus.filter((cpu) => cpu !== UNPINNED);
      expect(cpus).toHaveLength(count);
      expect(new Set(pinned).size).toBe(pinned.length);
    }
  });
});

describe("workerCpus", () => {
  test("are a worker's own where it has as many as it has cores", () => {
    expect(workerCpus([7, 6, 5, 4], 2, () => [0, 1, 2, 3, 4, 5, 6, 7])).toEqual([
      [7, 6],
      [5, 4],
    ]);
  });

  test("are made up with the nearest that the lease does not have", () => {
    expect(workerCpus([7, 6, 5, UNPINNED], 2, () => [0, 4, 5, 6, 7])).toEqual([
      [7, 6],
      [5, 4],
    ]);
    expect(workerCpus([UNPINNED, UNPINNED, UNPINNED], 3, () => [0, 1, 2, 3])).toEqual([[0, 1, 2]]);
  });

  test("are all usable ones where there are fewer than cores", () => {
    expect(workerCpus([1, UNPINNED, UNPINNED, UNPINNED], 4, () => [0, 1])).toEqual([[1, 0]]);
  });

  test("of one core are that one, or none in particular", () => {
    expect(workerCpus([3, UNPINNED], 1, () => [0, 3])).toEqual([[3], []]);
  });
});

describe("leaseCpus", () => {
  test("are those of all workers, and the one that no lease has", () => {
    expect(leaseCpus([[7], [6]], [0, 1, 6, 7])).toEqual([7, 6, 0]);
    expect(leaseCpus([[1, 0]], [0, 1])).toEqual([1, 0]);
  });

  test("are all where a worker has none of its own", () => {
    expect(leaseCpus([[7], []], [0, 6, 7])).toEqual([0, 6, 7]);
  });
});
