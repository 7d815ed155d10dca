/** The manager's count and the nodes' own together, in any order of grants, ends, and losses of the manager. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ClusterQuota, type QuotaManager } from "../../src/executor/admission/cluster-quota.ts";
import type { Identity } from "../../src/executor/admission/identity.ts";
import { RequestRefused } from "../../src/control/requests.ts";
import type { Limits } from "../../src/lease/quota.ts";
import { ClusterQuotas } from "../../src/manager/quotas/cluster-quotas.ts";
import { TestClock } from "../support/clock.ts";

const WALL_MS = Date.UTC(2026, 0, 1);
const NODES = ["n1", "n2", "n3"];

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("take" as const),
      node: fc.nat(2),
      cores: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("end" as const), node: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("manager" as const) }) },
);

test("no user ever holds more than its quota, whatever comes and goes, and whether the manager is there or not", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 9 }),
      fc.array(step, { maxLength: 40 }),
      async (quota, steps) => {
        const table = new Map<string, Limits>([["ada", { maxCores: quota }]]);
        const ada: Identity = { user: "ada", maxCores: null, untilMs: null };
        let manager: ClusterQuotas | undefined;
        let lease = 0;
        const nodes = NODES.map((name) => ({
          name,
          id: `${name}-i`,
          quota: new ClusterQuota(new TestClock()),
          held: new Map<number, number>(),
        }));
        const tell = (): void => {
          for (const node of nodes) {
            const place = manager!.placeOf(node.id)!;
            node.quota.word({
              ...place,
              first: true,
              users: [manager!.wordFor(node.id, "ada", WALL_MS)!],
            });
          }
        };
        const start = (): void => {
          const fresh = (manager = new ClusterQuotas(
            { limits: () => table, usedCoreNs: () => 0 },
            1000,
          ));
          for (const { id, name } of nodes) fresh.came(id, name);
          for (const { id, quota: own } of nodes) {
            const link: QuotaManager = {
              reserve: async (one, limits) => {
                const over = fresh.reserve(id, one, limits, WALL_MS);
                if (over) throw new RequestRefused("RFAAS_TOKEN_LIMIT", over.why);
              },
              holds: (one) => fresh.holds(id, [one], true),
              unreserve: (one) => fresh.unreserve(id, one),
              holdings: (all) => fresh.holds(id, all),
            };
            own.counts(link);
          }
          tell();
        };
        start();
        for (const one of steps) {
          if (one.kind === "manager") {
            if (manager) {
              manager = undefined;
              for (const node of nodes) node.quota.counts(undefined);
            } else start();
            continue;
          }
          const node = nodes[one.node]!;
          if (one.kind === "end") {
            const [first] = node.held.keys();
            if (first === undefined) continue;
            node.held.delete(first);
            node.quota.giveBack(first);
          } else {
            const wanted = { cores: one.cores, memoryBytes: 1 };
            if (node.quota.refusal(ada, wanted) !== null) continue;
            node.quota.take(++lease, "ada", wanted);
            if ((await node.quota.reserve(lease, ada)) === null) node.held.set(lease, one.cores);
            else node.quota.giveBack(lease);
          }
          if (manager) tell();
          const all = nodes.flatMap(({ held }) => [...held.values()]);
          expect(all.reduce((sum, cores) => sum + cores, 0)).toBeLessThanOrEqual(quota);
        }
      },
    ),
    { numRuns: 500 },
  );
});
