/** A call that is aborted while its worker is busy with another one: its function begins, and hears of the abort all the same. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { type Invoker, invoker } from "../support/library.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { until } from "../support/until.ts";

type Module = typeof import("../functions/early-abort.ts");
const ROUNDS = 8;

let rf: Invoker;
beforeAll(async () => {
  rf = await invoker({ cores: 1 });
});
afterAll(() => rf.close());

test.each(["hot", "warm", "adaptive"] as const)(
  "with polling %s, a function hears of an abort that came before it began",
  async (polling) => {
    const said: string[] = [];
    await using lease = await rf.allocate<Module>(join(FUNCTIONS, "early-abort.ts"), {
      polling,
      onLog: ({ message }) => void said.push(message),
    });
    const count = (message: string) => said.filter((one) => one === message).length;
    const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
    for (let round = 1; round <= ROUNDS; round++) {
      const other = lease.submit("holds", input, lease.output(Uint8Array, 8));
      await until(() => count("holds") === round, "the worker is busy with the other call");
      const leaving = new AbortController();
      const call = lease.submit("waits", input, output, { signal: leaving.signal });
      leaving.abort();
      expect(await call.catch((error: unknown) => (error as Error).name)).toBe("AbortError");
      await other;
      await until(() => count("stopped") === round, "the function has heard of it");
    }
  },
);
