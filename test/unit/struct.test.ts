import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Refusal } from "../../src/codec/refusal.ts";
import { type Scalar, type StructFields, Struct, struct } from "../../src/codec/struct.ts";

const SIZES: Record<Scalar, number> = {
  f64: 8,
  f32: 4,
  i64: 8,
  u64: 8,
  i32: 4,
  u32: 4,
  i16: 2,
  u16: 2,
  i8: 1,
  u8: 1,
};
const ALL = {
  small: "u8",
  wide: "f64",
  half: "i16",
  list: ["f32", 3],
  whole: "u32",
  big: "i64",
  bytes: ["u8", 5],
  last: "i8",
} as const;

function refused(run: () => void): Refusal {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    return error as Refusal;
  }
  throw new Error("it was not refused");
}

describe("the layout of a struct", () => {
  test("is that of C: natural alignment, padding to the widest field", () => {
    const layout = struct(ALL);
    const offsets = Object.keys(ALL).map((name) => layout.offsetOf(name as keyof typeof ALL));
    expect(offsets).toEqual([0, 8, 16, 20, 32, 40, 48, 53]);
    expect(layout.byteLength).toBe(56);
    expect(struct({ a: "u8", b: "u16" }).byteLength).toBe(4);
    expect(struct({ a: "u8" }).byteLength).toBe(1);
  });

  test("has no field that overlaps another or lies askew, whatever the fields are", () => {
    const field = fc.oneof(
      fc.constantFrom(...(Object.keys(SIZES) as Scalar[])),
      fc.tuple(
        fc.constantFrom(...(Object.keys(SIZES) as Scalar[])),
        fc.integer({ min: 1, max: 9 }),
      ),
    );
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 20 }), (fields) => {
        const layout = new Struct(
          Object.fromEntries(fields.map((type, i) => [`f${i}`, type])) as StructFields,
        );
        let end = 0;
        fields.forEach((type, i) => {
          const [scalar, length] = typeof type === "string" ? [type, 1] : type;
          const offset = layout.offsetOf(`f${i}`);
          expect(offset % SIZES[scalar]).toBe(0);
          expect(offset).toBeGreaterThanOrEqual(end);
          expect(offset - end).toBeLessThan(SIZES[scalar]);
          end = offset + length * SIZES[scalar];
        });
        expect(layout.byteLength).toBeGreaterThanOrEqual(end);
      }),
    );
  });

  test.each<[string, unknown]>([
    ["no field", {}],
    ["an unknown type", { a: "f16" }],
    ["an array without a length", { a: ["f32"] }],
    ["an array of none", { a: ["f32", 0] }],
    ["a length that is no whole number", { a: ["f32", 1.5] }],
    ["a nested struct", { a: { b: "f64" } }],
    ["a field that every object has", { constructor: "f64" }],
    ["more than a GiB", { a: ["f64", 2 ** 28] }],
  ])("is refused with %s", (_, fields) => {
    expect(() => struct(fields as StructFields)).toThrow(TypeError);
  });
});

describe("a view", () => {
  test("reads and writes the bytes that a DataView sees, little endian", () => {
    const layout = struct(ALL);
    const memory = new ArrayBuffer(128);
    const view = layout.view(memory, 64);
    view.small = 200;
    view.wide = Math.PI;
    view.half = -2;
    view.list.set([1, 2, 3]);
    view.whole = 2 ** 32 - 1;
    view.big = -(2n ** 63n);
    view.bytes[4] = 9;
    view.last = -1;
    const bytes = new DataView(memory, 64);
    expect(bytes.getUint8(0)).toBe(200);
    expect(bytes.getFloat64(8, true)).toBe(Math.PI);
    expect(bytes.getInt16(16, true)).toBe(-2);
    expect(bytes.getFloat32(28, true)).toBe(3);
    expect(bytes.getUint32(32, true)).toBe(2 ** 32 - 1);
    expect(bytes.getBigInt64(40, true)).toBe(-(2n ** 63n));
    expect(bytes.getUint8(52)).toBe(9);
    expect(bytes.getInt8(53)).toBe(-1);
    expect(new Uint8Array(memory, 0, 64).every((byte) => byte === 0)).toBe(true);
    bytes.setFloat64(8, 0.5, true);
    expect(view.wide).toBe(0.5);
  });

  test("is copied into a plain object, and out of one", () => {
    const layout = struct(ALL);
    const view = layout.view(new ArrayBuffer(64));
    const value = {
      small: 1,
      wide: 2.5,
      half: -3,
      list: [1, 2, 3],
      whole: 4,
      big: 5n,
      bytes: new Uint8Array([1, 2, 3, 4, 5]),
      last: -6,
    };
    layout.write(view, value);
    const copy = layout.read(view);
    expect(copy).toEqual({ ...value, list: new Float32Array([1, 2, 3]) });
    expect(Object.keys(copy)).toEqual(Object.keys(ALL));
    view.list[0] = 9;
    expect(copy.list[0]).toBe(1);
  });

  test.each<[string, object, string]>([
    ["a field is missing", { small: undefined }, "/small"],
    ["there is one too many", { more: 1 }, "/more"],
    ["a number does not fit", { small: 256 }, "/small"],
    ["a whole number has a fraction", { whole: 0.5 }, "/whole"],
    ["a number is text", { wide: "1" }, "/wide"],
    ["a bigint is a number", { big: 1 }, "/big"],
    ["a bigint does not fit", { big: 2n ** 63n }, "/big"],
    ["an array is too short", { list: [1, 2] }, "/list"],
    ["an array is no array", { list: 3 }, "/list"],
    ["a part of an array is no number", { list: [1, null, 3] }, "/list/1"],
    ["a part of an array does not fit", { bytes: [1, 2, 3, 4, -5] }, "/bytes/4"],
  ])("takes nothing of an object when %s", (_, wrong, path) => {
    const layout = struct(ALL);
    const memory = new ArrayBuffer(64);
    const sound = {
      small: 1,
      wide: 1,
      half: 1,
      list: [1, 1, 1],
      whole: 1,
      big: 1n,
      bytes: [1, 1, 1, 1, 1],
      last: 1,
    };
    expect(refused(() => layout.write(layout.view(memory), { ...sound, ...wrong })).path).toBe(
      path,
    );
    expect(new Uint8Array(memory).every((byte) => byte === 0)).toBe(true);
  });

  test("reads each property once, and says which one cannot be read", () => {
    const layout = struct({ a: "f64", b: ["f64", 2] });
    const view = layout.view(new ArrayBuffer(24));
    let reads = 0;
    const item = () => (++reads > 2 ? "another" : 1) as number;
    layout.write(view, {
      get a() {
        return item();
      },
      b: Object.defineProperty([0, 2], 0, { get: item, enumerable: true }),
    });
    expect(layout.read(view)).toEqual({ a: 1, b: new Float64Array([1, 2]) });
    const odd = {
      a: 1,
      get b(): number[] {
        throw new Error("no");
      },
    };
    const { path, message } = refused(() => layout.write(view, odd));
    expect([path, message]).toEqual(["/b", expect.stringContaining("cannot be read: no")]);
  });

  test("takes NaN and infinities, which are numbers in memory", () => {
    const layout = struct({ a: "f64", b: "f32" });
    const view = layout.view(new ArrayBuffer(16));
    layout.write(view, { a: NaN, b: -Infinity });
    expect(layout.read(view)).toEqual({ a: NaN, b: -Infinity });
  });
});
