/** Schemas as a worker has them compiled: defaults, transforms, and what is no schema. */
import { describe, expect, test } from "bun:test";
import { FormatRegistry, type TSchema, Type } from "@sinclair/typebox";
import { compileCheck, compileTypeBox } from "../../src/schema/checker.ts";
import { defineFunction } from "../../src/function/define-function.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { compileDefaults } from "../../src/schema/defaults.ts";
import { describeSchema, rebuildSchema } from "../../src/schema/description.ts";
import { struct } from "../../src/codec/struct.ts";
import { typedArray } from "../../src/codec/typed-array.ts";

function refusal(run: () => unknown): Refusal {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    return error as Refusal;
  }
  throw new Error("nothing was refused");
}

function frozen<T>(value: T): T {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  Object.values(value).forEach(frozen);
  return Object.freeze(value);
}

describe("defaults", () => {
  const one = Type.Number({ default: 1 });
  const point = Type.Object({ x: one, y: Type.Optional(Type.Number({ default: 2 })) });
  const Tree = Type.Recursive((This) =>
    Type.Object({ n: one, children: Type.Array(This, { default: [] }) }),
  );
  const Endless = Type.Recursive((This) =>
    Type.Object({ next: Type.Optional(This) }, { default: {} }),
  );
  const module = Type.Module({
    P: point,
    Q: Type.Object({ p: Type.Ref("P"), q: Type.Optional(Type.Ref("R")) }),
    R: Type.String({ default: "r" }),
  });
  const when = new Date(7);

  test.each<[string, TSchema, unknown, unknown]>([
    ["the value itself", one, undefined, 1],
    ["properties", point, {}, { x: 1, y: 2 }],
    ["a property that is undefined", point, { x: undefined }, { x: 1, y: 2 }],
    ["an object inside", Type.Object({ at: point }), { at: { x: 5 } }, { at: { x: 5, y: 2 } }],
    [
      "an object that is missing",
      Type.Object({ at: Type.Object({ x: one }, { default: {} }) }),
      {},
      { at: { x: 1 } },
    ],
    ["no object that has no default", Type.Object({ at: Type.Optional(point) }), {}, {}],
    [
      "what an object lacks of its own default",
      Type.Object({ a: Type.Number(), b: Type.Number() }, { default: { a: 1, b: 2 } }),
      { a: 5 },
      { a: 5, b: 2 },
    ],
    [
      "items",
      Type.Array(point),
      [{ x: 0 }, {}],
      [
        { x: 0, y: 2 },
        { x: 1, y: 2 },
      ],
    ],
    ["a tuple's last items", Type.Tuple([Type.String(), one]), ["a"], ["a", 1]],
    ["values of a record", Type.Record(Type.String(), point), { a: {} }, { a: { x: 1, y: 2 } }],
    [
      "additional properties",
      Type.Object({}, { additionalProperties: point }),
      { a: {} },
      { a: { x: 1, y: 2 } },
    ],
    [
      "all parts of an intersection",
      Type.Intersect([point, Type.Object({ z: one })]),
      {},
      { x: 1, y: 2, z: 1 },
    ],
    [
      "the first part of a union that fits",
      Type.Union([
        Type.Object({ k: Type.Literal("a"), n: one }),
        Type.Object({ k: Type.Literal("b"), n: Type.Number({ default: 2 }) }),
      ]),
      { k: "b" },
      { k: "b", n: 2 },
    ],
    ["a recursive type", Tree, { children: [{}] }, { n: 1, children: [{ n: 1, children: [] }] }],
    ["a module's types", module.Import("Q"), { p: {} }, { p: { x: 1, y: 2 }, q: "r" }],
    ["what a function makes", Type.String({ default: () => "made" }), undefined, "made"],
    [
      "names that are keywords of schemas",
      Type.Object({ required: one, const: one, default: one }),
      {},
      { required: 1, const: 1, default: 1 },
    ],
    [
      "a name that is no property",
      Type.Object({ ["__proto__"]: one }),
      {},
      JSON.parse('{"__proto__":1}'),
    ],
  ])("fill in %s", (_, schema, value, filled) => {
    const check = compileCheck(schema, "input");
    expect(check(frozen(value))).toEqual(filled);
    expect(compileCheck(schema, "output")(frozen(value))).toEqual(filled);
    // What has all is not touched.
    expect(check(filled)).toBe(filled);
    // A caller refuses nothing that they will fill in.
    compileTypeBox(rebuildSchema(describeSchema(schema)))(value);
  });

  test("leave values alone that are not objects of properties", () => {
    const schema = Type.Object({
      n: one,
      set: Type.Any({ default: new Set([1]) }),
      list: typedArray("Float64Array", { default: new Float64Array(2) } as object),
      at: Type.Date({ default: when }),
    });
    const value = { set: new Set([2]), list: Float64Array.of(3), at: new Date(0) };
    const filled = compileCheck(schema, "input")(value) as typeof value;
    expect(filled).toEqual({ ...value, n: 1 } as never);
    for (const name of ["set", "list", "at"] as const) expect(filled[name]).toBe(value[name]);
    expect(compileCheck(schema, "input")({})).toEqual({
      ...{ n: 1, set: new Set([1]), list: new Float64Array(2), at: when },
    });
  });

  test("end where a recursive type has itself as its default", () => {
    const check = compileCheck(Endless, "input");
    expect(check(undefined)).toEqual({});
    expect(check({})).toEqual({ next: {} });
  });

  test("are copies: no call changes them for the next", () => {
    const check = compileCheck(Type.Array(Type.Number(), { default: [1] }), "input");
    (check(undefined) as number[]).push(2);
    expect(check(undefined)).toEqual([1]);
  });

  test("are checked as what is given is", () => {
    const check = compileCheck(Type.Object({ n: Type.Number({ default: "no" }) }), "input");
    expect(refusal(() => check({})).path).toBe("/n");
  });

  test("cost nothing where there are none", () => {
    expect(
      compileDefaults(Type.Object({ default: Type.Object({ a: Type.Number() }) })),
    ).toBeUndefined();
    expect(compileDefaults(point)).toBeFunction();
  });
});

