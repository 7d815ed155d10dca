import { describe, expect, test } from "bun:test";
import { Packr } from "msgpackr/pack";
import { Decoder } from "../../src/codec/decoder.ts";
import { Encoder } from "../../src/codec/encoder.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { MAX_DEPTH } from "../../src/codec/wire.ts";

const encoder = new Encoder();
const decoder = new Decoder();
const into = new Uint8Array(new ArrayBuffer(64 * 1024));

function roundTrip(value: unknown): unknown {
  const length = encoder.encode(value, into);
  return decoder.decode(encoder.bytes, length, true);
}

function refusal(value: unknown): Refusal {
  try {
    encoder.encode(value, into);
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    return error as Refusal;
  }
  throw new Error("it was not refused");
}

describe("a value arrives exactly as it was sent", () => {
  test.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["minus zero", -0],
    ["NaN", Number.NaN],
    ["infinity", -Infinity],
    ["the bounds of small integers", [-33, -32, -1, 0, 127, 128, 2 ** 31 - 1, -(2 ** 31)]],
    [
      "integers beyond 32 bits",
      [2 ** 31, 2 ** 32, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER, 2 ** 60],
    ],
    ["bigints of 64 bits", [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n - 1n, 5n]],
    [
      "text of every width",
      ["", "a", "é", "漢", "🧮", "x".repeat(31), "é".repeat(40), "\u0000\ufeff"],
    ],
    ["a date before 1970, with milliseconds", new Date(-1)],
    ["the last date there is", new Date(8.64e15)],
    ["the first date there is", new Date(-8.64e15)],
    [
      "a map with keys of any type",
      new Map<unknown, unknown>([
        [{ a: 1 }, 2],
        [NaN, new Map()],
        [-0n, "x"],
      ]),
    ],
    ["a set of sets", new Set([new Set([1]), "1", 1])],
    ["undefined in an array and in an object", [undefined, { a: undefined }]],
    ["keys that look like methods", { constructor: 1, toString: 2, toJSON: "x", length: 3 }],
    ["keys that are numbers", { 2: "b", 1: "a", "-1": "c", "": "d" }],
    ["an array buffer", new Uint8Array([1, 2, 3]).buffer],
    ["bytes", new Uint8Array([0, 255])],
  ])("%s", (_, value) => {
    expect(roundTrip(value)).toStrictEqual(value);
  });

  test.each([
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    Float16Array,
  ])("a %p, and a part of one that begins anywhere", (type) => {
    const whole = new type([1, 2, 3, 4, 5]);
    for (const value of [whole, whole.subarray(1, 4), new type(0)]) {
      const back = roundTrip(["x", { value }]) as [string, { value: unknown }];
      expect(back[1].value).toStrictEqual(value);
      expect((back[1].value as typeof value).buffer.byteLength).toBe(value.byteLength);
    }
  });

  test.each([BigInt64Array, BigUint64Array])("a %p", (type) => {
    expect(roundTrip({ a: new type([1n, 2n ** 62n]) })).toStrictEqual({
      a: new type([1n, 2n ** 62n]),
    });
  });

  test("the sign of zero and the bits of NaN in typed arrays", () => {
    const value = new Float64Array([-0, NaN, 5e-324]);
    const back = roundTrip(value) as Float64Array;
    expect(new Uint8Array(back.buffer)).toEqual(new Uint8Array(value.buffer));
  });

  test("when it is larger than the memory it is written to", () => {
    const value = { text: "é".repeat(70_000), list: Array.from({ length: 9000 }, (_, i) => i / 3) };
    expect(roundTrip(value)).toStrictEqual(value);
    expect(encoder.bytes).not.toBe(into);
    expect(roundTrip([1])).toEqual([1]);
    expect(encoder.bytes).toBe(into);
  });

  test("twice, when it is in two places", () => {
    const part = { n: 1 };
    expect(roundTrip([part, part])).toStrictEqual([part, part]);
  });
});

describe("what would not arrive as it is is refused, and the path of it is named", () => {
  class Point {
    x = 1;
  }
  const circle: { inner: unknown[] } = { inner: [0] };
  circle.inner.push(circle);
  const holes = [1, 2, 3];
  delete holes[1];
  let deep: unknown = 1;
  for (let i = 0; i <= MAX_DEPTH; i++) deep = [deep];
  const named = Object.assign([1, 2], { index: 0 });

  test.each<[string, unknown, string]>([
    ["a function", { f: [() => 1] }, "/f/0"],
    ["a symbol", [Symbol("s")], "/0"],
    ["a property named by a symbol", { a: { [Symbol("s")]: 1 } }, "/a/Symbol(s)"],
    ["a circle", circle, "/inner/1"],
    ["an instance of a class", { at: new Point() }, "/at"],
    ["an array of another class", { at: new (class List extends Array {})() }, "/at"],
    ["an error", [new Error("x")], "/0"],
    ["a regular expression", { "a/b~c": /x/ }, "/a~1b~0c"],
    ["a boxed number", [Object(1)], "/0"],
    ["a promise", { p: Promise.resolve() }, "/p"],
    ["a weak map", [new WeakMap()], "/0"],
    ["a data view", [new DataView(new ArrayBuffer(1))], "/0"],
    ["shared memory", [new SharedArrayBuffer(1)], "/0"],
    ["a hole", { list: holes }, "/list/1"],
    ["a named property of an array", { list: named }, "/list/index"],
    ["a property of a map", Object.assign(new Map(), { extra: 1 }), "/extra"],
    ["an invalid date", { at: new Date(NaN) }, "/at"],
    ["a bigint of 65 bits", [2n ** 64n], "/0"],
    ["a bigint of 65 bits below zero", [-(2n ** 63n) - 1n], "/0"],
    ["half of a character", ["ok", "\ud83e"], "/1"],
    ["half of a character in a key", { "\udead": 1 }, "/\udead"],
    ["a property named __proto__", JSON.parse('{"a":{"__proto__":1}}'), "/a/__proto__"],
    ["something in a map", new Map([["k", new Set([Symbol("x")])]]), "/k/0"],
  ])("%s", (_, value, path) => {
    expect(refusal(value).path).toBe(path);
  });

  test("more depth than both sides can follow", () => {
    expect(refusal(deep).message).toContain("deep");
  });

  test("and the next value is not the worse for it", () => {
    refusal({ a: { b: () => 1 } });
    expect(roundTrip({ a: { b: 1 } })).toEqual({ a: { b: 1 } });
  });

  test("a property that encodes something else when it is read", () => {
    const value = {
      get nested() {
        return encoder.encode([1], into);
      },
    };
    expect(refusal(value).message).toContain("call of its own");
    expect(roundTrip([2])).toEqual([2]);
  });
});

