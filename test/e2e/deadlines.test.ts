/** What a call comes to whose function ends because the deadline has passed: the same, however often one tries. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  type FabricName,
  type Invoker,
  type Lease,
  invoker,
} from "../../src/index.ts";
import { rdmaDevices } from "../../src/fabric/verbs/devices.ts";
import { FUNCTIONS } from "../support/executable.ts";

type Module = typeof import("../functions/deadlines.ts");
const MODULE = join(FUNCTIONS, "deadlines.ts");
const FABRICS: FabricName[] = [
  "shm",
  "tcp",
  ...(rdmaDevices().length > 0 ? (["verbs"] as const) : []),
];
const ROUNDS = 60;

/** What calls came to, by name of error. */
function tally(ends: PromiseSettledResult<unknown>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const end of ends) {
    const name = end.status === "fulfilled" ? "fulfilled" : (end.reason as Error).name;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}
const settle = (work: () => unknown): Promise<PromiseSettledResult<unknown>> =>
  Promise.allSettled([(async () => await work())()]).then(([end]) => end!);
const exceeded = (count: number) => ({ [DeadlineExceeded.name]: count });

for (const fabric of FABRICS) {
  describe(`over ${fabric}, a function that ends when its deadline has passed is too late`, () => {
    let rf: Invoker;
    let held: Lease<Module>;
    beforeAll(async () => {
      rf = await invoker({ cores: 2, fabric, connectTimeoutMs: 60_000 });
      held = await rf.allocate<Module>(MODULE, {
        memory: "8MiB",
        workers: 2,
        loadTimeoutMs: 60_000,
      });
    });
    afterAll(() => rf.close());

    for (const name of ["heeds", "throwsThen", "polls"] as const) {
      test(`${name}, many in flight`, async () => {
        const input = held.input(Uint8Array, 8);
        const ends = await Promise.allSettled(
          Array.from({ length: ROUNDS }, (_, i) =>
            held.submit(name, input, held.output(Uint8Array, 8), { deadlineMs: 1 + (i % 20) }),
          ),
        );
        expect(tally(ends)).toEqual(exceeded(ROUNDS));
      });

      test(`${name}, one after the other, on the spot`, async () => {
        const [input, output] = [held.input(Uint8Array, 8), held.output(Uint8Array, 8)];
        const ends: PromiseSettledResult<unknown>[] = [];
        for (let i = 0; i < 20; i++) {
          const options = { deadlineMs: 1 + (i % 5), worker: i % 2 };
          ends.push(await settle(() => held.invoke(name, input, output, options)));
          ends.push(await settle(() => held.submit(name, input, output, options).get()));
        }
        expect(tally(ends)).toEqual(exceeded(ends.length));
      });
    }

    for (const name of ["spins", "throwsSpun"] as const)
      test(`${name}, which hears nothing`, async () => {
        const [input, output] = [held.input(Uint8Array, 8), held.output(Uint8Array, 8)];
        const ends: PromiseSettledResult<unknown>[] = [];
        for (let i = 0; i < ROUNDS / 2; i++) {
          const options = { deadlineMs: 5 + (i % 5) };
          ends.push(await settle(() => held.submit(name, input, output, options)));
          ends.push(await settle(() => held.invoke(name, input, output, options)));
        }
        expect(tally(ends)).toEqual(exceeded(ends.length));
      });

    test("on values and structs, with results that fit and that do not", async () => {
      const [heeds, spins] = [held.function("heedsValue"), held.function("spinsValue")];
      const onStructs = held.function("heedsStruct");
      const ends: PromiseSettledResult<unknown>[] = [];
      for (let i = 0; i < ROUNDS / 2; i++) {
        const options = { deadlineMs: 5 + (i % 5) };
        const bytes = i % 2 ? 10 : 10_000;
        ends.push(
          ...(await Promise.allSettled([heeds(bytes, options), onStructs({ n: 1 }, options)])),
          await settle(() => spins(bytes, options)),
          await settle(() => spins.invoke(bytes, options)),
          await settle(() => heeds.invoke(bytes, options)),
        );
      }
      expect(tally(ends)).toEqual(exceeded(ends.length));
    }, 30_000);

    test("in maps and broadcasts", async () => {
      const input = new Uint8Array(8);
      const settled = { settled: true, deadlineMs: 10 } as const;
      const ends: PromiseSettledResult<unknown>[] = [];
      const inputs = Array.from({ length: ROUNDS }, () => input);
      for await (const end of held.map("heeds", inputs, settled)) ends.push(end as never);
      for await (const end of held.function("heedsValue").map(
        inputs.map(() => 10),
        settled,
      ))
        ends.push(end as never);
      for (let i = 0; i < 10; i++) {
        ends.push(...((await held.broadcast("polls", input, { deadlineMs: 5 })) as never[]));
        ends.push(...(await held.function("heedsValue").broadcast(10, { deadlineMs: 5 })));
      }
      expect(tally(ends)).toEqual(exceeded(2 * ROUNDS + 40));
    }, 30_000);

    test("and so is one whose caller has given up, by the caller's own reason", async () => {
      const input = held.input(Uint8Array, 8);
      const ends: Promise<PromiseSettledResult<unknown>>[] = [];
      for (let i = 0; i < ROUNDS; i++) {
        const giveUp = new AbortController();
        const options = { signal: giveUp.signal };
        ends.push(
          settle(() => held.submit("heeds", input, held.output(Uint8Array, 8), options)),
          settle(() => held.function("heedsValue")(10, options)),
        );
        setTimeout(() => giveUp.abort(new RangeError("enough")), i % 10);
      }
      expect(tally(await Promise.all(ends))).toEqual({ RangeError: 2 * ROUNDS });
    });

    test("while one that ends before gives its result, although its caller looks late", async () => {
      const [input, output] = [held.input(Uint8Array, 8).fill(5), held.output(Uint8Array, 8)];
      for (let i = 0; i < 3; i++) {
        const call = held.submit("prompt", input, output.fill(0), { deadlineMs: 1500 });
        // Nobody looks before the deadline has passed.
        const until = performance.now() + 1520;
        while (performance.now() < until);
        expect(await call).toBe(8);
        expect(output).toEqual(input);
      }
    }, 30_000);
  });
}
