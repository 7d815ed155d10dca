/** Requests over a connection of two ends in memory, with frames and vocabularies as they are on a socket. */
import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { LeaseLost } from "../../src/base/errors.ts";
import { Connection } from "../../src/control/connection.ts";
import {
  type Answer,
  type Handlers,
  RequestRefused,
  RequestTimeout,
  Requests,
  answering,
} from "../../src/control/requests.ts";
import { notice, request, vocabularyOf } from "../../src/protocol/declare.ts";
import { connectedPair } from "../support/connected-pair.ts";
import { until } from "../support/until.ts";

const Double = request("double", { n: Type.Number() }, { n: Type.Number() });
const Count = request("count", { to: Type.Number() }, { n: Type.Number(), last: Type.Boolean() });
const Silent = request("silent", {}, { word: Type.String() });
const Told = notice("told", { what: Type.String() });
const asked = [Double, Count, Silent, Told] as const;
const Echo = notice("echo", { what: Type.String() });
const told = [Echo] as const;

/** Two sides: one asks, the other answers by the handlers. */
function link(handlers: Partial<Handlers<typeof asked>> = {}) {
  const heard: string[] = [];
  const waiting: boolean[] = [];
  let held: Answer<typeof Silent> | undefined;
  const all: Handlers<typeof asked> = {
    double: ({ n }) => ({ n: 2 * n }),
    count: ({ to }, _, answer) => {
      for (let n = 1; n <= to; n++) answer.send({ n, last: n === to });
    },
    silent: (_, __, answer) => void (held = answer),
    told: ({ what }) => void heard.push(what),
    ...handlers,
  };
  const answer = answering(asked, all, { send: (message) => answerer.send(message as never) });
  const answerer: Connection<any, any> = new Connection(vocabularyOf(asked, told), {
    message: (message) => answer(message),
    closed() {},
  });
  const requests: Requests = new Requests({
    send: (message) => asker.send(message as never),
    onWaiting: (waits) => waiting.push(waits),
  });
  const asker: Connection<any, any> = new Connection(vocabularyOf(told, asked), {
    message: (message) => {
      if (!requests.heard(message)) heard.push(message.what);
    },
    closed: (error) => requests.end(error ?? new Error("closed")),
  });
  connectedPair(asker, answerer);
  return { requests, asker, answerer, heard, waiting, held: () => held! };
}

const settled = async (promise: Promise<unknown>): Promise<boolean> => {
  let done = false;
  promise.then(
    () => (done = true),
    () => (done = true),
  );
  await new Promise(setImmediate);
  return done;
};

test("a reply is found by its request's id, whatever the order of the answers", async () => {
  const answers: Answer<typeof Double>[] = [];
  const { requests } = link({ double: (_, __, answer) => void answers.push(answer) });
  const asks = [1, 2, 3].map((n) => requests.ask(Double, { n }));
  await until(() => answers.length === 3, "all are asked");
  for (const at of [2, 0, 1]) answers[at]!.send({ n: 10 * (at + 1) });
  expect((await Promise.all(asks)).map(({ n }) => n)).toEqual([10, 20, 30]);
});

describe("a handler", () => {
  test("answers with what it returns, or with what its promise comes to", async () => {
    const { requests } = link({ silent: async () => ({ word: "late" }) });
    expect(await requests.ask(Double, { n: 21 })).toMatchObject({ n: 42 });
    expect(await requests.ask(Silent, {})).toMatchObject({ word: "late" });
  });

  test("answers once: what it says after that is dropped", async () => {
    const { requests, held, asker, answerer } = link();
    const asking = requests.ask(Silent, {});
    await until(() => held() !== undefined, "it is asked");
    const said: string[] = [];
    answerer.send = ({ t }: { t: string }) => void said.push(t);
    held().send({ word: "yes" });
    held().send({ word: "no" });
    held().fail("X", "never");
    expect(said).toEqual(["silent-reply"]);
    asker.close(new Error("enough"));
    await expect(asking).rejects.toThrow("enough");
  });

  test("refuses with an error of ours, whose code and words the asker gets", async () => {
    const record = { name: "E", message: "thrown" };
    const { requests } = link({
      double: () => {
        throw new LeaseLost("the lease is over; take a new lease");
      },
      silent: () => Promise.reject(new RequestRefused("X", "not today", { record })),
    });
    await expect(requests.ask(Double, { n: 1 })).rejects.toMatchObject({
      ...{ name: "RequestRefused", code: "RFAAS_LEASE_LOST" },
      message: "the lease is over; take a new lease",
    });
    await expect(requests.ask(Silent, {})).rejects.toMatchObject({ code: "X", record });
    const failure = ({ code }: { code: string }): Error => new RangeError(`made of ${code}`);
    await expect(requests.ask(Silent, {}, { failure })).rejects.toThrow(
      new RangeError("made of X"),
    );
  });

  test("that fails in a way that nobody explains fails where it was called", () => {
    const defect = new TypeError("a defect");
    const handlers: Handlers<readonly [typeof Double]> = {
      double: () => {
        throw defect;
      },
    };
    const said: unknown[] = [];
    const send = (message: unknown): void => void said.push(message);
    const ask = { t: "double", id: 7, n: 1 } as const;
    expect(() => answering([Double], handlers, { send })(ask)).toThrow(defect);
    const explain = (): { code: string; message: string } => ({ code: "Y", message: "a shortage" });
    answering([Double], handlers, { send, explain })(ask);
    expect(said).toEqual([{ t: "failed", id: 7, code: "Y", message: "a shortage" }]);
  });
});

