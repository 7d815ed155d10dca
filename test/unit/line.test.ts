/** The order in which requests that wait for room are served. */
import { describe, expect, test } from "bun:test";
import { RequestRefused } from "../../src/control/requests.ts";
import { FULL, MAX_HOLD_MS, WaitingLine } from "../../src/executor/admission/waiting-line.ts";
import { LeaseBook } from "../../src/lease/book.ts";
import { Capacity } from "../../src/lease/capacity.ts";
import { Line } from "../../src/lease/line.ts";
import { TestClock } from "../support/clock.ts";

const S = 1e9;

/** A line in which `join` stands for a user, and `serve` has the first take a core for so long. */
function line() {
  const all = new Line<string>();
  let nowNs = 0;
  const serve = (forNs = S): string | undefined => {
    const first = all.first(nowNs);
    if (!first) return undefined;
    const use = all.shares.take({ user: first.user, weight: 1, cores: 1 }, nowNs);
    all.served(first);
    all.shift(first, nowNs);
    nowNs += forNs;
    all.shares.give(use, nowNs);
    return first.waiting;
  };
  return {
    all,
    join: (user: string, waiting: string, weight = 1, beganMs = nowNs++) =>
      all.add(waiting, { user, weight, beganMs }, nowNs),
    pass: (ns: number) => (nowNs += ns),
    serve,
    served: (count: number, forNs?: number) => Array.from({ length: count }, () => serve(forNs)),
  };
}

describe("those that wait for room", () => {
  test("are served in the order of their arrival, of one user", () => {
    const { all, join, served } = line();
    for (const name of ["a", "b", "c"]) join("ada", name);
    expect([all.size, served(4), all.size]).toEqual([3, ["a", "b", "c", undefined], 0]);
  });

  test("keep the place of their age where they join the line anew", () => {
    const { join, pass, served } = line();
    pass(S);
    join("ada", "a");
    join("ada", "older", 1, 5);
    expect(served(2)).toEqual(["older", "a"]);
  });

  test("take turns by user, however many requests each has", () => {
    const { join, served } = line();
    for (let i = 0; i < 4; i++) join("ada", `a${i}`);
    join("bob", "b0");
    join("cy", "c0");
    join("bob", "b1");
    expect(served(7)).toEqual(["a0", "b0", "c0", "a1", "b1", "a2", "a3"]);
  });

  test("are served by weight, by the time for which they have cores and not by how often", () => {
    const { all, join } = line();
    for (let i = 0; i < 400; i++) {
      join("ada", "ada", 1);
      join("bob", "bob", 3);
    }
    const had = { ada: 0, bob: 0 };
    let nowNs = 1000;
    for (let i = 0; i < 400; i++) {
      const first = all.first(nowNs)!;
      const use = all.shares.take(
        { user: first.user, weight: first.user === "bob" ? 3 : 1, cores: 1 },
        nowNs,
      );
      all.served(first);
      all.shift(first, nowNs);
      // Bob's leases are short.
      const forNs = first.user === "bob" ? S / 10 : S;
      nowNs += forNs;
      all.shares.give(use, nowNs);
      had[first.user as "ada" | "bob"] += forNs;
    }
    expect(had.bob / had.ada).toBeGreaterThan(2.9);
    expect(had.bob / had.ada).toBeLessThan(3.1);
  });

  test("owe nothing for what they had while nobody waited", () => {
    const { all, join, pass, serve } = line();
    const use = all.shares.take({ user: "ada", weight: 1, cores: 8 }, 0);
    all.shares.give(use, pass(3600 * S));
    join("ada", "a");
    join("bob", "b");
    expect([serve(), serve()]).toEqual(["a", "b"]);
  });

  test("get no credit for the time in which they did not ask", () => {
    const { join, served } = line();
    for (let i = 0; i < 20; i++) join("ada", "a");
    served(10);
    for (let i = 0; i < 10; i++) join("bob", "b");
    expect(served(4).toSorted()).toEqual(["a", "a", "b", "b"]);
  });

  test("do not all come from one user where cores come free together", () => {
    const { all, join } = line();
    for (let i = 0; i < 3; i++) join("ada", "a");
    for (let i = 0; i < 3; i++) join("bob", "b");
    const served = Array.from({ length: 4 }, () => {
      const first = all.first(100)!;
      all.shares.take({ user: first.user, weight: 1, cores: 1 }, 100);
      all.served(first);
      all.shift(first, 100);
      return first.waiting;
    });
    expect(served).toEqual(["a", "b", "a", "b"]);
  });

  test("are not served once they have left", () => {
    const { all, join, served } = line();
    for (const name of ["a", "b", "c"]) join("ada", name);
    join("bob", "d");
    expect(all.remove((name) => name === "a" || name === "d", 10)).toEqual(["a", "d"]);
    expect([all.size, served(2)]).toEqual([2, ["b", "c"]]);
  });
});

