/** Somebody sets the machine's clock. Leases, calls and bills go by time that passes, and nobody notices. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Lease, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

type Good = typeof import("../functions/good.ts");

const DAY_MS = 86_400_000;
const TTL_MS = 3_000;

/** Sets the machine's clock: for a machine that is thrown away. */
function jump(byMs: number): void {
  const seconds = Math.round((Date.now() + byMs) / 1000);
  const { exitCode, stderr } = Bun.spawnSync(["date", "-s", `@${seconds}`]);
  if (exitCode !== 0) throw new Error(`the clock cannot be set: ${stderr.toString()}`);
}

const maySetClock = process.env["RFAAS_TEST_MAY_SET_CLOCK"] === "1";
if (!maySetClock) console.error("skipped: this machine's clock is not for tests to set");

describe.skipIf(!maySetClock)("a clock that jumps", () => {
  let jumpedMs = 0;
  const jumpBy = (ms: number): void => {
    jump(ms);
    jumpedMs += ms;
  };
  beforeAll(() => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
  });
  afterAll(() => jump(-jumpedMs));

  const renewed = (lease: Lease<Good>): Promise<Date> =>
    new Promise((resolve) => {
      const stop = lease.on("renewed", ({ expiresAt }) => {
        stop();
        resolve(expiresAt);
      });
    });

  test("by a day, forth and back, ends no lease, shortens no deadline and bills nothing", async () => {
    await using rf = await invoker();
    await using lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), { ttlMs: TTL_MS });
    const input = lease.input(Uint32Array, 2).fill(300);
    const output = lease.output(Uint32Array, 2);
    for (const byMs of [DAY_MS, -2 * DAY_MS, DAY_MS]) {
      const slow = lease.submit("later", input, output, { deadlineMs: 60_000 });
      jumpBy(byMs);
      expect(await slow).toBe(8);
      const expiresAt = await renewed(lease);
      const leftMs = expiresAt.getTime() - Date.now();
      expect(leftMs).toBeGreaterThan(0);
      expect(leftMs).toBeLessThanOrEqual(TTL_MS);
      expect(lease.invoke("echo", input, output, { deadlineMs: 60_000 })).toBe(8);
    }
    expect((await lease.usage()).allocationCoreNs).toBeLessThan((DAY_MS / 2) * 1e6);
  });

  test("back by a day does not let a lease live on that nobody renews", async () => {
    await using rf = await invoker();
    await using lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), { ttlMs: 500 });
    const lost = new Promise<string>((resolve) =>
      lease.on("lost", ({ message }) => resolve(message)),
    );
    jumpBy(-DAY_MS);
    // No turn of the event loop, and so no renewal.
    Bun.sleepSync(2_000);
    expect(await lost).toContain("neither renewed nor used");
  });
});
