/** A first pass over memory of a lease takes no faults, on either side: they are counted, since times depend on the machine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { PAGE, hasHugePages, mappedPages } from "../support/pages.ts";
import { until } from "../support/until.ts";

type Pages = typeof import("../functions/pages.ts");
const MIB = 1024 * 1024;
const INPUT_BYTES = 120 * MIB;
const OUTPUT_BYTES = 8 * MIB;
const CHUNKS = 120;
/** Of a pass's pages: the engine's own memory grows meanwhile. */
const FAULTS_AT_MOST = 0.05;

const clientFaults = (): number => process.resourceUsage().minorPageFault;

/** Of its only worker's thread. */
const faults = (lease: Lease<Pages>): number => said(lease)[0]!;

const smalls = new WeakMap<Lease<Pages>, Float64Array>();
function said(lease: Lease<Pages>): Float64Array {
  const small = smalls.get(lease) ?? lease.output(Float64Array, 1);
  smalls.set(lease, small);
  lease.invoke("faults", small, small);
  return small;
}

let rf: Invoker;
beforeAll(async () => {
  rf = await invoker({ cores: 2, fabric: "shm", connectTimeoutMs: 60_000 });
});
afterAll(() => rf.close());

const lease = (memory: string, polling: "hot" | "warm" | "adaptive"): Promise<Lease<Pages>> =>
  rf.allocate<Pages>(join(FUNCTIONS, "pages.ts"), { memory, polling, loadTimeoutMs: 60_000 });

const COUNTS = !hasHugePages();

describe.if(COUNTS).each(["hot", "adaptive", "warm"] as const)(
  "where workers are %s",
  (polling) => {
    test("a first pass over 120 MiB takes faults for no more than 5 % of its pages, on both sides", async () => {
      await using held = await lease("132MiB", polling);
      const { hostPid: pid } = held;
      faults(held);
      const input = held.input(Uint8Array, INPUT_BYTES);
      const output = held.output(Uint8Array, OUTPUT_BYTES);
      const pages = (INPUT_BYTES + OUTPUT_BYTES) / PAGE;

      const beforeFill = clientFaults();
      input.fill(1);
      output.fill(0);
      expect(clientFaults() - beforeFill).toBeLessThan(FAULTS_AT_MOST * pages);

      await until(() => mappedPages(pid) >= pages, "the host has mapped what was handed out");
      const before = faults(held);
      const [chunk, part] = [INPUT_BYTES / CHUNKS, Math.floor(OUTPUT_BYTES / CHUNKS)];
      for (let i = 0; i < CHUNKS; i++)
        held.invoke(
          "pass",
          input.subarray(i * chunk, (i + 1) * chunk),
          output.subarray(i * part, (i + 1) * part),
        );
      expect(faults(held) - before).toBeLessThan(FAULTS_AT_MOST * pages);
      expect(output[0]).toBe((chunk / 64) & 0xff);
    });
  },
);

test.if(COUNTS)("memory that was not handed out has no pages, on either side", async () => {
  await using held = await lease("64MiB", "warm");
  const { hostPid: pid } = held;
  faults(held);
  const own = mappedPages("self");
  const theirs = mappedPages(pid);
  held.input(Uint8Array, 4 * MIB);
  const pages = (4 * MIB) / PAGE;
  await until(() => mappedPages(pid) >= theirs + pages - 1, "the host has mapped it");
  expect(mappedPages("self") - own).toBeLessThanOrEqual(pages + 1);
  expect(mappedPages(pid) - theirs).toBeLessThanOrEqual(pages + 1);
});