test("a reply in parts comes whole, each part as it is read", async () => {
  const { requests } = link();
  const parts: number[] = [];
  const last = await requests.ask(Count, { to: 4 }, { onReply: ({ n }) => void parts.push(n) });
  expect(parts).toEqual([1, 2, 3, 4]);
  expect(last).toMatchObject({ n: 4, last: true });
});

test("a reply is heard before the message that comes behind it", async () => {
  const order: string[] = [];
  const { requests, answerer, heard } = link({
    double: (_, __, answer) => {
      answer.send({ n: 1 });
      answerer.send({ t: "echo", what: "behind" });
    },
  });
  await requests.ask(
    Double,
    { n: 1 },
    { onReply: () => void order.push(`reply, heard ${heard.length}`) },
  );
  expect(order).toEqual(["reply, heard 0"]);
  await until(() => heard.length === 1, "the message behind it");
});

describe("a wait ends", () => {
  test("with its signal's reason, and what comes later is told to who wants it", async () => {
    const { requests, held } = link();
    const stop = new AbortController();
    const [late, given]: [string[], number[]] = [[], []];
    const asking = requests.ask(
      Silent,
      {},
      {
        signal: stop.signal,
        onAbandon: (id) => void given.push(id),
        onReply: () => void late.push("in time"),
        onLate: ({ word }) => void late.push(word),
      },
    );
    await until(() => held() !== undefined, "it is asked");
    stop.abort(new Error("changed my mind"));
    await expect(asking).rejects.toThrow("changed my mind");
    expect(given).toEqual([1]);
    held().send({ word: "too late" });
    await until(() => late.length > 0, "the late reply");
    expect(late).toEqual(["too late"]);
  });

  test("before anything is sent when its signal has aborted", async () => {
    const { requests, held } = link();
    const signal = AbortSignal.abort(new Error("never"));
    await expect(requests.ask(Silent, {}, { signal })).rejects.toThrow("never");
    expect(await requests.ask(Double, { n: 1 })).toMatchObject({ n: 2 });
    expect(held()).toBeUndefined();
  });

  test("with an error that names the request and the time when no answer comes", async () => {
    const { requests } = link();
    const failed = requests.ask(Silent, {}, { timeoutMs: 1 });
    await expect(failed).rejects.toBeInstanceOf(RequestTimeout);
    await expect(failed).rejects.toThrow('did not answer the request "silent" within 1 ms');
  });

  test("with the connection", async () => {
    const { requests, answerer } = link();
    const asks = Promise.allSettled([requests.ask(Silent, {}), requests.ask(Silent, {})]);
    expect(await settled(asks)).toBe(false);
    answerer.close();
    const reasons = (await asks).map((one) => one.status === "rejected" && String(one.reason));
    expect(reasons).toEqual(["Error: closed", "Error: closed"]);
  });

  test("when the message cannot be sent, and nothing is left of it", async () => {
    const waiting: boolean[] = [];
    const requests = new Requests({
      send() {
        throw new Error("over");
      },
      onWaiting: (waits) => waiting.push(waits),
    });
    await expect(requests.ask(Silent, {})).rejects.toThrow("over");
    expect(waiting).toEqual([true, false]);
  });
});

test("what waits is told once when it begins and once when it ends, but for what does not hold", async () => {
  const { requests, waiting } = link();
  await Promise.all([requests.ask(Double, { n: 1 }), requests.ask(Double, { n: 2 })]);
  expect(waiting).toEqual([true, false]);
  {
    using _ = requests.hold();
    await requests.ask(Double, { n: 1 });
    expect(waiting).toEqual([true, false, true]);
  }
  expect(waiting).toEqual([true, false, true, false]);
  await requests.ask(Double, { n: 1 }, { holds: false });
  expect(waiting).toHaveLength(4);
});

describe("an answer that was not asked for", () => {
  test.each([
    ["an id that nobody has asked with", { t: "double-reply", id: 99, n: 1 }],
    ["a failure of no request", { t: "failed", id: 99, code: "X", message: "m" }],
    ["the reply of another request", { t: "double-reply", id: 1, n: 1 }],
  ])("is dropped: %s", async (_, answer) => {
    const { requests, held, answerer, heard } = link();
    const asking = requests.ask(Silent, {});
    await until(() => held() !== undefined, "it is asked");
    answerer.send(answer);
    expect(await settled(asking)).toBe(false);
    expect(heard).toEqual([]);
    held().send({ word: "the right one" });
    expect(await asking).toMatchObject({ word: "the right one" });
  });
});
