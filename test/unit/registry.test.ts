import { beforeEach, describe, expect, test } from "bun:test";
import type { Session } from "../../src/manager/nodes/known/entry.ts";
import type { Announcement } from "../../src/manager/nodes/known/node.ts";
import {
  FORGET_AFTER_MS,
  MAX_NODES,
  NODE_SILENCE_MS,
  Registry,
} from "../../src/manager/nodes/registry.ts";
import type { NodeState } from "../../src/protocol/manager-messages.ts";

const GIB = 1024 ** 3;
const TICK_MS = 100;

let registry: Registry;
let changes: string[];
beforeEach(() => {
  registry = new Registry();
  changes = [];
  registry.onChange((name) => changes.push(name));
});

const node = (name = "n1", more: Partial<Announcement> = {}): Announcement => ({
  name,
  instance: `${name}-first`,
  address: "10.0.0.1:7700",
  cores: 8,
  memoryBytes: 16 * GIB,
  fabrics: ["shm"],
  machine: "m1",
  version: "1.2.3",
  ...more,
});
const expected = (name = "n1") => ({ name, address: "10.0.0.9:1", cores: 4, memoryBytes: GIB });

function join(announcement: Announcement = node(), nowMs = 0): Session {
  const answer = registry.announce(announcement, nowMs);
  if (answer.kind === "refused") throw new Error(`refused: ${answer.message}`);
  return answer.session;
}

function refusal(announcement: Announcement, nowMs = 0): string {
  const answer = registry.announce(announcement, nowMs);
  if (answer.kind === "accepted") throw new Error("it was accepted");
  return answer.message;
}

const stateOf = (name = "n1"): NodeState | undefined => registry.get(name)?.state;
const free = (freeCores: number, draining = false) => ({
  freeCores,
  freeMemoryBytes: GIB,
  leases: 1,
  draining,
});

/** Ticks as a manager that runs all the time does. */
function pass(fromMs: number, toMs: number): Session[] {
  const given: Session[] = [];
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += TICK_MS) given.push(...registry.tick(nowMs));
  return given;
}

describe("what was wished of nodes", () => {
  /** A registry that starts again at another time, with what the first was told. */
  function again(nowMs: number): Registry {
    const next = new Registry();
    for (const wish of registry.wishes(nowMs)) next.restore(wish, 1_000_000);
    return next;
  }

  test("is told whenever it changes, and only then", () => {
    let told = 0;
    registry.onWish(() => told++);
    registry.expect(expected());
    registry.drain("n1", 5_000, 0);
    registry.resume("n1");
    expect(told).toBe(3);
    const session = join(node("n2"));
    registry.report(session, free(3), 1);
    registry.lost(session, 2);
    expect(told).toBe(3);
    registry.remove("n1");
    expect(told).toBe(4);
    expect(registry.wishes(3)).toMatchObject([{ name: "n1", removedAt: "10.0.0.9:1" }]);
  });

  test("is known to the next registry: expected, to be emptied by then, or to serve", () => {
    registry.expect(expected("awaited"));
    join(node("emptied"));
    registry.drain("emptied", 10_000, 0);
    registry.expect(expected("resumed"));
    registry.resume("resumed");
    const next = again(4_000);
    expect(next.nodes().map(({ name, state }) => [name, state])).toEqual([
      ["awaited", "expected"],
      ["emptied", "down"],
      ["resumed", "expected"],
    ]);
    expect(next.drainLeftMs("emptied", 1_000_000)).toBe(6_000);
    expect(next.isResumed("resumed")).toBe(true);
    next.tick(1_000_000);
    for (let ms = 0; ms <= FORGET_AFTER_MS + TICK_MS; ms += TICK_MS) next.tick(1_000_000 + ms);
    expect(next.nodes().map(({ name }) => name)).toEqual(["awaited", "resumed"]);
  });

  test("may have names that no node has: they are left out", () => {
    const next = new Registry();
    const wish = { expected: undefined, drainLeftMs: 1, resumed: false };
    next.restore({ ...wish, name: "../x" }, 0);
    next.restore({ ...wish, name: "n1" }, 0);
    next.restore({ ...wish, name: "n1" }, 0);
    expect(next.size).toBe(1);
  });
});

