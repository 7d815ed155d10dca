/** A cluster under load goes over from the version before this one to this one, one process after another: nothing is lost. */
import { expect, test } from "bun:test";
import { check } from "../chaos/checker.ts";
import { DRAIN_MS } from "../chaos/cluster.ts";
import type { FaultContext } from "../chaos/steps.ts";
import { lackingForRun } from "../chaos/machine/network.ts";
import { chaos } from "../chaos/run-chaos.ts";
import { RFAAS } from "../support/executable.ts";
import { PREVIOUS, lackingForPrevious, previousExecutable } from "../support/previous.ts";

const LIMIT_MS = 600_000;
const END_LIMIT_MS = DRAIN_MS + 30_000;
/** Between one process and the next. */
const LOAD_MS = 1000;

const lacking = lackingForRun();
if (lacking !== undefined) console.warn(`skipped: a rolling restart needs ${lacking}`);
// A copy of the sources without their history has none to go over from.
const lackingPrevious = lackingForPrevious();
if (lackingPrevious !== undefined)
  console.warn(`there is no rolling restart: it needs ${lackingPrevious}`);

/** The manager first, then each node: told to stop, waited for, started as this version. */
async function upgradeAll({ cluster, note }: FaultContext): Promise<void> {
  await Bun.sleep(LOAD_MS);
  note("upgrade", "manager");
  expect(await cluster.managers[0]!.end("SIGTERM", END_LIMIT_MS)).toBe(true);
  await cluster.startManager(0, "this");
  for (const [i, node] of cluster.nodes.entries()) {
    await Bun.sleep(LOAD_MS);
    note("upgrade", node.name);
    expect(await node.end("SIGTERM", END_LIMIT_MS)).toBe(true);
    await cluster.startNode(i, "this");
  }
  await Bun.sleep(LOAD_MS);
}

/** What only a loss ends a call with of which it is not known whether it has run. */
const LOSSES = ["RFAAS_WORKER_LOST", "RFAAS_CONNECTION_LOST"];

const upgraded = lackingPrevious === undefined ? test.skipIf(lacking !== undefined) : undefined;
upgraded?.(
  "manager and nodes are restarted in turn as this version: every call has its result or did not run, and all is billed",
  async () => {
    const { history } = await chaos({
      ...{ seed: 1, script: upgradeAll },
      executables: { [PREVIOUS]: await previousExecutable(), this: RFAAS },
    });
    expect(check(history).map(({ rule, what }) => `${rule}: ${what}`)).toEqual([]);
    const ends = history.filter((each) => each.e === "end");
    const lost = ends.filter(
      ({ outcome, code }) => outcome === "may-have-run" && LOSSES.includes(code!),
    );
    expect(lost).toEqual([]);
    expect(ends.filter(({ outcome }) => outcome === "result").length).toBeGreaterThan(1000);
    const clients = history.filter((each) => each.e === "client");
    expect(new Set(clients.map(({ version }) => version))).toEqual(new Set([PREVIOUS, "this"]));
  },
  LIMIT_MS,
);
