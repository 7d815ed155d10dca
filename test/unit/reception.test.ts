/** How a node lets clients in while it checks who they are. */
import { describe, expect, test } from "bun:test";
import type { Wire } from "../../src/control/connection.ts";
import type { Identity } from "../../src/executor/admission/identity.ts";
import { Reception } from "../../src/executor/agent/reception.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { TestClock } from "../support/clock.ts";

const ADA: Identity = { user: "ada", maxCores: null, untilMs: null };

/** A client that has sent a greeting and a message behind it, and whose token is being checked. */
function arrival() {
  const verdict = Promise.withResolvers<Identity | { refused: string }>();
  const said: Record<string, unknown>[] = [];
  const events: string[] = [];
  const reception = new Reception(
    {
      ...{ cores: 2, memoryBytes: 1024, fabrics: [] },
      identify: () => verdict.promise,
      log: (level, message) => events.push(`${level} ${message}`),
    },
    {
      message: ({ identity }, { t }) => events.push(`${identity.user} says ${t}`),
      gone: ({ identity }) => events.push(`${identity.user} is gone`),
    },
  );
  const reader = new FrameReader();
  const wire: Wire = {
    write(bytes) {
      said.push(...(reader.push(bytes) as Record<string, unknown>[]));
      return bytes.length;
    },
    ...{ end() {}, terminate() {}, ref() {}, unref() {} },
  };
  const connection = reception.newClient(() => events.push("closed"), { trusted: false });
  connection.opened(wire);
  const hello = {
    ...{ t: "hello", protocol: PROTOCOL_VERSION, version: "1.2.3", pid: 1 },
    ...{ machine: "elsewhere", fabrics: [], token: "shown" },
  };
  const frames = [hello, { t: "get-usage", id: 1, lease: 1 }, hello].map((message) =>
    encodeFrame(message),
  );
  connection.received(Buffer.concat(frames));
  return { verdict, said, events, connection };
}

test("what a client sends behind its greeting is heard when it has been let in", async () => {
  const { verdict, said, events } = arrival();
  await Promise.resolve();
  expect([said, events]).toEqual([[], []]);
  verdict.resolve(ADA);
  await verdict.promise;
  await Promise.resolve();
  expect(said.map(({ t }) => t)).toEqual(["welcome"]);
  expect(events).toEqual(["ada says get-usage"]);
});

test("nothing is heard of a client that is refused", async () => {
  const { verdict, said, events } = arrival();
  verdict.resolve({ refused: "not you; go" });
  await verdict.promise;
  await Promise.resolve();
  expect(said).toEqual([{ t: "refused", code: "RFAAS_FORBIDDEN", message: "not you; go" }]);
  expect(events).toEqual(["closed"]);
});

test("a client that goes while it is checked is not let in", async () => {
  const { verdict, said, events, connection } = arrival();
  connection.close();
  verdict.resolve(ADA);
  await verdict.promise;
  await Promise.resolve();
  expect([said, events]).toEqual([[], ["closed"]]);
});

test("a client whose check fails is told that, and the node goes on", async () => {
  const { verdict, said, events } = arrival();
  verdict.reject(new Error("no such key"));
  await verdict.promise.catch(() => {});
  await new Promise(setImmediate);
  expect(said).toEqual([{ t: "refused", code: "RFAAS_PROTOCOL", message: "no such key" }]);
  expect(events).toEqual(["warn a client was disconnected: no such key", "closed"]);
});

describe("a client whose token wants a proof", () => {
  /** One that has greeted, and is asked for its proof. */
  async function asked() {
    const clock = new TestClock();
    const said: Record<string, unknown>[] = [];
    const proofs: string[] = [];
    const reception = new Reception(
      {
        ...{ cores: 2, memoryBytes: 1024, fabrics: [], clock, log() {} },
        identify: async (_, { prove }) => {
          proofs.push(await prove("the nonce"));
          return ADA;
        },
      },
      { message() {}, gone() {} },
    );
    const reader = new FrameReader();
    const wire: Wire = {
      write(bytes) {
        said.push(...(reader.push(bytes) as Record<string, unknown>[]));
        return bytes.length;
      },
      ...{ end() {}, terminate() {}, ref() {}, unref() {} },
    };
    const connection = reception.newClient(() => {}, { trusted: false });
    connection.opened(wire);
    const send = async (...messages: object[]): Promise<void> => {
      connection.received(Buffer.concat(messages.map((message) => encodeFrame(message))));
      await new Promise(setImmediate);
    };
    await send({
      ...{ t: "hello", protocol: PROTOCOL_VERSION, version: "1.2.3", pid: 1 },
      ...{ machine: "elsewhere", fabrics: [], token: "shown" },
    });
    expect(said).toEqual([{ t: "challenge", nonce: "the nonce" }]);
    return { clock, said, proofs, send };
  }

  test("is let in when it has proved it, and heard from then on", async () => {
    const { clock, said, proofs, send } = await asked();
    await send({ t: "prove", proof: "proof" });
    expect([proofs, said.map(({ t }) => t)]).toEqual([["proof"], ["challenge", "welcome"]]);
    expect(clock.waiting).toBe(0);
  });

  test("has one answer, and it is the first", async () => {
    const { said, proofs, send } = await asked();
    await send({ t: "prove", proof: "one" }, { t: "prove", proof: "two" });
    expect(proofs).toEqual(["one"]);
    expect(said.at(-1)).toMatchObject({ t: "refused", message: "no proof was asked for" });
  });

  test("has five seconds", async () => {
    const { clock, said, proofs } = await asked();
    clock.pass(4_999);
    expect(said).toHaveLength(1);
    clock.pass(1);
    expect(said.at(-1)).toMatchObject({ t: "refused", message: "no proof within 5000 ms" });
    expect([proofs, clock.waiting]).toEqual([[], 0]);
  });

  test("can say nothing else before, and greet no second time", async () => {
    const { said, send } = await asked();
    const hello = { t: "hello", protocol: PROTOCOL_VERSION, version: "1", pid: 1 };
    await send({ ...hello, machine: "elsewhere", fabrics: [], token: "another" });
    expect(said).toHaveLength(1);
    await send({ t: "get-usage", id: 1, lease: 1 });
    expect(said.at(-1)).toMatchObject({ message: "the first message must be a hello" });
  });
});
