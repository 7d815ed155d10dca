/** The functions of every library's module, with the user's own copy of TypeBox, of the line that rfaas has. */
import {
  type Static,
  FormatRegistry,
  Kind,
  type TSchema,
  Type,
  TypeRegistry,
} from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { defineFunction } from "rfaas/function";

export const area = defineFunction(
  { input: Type.Object({ w: Type.Number(), h: Type.Number() }), output: Type.Number() },
  ({ w, h }) => w * h,
);

const Numeral = Type.Transform(Type.String()).Decode(Number).Encode(String);
const Exclaimed = Type.Transform(Type.String())
  .Decode((text) => Number.parseFloat(text))
  .Encode((n) => `${n}!`);

export const double = defineFunction(
  { input: Type.Object({ n: Numeral }), output: Exclaimed },
  ({ n }) => 2 * n,
);

export const greet = defineFunction(
  {
    input: Type.Object({
      name: Type.Optional(Type.String({ default: "you" })),
      times: Type.Optional(Type.Number()),
    }),
    output: Type.Object({ text: Type.String(), times: Type.Optional(Type.Number({ default: 1 })) }),
  },
  ({ name, times }) => ({ text: `hello ${name}`, ...(times === undefined ? {} : { times }) }),
);

const Node = Type.Recursive((This) =>
  Type.Object({ value: Type.Number(), children: Type.Array(This) }),
);

export const sum = defineFunction(
  { input: Node, output: Type.Number() },
  function add({ value, children }: Static<typeof Node>): number {
    return children.reduce((total, child) => total + add(child), value);
  },
);

const List = Type.Object({ list: Type.Array(Type.Object({ n: Type.Number() })) });

export const deep = defineFunction({ input: List, output: List }, ({ list }) =>
  list.length === 0 ? { list: [{ n: "no" as never }] } : { list },
);

FormatRegistry.Set("email", (text) => text.includes("@"));
TypeRegistry.Set<{ max: number }>(
  "Short",
  ({ max }, value) => typeof value === "string" && value.length <= max,
);
interface TShort extends TSchema {
  [Kind]: "Short";
  static: string;
  max: number;
}
const short = (max: number): TShort => ({ [Kind]: "Short", max }) as TShort;

/** What is set in the user's TypeBox counts. */
export const mail = defineFunction(
  {
    input: Type.Object({ to: Type.String({ format: "email" }), subject: short(5) }),
    output: Type.Boolean(),
  },
  ({ to }) => Value.Check(Type.String({ format: "email" }), to),
);
