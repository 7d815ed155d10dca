/** Handles of a lease whose parts are replaced while calls go on. */
import { expect, test } from "bun:test";
import {
  type Handle,
  type Joining,
  type Lent,
  Members,
} from "../../src/client/functions/members.ts";

/** A part that is asked, or is over. */
function part(name: string, firstWorker: number, workers: number) {
  const state = { over: false, disposed: false };
  const handle = Object.assign(async () => name, {
    broadcast: async () => [],
    [Symbol.dispose]: () => void (state.disposed = true),
  }) as unknown as Handle;
  const lent: Lent = {
    ...{ part: name, handle, workers, firstWorker, slots: 8 },
    isOver: () => state.over,
  };
  return { state, lent };
}

function joining() {
  let listener: Parameters<Joining["onJoined"]>[0] = () => {};
  let next = Promise.withResolvers<void>();
  const it: Joining = {
    open: true,
    pending: true,
    healed: async (options) => {
      await next.promise;
      return options;
    },
    onJoined(to) {
      listener = to;
      return () => {};
    },
  };
  const seat = (one: Lent | undefined, instead: unknown): void => {
    listener(one, instead);
    const { resolve } = next;
    next = Promise.withResolvers();
    resolve();
  };
  return { it, seat };
}

test("a call of a worker that is replaced after another of its part waits for it", async () => {
  const former = part("former", 0, 2);
  const { it, seat } = joining();
  const members = new Members([former.lent], it);
  former.state.over = true;
  const calls = [0, 1].map((worker) => members.call(undefined as never, { worker }));
  seat(part("first", 0, 1).lent, "former");
  expect(await calls[0]).toBe("first");
  const late = members.call(undefined as never, { worker: 1 });
  expect(former.state.disposed).toBe(false);
  seat(part("second", 1, 1).lent, undefined);
  expect(await Promise.all([calls[1], late])).toEqual(["second", "second"]);
  expect(former.state.disposed).toBe(true);
});

test("one part in the place of two takes the calls of both", async () => {
  const formers = [part("one", 0, 1), part("other", 1, 1)];
  const { it, seat } = joining();
  const members = new Members(
    formers.map(({ lent }) => lent),
    it,
  );
  for (const { state } of formers) state.over = true;
  seat(part("both", 0, 2).lent, "one");
  seat(undefined, "other");
  expect(await members.call(undefined as never, { worker: 1 })).toBe("both");
  expect(formers.map(({ state }) => state.disposed)).toEqual([true, true]);
});