describe("typed arrays in place", () => {
  test("are views of the message, aligned, unless copies are asked for", () => {
    const value = {
      odd: "x".repeat(5),
      samples: new Float64Array([1, 2]),
      bytes: new Uint8Array([7]),
    };
    const length = encoder.encode(value, into);
    const viewed = decoder.decode(into, length, false) as typeof value;
    expect(viewed).toStrictEqual(value);
    expect(viewed.samples.buffer).toBe(into.buffer);
    expect(viewed.bytes.buffer).toBe(into.buffer);
    const copied = decoder.decode(into, length, true) as typeof value;
    expect(copied.samples.buffer).not.toBe(into.buffer);
    expect(copied.bytes.buffer).not.toBe(into.buffer);
  });

  test("are copied when the message itself is not aligned", () => {
    const length = encoder.encode(new Float64Array([1.5]), into);
    const moved = new Uint8Array(new ArrayBuffer(length + 1), 1);
    moved.set(into.subarray(0, length));
    expect(decoder.decode(moved, length, false)).toStrictEqual(new Float64Array([1.5]));
  });
});

test("any MessagePack library reads what has a type in MessagePack, and is read", () => {
  const packr = new Packr({ useRecords: false });
  const value = {
    a: [1, -5, 2.5, "é", null, true, 300, -70_000],
    b: { c: "x".repeat(300) },
    d: [],
  };
  const length = encoder.encode(value, into);
  expect(packr.unpack(into.subarray(0, length))).toEqual(value);
  const packed = new Uint8Array(packr.pack(value));
  expect(decoder.decode(packed, packed.length, true)).toEqual(value);
  for (const date of [new Date(1.5e12), new Date(2 ** 33 * 1000 + 1), new Date(-5000)]) {
    const bytes = new Uint8Array(packr.pack([date, new Uint8Array([1, 2])]));
    expect(decoder.decode(bytes, bytes.length, true)).toEqual([date, new Uint8Array([1, 2])]);
  }
});

describe("bytes that no encoder has written", () => {
  test.each<[string, number[]]>([
    ["nothing", []],
    ["an unknown head", [0xc1]],
    ["a string without its bytes", [0xdb, 0xff, 0xff, 0xff, 0xff]],
    ["an array of more items than there are bytes", [0xdd, 0x7f, 0xff, 0xff, 0xff]],
    ["an object of more properties than there are bytes", [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ["text that is no UTF-8", [0xa2, 0xff, 0xfe]],
    ["a key that is no text", [0x81, 0x01, 0x01]],
    ["a property named __proto__", [0x81, 0xa9, ...new TextEncoder().encode("__proto__"), 0x80]],
    ["an extension of an unknown type", [0xd4, 99, 0]],
    ["an extension that is longer than what it holds", [0xc7, 3, 2, 0x90, 0xc0, 0xc0]],
    ["a typed array of an unknown type", [0xc7, 2, 3, 200, 0]],
    ["a typed array of half an element", [0xc7, 5, 3, 7, 0, 1, 2, 3]],
    ["a typed array that is all padding", [0xc7, 2, 3, 7, 9]],
    ["a Buffer that is longer than the message", [0xc9, 0xff, 0xff, 0xff, 0xff, 5, 1]],
    ["an array buffer that is longer than the message", [0xc9, 0x7f, 0xff, 0xff, 0xff, 4, 1]],
    ["a typed array that is longer than the message", [0xc9, 0x7f, 0xff, 0xff, 0xff, 3, 7, 0, 1]],
    ["bytes that are longer than the message", [0xc6, 0xff, 0xff, 0xff, 0xff, 1]],
    ["a map of more pairs than there are bytes", [0xc7, 5, 1, 0xdf, 0xff, 0xff, 0xff, 0xff]],
    ["a set of more items than there are bytes", [0xc7, 5, 2, 0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["a set that is none", [0xc7, 1, 2, 0x80]],
    ["maps in maps without an end", new Array(2000).fill([0xc9, 0, 0, 0x40, 0, 1, 0x81]).flat()],
    ["a date of five bytes", [0xc7, 5, 0xff, 0, 0, 0, 0, 0]],
    [
      "a date beyond the calendar",
      [0xc7, 12, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ],
    ["more than one value", [0x01, 0x02]],
    ["arrays in arrays without an end", new Array(2000).fill(0x91)],
  ])("are refused: %s", (_, bytes) => {
    const message = new Uint8Array(bytes);
    for (const copies of [true, false])
      expect(() => decoder.decode(message, message.length, copies)).toThrow(Refusal);
  });

  test("are refused when there are fewer than was said", () => {
    const message = new Uint8Array([0x91, 0x01]);
    expect(() => decoder.decode(message, 1000, true)).toThrow(Refusal);
  });
});
