/** A control connection whose peer does not read. */
import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { Connection, type Wire } from "../../src/control/connection.ts";
import { FrameReader } from "../../src/protocol/frame.ts";
import { Vocabulary } from "../../src/protocol/vocabulary.ts";

interface Note {
  t: "note";
  text: string;
}
const vocabulary = new Vocabulary<Note>([
  Type.Object({ t: Type.Literal("note"), text: Type.String() }),
]);

/** A socket that takes `room` bytes, and no more until it gets more. */
class PlayedWire implements Wire {
  room = 0;
  ended = false;
  readonly #reader = new FrameReader();
  readonly heard: Note[] = [];
  write(bytes: Uint8Array): number {
    const taken = Math.min(this.room, bytes.length);
    this.room -= taken;
    this.heard.push(...(this.#reader.push(bytes.subarray(0, taken)) as Note[]));
    return taken;
  }
  end(): void {
    this.ended = true;
  }
  terminate(): void {
    this.ended = true;
  }
  ref(): void {}
  unref(): void {}
}

function connected() {
  const wire = new PlayedWire();
  const closed: (Error | undefined)[] = [];
  const connection: Connection<Note, Note> = new Connection(vocabulary, {
    message() {},
    closed(error) {
      closed.push(error);
      connection.send({ t: "note", text: "last words" });
    },
  });
  connection.opened(wire);
  return { wire, connection, closed };
}

const long: Note = { t: "note", text: "x".repeat(10_000) };

test("what may be lost is not sent while much waits, and never ends the connection", () => {
  const { wire, connection, closed } = connected();
  let sent = 0;
  for (let i = 0; i < 5000; i++) if (connection.offer(long)) sent++;
  expect(sent).toBeGreaterThan(100);
  expect(sent).toBeLessThan(1000);
  expect(closed).toEqual([]);
  let told = 0;
  connection.whenRoom(() => told++);
  wire.room = 100_000;
  connection.drained();
  expect(told).toBe(0);
  wire.room = Infinity;
  connection.drained();
  connection.drained();
  expect(told).toBe(1);
  expect(wire.heard).toHaveLength(sent);
  expect(connection.offer(long)).toBe(true);
});

test("what must not be lost ends the connection when too much waits, and the peer still hears why", () => {
  const { wire, connection, closed } = connected();
  for (let i = 0; i < 2000; i++) connection.send(long);
  expect(closed).toEqual([expect.objectContaining({ code: "RFAAS_PROTOCOL" })]);
  expect(wire.ended).toBe(false);
  wire.room = Infinity;
  connection.drained();
  expect(wire.heard.at(-1)).toEqual({ t: "note", text: "last words" });
  expect(wire.ended).toBe(true);
});

test("nothing is sent after the end", () => {
  const { wire, connection } = connected();
  wire.room = Infinity;
  connection.close();
  connection.send(long);
  expect(connection.offer(long)).toBe(false);
  expect(wire.heard).toEqual([{ t: "note", text: "last words" }]);
});
