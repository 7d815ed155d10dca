/**
 * A program that uses all of a lease, and prints what comes of it. Where its workers come from, its first argument says; nothing
 * else tells it whether that is one node or several.
 */
import { join } from "node:path";
import { type LeaseEvent, invoker } from "../support/library.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { until } from "../support/until.ts";

type Typed = typeof import("../functions/typed.ts");

const WORKERS = 3;
const say = (what: string, value: unknown): void =>
  void process.stdout.write(`${what}: ${JSON.stringify(value)}\n`);
const failure = (error: unknown) => {
  const { name, code, message } = error as Error & { code: string };
  return { name, code, message };
};
const attempt = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return failure(error);
  }
};

const rf = await invoker(JSON.parse(process.argv[2]!));
/** A worker whose call was late may be started again, and says the same again. */
const logs = new Set<string>();
const lease = await rf.allocate<Typed>(join(FUNCTIONS, "typed.ts"), {
  workers: WORKERS,
  memory: "2MiB",
  onLog: ({ worker, message }) => {
    if (message === "initialised") logs.add(`${worker} ${message}`);
  },
});
const events: LeaseEvent[] = [];
const heard = (async () => {
  for await (const event of lease.events()) events.push(event);
})();

say("workers", lease.workers);
say("polling", lease.polling);
say("cores", [lease.coresPerWorker, lease.cpus.length]);
say("functions", lease.functions.toSorted());
say("kinds", [lease.kindOf("raw"), lease.kindOf("payoff"), lease.kindOf("scale")]);
say("schema", lease.describe("payoff").input);
say(
  "numbers",
  lease.parts.flatMap(({ firstWorker, workers }) =>
    Array.from({ length: workers }, (_, index) => firstWorker + index),
  ),
);
say(
  "parts are up",
  lease.parts.every(({ state, hostPid }) => state === "up" && hostPid > 0),
);
say("expires", lease.expiresAt.getTime() > Date.now());

// Buffers lie with a worker's part, and calls on them go there.
const buffers = Array.from({ length: WORKERS }, (_, worker) => ({
  input: lease.input(Uint32Array, 4, { worker }),
  output: lease.output(Uint32Array, 4, { worker }),
}));
for (const [worker, { input, output }] of buffers.entries()) {
  input.fill(worker + 1);
  say("invoke", [lease.invoke("raw", input, output, { worker }), ...output]);
  output.fill(0);
  const call = lease.submit("raw", input, output, { worker });
  say("submit", [await call, call.worker, call.done, ...output]);
  say("without a worker", lease.invoke("raw", input, output));
  say("trySubmit", lease.trySubmit("raw", input, output)?.get());
}
say(
  "no such worker",
  attempt(() => lease.input(Uint8Array, 8, { worker: WORKERS })),
);
say(
  "no such function",
  attempt(() => lease.invoke("rwa" as "raw", new Uint8Array(8), new Uint8Array(8))),
);
say(
  "no memory of the lease",
  attempt(() => lease.submit("raw", new Uint8Array(8), new Uint8Array(8))),
);

// Memory of the program's own is there for every worker.
const own = new Float64Array([1.5, -0, Infinity]);
{
  using registration = lease.register(own);
  say("registered", registration.byteLength);
  for (let worker = 0; worker < WORKERS; worker++) {
    const output = lease.output(Float64Array, 3, { worker });
    say("own memory", [lease.invoke("raw", own, output, { worker }), ...output]);
    lease.free(output);
  }
}

// What is copied goes to wherever there is room.
const numbers = Array.from({ length: 40 }, (_, i) => new Uint32Array([i, i * i]));
const copied = await Array.fromAsync(lease.map("raw", numbers));
say(
  "map",
  copied.map(({ index, bytes, output }) => [index, bytes, ...output]),
);
const pairs = Array.from({ length: 12 }, (_, i) => {
  const { input, output } = buffers[i % WORKERS]!;
  return [input, output] as const;
});
const used = await Array.fromAsync(lease.map("raw", pairs));
say(
  "map of pairs",
  used.map(({ index, output }) => [index, ...output]),
);
const settled = await Array.fromAsync(
  lease.function("failing").map([true, false], { settled: true }),
);
say(
  "failures of a map",
  settled.map(({ status, index }) => [status, index]),
);
const sent = await lease.broadcast("raw", new Uint8Array([7, 8, 9]));
say(
  "broadcast",
  sent.map((one) => [one.worker, one.status === "fulfilled" && [...one.output]]),
);

// Functions on values and on structs.
{
  using payoff = lease.function("payoff");
  const option = { spot: 42, strike: 40, kind: "call" } as const;
  say("value", await payoff(option));
  say("on the spot", payoff.invoke({ ...option, note: "n" }, { worker: WORKERS - 1 }));
  const all = await payoff.broadcast(option);
  say(
    "of each worker",
    all.map(({ status }) => status),
  );
  const many = Array.from({ length: 20 }, (_, i) => ({ ...option, spot: 40 + i }));
  say("values", await Array.fromAsync(payoff.map(many)));
  say("wrong value", await payoff({ ...option, spot: -1 }).catch(failure));
  say("wrong worker", await payoff(option, { worker: WORKERS }).catch(failure));
  using scale = lease.function("scale");
  Object.assign(scale.input, { factor: 2, count: 2 });
  scale.input.values.set([1.5, 3]);
  say("struct", scale.invoke().sum);
  using slot = scale.slot();
  Object.assign(slot.input, { factor: 3, count: 1 });
  slot.input.values[0] = 5;
  say("slot", (await slot.submit()).sum);
  using failing = lease.function("failing");
  say("thrown", await failing(false).catch(failure));
  using later = lease.function("later");
  say("late", await later({ ms: 60_000 }, { deadlineMs: 20 }).catch(failure));
}

await lease.renew();
await until(() => events.some(({ type }) => type === "renewed"), "the renewal is told");
say("usage", (await lease.usage()).calls > 0);
await until(() => logs.size === WORKERS, "each worker has logged");
say("logs", [...logs].toSorted());
say("free", (await rf.status()).freeCores);
await lease.release();
await heard;
say("states", [...new Set(lease.parts.map(({ state }) => state))]);
say("last event", events.at(-1));
say(
  "after the release",
  attempt(() => lease.input(Uint8Array, 8)),
);
await until(async () => (await rf.status()).freeCores === WORKERS, "the cores are free");
say("cores", rf.cores);
const hash = await rf.packages.push(join(FUNCTIONS, "typed.ts"));
say(
  "packages",
  (await rf.packages.list()).some((stored) => stored.hash === hash),
);
await rf.close();
say("closed", await rf.allocate("typed.ts").then(String, (error) => failure(error).name));
