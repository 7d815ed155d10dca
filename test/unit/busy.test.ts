import { describe, expect, test } from "bun:test";
import { type Usage, busyBetween, busyInWords } from "../../bench/machine/busy.ts";

const OWN = 100;

/** Processes as pid, parent and ticks; all of their ticks are the machine's, unless `used` says more. */
function usage(
  processes: readonly (readonly [pid: number, parent: number, ticks: number])[],
  { used = 0, stolen = 0 } = {},
): Usage {
  return {
    used: used || processes.reduce((sum, [, , ticks]) => sum + ticks, 0),
    stolen,
    processes: new Map(
      processes.map(([pid, parent, ticks]) => [pid, { name: `p${pid}`, parent, ticks }]),
    ),
  };
}

describe("another user of the machine", () => {
  test("is named with its share of a core, the busiest first", () => {
    const before = usage([
      [7, 1, 1000],
      [8, 1, 50],
    ]);
    const after = usage([
      [7, 1, 1010],
      [8, 1, 70],
    ]);
    expect(busyBetween(before, after, 200, OWN)).toEqual([
      { pid: 8, name: "p8", cores: 1 },
      { pid: 7, name: "p7", cores: 0.5 },
    ]);
  });

  test("is none that uses next to nothing", () => {
    expect(busyBetween(usage([[7, 1, 10]]), usage([[7, 1, 12]]), 200, OWN)).toEqual([]);
  });

  test("is neither this process nor what it has started", () => {
    const before = usage([
      [OWN, 1, 0],
      [101, OWN, 0],
      [102, 101, 0],
      [103, 1, 0],
    ]);
    const after = usage([
      [OWN, 1, 20],
      [101, OWN, 20],
      [102, 101, 20],
      [103, 1, 20],
    ]);
    expect(busyBetween(before, after, 200, OWN).map(({ pid }) => pid)).toEqual([103]);
  });

  test("may have started between the two readings", () => {
    const after = usage([[9, 1, 15]]);
    expect(busyBetween(usage([]), after, 200, OWN)).toEqual([{ pid: 9, name: "p9", cores: 0.75 }]);
  });

  test("may be a process with the number of one that has ended", () => {
    expect(
      busyBetween(usage([[9, 1, 500]], { used: 600 }), usage([[9, 1, 3]], { used: 600 }), 200, OWN),
    ).toEqual([]);
  });

  test("may be one that no list shows, or another machine", () => {
    const found = busyBetween(
      usage([], { used: 100, stolen: 5 }),
      usage([], { used: 130, stolen: 15 }),
      200,
      OWN,
    );
    expect(found.map(({ pid, cores }) => [pid, cores])).toEqual([
      [undefined, 1.5],
      [undefined, 0.5],
    ]);
    expect(found[0]!.name).toContain("cannot be seen");
    expect(found[1]!.name).toContain("other machines");
  });
});

test("one line says who they are, at most three by name", () => {
  const users = [1, 2, 3, 4, 5].map((pid) => ({ pid, name: `p${pid}`, cores: 1 / pid }));
  const line = busyInWords([{ name: "other machines", cores: 2 }, ...users]);
  expect(line).toContain(
    "other machines, 200 % of a core; p1 (pid 1), 100 % of a core; p2 (pid 2)",
  );
  expect(line).toEndWith("; and 3 more");
  expect(line).not.toContain("\n");
});
