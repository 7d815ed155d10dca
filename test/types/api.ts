/**
 * What must not compile. `bun check` reads this file: a line marked as an error that compiles is an error itself. Never run.
 */
import type { Invoker } from "../../src/index.ts";

type Good = typeof import("../functions/good.ts");

export async function misuse(rf: Invoker): Promise<void> {
  await using lease = await rf.allocate<Good>("good.ts", { workers: 2, polling: "hot" });
  const input = lease.input(Float32Array, 6);
  const output = lease.output(BigInt64Array, 1);
  const bytes: number = lease.invoke("echo", input, output);
  const called: number = await lease.submit("later", input, output, { deadlineMs: bytes });
  void called;
  for await (const result of lease.map("echo", [input]))
    result satisfies { index: number; bytes: number; input: Float32Array; output: Uint8Array };
  for await (const { output: own } of lease.map("echo", [[input, output]] as const))
    own satisfies BigInt64Array;

  // @ts-expect-error a function that the module does not export
  lease.invoke("price", input, output);
  // @ts-expect-error an export that is no function
  lease.submit("answer", input, output);
  // Shared memory, once it is registered.
  lease.invoke("echo", new Uint8Array(new SharedArrayBuffer(8)), output);
  // @ts-expect-error an array is no buffer
  lease.invoke("echo", [1, 2, 3], output);
  // @ts-expect-error a buffer needs a typed array class
  lease.input(Array, 6);
  // @ts-expect-error an option that does not exist
  lease.submit("echo", input, output, { deadline: 5 });
  // @ts-expect-error a call that is waited for on the spot hears no signal
  lease.invoke("echo", input, output, { signal: AbortSignal.timeout(1) });
  // @ts-expect-error milliseconds are a number
  await lease.renew({ ttlMs: "5s" });
  await lease.usage({ signal: AbortSignal.timeout(1000) });
  // @ts-expect-error a counter that a budget does not have
  await rf.allocate("good.ts", { budget: { call: 5 } });
  // @ts-expect-error map chooses the worker itself
  lease.map("echo", [[input, output]], { worker: 1 });
  // @ts-expect-error a result is no failure unless the results are settled
  for await (const { reason } of lease.map("echo", [[input, output]])) void reason;
  // @ts-expect-error a way of polling that does not exist
  await rf.allocate("good.ts", { polling: "tepid" });
  // @ts-expect-error trySubmit may return null
  lease.trySubmit("echo", input, output).get();

  // Without the module's type any name may be there.
  await using untyped = await rf.allocate("good.ts");
  untyped.invoke("price", input, output);
}
