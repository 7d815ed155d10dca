/** What a function is given by schemas with transforms, of a copy of TypeBox that is not the one rfaas has. Never run. */
import { Type } from "@sinclair/typebox";
import type { FunctionInput } from "../../../src/schema/types.ts";
import { type Same, none } from "./same.ts";

const numeral = Type.Transform(Type.String()).Decode(Number).Encode(String);
const named = Type.Object({ m: Type.String() });
const schemas = {
  root: numeral,
  object: Type.Object({
    n: numeral,
    o: Type.Optional(numeral),
    r: Type.Readonly(Type.String()),
  }),
  array: Type.Array(numeral),
  nested: Type.Array(Type.Array(numeral)),
  tuple: Type.Tuple([numeral, Type.String()]),
  nothing: Type.Tuple([]),
  union: Type.Union([numeral, Type.Null()]),
  objects: Type.Union([
    Type.Object({ k: Type.Literal("a"), n: numeral }),
    Type.Object({ k: Type.Literal("b") }),
  ]),
  intersect: Type.Intersect([Type.Object({ n: numeral }), named]),
  composite: Type.Composite([Type.Object({ n: numeral }), named]),
  partial: Type.Partial(Type.Object({ n: numeral })),
  record: Type.Record(Type.String(), numeral),
  names: Type.Record(Type.Union([Type.Literal("p"), Type.Literal("q")]), numeral),
  literal: Type.Literal("x"),
  enumeration: Type.Enum({ A: 1, B: "b" } as const),
  any: Type.Any(),
  unknown: Type.Unknown(),
  bytes: Type.Uint8Array(),
  date: Type.Date(),
  unsafe: Type.Unsafe<Map<string, number>>({}),
};

interface Wanted {
  root: number;
  object: { n: number; o?: number; readonly r: string };
  array: number[];
  nested: number[][];
  tuple: [number, string];
  nothing: [];
  union: number | null;
  objects: { k: "a"; n: number } | { k: "b" };
  intersect: { n: number } & { m: string };
  composite: { n: number; m: string };
  partial: { n?: number };
  record: { [x: string]: number };
  names: { p: number; q: number };
  literal: "x";
  enumeration: 1 | "b";
  // As the schema is.
  any: any;
  unknown: unknown;
  bytes: Uint8Array;
  date: Date;
  unsafe: Map<string, number>;
}

type Given = { [Name in keyof typeof schemas]: FunctionInput<(typeof schemas)[Name]> };
none<
  {
    [Name in keyof Given]: Same<Given[Name], Wanted[Name]> extends true
      ? never
      : [Name, Given[Name]];
  }[keyof Given]
>();
