/** What a program may say, in every way of calling: no compiler has anything against it. */
import {
  type AllocateOptions,
  type Call,
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  type Lease,
  RfaasError,
  type TypedFunction,
  exitCode,
  invoker,
} from "rfaas";
import type { FunctionContext, StandardSchema } from "rfaas/function";
import { testWorker } from "rfaas/testing";
import * as module from "./fn.ts";

const terms: AllocateOptions = { workers: 2, memory: "64MiB", polling: "warm" };
export const rf: Invoker = await invoker();
export const lease: Lease<typeof module> = await rf.allocate<typeof import("./fn.ts")>(
  "./fn.ts",
  terms,
);
export const double: TypedFunction<number, number> = lease.function("double");
export const inferred = lease.function("price");

const controller = new AbortController();
const twice: number = await double(21, { deadlineMs: 100, signal: controller.signal });
const { value, note }: { value: number; note?: string } = await inferred({
  spot: twice,
  kind: "put",
});
const inPlace: number = double.invoke(value);

const input = lease.input(Float64Array, 8).fill(inPlace);
const output = lease.output(Float64Array, 1);
const call: Call = lease.submit("sum", input, output, { retries: 1 });
export const written: number = (await call) + lease.invoke("first", input, output);

export const scale = lease.function("scale");
scale.input.factor = 2;
scale.input.values.set([1, 2, 3, 4]);
export const total: number = scale.invoke().sum;
export const copied: { sum: number } = await scale({ factor: 1, values: [1, 2, 3, 4] });

for await (const each of double.map([1, 2, 3], { ordered: false })) each.toFixed(2);
for await (const each of lease.map("sum", [new Uint8Array(8)], { settled: true }))
  if (each.status === "fulfilled") each.value.output.fill(0);
  else void each.reason;

await using worker = await testWorker(module);
export const tested: number = await worker.function("double")(2);

export const schema: StandardSchema<string, number> | undefined = undefined;
export const log = (ctx: FunctionContext): void => ctx.log.info(`worker ${ctx.worker}`, { note });
lease.on("log", ({ worker: from, message }) => void `${from} ${message}`);

try {
  await double(1);
} catch (error) {
  if (error instanceof DeadlineExceeded || error instanceof FunctionError) void error.code;
  else if (error instanceof RfaasError) void exitCode(error);
}

using registered = lease.register(new Float64Array(8));
void registered;
await rf.allocate(new URL("./fn.ts", import.meta.url));
await lease.release();
