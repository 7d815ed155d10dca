/** What the codec holds for all values. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Decoder } from "../../src/codec/decoder.ts";
import { Encoder } from "../../src/codec/encoder.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { difference } from "../support/battery/difference.ts";

const encoder = new Encoder();
const decoder = new Decoder();
const small = new Uint8Array(new ArrayBuffer(48));
const large = new Uint8Array(new ArrayBuffer(256 * 1024));

const key = fc
  .string({ unit: "grapheme" })
  .filter((text) => text !== "__proto__" && text.isWellFormed());
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(undefined, null, true, false, -0, NaN, Infinity, -Infinity),
    fc.integer(),
    fc.double(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.string({ unit: "grapheme" }).filter((text) => text.isWellFormed()),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.int16Array(),
    fc.float32Array(),
    fc.float64Array(),
    fc.bigInt64Array(),
    fc.float64Array().map((array) => array.subarray(1)),
    fc.array(tie("value")),
    fc.dictionary(key, tie("value")).map((object) => ({ ...object })),
    fc.array(fc.tuple(tie("value"), tie("value"))).map((pairs) => new Map(pairs)),
    fc.array(tie("value")).map((items) => new Set(items)),
  ),
}));

/** Collections as lists, in their order: two keys may look the same, and are told apart by their place alone. */
function listed(part: unknown): unknown {
  if (part instanceof Map) return { map: [...part].map((pair) => pair.map(listed)) };
  if (part instanceof Set) return { set: [...part].map(listed) };
  if (Array.isArray(part)) return part.map(listed);
  const plain =
    typeof part === "object" && part !== null && Object.getPrototypeOf(part) === Object.prototype;
  return plain
    ? Object.fromEntries(
        Object.entries(part as object).map(([name, inner]) => [name, listed(inner)]),
      )
    : part;
}

test("what is encoded is decoded to the same, wherever it had room", () => {
  fc.assert(
    fc.property(value, fc.constantFrom(small, large), fc.boolean(), (sent, into, copies) => {
      const length = encoder.encode(sent, into);
      expect(listed(decoder.decode(encoder.bytes, length, copies))).toStrictEqual(listed(sent));
    }),
    { numRuns: 2000 },
  );
});

/** A value in which one part cannot travel, and the path of that part. */
const unsound = fc.constantFrom<unknown>(
  () => 1,
  Symbol("s"),
  2n ** 70n,
  new Date(NaN),
  /x/,
  new (class Odd {})(),
  "\ud800",
);
const steps = fc.array(
  fc.oneof(
    fc.nat(3),
    key.filter((name) => name.length > 0),
  ),
  { maxLength: 5 },
);

test("a part that cannot travel is refused by its path, wherever it is", () => {
  fc.assert(
    fc.property(unsound, steps, value, (part, path, beside) => {
      let whole: unknown = part;
      for (const step of [...path].reverse())
        whole =
          typeof step === "number"
            ? [...new Array(step).fill(beside), whole]
            : { ...(step === "first" ? {} : { first: beside }), [step]: whole };
      const expected = path
        .map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`)
        .join("");
      let refused: unknown;
      try {
        encoder.encode(whole, large);
      } catch (error) {
        refused = error;
      }
      expect(refused).toBeInstanceOf(Refusal);
      expect((refused as Refusal).path).toBe(expected);
    }),
    { numRuns: 1000 },
  );
});

const anything = fc.anything({
  maxDepth: 4,
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
  withUnicodeString: true,
});

test("whatever it is, it arrives as strictly the same, or is refused", () => {
  let equal = 0;
  fc.assert(
    fc.property(anything, (sent) => {
      let length: number;
      try {
        length = encoder.encode(sent, large);
      } catch (error) {
        expect(error).toBeInstanceOf(Refusal);
        return;
      }
      expect(difference(sent, decoder.decode(encoder.bytes, length, true))).toBeUndefined();
      equal++;
    }),
    { numRuns: 3000 },
  );
  expect(equal).toBeGreaterThan(300);
});

test("any bytes are a value or are refused, and never more than that", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const message = new Uint8Array(bytes);
      try {
        decoder.decode(message, message.length, true);
      } catch (error) {
        expect(error).toBeInstanceOf(Refusal);
      }
    }),
    { numRuns: 5000 },
  );
});

test("a message with a byte changed is a value or is refused", () => {
  fc.assert(
    fc.property(value, fc.nat(), fc.nat(255), (sent, at, byte) => {
      const length = encoder.encode(sent, large);
      const message = encoder.bytes.slice(0, length);
      message[at % length] = byte;
      try {
        decoder.decode(message, length, false);
      } catch (error) {
        expect(error).toBeInstanceOf(Refusal);
      }
    }),
    { numRuns: 2000 },
  );
});
