/** What authors see of their schemas, and what must not compile. Never run. */
import { type } from "arktype";
import { Schema } from "effect";
import { Schema as Schema3 } from "effect3";
import { Type as TypeBox } from "@sinclair/typebox";
import { Type as TypeBox1 } from "typebox";
import * as v from "valibot";
import { z } from "zod";
import * as mini from "zod/mini";
import { z as z3 } from "zod3";
import type { CallableOf, TypedFunction } from "rfaas";
import { type FunctionContext, type StandardSchema, Type, defineFunction } from "rfaas/function";
import { type Same, none } from "./same.ts";

const outputs = {
  arktype: type("string"),
  effect: Schema.toStandardSchemaV1(Schema.String),
  effect3: Schema3.standardSchemaV1(Schema3.String),
  typebox: TypeBox.String(),
  typebox_of_rfaas: Type.String(),
  valibot: v.string(),
  zod: z.string(),
  mini: mini.string(),
  zod3: z3.string(),
};
const branded = z.object({ id: z.string().brand<"Id">(), at: z.coerce.number() });

/** By hand, without a word on types: what comes out is seen in what is returned. */
const untold = {
  "~standard": {
    version: 1 as const,
    vendor: "by hand",
    validate: (value: unknown) => ({ value: String(value) }),
  },
};
const read = defineFunction({ input: untold, output: untold }, (text) => text.length);
none<Same<CallableOf<typeof read>, TypedFunction<unknown, string>> extends true ? never : 0>();

/** A class that is a schema. */
class Point {
  static "~standard": StandardSchema<{ x: number }, Point>["~standard"];
  x = 1;
}

export const definitions = [
  defineFunction({ input: Point, output: z.number() }, (point) => {
    none<Same<typeof point, Point> extends true ? never : typeof point>();
    return point.x;
  }),
  defineFunction({ input: branded, output: z.null() }, ({ id, at }, ctx) => {
    none<Same<typeof id, string & z.core.$brand<"Id">> extends true ? never : typeof id>();
    none<Same<typeof at, number> extends true ? never : typeof at>();
    none<Same<typeof ctx, FunctionContext> extends true ? never : typeof ctx>();
    return null;
  }),
  defineFunction({ input: v.picklist(["a", "b"]), output: type("'a' | 'b'") }, (letter) => letter),
  // What comes out may be what the schema makes something of.
  defineFunction({ input: z.null(), output: z.coerce.string() }, () => 7),
  defineFunction({ input: z.null(), output: z.string().default("none") }, async () => undefined),
  // Libraries side by side.
  defineFunction({ input: z.number(), output: Type.String() }, (n) => n.toFixed(1)),

  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.arktype }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.effect }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.effect3 }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.typebox }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.typebox_of_rfaas }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.valibot }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.zod }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.mini }, (n) => n),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: z.number(), output: outputs.zod3 }, async (n) => n),
  // @ts-expect-error the input has no such part
  defineFunction({ input: z.object({ w: z.number() }), output: z.number() }, ({ h }) => h),
  // @ts-expect-error the input is a number
  defineFunction({ input: type("number"), output: z.string() }, (n) => n.toUpperCase()),
  // @ts-expect-error a schema of effect is no Standard Schema before it is made one
  defineFunction({ input: Schema3.Number, output: z.null() }, () => null),
  // @ts-expect-error schemas of TypeBox 1.x are not those of 0.34
  defineFunction({ input: TypeBox1.Number(), output: z.null() }, () => null),
  // @ts-expect-error a schema as JSON is none
  defineFunction({ input: { type: "number" }, output: z.null() }, () => null),
];