describe("a node that announces itself", () => {
  test("is up, as it described itself, with nothing free until it says so", () => {
    join();
    expect(registry.nodes()).toEqual([
      { ...node(), fabrics: ["shm"], freeCores: 0, freeMemoryBytes: 0, leases: 0, state: "up" },
    ]);
    expect(changes).toEqual(["n1"]);
  });

  test("has free what it reports, and no more than it has", () => {
    const session = join();
    registry.report(session, free(3), 1);
    expect(registry.get("n1")).toMatchObject({ freeCores: 3, freeMemoryBytes: GIB, leases: 1 });
    registry.report(session, { ...free(900), freeMemoryBytes: 2 ** 45 }, 2);
    expect(registry.get("n1")).toMatchObject({ freeCores: 8, freeMemoryBytes: 16 * GIB });
  });

  test("is no news when it repeats itself", () => {
    const session = join();
    registry.report(session, free(3), 1);
    changes = [];
    registry.report(session, free(3), 2);
    registry.heard(session, 3);
    expect(changes).toEqual([]);
  });

  test("drains when it says so, and is up again when it says that", () => {
    const session = join();
    registry.report(session, free(3, true), 1);
    expect(stateOf()).toBe("draining");
    registry.report(session, free(3), 2);
    expect(stateOf()).toBe("up");
  });

  test("that was told to serve again while it was away is told so when it is back", () => {
    const session = join();
    expect(registry.isResumed("n1")).toBe(false);
    registry.drain("n1", 60_000, 0);
    registry.lost(session, 10);
    expect(registry.drainLeftMs("n1", 10)).toBe(59_990);
    registry.resume("n1");
    join(node(), 20);
    expect(registry.isResumed("n1")).toBe(true);
    expect(registry.drainLeftMs("n1", 20)).toBeUndefined();
    registry.drain("n1", 1_000, 30);
    expect(registry.isResumed("n1")).toBe(false);
  });

  test("is forgotten when it leaves", () => {
    registry.leave(join());
    expect(registry.nodes()).toEqual([]);
    expect(changes).toEqual(["n1", "n1"]);
  });
});

describe("what cannot be a node is refused with the bounds", () => {
  test.each([0, -1, 1025, 1e9, 1.5, Number.NaN])("%p cores", (cores) => {
    expect(refusal(node("n1", { cores }))).toBe(
      `a node has 1 to 1024 cores and not ${cores}; choose another --cores`,
    );
    expect(registry.size).toBe(0);
  });

  test.each(["", "a b", "a/b", "ä", "x".repeat(129), "a\n"])("the name %j", (name) => {
    expect(refusal(node(name))).toContain("1 to 128 letters, digits or . _ : -");
  });

  test.each([-1, 2 ** 51, Number.NaN, Number.POSITIVE_INFINITY])("%p bytes", (memoryBytes) => {
    expect(refusal(node("n1", { memoryBytes }))).toContain("bytes of memory");
  });

  test("one more than can be remembered", () => {
    for (let i = 0; i < MAX_NODES; i++) join(node(`n${i}`));
    expect(refusal(node("late"))).toContain(`the manager knows ${MAX_NODES} nodes`);
    expect(registry.expect(expected("late"))).toContain(`the manager knows ${MAX_NODES} nodes`);
    expect(registry.announce(node("n1"), 0).kind).toBe("accepted");
  });
});

describe("two nodes of one name", () => {
  test("the second is refused while the first is there", () => {
    join();
    expect(refusal(node("n1", { instance: "other" }))).toBe(
      "another node is already called n1; choose another --name",
    );
    expect(registry.get("n1")?.instance).toBe("n1-first");
  });

  test("the second is taken when the first one's connection is lost", () => {
    registry.lost(join(), 1);
    join(node("n1", { instance: "second", cores: 2 }), 2);
    expect(registry.get("n1")).toMatchObject({ instance: "second", cores: 2, state: "up" });
  });

  test("the same instance takes the place of its old connection, whose end means nothing then", () => {
    const old = join();
    const answer = registry.announce(node(), 5);
    expect(answer).toMatchObject({ kind: "accepted", replaced: old });
    changes = [];
    registry.lost(old, 6);
    registry.report(old, free(1), 6);
    registry.leave(old);
    expect(changes).toEqual([]);
    expect(stateOf()).toBe("up");
  });
});

test("what a node keeps is what it has said last, and nothing once it is lost or does not say", () => {
  const session = join();
  expect(registry.get("n1")).not.toHaveProperty("keptHosts");
  registry.report(session, { ...free(3), keptHosts: 2 }, 1);
  expect(registry.get("n1")?.keptHosts).toBe(2);
  registry.report(session, free(3), 2);
  expect(registry.get("n1")).not.toHaveProperty("keptHosts");
  registry.report(session, { ...free(3), keptHosts: 1 }, 3);
  registry.lost(session, 4);
  expect(registry.get("n1")).not.toHaveProperty("keptHosts");
});

describe("a node whose connection is lost", () => {
  test("is down at once, with nothing free", () => {
    const session = join();
    registry.report(session, free(3), 1);
    registry.lost(session, 2);
    expect(registry.get("n1")).toMatchObject({ state: "down", freeCores: 0, leases: 0 });
  });

  test("is forgotten after a while", () => {
    registry.lost(join(), 1000);
    pass(1000, 1000 + FORGET_AFTER_MS);
    expect(stateOf()).toBe("down");
    registry.tick(1001 + FORGET_AFTER_MS);
    expect(registry.size).toBe(0);
  });

  test("is remembered when it is expected", () => {
    registry.expect(expected());
    registry.lost(join(), 0);
    pass(0, 2 * FORGET_AFTER_MS);
    expect(registry.get("n1")).toMatchObject({ state: "down", address: "10.0.0.9:1", cores: 4 });
  });
});

