/** What must not compile, of typed functions; see `api.ts`. Never run. */
import {
  type FunctionContext,
  type TSchema,
  Type,
  defineFunction,
  defineHooks,
  struct,
  typedArray,
} from "rfaas/function";
import type { Invoker, Lease, TypedFunction } from "../../src/index.ts";

type Typed = typeof import("../functions/typed.ts");
type Pricing = typeof import("../../functions/blackscholes/option.ts");

/** Fails to compile unless both types are the same. */
function same<A>() {
  return <B extends A>(..._: [A] extends [B] ? [] : [never]): B | undefined => undefined;
}

export async function inference(rf: Invoker): Promise<void> {
  await using lease = await rf.allocate<Typed>("typed.ts");
  const payoff = lease.function("payoff");
  const result = await payoff({ spot: 1, strike: 2, kind: "put" }, { deadlineMs: 5 });
  const value: number = result.value;
  const note: string | undefined = payoff.invoke({ spot: 1, strike: value, kind: "call" }).note;
  void note;
  const annotated: TypedFunction<Parameters<typeof payoff>[0], { value: number; note?: string }> =
    lease.function("payoff");
  void annotated;
  // @ts-expect-error a field is missing
  await payoff({ spot: 1, strike: 2 });
  // @ts-expect-error a literal that the schema does not have
  payoff.invoke({ spot: 1, strike: 2, kind: "swap" });
  // @ts-expect-error a field of the result that there is not
  void result.price;
  // @ts-expect-error a raw function has no handle
  lease.function("raw");
  // @ts-expect-error a typed function takes no buffers
  lease.invoke("payoff", lease.input(Uint8Array, 8), lease.output(Uint8Array, 8));
  lease.invoke("raw", lease.input(Uint8Array, 8), lease.output(Uint8Array, 8));
  // @ts-expect-error hooks are not called
  lease.function("hooks");

  const digits = lease.function("digits");
  const sum: number = await digits({ n: "41" });
  void sum;
  // @ts-expect-error a Standard Schema's input is what is passed, not what the function gets
  await digits({ n: 41 });

  const samples = await lease.function("inPlace")({ name: "x", samples: new Float64Array(2) });
  const whole: boolean = samples[0];
  void whole;
  // @ts-expect-error another typed array
  await lease.function("inPlace")({ name: "x", samples: new Float32Array(2) });

  const scale = lease.function("scale");
  scale.input.factor = 2;
  const sums: number = scale.invoke().sum;
  const list: Float32Array = scale.slot().output.values;
  same<Float32Array<ArrayBuffer>>()<(typeof scale.output)["values"]>();
  void [sums, list];
  // @ts-expect-error a number is no text
  scale.input.count = "3";
  // @ts-expect-error an array is written into, not replaced
  scale.input.values = new Float32Array(16);
  // @ts-expect-error no such field
  void scale.output.product;

  // Without the module's type, anything goes in and nothing is known of what comes out.
  await using untyped = await rf.allocate("typed.ts");
  const unknown: unknown = await untyped.function("payoff")({ anything: 1 });
  // @ts-expect-error nothing is known of it
  void (await untyped.function("payoff")(1)).value;
  void unknown;

  // The type may be given with the name; and where the module has one typed function, alone.
  const price = untyped.function<Pricing, "price">("price");
  const amount: number = await price({
    spot: 1,
    strike: 1,
    rate: 0,
    volatility: 1,
    years: 1,
    kind: "call",
  });
  type One = Pick<Typed, "raw" | "digits">;
  const only: number = await untyped.function<One>("digits")({ n: "1" });
  void [amount, only];
}

export async function byTheModuleAlone(lease: Lease): Promise<number> {
  const price = lease.function<Pricing>("price");
  const option = { spot: 42, strike: 40, rate: 0.1, volatility: 0.2, years: 0.5 };
  const value: number = await price({ ...option, kind: "put" });
  // @ts-expect-error no function of the module takes this
  await price({ ...option, kind: "swap" });
  // @ts-expect-error a name that the module does not have
  lease.function<Pricing>("prize");
  return value;
}

export function group(of: Lease<Typed>): Promise<{ value: number }> {
  return of.function("payoff")({ spot: 1, strike: 1, kind: "call" });
}

export const definitions = [
  defineFunction({ input: Type.Number(), output: Type.String() }, (n, ctx) => {
    same<number>()<typeof n>();
    same<FunctionContext>()<typeof ctx>();
    return n.toFixed(ctx.cold ? 1 : 2);
  }),
  defineFunction({ input: typedArray("Int16Array"), output: Type.Null() }, async (list) => {
    const first: number = list[0]!;
    void first;
    return null;
  }),
  // @ts-expect-error the result is not what the schema says
  defineFunction({ input: Type.Number(), output: Type.String() }, (n) => n),
  // @ts-expect-error a struct and a schema
  defineFunction({ input: struct({ a: "f64" }), output: Type.Null() }, () => null),
  // @ts-expect-error a type that no struct has
  struct({ a: "f16" }),
  // @ts-expect-error a hook that there is not
  defineHooks({ start() {} }),
  defineHooks({ init: async ({ state, log }) => log.info("x", state.size) }),
];

const numeral = Type.Transform(Type.String()).Decode(Number).Encode(String);
const tree = Type.Recursive((This) => Type.Object({ n: numeral, children: Type.Array(This) }));
const parts = Type.Module({ Part: Type.Object({ n: numeral }), All: Type.Array(Type.Ref("Part")) });

/** A transform of TypeBox is decoded for the function, in and out, and encoded for the caller. */
export const transforms = [
  defineFunction({ input: Type.Array(numeral), output: numeral }, (list) => {
    same<number[]>()<typeof list>();
    return list.length;
  }),
  defineFunction({ input: tree, output: Type.Number() }, ({ n, children }) => {
    same<number>()<typeof n>();
    return n + children.length;
  }),
  defineFunction({ input: parts.Import("Part"), output: Type.Number() }, ({ n }) => n + 1),
  // @ts-expect-error the function returns what is to be encoded
  defineFunction({ input: Type.Null(), output: numeral }, () => "1"),
];
const encoded = defineFunction({ input: numeral, output: Type.Array(numeral) }, (n) => [n]);

export async function encodedOutside(lease: Lease): Promise<string[]> {
  const call = lease.function("encoded", { definition: encoded });
  // @ts-expect-error a caller passes what is to be decoded
  await call(1);
  return await call("1");
}

/** Schemas that are not known until they are used. */
export function generic<S extends TSchema>(schema: S): unknown {
  return defineFunction({ input: schema, output: Type.Null() }, () => null);
}
