/** The functions of every library's module, with effect 4. */
import { Effect, Schema, SchemaGetter } from "effect";
import { defineFunction } from "rfaas/function";

const standard = Schema.toStandardSchemaV1;

export const area = defineFunction(
  {
    input: standard(Schema.Struct({ w: Schema.Number, h: Schema.Number })),
    output: standard(Schema.Number),
  },
  ({ w, h }) => w * h,
);

const Exclaimed = Schema.Number.pipe(
  Schema.decodeTo(Schema.String, {
    decode: SchemaGetter.transform((n: number) => `${n}!`),
    encode: SchemaGetter.transform((text: string) => Number.parseFloat(text)),
  }),
);

export const double = defineFunction(
  { input: standard(Schema.Struct({ n: Schema.NumberFromString })), output: standard(Exclaimed) },
  ({ n }) => 2 * n,
);

export const greet = defineFunction(
  {
    input: standard(
      Schema.Struct({
        name: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("you"))),
        times: Schema.optionalKey(Schema.Number),
      }),
    ),
    output: standard(
      Schema.Struct({
        text: Schema.String,
        times: Schema.Number.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1))),
      }),
    ),
  },
  ({ name, times }) => ({ text: `hello ${name}`, ...(times === undefined ? {} : { times }) }),
);

interface Tree {
  readonly value: number;
  readonly children: readonly Tree[];
}
const Node = Schema.Struct({
  value: Schema.Number,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Node)),
});

export const sum = defineFunction(
  { input: standard(Node), output: standard(Schema.Number) },
  function add({ value, children }: Tree): number {
    return children.reduce((total, child) => total + add(child), value);
  },
);

const List = Schema.Struct({ list: Schema.Array(Schema.Struct({ n: Schema.Number })) });

export const deep = defineFunction({ input: standard(List), output: standard(List) }, ({ list }) =>
  list.length === 0 ? { list: [{ n: "no" as never }] } : { list },
);

const even = SchemaGetter.checkEffect<number>(
  (n) =>
    Effect.promise(async () =>
      (await Promise.resolve(n)) % 2 === 0 ? undefined : "expected an even number",
    ) as never,
);
export const half = defineFunction(
  {
    input: standard(
      Schema.Number.pipe(
        Schema.decodeTo(Schema.Number, { decode: even, encode: SchemaGetter.passthrough() }),
      ),
    ),
    output: standard(Schema.Number),
  },
  (n) => n / 2,
);
