/** A node's ledger adder and the manager's counters over a real device, in one process. */
import { afterAll, expect, test } from "bun:test";
import { LedgerAdder } from "../../src/executor/accounts/ledger-adder.ts";
import { counting } from "../../src/fabric/registry.ts";
import { RemoteCounters } from "../../src/manager/ledger/remote-counters.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Usage } from "../../src/protocol/usage.ts";
import { expectResources, resources, withDevice } from "../support/rdma.ts";
import { until } from "../support/until.ts";

const usage = (calls: number): Usage => ({
  allocationCoreNs: 1000 * calls,
  executionNs: 10 * calls,
  pollingNs: 0,
  calls,
  bytes: 64 * calls,
});

withDevice("a node that adds to the ledger", ({ address }) => {
  const before = resources();
  afterAll(() => expectResources(before));

  test("falls back to messages when the connection is lost, and begins anew later", async () => {
    const node = {};
    const { name, counters: way } = counting.find((one) => one.name === "verbs")!;
    const logged: string[] = [];
    const log = (_: string, message: string) => void logged.push(message);
    let newest: UsageReport | undefined;
    let fellBack = 0;
    const counters = new RemoteCounters({ usage: (reports) => (newest = reports[0]), log });
    const adder: LedgerAdder = new LedgerAdder({
      fabric: name,
      connect: (to) => way.connect(to),
      ask() {
        const offer = counters.offer(node, "n1", "127.0.0.1", name, 4);
        if ("reason" in offer) throw new Error(offer.reason);
        expect(offer.address).toBe(address);
        adder.offered(offer);
      },
      bind(row, lease) {
        const first: UsageReport = {
          ...{ lease, node: "n1", user: "ada", workers: 1, usage: usage(0) },
          ...{ startedAtMs: 1, endedAtMs: null, reason: null },
        };
        if (counters.bind(node, row, first)) adder.bound(row, lease);
      },
      fellBack: () => fellBack++,
      log,
    });
    const connected = () => adder.connected && counters.stateOf(node).fabric === name;

    adder.start();
    await until(connected, "it is connected");
    adder.begin("i/1");
    for (let calls = 1; calls <= 100; calls++) expect(adder.take("i/1", usage(calls))).toBe(true);
    await until(() => newest?.usage.calls === 100, "all has come");
    expect(newest?.usage).toEqual(usage(100));
    expect(counters.stateOf(node).rises).toBeGreaterThan(0);

    counters.forget(node);
    expect(counters.stateOf(node)).toEqual({ fabric: undefined, rises: 0 });
    await until(() => fellBack === 1, "it falls back");
    expect(adder.take("i/1", usage(200))).toBe(false);

    await until(connected, "it is connected again");
    adder.begin("i/1");
    expect(adder.take("i/1", usage(300))).toBe(true);
    await until(() => newest?.usage.calls === 300, "the whole sum has come");
    expect(newest?.usage).toEqual(usage(300));
    expect(logged.filter((line) => line === "node n1 adds to the ledger over verbs")).toHaveLength(
      2,
    );
    adder.close();
    await until(() => counters.stateOf(node).fabric === undefined, "the manager notices");
    counters.close();
  });
});
