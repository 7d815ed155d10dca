/** `rfaas run client.ts WHERE MODULE PROJECT FABRIC`: a program that uses what there is of a lease, and says what came of it as JSON. */
import { type InvokerOptions, invoker } from "rfaas";

type Functions = typeof import("./functions.ts");

const [where, module, project, fabric] = process.argv.slice(2) as [string, string, string, string];
const options = { ...(JSON.parse(where) as object), fabric } as InvokerOptions;
const said: Record<string, unknown> = {};
const failure = (error: unknown) => {
  const { code, message } = error as { code: string; message: string };
  return [code, message];
};

await using rf = await invoker(options);
{
  const logged: string[] = [];
  await using lease = await rf.allocate<Functions>(module, {
    ...{ workers: 2, ttlMs: 5000, memory: "1MiB", polling: "warm", project },
    onLog: ({ message }) => void logged.push(message),
  });
  said.fabric = lease.fabric;
  said.functions = [...lease.functions].toSorted();
  const input = lease.input(Uint8Array, 3);
  const output = lease.output(Uint8Array, 3);
  input.set([1, 2, 3]);
  said.invoked = [lease.invoke("next", input, output), ...output];
  said.submitted = [await lease.submit("next", input, output), ...output];
  said.greeted = await lease.function("greet")("ada", {
    onProgress: ({ fraction }) => void (said.progress = fraction),
  });
  said.failed = await lease.function("fails")("because").catch(failure);
  said.late = await lease.function("later")(500, { deadlineMs: 20 }).catch(failure);
  const mapped = await Array.fromAsync(
    lease.map("next", [new Uint8Array([7]), new Uint8Array([8])]),
  );
  said.mapped = mapped.map((result) => [...result.output]);
  said.broadcast = (await lease.broadcast("next", new Uint8Array([1]))).length;
  await lease.renew({ ttlMs: 60_000 });
  said.renewed = lease.expiresAt.getTime() > Date.now() + 30_000;
  const { calls, state } = await lease.usage();
  said.usage = [calls, state];
  said.logged = logged;
}
{
  // What is refused is said in words, too.
  const refused = rf.allocate(module, { workers: 64, wait: false, memory: "1MiB", project });
  said.refused = await refused.then(
    () => "granted",
    (error: unknown) => failure(error)[0],
  );
  await using kept = await rf.allocate<Functions>(module, {
    ...{ keepWarmMs: 1000, memory: "1MiB", polling: "warm", project },
    budget: { calls: 2 },
  });
  const lost = Promise.withResolvers<string>();
  kept.on("lost", ({ message }) => lost.resolve(message));
  for (let i = 0; i < 2; i++) await kept.function("later")(1);
  said.budget = /budget/.test(await lost.promise);
}
console.log(JSON.stringify(said));
