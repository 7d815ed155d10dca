/** What callers see of the same functions, by library. Never run. */
import type { FunctionOf, Invoker, Lease, TypedFunction } from "rfaas";
import type { TestWorker } from "rfaas/testing";
import { type IsVague, none } from "./same.ts";

interface Modules {
  arktype: typeof import("../functions/arktype.ts");
  effect: typeof import("../functions/effect.ts");
  effect3: typeof import("../functions/effect3.ts");
  typebox: typeof import("../functions/typebox.ts");
  valibot: typeof import("../functions/valibot.ts");
  zod: typeof import("../functions/zod.ts");
  zodMini: typeof import("../functions/zod-mini.ts");
  zod3: typeof import("../functions/zod3.ts");
}

interface Tree {
  value: number;
  children: Tree[];
}
interface List {
  list: { n: number }[];
}
/** What every caller may pass, and what it can rely on. */
interface Wanted {
  area: [input: { w: number; h: number }, output: number];
  double: [input: { n: string }, output: string];
  greet: [input: {} | { name: string; times: number }, output: { readonly text: string }];
  sum: [input: Tree, output: number];
  deep: [input: List, output: { readonly list: readonly { readonly n: number }[] }];
}
/** What no caller may pass. */
interface Unwanted {
  area: { w: number } | { w: number; h: string } | string;
  double: { n: number } | {};
  greet: { name: number } | null;
  sum: { value: number } | { value: number; children: [{ value: string; children: [] }] };
  deep: { list: string[] } | { list: { n: string }[] };
}

type Verdict<Handle, Name extends keyof Wanted> =
  Handle extends TypedFunction<infer Input, infer Output>
    ? [IsVague<Input>, IsVague<Output>] extends [false, false]
      ? [Wanted[Name][0], Output] extends [Input, Wanted[Name][1]]
        ? Extract<Unwanted[Name], Input> extends never
          ? never
          : ["takes what is wrong", Extract<Unwanted[Name], Input>]
        : ["is another type", Input, Output]
      : ["is vague", Input, Output]
    : "is no handle";

none<
  {
    [Library in keyof Modules]: {
      [Name in keyof Wanted]: Verdict<FunctionOf<Modules[Library], Name>, Name> extends never
        ? never
        : [Library, Name, Verdict<FunctionOf<Modules[Library], Name>, Name>];
    }[keyof Wanted];
  }[keyof Modules]
>();

export async function lease(rf: Invoker): Promise<string> {
  await using lease = await rf.allocate<Modules["zod"]>("zod.ts");
  const area = lease.function("area");
  const whole: number = await area({ w: 2, h: 3 });
  const atOnce: number = area.invoke({ w: 2, h: 3 });
  for await (const each of area.map([{ w: 1, h: 1 }])) each satisfies number;
  for (const each of await area.broadcast({ w: 1, h: 1 }))
    if (each.status === "fulfilled") each.value satisfies number;
  // @ts-expect-error the result is a number
  const text: string = await area({ w: 2, h: 3 });
  // @ts-expect-error a part is missing
  await area({ w: 2 });
  // @ts-expect-error a part is of another type
  area.invoke({ w: 2, h: "3" });
  // @ts-expect-error so is the input
  await area("2x3");
  // @ts-expect-error one of the inputs is wrong
  area.map([{ w: 1, h: 1 }, { w: 1 }]);
  // @ts-expect-error text is converted in the worker, not here
  await lease.function("double")({ n: 21 });
  // @ts-expect-error what the function returns is not what the schema makes of it
  const number: number = await lease.function("double")({ n: "21" });
  void [whole, atOnce, text, number];
  const { text: greeting, times } = await lease.function("greet")({});
  return greeting.repeat(times);
}

export async function others(
  group: Lease<Modules["valibot"]>,
  worker: TestWorker<Modules["arktype"]>,
  rf: Invoker,
): Promise<void> {
  (await group.function("double")({ n: "1" })) satisfies string;
  // @ts-expect-error a part is of another type
  await group.function("double")({ n: 1 });
  (await worker.function("double")({ n: "1" })) satisfies string;
  // @ts-expect-error a part is of another type
  await worker.function("double")({ n: 1 });

  await using lease = await rf.allocate("effect.ts");
  const { double } = await import("../functions/effect.ts");
  const given = lease.function("double", { definition: double });
  (await given({ n: "1" })) satisfies string;
  // @ts-expect-error a part is of another type
  await given({ n: 1 });
}
