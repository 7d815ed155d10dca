/** This version and the one before it in one cluster, as real processes, in all ways that there are: calls, leases and bills. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { RFAAS } from "../support/executable.ts";
import { PREVIOUS, lackingForPrevious, previousExecutable } from "../support/previous.ts";
import { MixedCluster } from "./mixed-cluster.ts";

const LIMIT_MS = 120_000;
const BUILD_LIMIT_MS = 600_000;

const lacking = lackingForPrevious();
// A copy of the sources without their history has only one version.
if (lacking !== undefined) console.warn(`no versions are mixed: that needs ${lacking}`);

/** A call that was ended by its deadline is counted when its function has ended. */
const CALLS = { sure: 8, most: 9 };

let old = "";
beforeAll(async () => {
  if (lacking === undefined) old = await previousExecutable();
}, BUILD_LIMIT_MS);

const WORDS = ["this", PREVIOUS] as const;
const mixes = WORDS.flatMap((manager) => WORDS.map((node) => [manager, node] as const));

describe.each(lacking === undefined ? mixes : [])(
  "with a manager of %s and a node of %s",
  (manager, node) => {
    const executable = (version: string): string => (version === PREVIOUS ? old : RFAAS);
    let cluster: MixedCluster;
    beforeAll(async () => {
      cluster = await MixedCluster.start(executable(manager), executable(node));
    }, LIMIT_MS);
    afterAll(async () => await cluster[Symbol.asyncDispose]());

    // Those of one version all through are what all other tests are of.
    const clients = WORDS.filter((client) => new Set([manager, node, client]).size > 1);
    const tries = clients.flatMap((client) =>
      ["shm", "tcp"].map((fabric) => [client, fabric] as const),
    );
    test.each(tries)(
      "a client of %s calls over %s, is told of failures, and its leases are billed",
      async (client, fabric) => {
        const project = `${client}-${fabric}`;
        const { exitCode, stdout, stderr } = await cluster.call(
          executable(client),
          project,
          fabric,
        );
        expect([exitCode, stderr]).toEqual([0, ""]);
        const { usage, late, progress, ...said } = JSON.parse(stdout) as Record<string, unknown>;
        expect(said).toEqual({
          fabric,
          functions: ["fails", "greet", "later", "next"],
          invoked: [3, 2, 3, 4],
          submitted: [3, 2, 3, 4],
          greeted: "hello ada",
          failed: ["E_WHY", "because"],
          mapped: [[8], [9]],
          broadcast: 2,
          renewed: true,
          logged: ["greeting ada"],
          refused: "RFAAS_CLUSTER_FULL",
          budget: true,
        });
        // What is reported as a call ends may come too late for it.
        expect([0.5, undefined]).toContain(progress as number | undefined);
        expect((late as string[])[0]).toBe("RFAAS_DEADLINE_EXCEEDED");
        const [calls, state] = usage as [number, string];
        expect(state).toBe("live");
        expect(calls).toBeGreaterThanOrEqual(CALLS.sure);
        expect(calls).toBeLessThanOrEqual(CALLS.most);
        const rows = await cluster.billed(project, 2);
        expect(rows.map(({ reason, presumed }) => [reason, presumed]).toSorted()).toEqual([
          ["over-budget", 0],
          ["released", 0],
        ]);
        for (const row of rows) expect(row.allocation_core_ns).toBeGreaterThan(0);
      },
      LIMIT_MS,
    );
  },
);
