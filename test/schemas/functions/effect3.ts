/** The functions of every library's module, with effect 3. */
import { Effect, ParseResult, Schema } from "effect3";
import { defineFunction } from "rfaas/function";

const standard = Schema.standardSchemaV1;

export const area = defineFunction(
  {
    input: standard(Schema.Struct({ w: Schema.Number, h: Schema.Number })),
    output: standard(Schema.Number),
  },
  ({ w, h }) => w * h,
);

const Exclaimed = Schema.transform(Schema.Number, Schema.String, {
  decode: (n) => `${n}!`,
  encode: (text) => Number.parseFloat(text),
});

export const double = defineFunction(
  { input: standard(Schema.Struct({ n: Schema.NumberFromString })), output: standard(Exclaimed) },
  ({ n }) => 2 * n,
);

export const greet = defineFunction(
  {
    input: standard(
      Schema.Struct({
        name: Schema.optionalWith(Schema.String, { default: () => "you" }),
        times: Schema.optionalWith(Schema.Number, { exact: true }),
      }),
    ),
    output: standard(
      Schema.Struct({
        text: Schema.String,
        times: Schema.optionalWith(Schema.Number, { exact: true, default: () => 1 }),
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
  children: Schema.Array(Schema.suspend((): Schema.Schema<Tree> => Node)),
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

export const half = defineFunction(
  {
    input: standard(
      Schema.transformOrFail(Schema.Number, Schema.Number, {
        strict: true,
        decode: (n, _, ast) =>
          Effect.promise(async () => n % 2 === 0).pipe(
            Effect.flatMap((ok) =>
              ok
                ? Effect.succeed(n)
                : Effect.fail(new ParseResult.Type(ast, n, "expected an even number")),
            ),
          ),
        encode: (n) => Effect.succeed(n),
      }),
    ),
    output: standard(Schema.Number),
  },
  (n) => n / 2,
);