describe("transforms", () => {
  const day = Type.Transform(Type.String({ pattern: "^\\d{4}-\\d\\d-\\d\\d$" }))
    .Decode((text) => new Date(`${text}T00:00:00Z`))
    .Encode((date) => date.toISOString().slice(0, 10));
  const schema = Type.Object({
    days: Type.Array(day),
    from: Type.Optional(day),
    n: Type.Number({ default: 3 }),
  });
  const outside = { days: ["2026-01-02"], n: 3 };
  const inside = { days: [new Date("2026-01-02T00:00:00Z")], n: 3 };

  test("decode what comes in and encode what goes out", () => {
    expect(compileCheck(schema, "input")(frozen({ days: ["2026-01-02"] }))).toEqual(inside);
    expect(compileCheck(schema, "output")(frozen({ ...inside }))).toEqual(outside);
  });

  test("are given what fits alone, and are checked themselves", () => {
    const input = compileCheck(schema, "input");
    expect(refusal(() => input({ days: ["2026-01-02", "today"] })).path).toBe("/days/1");
    const output = compileCheck(schema, "output");
    const invalid = refusal(() => output({ days: [new Date(NaN)] }));
    expect(invalid).toMatchObject({ path: "/days/0", cause: { name: "RangeError" } });
    const long = refusal(() => output({ days: [new Date(Date.UTC(12026, 0))] }));
    expect(long.path).toBe("/days/0");
  });

  test("leave the caller's check to what is outside", () => {
    const check = compileTypeBox(rebuildSchema(describeSchema(schema)));
    expect(check(outside)).toBe(outside);
    expect(refusal(() => check(inside)).path).toBe("/days/0");
  });
});

test("a format that nobody has set is refused, with who can set it", () => {
  const check = compileCheck(Type.String({ format: "unheard-of" }), "input");
  expect(refusal(() => check("x")).message).toContain("FormatRegistry");
  FormatRegistry.Set("unheard-of", () => true);
  expect(check("x")).toBe("x");
});

test.each<[string, unknown, string]>([
  ["nothing", undefined, "the input given to defineFunction is undefined"],
  ["null", null, "is null"],
  ["text", "number", "is a string"],
  ["JSON", { type: "number" }, "is neither a TypeBox schema nor a Standard Schema"],
  ["a class", class {}, "is neither"],
  ["another TypeBox", Object.defineProperty({}, "~kind", { value: "Number" }), "TypeBox 1.x"],
  ["effect", Object.assign(() => {}, { ast: {} }), "Schema.standardSchemaV1(schema)"],
  ["an old zod", { safeParse() {} }, "zod 3.24"],
  ["something almost standard", { "~standard": { version: 1 } }, "is neither"],
])("%s is no schema, and is refused when a function is defined", (_, input, words) => {
  const define = () => defineFunction({ input: input as TSchema, output: Type.Null() }, () => null);
  expect(define).toThrow(TypeError);
  expect(define).toThrow(words);
});

test("a struct stands beside no schema", () => {
  const types = { input: struct({ a: "f64" }), output: Type.Null() };
  expect(() => defineFunction(types as never, () => null as never)).toThrow("both be structs");
});