/** A node's line, and its cores. */
function node(cores: number) {
  const clock = new TestClock();
  const book = new LeaseBook(
    new Capacity(
      Array.from({ length: cores }, (_, i) => cores - i),
      1000,
    ),
  );
  /** What was free when it has told of a change last. */
  const told = { free: cores };
  const waiting = new WaitingLine(
    clock,
    (share) => book.letGo(share),
    () => (told.free = book.freeCores),
  );
  let request = 0;
  const place = (
    client: object,
    user: string,
    more: {
      workers?: number;
      waitedMs?: number;
      beganAtMs?: number;
      holdMs?: number;
      isPart?: boolean;
    } = {},
  ) => {
    const wanted = { workers: 1, atLeast: 1, coresPerWorker: 1, memoryBytes: 1, ...more };
    const seen = { offered: 0, failed: "", recalls: 0, id: ++request };
    const { waitedMs = 0, beganAtMs, holdMs = 1000, isPart = false } = more;
    waiting
      .place(
        { client, user, request: seen.id, waitMs: 60_000 },
        {
          ...{ ...wanted, waitedMs, beganAtMs, holdMs, isPart },
          hold: (room) => book.hold(room),
          offered: (workers) => (seen.offered = workers),
          recall: () => seen.recalls++,
        },
      )
      .catch(({ code }) => (seen.failed = code));
    clock.pass(0);
    return seen;
  };
  return { clock, book, waiting, place, told };
}

