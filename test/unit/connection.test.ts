/** A control connection whose peer does not read. */
import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { Connection, type ConnectionEvents, type Wire } from "../../src/control/connection.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
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

function connected(frameLimitBytes?: number) {
  const wire = new PlayedWire();
  const closed: (Error | undefined)[] = [];
  const heard: string[] = [];
  const events: ConnectionEvents<Note> = {
    message({ text }) {
      heard.push(text);
      if (text === "hold") connection.hold();
    },
    closed(error) {
      closed.push(error);
      connection.send({ t: "note", text: "last words" });
    },
  };
  const connection: Connection<Note, Note> = new Connection(vocabulary, events, frameLimitBytes);
  connection.opened(wire);
  return { wire, connection, closed, heard };
}

/** Frames of notes, one behind the other. */
const frames = (...texts: string[]): Uint8Array =>
  Buffer.concat(texts.map((text) => encodeFrame({ t: "note", text })));

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

test("what comes behind a message that is held for is heard when it is resumed, in order", () => {
  const { connection, heard } = connected();
  const bytes = frames("a", "hold", "b", "hold", "c", "d");
  // Also when the end of a frame comes by itself.
  connection.received(bytes.subarray(0, -3));
  expect(heard).toEqual(["a", "hold"]);
  connection.received(bytes.subarray(-3));
  expect(heard).toEqual(["a", "hold"]);
  connection.resume();
  expect(heard).toEqual(["a", "hold", "b", "hold"]);
  connection.received(frames("e"));
  connection.resume();
  expect(heard).toEqual(["a", "hold", "b", "hold", "c", "d", "e"]);
  connection.received(frames("f"));
  expect(heard.at(-1)).toBe("f");
});

test("more than one frame may have, behind a message that is held for, ends the connection", () => {
  const { connection, heard, closed } = connected(100);
  connection.received(frames("hold", "x".repeat(50)));
  expect(closed).toEqual([]);
  connection.received(frames("y".repeat(50)));
  expect(closed).toEqual([expect.objectContaining({ code: "RFAAS_PROTOCOL" })]);
  connection.resume();
  expect(heard).toEqual(["hold"]);
});
