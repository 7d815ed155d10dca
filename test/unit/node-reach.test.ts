/** A client's way to a node: who is told what, and when. */
import { expect, test } from "bun:test";
import type { Wire } from "../../src/control/connection.ts";
import { parseAddress } from "../../src/control/address.ts";
import { type Met, reach } from "../../src/client/node/reach.ts";

test("what a client says first is on its way as the connection opens", async () => {
  const heard = Promise.withResolvers<string>();
  using listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (_, bytes) => heard.resolve(bytes.toString()) },
  });
  const address = parseAddress(`127.0.0.1:${listener.port}`);
  const order: string[] = [];
  let wire: Wire | undefined;
  let met: Met | undefined;
  const events = {
    opened(opened: Wire) {
      order.push("opened");
      wire = opened;
    },
    received() {},
    drained() {},
    close() {},
  };
  await reach(address, events, { timeoutMs: 10_000 }, {}, (reached) => {
    order.push("met");
    met = reached;
    wire!.write(Buffer.from("hello"));
  });
  order.push("reached");
  expect(order).toEqual(["opened", "met", "reached"]);
  expect(met).toMatchObject({
    at: { address: "127.0.0.1", port: listener.port },
    end: { places: [`127.0.0.1:${listener.port}`], key: null },
  });
  expect(met!.withheld).toBeUndefined();
  expect(await heard.promise).toBe("hello");
  wire!.terminate();
});

test("a client that gives up is not told whom it has met", async () => {
  using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const stop = new AbortController();
  const events = { opened() {}, received() {}, drained() {}, close() {} };
  let met = false;
  const reaching = reach(
    parseAddress(`127.0.0.1:${listener.port}`),
    events,
    { timeoutMs: 10_000, signal: stop.signal },
    {},
    () => {
      met = true;
    },
  );
  stop.abort(new Error("enough"));
  expect(reaching).rejects.toThrow("enough");
  await reaching.catch(() => {});
  // Whatever would still come of the attempt has come when another one has gone all the way.
  await reach(
    parseAddress(`127.0.0.1:${listener.port}`),
    events,
    { timeoutMs: 10_000 },
    {},
    () => {},
  );
  expect(met).toBe(false);
});
