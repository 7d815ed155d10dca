import { describe, expect, test } from "bun:test";
import { type TSchema, Type } from "@sinclair/typebox";
import { type Check, compileTypeBox } from "../../src/schema/checker.ts";
import { describeSchema, rebuildSchema } from "../../src/schema/description.ts";
import { typedArray } from "../../src/codec/typed-array.ts";
import { decodeFrame, encodeFrameOf } from "../support/frames.ts";

/** As a client has it: described, sent, rebuilt, compiled. */
function travelled(schema: TSchema): Check {
  return compileTypeBox(rebuildSchema(decodeFrame(encodeFrameOf(describeSchema(schema)))));
}

function accepts(check: Check, value: unknown): boolean {
  try {
    return check(value) === value || Number.isNaN(value);
  } catch {
    return false;
  }
}

const date = new Date(5000);
/** Values of all sorts, each of which some schema below takes and some refuse. */
const VALUES: unknown[] = [
  undefined,
  null,
  true,
  0,
  -1,
  3,
  7.5,
  12,
  NaN,
  10n,
  "",
  "ab",
  "abcdef",
  "x",
  [],
  [1],
  [1, 2, 3],
  ["a", 1],
  ["a"],
  {},
  { a: 1 },
  { a: 1, b: "x" },
  { a: 1, b: undefined },
  { a: 1, c: 2 },
  { a: "1" },
  { k: 1, l: 2 },
  { k: "1" },
  new Uint8Array(2),
  new Uint8Array(9),
  new Float64Array(2),
  new Float64Array(9),
  new Float32Array(2),
  date,
  new Date(NaN),
  { a: { a: 1 } },
  { "it's": 1, "b`": 2 },
];

const SCHEMAS: Record<string, TSchema> = {
  any: Type.Any(),
  unknown: Type.Unknown(),
  null: Type.Null(),
  undefined: Type.Undefined(),
  void: Type.Void(),
  never: Type.Never(),
  boolean: Type.Boolean(),
  bigint: Type.BigInt(),
  number: Type.Number({ minimum: 0, exclusiveMaximum: 12 }),
  integer: Type.Integer({ multipleOf: 3 }),
  string: Type.String({ minLength: 1, maxLength: 3 }),
  literals: Type.Union([Type.Literal("x"), Type.Literal(3), Type.Literal(true)]),
  array: Type.Array(Type.Number(), { minItems: 1, maxItems: 2 }),
  tuple: Type.Tuple([Type.String(), Type.Number()]),
  "no tuple": Type.Tuple([]),
  object: Type.Object({ a: Type.Number(), b: Type.Optional(Type.String()) }),
  "closed object": Type.Object({ a: Type.Number() }, { additionalProperties: false }),
  nested: Type.Object({ a: Type.Object({ a: Type.Number() }) }),
  "odd names": Type.Object({ "it's": Type.Number(), "b`": Type.Number() }),
  record: Type.Record(Type.String(), Type.Number()),
  intersect: Type.Intersect([Type.Object({ a: Type.Number() }), Type.Object({ b: Type.String() })]),
  bytes: Type.Uint8Array({ maxByteLength: 4 }),
  date: Type.Date({ maximumTimestamp: 6000 }),
  "typed array": typedArray("Float64Array", { minLength: 1, maxLength: 4 }),
  "typed array of a length": typedArray("Float64Array", { length: 9 }),
};

test.each(Object.entries(SCHEMAS))(
  "a schema that has travelled takes the same values: %s",
  (_, schema) => {
    const own = compileTypeBox(schema);
    const other = travelled(schema);
    for (const value of VALUES)
      expect([value, accepts(other, value)]).toEqual([value, accepts(own, value)]);
  },
);

test("a value that a travelled schema refuses is named by its path", () => {
  const check = travelled(Type.Object({ list: Type.Array(Type.Object({ n: Type.Number() })) }));
  expect(() => check({ list: [{ n: 1 }, { n: "2" }] })).toThrow(
    expect.objectContaining({ path: "/list/1/n", message: "Expected number" }),
  );
});

