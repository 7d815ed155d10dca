/** Some hundred leases in a row, which end in every way, leave nothing behind; `npm run test:long` takes ten thousand, and looks at memory, too. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { CgroupLimiter } from "../../src/executor/limits/cgroup.ts";
import { ROOT } from "../support/executable.ts";
import { KIND_NAMES, type TurnoverResult } from "../turnover/turnover.ts";

const RUN = join(ROOT, "test/turnover/run.ts");
/** Each kind comes once in twenty. */
const PARTS = 4;

const tried = CgroupLimiter.in();
await tried?.close();
if (!tried) console.error("SKIPPED: leases in control groups: none can be made here");

/** In a program of its own, since the client is looked at, too. */
async function turnover(leases: number, limits: string) {
  const args = ["--leases", String(leases), "--parts", String(PARTS), "--json"];
  const child = Bun.spawn([process.execPath, RUN, ...args], {
    env: { ...process.env, RFAAS_LIMITS: limits },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [said, told] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if (said === "") throw new Error(`it broke off with ${await child.exited}: ${told}`);
  return JSON.parse(said) as TurnoverResult & { grown: string[] };
}

for (const [limits, leases] of [
  ["watch", 200],
  ["cgroup", 80],
] as const)
  test.skipIf(limits === "cgroup" && !tried)(
    `leases in a row, bounded by ${limits}, leave no descriptor, process, namespace, mount, folder or group`,
    async () => {
      const { grown, kinds, looks } = await turnover(leases, limits);
      expect(grown).toEqual([]);
      expect(Object.keys(kinds).toSorted()).toEqual(KIND_NAMES.toSorted());
      expect(looks.at(-1)!.leases).toBe(leases);
      // Each host that waits, or is kept, has one, or there were none to leave.
      expect(looks[0]!.node.groups > 0).toBe(limits === "cgroup");
    },
    300_000,
  );