describe("a place in line", () => {
  test("is offered what is free, up to what it wants, and the room is set aside", () => {
    const { book, place } = node(3);
    const [large, small] = [place({}, "ada", { workers: 2 }), place({}, "bob", { workers: 4 })];
    expect([large.offered, small.offered, book.freeCores]).toEqual([2, 1, 0]);
  });

  test("stays where less is offered than it wants: it gets what comes free next, before those behind it", () => {
    const { waiting, clock, place, book } = node(3);
    const [first, second] = [{}, {}];
    const [one, two] = [place(first, "ada"), place(second, "ada", { workers: 2 })];
    const large = place({}, "ada", { workers: 3, isPart: true, holdMs: 10_000 });
    const small = place({}, "ada");
    for (const [client, { id }] of [
      [first, one],
      [second, two],
    ] as const) {
      waiting.leave(client, id);
      clock.pass(0);
    }
    expect([large.offered, small.offered, book.freeCores]).toEqual([3, 0, 0]);
    clock.pass(10_000);
    expect([small.offered, large.failed]).toEqual([1, ""]);
  });

  test("costs its user what it holds once it is over, and little before", () => {
    const { all, join, pass } = line();
    const offered = all.shares.take({ user: "ada", weight: 1, cores: 3, offered: true }, 0);
    const used = all.shares.take({ user: "bob", weight: 1, cores: 1 }, 0);
    join("ada", "a");
    join("bob", "b");
    expect(all.first(pass(S))?.waiting).toBe("a");
    all.shares.give(offered, pass(0));
    all.shares.give(used, pass(0));
    expect(all.first(pass(0))?.waiting).toBe("b");
  });

  test("is told to be free when its client takes the offer and is refused", async () => {
    const { waiting, place, book, told } = node(2);
    const ada = {};
    const { id } = place(ada, "ada", { workers: 2 });
    expect([book.freeCores, told.free]).toEqual([0, 0]);
    const asking = { client: ada, user: "ada", request: 9, waitMs: 0 };
    const taken = waiting.turn(asking, { cores: 2, memoryBytes: 1, offer: id }, () => {
      throw new RequestRefused("RFAAS_TOKEN_LIMIT", "ada may hold less");
    });
    await expect(taken).rejects.toThrow("ada may hold less");
    expect([book.freeCores, told.free]).toEqual([2, 2]);
  });

  test("goes to the next when its client passes, leaves, or says nothing until the bound", () => {
    const { waiting, clock, place } = node(1);
    const clients = [{}, {}, {}, {}];
    const all = clients.map((client) => place(client, "ada"));
    const offered = () => all.map((one) => one.offered).join("");
    expect(offered()).toBe("1000");
    waiting.leave(clients[0]!, all[0]!.id);
    clock.pass(0);
    expect(offered()).toBe("1100");
    waiting.leave(clients[1]!);
    clock.pass(0);
    expect(offered()).toBe("1110");
    clock.pass(1000);
    expect(offered()).toBe("1111");
    expect(waiting.state()).toMatchObject({ waiting: 0, offers: 1, served: 0 });
  });

  test("is gone with its client", () => {
    const { waiting, clock, place, book } = node(1);
    const [first, gone] = [{}, {}];
    place(first, "ada");
    const left = place(gone, "ada");
    waiting.leave(gone);
    waiting.leave(first);
    clock.pass(0);
    expect([left.failed, left.offered, book.freeCores]).toEqual(["RFAAS_NODE_LOST", 0, 1]);
  });

  test("holds what it is offered no longer than the node lets it, whatever it says", () => {
    const { clock, place, book } = node(1);
    place({}, "ada", { holdMs: 86_400_000 });
    clock.pass(MAX_HOLD_MS);
    expect(book.freeCores).toBe(1);
  });

  test("is booked by who takes the offer, before all that wait, and by nobody else", async () => {
    const { waiting, place, book } = node(2);
    const [ada, bob] = [{}, {}];
    const { id } = place(ada, "ada", { workers: 2 });
    place(bob, "bob");
    const take = (client: object, cores: number) =>
      waiting
        .turn(
          { client, user: "x", request: 99, waitMs: 0 },
          { cores, memoryBytes: 1, offer: id },
          () => {
            const held = book.hold({
              ...{ workers: cores, atLeast: cores, coresPerWorker: 1, memoryBytes: 1 },
            });
            if (!held) throw new RequestRefused(FULL, "no room");
            return held.workers;
          },
        )
        .then(
          ({ booked }) => booked,
          ({ code }) => code,
        );
    expect(await take(bob, 1)).toBe(FULL);
    expect(await take(ada, 1)).toBe(1);
    // What ada left over is bob's.
    expect([book.freeCores, waiting.state().offers]).toEqual([0, 1]);
    expect(await take(ada, 1)).toBe(FULL);
  });

  test("of one client come in the order in which it has sent them, though the node reads them at once", () => {
    const { waiting, place } = node(2);
    const [holder, ada] = [{}, {}];
    const held = place(holder, "ada", { workers: 2 });
    // Sent 2 ms after the first, which was on its way for so long.
    const large = place(ada, "ada", { workers: 2, isPart: true, waitedMs: 13 });
    const small = place(ada, "ada", { waitedMs: 15 });
    waiting.leave(holder, held.id);
    expect([large.offered, small.offered]).toEqual([2, 0]);
    // One that has waited for long elsewhere is older.
    const free = node(1);
    const one = free.place(holder, "ada");
    const young = free.place(ada, "ada", { waitedMs: 13 });
    const old = free.place(ada, "ada", { waitedMs: 1000 });
    free.waiting.leave(holder, one.id);
    expect([young.offered, old.offered]).toEqual([0, 1]);
  });

  test("of an older request that needs several parts gets those that a younger one holds", () => {
    const { clock, place } = node(1);
    const young = place({}, "ada", { isPart: true, holdMs: 10_000 });
    const small = place({}, "ada", { waitedMs: 1000 });
    clock.pass(1000);
    expect([young.offered, young.recalls, small.offered]).toEqual([1, 0, 0]);
    place({}, "ada", { isPart: true, waitedMs: 5000 });
    expect(young.recalls).toBe(1);
    clock.pass(1000);
    expect(young.recalls).toBe(1);
  });

  test("gets what was wanted back for it, though it is the turn of another user", () => {
    const { clock, waiting, place, book } = node(2);
    const [ada, young] = [{}, {}];
    const had = place(ada, "ada", { holdMs: 10_000 });
    // It has other cores, too.
    waiting.take({ user: "ada" }, 8);
    const part = place(young, "bob", { isPart: true, holdMs: 10_000 });
    const old = place({}, "ada", { isPart: true, waitedMs: 5000, holdMs: 10_000 });
    const others = [place({}, "bob"), place({}, "bob", { isPart: true })];
    clock.pass(1000);
    expect([part.recalls, book.freeCores]).toEqual([1, 0]);
    waiting.leave(young, part.id);
    clock.pass(0);
    expect([old.offered, ...others.map(({ offered }) => offered)]).toEqual([1, 0, 0]);
    // What was not wanted back goes by turns.
    waiting.leave(ada, had.id);
    clock.pass(0);
    expect(others.map(({ offered }) => offered)).toEqual([1, 0]);
  });

  test("is as old at each node as its client says, however long its messages were on their way", () => {
    const nodes = [node(1), node(1)];
    const now = nodes[0]!.clock.wallMs();
    const old = { isPart: true, beganAtMs: now - 300.25, waitedMs: 300, holdMs: 10_000 };
    const young = { ...old, beganAtMs: now - 300.125 };
    // At the second node, what the older one has sent comes last.
    const held = [nodes[0]!.place({}, "ada", old), nodes[1]!.place({}, "ada", young)];
    nodes[0]!.place({}, "ada", young);
    nodes[1]!.place({}, "ada", { ...old, waitedMs: 298 });
    for (const { clock } of nodes) clock.pass(1000);
    expect(held.map(({ recalls }) => recalls)).toEqual([0, 1]);
  });

  test("is as old as it has waited where its client's clock is off by much", () => {
    const { clock, place } = node(1);
    const now = clock.wallMs();
    const old = place({}, "ada", { isPart: true, waitedMs: 5000, holdMs: 10_000 });
    place({}, "ada", { isPart: true, waitedMs: 300, beganAtMs: now - 86_400_000 });
    clock.pass(1000);
    expect(old.recalls).toBe(0);
  });

  test("of a younger one does not", () => {
    const { clock, place } = node(1);
    const old = place({}, "ada", { isPart: true, waitedMs: 5000, holdMs: 10_000 });
    place({}, "ada", { isPart: true });
    clock.pass(9_000);
    expect(old.recalls).toBe(0);
  });
});

test("a user whose requests fill the line keeps no other user from it", async () => {
  const { waiting } = node(0);
  let room = false;
  const book = (): string => {
    if (!room) throw new RequestRefused(FULL, "no room");
    return "booked";
  };
  const nothing = { cores: 1, memoryBytes: 1 };
  const ask = (user: string, request: number) =>
    waiting.turn({ client: {}, user, request, waitMs: 1000 }, nothing, book).then(
      ({ booked }) => booked,
      ({ code }) => code,
    );
  const many = Array.from({ length: 4097 }, (_, i) => ask("ada", i));
  expect(await many.at(-1)).toBe(FULL);
  const other = ask("bob", 0);
  room = true;
  waiting.serve();
  expect([await other, await many[0], await many[4095]]).toEqual(["booked", "booked", "booked"]);
});