describe("what a client cannot check is left to the worker", () => {
  test.each<[string, TSchema, unknown]>([
    ["a pattern", Type.String({ pattern: "^a" }), "b"],
    ["a format", Type.String({ format: "email" }), "b"],
    [
      "a recursive type",
      Type.Recursive((self) => Type.Object({ next: Type.Union([self, Type.Null()]) })),
      { next: 5 },
    ],
    ["a negation", Type.Not(Type.Number()), 5],
    ["a record of certain keys", Type.Record(Type.RegExp(/^a/), Type.Number()), { b: 1 }],
    ["a type of one's own", Type.Unsafe<string>({}), 5],
    ["a literal that is no JSON", Type.Literal(Infinity), 5],
  ])("%s", (_, schema, value) => {
    expect(accepts(travelled(schema), value)).toBe(true);
    expect(
      accepts(travelled(Type.Object({ part: schema, n: Type.Number() })), { part: value, n: "x" }),
    ).toBe(false);
  });

  test("and so is a schema that is too large", () => {
    const huge = Type.Object(
      Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`p${i}`, Type.Number()])),
    );
    expect(describeSchema(huge)).toEqual({ kind: "Any" });
    let deep: TSchema = Type.Number();
    for (let i = 0; i < 100; i++) deep = Type.Array(deep);
    expect(accepts(travelled(deep), [])).toBe(true);
  });
});

describe("a description that no node of ours has written", () => {
  let deep: unknown = { kind: "Number" };
  for (let i = 0; i < 100; i++) deep = { kind: "Array", items: deep };

  test.each<[string, unknown]>([
    ["is no object", 5],
    ["is null", null],
    ["has no kind", {}],
    ["has an unknown kind", { kind: "Unsafe" }],
    ["has the kind of a method", { kind: "constructor" }],
    ["has a literal that is an object", { kind: "Literal", value: { toString: 1 } }],
    [
      "has a property without a name",
      { kind: "Object", properties: [[5, false, { kind: "Any" }]] },
    ],
    [
      "has a property named __proto__",
      { kind: "Object", properties: [["__proto__", false, { kind: "Any" }]] },
    ],
    ["has properties that are no list", { kind: "Object", properties: {} }],
    ["has a union of nothing known", { kind: "Union", of: "x" }],
    ["has an unknown typed array", { kind: "rfaas:TypedArray", array: "Function" }],
    ["is nested too deep", deep],
    ["has too many parts", { kind: "Tuple", items: new Array(5000).fill({ kind: "Any" }) }],
  ])("is refused when it %s", (_, description) => {
    expect(() => rebuildSchema(description)).toThrow(TypeError);
  });

  test("brings nothing of its own into the code that checks", () => {
    const target = globalThis as { intruded?: boolean };
    const evil = "0); globalThis.intruded = true; (0";
    const descriptions: unknown[] = [
      { kind: "Number", minimum: evil, maximum: { valueOf: () => 1 }, $id: evil },
      { kind: "String", pattern: evil, format: evil, maxLength: evil },
      { kind: "Literal", value: `' || (globalThis.intruded = true) || '` },
      { kind: "Literal", value: "\\' + (globalThis.intruded = true) + \\'\u2028\n" },
      {
        kind: "Object",
        properties: [[`']; globalThis.intruded = true; ['`, false, { kind: "Any" }]],
        additionalProperties: evil,
      },
      {
        kind: "Object",
        properties: [
          [`a\\`, false, { kind: "Number" }],
          ["`${globalThis.intruded=true}`", true, { kind: "Null" }],
        ],
      },
      { kind: "rfaas:TypedArray", array: "Uint8Array", length: evil },
      { kind: "Array", items: { kind: "Any" }, minItems: evil, contains: evil, uniqueItems: evil },
    ];
    for (const description of descriptions) {
      const check = compileTypeBox(rebuildSchema(description));
      for (const value of VALUES) accepts(check, value);
    }
    expect(target.intruded).toBeUndefined();
  });
});