describe("a silent node", () => {
  test("is given up after two seconds without a word", () => {
    const session = join(node(), 0);
    expect(pass(0, NODE_SILENCE_MS)).toEqual([]);
    expect(registry.tick(NODE_SILENCE_MS + 1)).toEqual([session]);
    expect(stateOf()).toBe("down");
  });

  test("lives on with every word", () => {
    const session = join(node(), 0);
    for (let nowMs = 0; nowMs < 20_000; nowMs += 1000) {
      registry.heard(session, nowMs);
      expect(pass(nowMs, nowMs + 999)).toEqual([]);
    }
  });

  test("is not to blame for the time in which the manager did not run", () => {
    const session = join(node(), 0);
    registry.tick(100);
    expect(registry.tick(60_000)).toEqual([]);
    expect(pass(60_100, 61_000)).toEqual([]);
    expect(pass(61_100, 63_000)).toEqual([session]);
  });

  test("a clock that goes back gives nobody up", () => {
    join(node(), 50_000);
    registry.tick(50_000);
    expect(registry.tick(10)).toEqual([]);
    expect(registry.tick(110)).toEqual([]);
  });
});

describe("an expected node", () => {
  test("is shown before it comes, up when it came, expected again when it left", () => {
    expect(registry.expect(expected())).toBeUndefined();
    expect(registry.get("n1")).toMatchObject({ ...expected(), instance: "", state: "expected" });
    const session = join();
    expect(registry.get("n1")).toMatchObject({ cores: 8, state: "up" });
    registry.leave(session);
    expect(registry.get("n1")).toMatchObject({ cores: 4, instance: "", state: "expected" });
    expect(registry.isExpected("n1")).toBe(true);
  });

  test("may be named after it came, and is what it says of itself", () => {
    join();
    registry.expect(expected());
    expect(registry.get("n1")).toMatchObject({ cores: 8, state: "up" });
  });

  test("is not named with others of which one cannot be, nor are they", () => {
    registry.expect(expected());
    const moved = { ...expected(), address: "10.0.0.7:1" };
    const wrong = { ...expected("n3"), cores: 1e9 };
    changes = [];
    expect(registry.expectAll([moved, expected("n2"), wrong])).toEqual({
      name: "n3",
      problem: expect.stringContaining("1 to 1024 cores"),
    });
    expect([registry.nodes().length, registry.get("n1")?.address]).toEqual([1, "10.0.0.9:1"]);
    const many = Array.from({ length: MAX_NODES }, (_, i) => expected(`many${i}`));
    expect(registry.expectAll(many)?.problem).toContain("takes no more");
    expect([registry.size, changes]).toEqual([1, []]);
    expect(registry.expectAll([moved, expected("n2")])).toBeUndefined();
    expect([registry.size, registry.get("n1")?.address]).toEqual([2, "10.0.0.7:1"]);
  });

  test("may have a size that nobody knows yet", () => {
    expect(registry.expect({ ...expected(), cores: 0, memoryBytes: 0 })).toBeUndefined();
    expect(registry.expect({ ...expected(), cores: 1e9 })).toContain("1 to 1024 cores");
  });
});

describe("draining by the manager", () => {
  test("holds until it is resumed", () => {
    const session = join();
    expect(registry.drain("n1", 5000, 1000)).toBe(true);
    expect(stateOf()).toBe("draining");
    registry.report(session, free(3), 1500);
    expect(stateOf()).toBe("draining");
    expect(registry.drainLeftMs("n1", 2000)).toBe(4000);
    expect(registry.drainLeftMs("n1", 9000)).toBe(0);
    registry.report(session, free(3, true), 2500);
    expect(registry.resume("n1")).toBe(true);
    expect(stateOf()).toBe("draining");
    registry.report(session, free(3), 3000);
    expect(stateOf()).toBe("up");
    expect(registry.drainLeftMs("n1", 3000)).toBeUndefined();
  });

  test("waits for a node that is not there", () => {
    registry.expect(expected());
    registry.drain("n1", 5000, 0);
    expect(stateOf()).toBe("expected");
    join();
    expect(stateOf()).toBe("draining");
  });

  test("knows no node that there is not", () => {
    expect(registry.drain("n1", 1, 0)).toBe(false);
    expect(registry.resume("n1")).toBe(false);
    expect(registry.remove("n1")).toBe(false);
    expect(changes).toEqual([]);
  });
});

test("a removed node is gone, there or expected, and its connection speaks for nobody", () => {
  registry.expect(expected());
  const session = join();
  expect(registry.remove("n1")).toBe(true);
  expect(registry.size).toBe(0);
  registry.report(session, free(3), 1);
  registry.lost(session, 2);
  expect(registry.size).toBe(0);
  expect(pass(0, 10_000)).toEqual([]);
});

test("whoever listens no more hears no more", () => {
  const heard: string[] = [];
  const unlisten = registry.onChange((name) => heard.push(name));
  join();
  unlisten();
  join(node("n2"));
  expect(heard).toEqual(["n1"]);
});
