/** What leases use, on its way into rows of counters and out of them, without a device. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { COUNTERS_PER_ROW as SHIM_COUNTERS } from "../../ffi/verbs/counters.ts";
import { LedgerAdder } from "../../src/executor/accounts/ledger-adder.ts";
import { COUNTERS_PER_ROW, type CounterLink } from "../../src/fabric/counters.ts";
import { CounterRows, type RowMemory } from "../../src/manager/ledger/counter-rows.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { USAGE_COUNTERS, type Usage } from "../../src/protocol/usage.ts";
import { until } from "../support/until.ts";

const usage = (calls: number): Usage => ({
  allocationCoreNs: 1000 * calls,
  executionNs: 10 * calls,
  pollingNs: 0,
  calls,
  bytes: 64 * calls,
});
const report = (lease: string, calls = 0): UsageReport => ({
  ...{ lease, node: "n1", user: "ada", workers: 1 },
  ...{ startedAtMs: 1_700_000_000_000, endedAtMs: null, reason: null },
  usage: usage(calls),
});

/** Rows of numbers, and a connection to them whose adds are done when the test says so. */
class Rows implements RowMemory, CounterLink {
  readonly rows: number;
  readonly #values: number[][];
  readonly #underWay: [row: number, deltas: number[]][] = [];
  ready = true;
  problem: string | undefined;
  deviceRemoved = false;
  room = Infinity;
  closed = false;
  #completed = 0;

  constructor(rows: number) {
    this.rows = rows;
    this.#values = Array.from({ length: rows }, () => [0, 0, 0, 0, 0]);
  }
  read(row: number, out: Float64Array): void {
    out.set(this.#values[row]!);
  }
  clear(row: number): void {
    this.#values[row]!.fill(0);
  }
  get state() {
    const { ready, rows, problem, deviceRemoved } = this;
    return { ready, rows, problem, deviceRemoved };
  }
  add(row: number, deltas: Float64Array): number | null {
    if (this.#underWay.length >= this.room) return null;
    this.#underWay.push([row, [...deltas]]);
    return deltas.filter((n) => n > 0).length;
  }
  completed(): number {
    return this.#completed;
  }
  close(): void {
    this.closed = true;
  }
  get underWay(): number {
    return this.#underWay.length;
  }
  finish(): void {
    for (const [row, deltas] of this.#underWay.splice(0)) {
      deltas.forEach((delta, i) => (this.#values[row]![i]! += delta));
      this.#completed += deltas.filter((n) => n > 0).length;
    }
  }
}

test("a row has room for every counter of a lease, on every fabric", () => {
  expect([COUNTERS_PER_ROW, SHIM_COUNTERS]).toEqual([USAGE_COUNTERS.length, USAGE_COUNTERS.length]);
});

describe("rows that are read", () => {
  test("make a report of what has risen, and none of what has not", () => {
    const memory = new Rows(4);
    const rows = new CounterRows(memory);
    expect(rows.bind(2, report("i/1"))).toBe(true);
    expect(rows.read()).toEqual([]);
    memory.add(2, new Float64Array([5000, 50, 0, 5, 320]));
    memory.finish();
    expect(rows.read()).toEqual([report("i/1", 5)]);
    expect(rows.rises).toBe(4);
    expect(rows.read()).toEqual([]);
    memory.add(2, new Float64Array([1, 0, 0, 0, 0]));
    memory.finish();
    expect(rows.read()[0]!.usage).toEqual({ ...usage(5), allocationCoreNs: 5001 });
    expect(rows.rises).toBe(5);
  });

  test("never say less than what was told by message before", () => {
    const memory = new Rows(1);
    const rows = new CounterRows(memory);
    rows.bind(0, report("i/1", 10));
    memory.add(0, new Float64Array([50_000, 0, 0, 2, 0]));
    memory.finish();
    expect(rows.read()[0]!.usage).toEqual({ ...usage(10), allocationCoreNs: 50_000 });
  });

  test("are not read for a lease that has ended, and begin with zeros for the next", () => {
    const memory = new Rows(2);
    const rows = new CounterRows(memory);
    rows.bind(0, report("i/1"));
    memory.add(0, new Float64Array([1, 1, 1, 1, 1]));
    memory.finish();
    rows.unbind("i/1");
    rows.unbind("i/1");
    expect(rows.read()).toEqual([]);
    rows.bind(0, report("i/2"));
    expect(rows.read()).toEqual([]);
    // The end of the second is still on its way.
    rows.bind(0, report("i/3"));
    memory.add(0, new Float64Array([0, 0, 0, 7, 0]));
    memory.finish();
    expect(rows.read().map(({ lease, usage }) => [lease, usage.calls])).toEqual([["i/3", 7]]);
    rows.unbind("i/2");
    memory.add(0, new Float64Array([0, 0, 0, 1, 0]));
    memory.finish();
    expect(rows.read()).toHaveLength(1);
  });

  test("must be there", () => {
    expect(new CounterRows(new Rows(2)).bind(2, report("i/1"))).toBe(false);
  });
});

describe("a node's adds", () => {
  let memory: Rows;
  let rows: CounterRows;
  let adder: LedgerAdder;
  let asked: number;
  let fellBack: number;
  let logged: string[];
  /** Whether the manager answers. */
  let binding: boolean;

  beforeEach(() => {
    [asked, fellBack, logged, binding] = [0, 0, [], true];
    adder = new LedgerAdder({
      fabric: "verbs",
      connect: () => memory,
      ask() {
        asked++;
        offer();
      },
      bind(row, lease) {
        if (binding && rows.bind(row, report(lease))) adder.bound(row, lease);
      },
      fellBack: () => fellBack++,
      log: (_, message) => logged.push(message),
    });
  });
  afterEach(() => adder.close());

  function offer(): void {
    memory = new Rows(2);
    rows = new CounterRows(memory);
    adder.offered({ address: "10.0.0.1", port: 5, nonce: new Uint8Array(16) });
  }
  async function started(): Promise<void> {
    adder.start();
    await until(() => adder.connected, "it is connected");
  }
  /** All that is under way is done, and noticed. */
  async function done(): Promise<void> {
    await until(() => {
      memory.finish();
      return adder.adds.completed === adder.adds.posted;
    }, "the adds are done");
  }
  const sums = (): [string, number][] =>
    rows.read().map(({ lease, usage }) => [lease, usage.calls]);

  test("bring the whole sum first and then what has come since", async () => {
    await started();
    expect(adder.take("i/1", usage(1))).toBe(false);
    adder.begin("i/1");
    expect(adder.take("i/1", usage(100))).toBe(true);
    expect(adder.take("i/1", usage(150))).toBe(true);
    expect(adder.take("i/1", usage(150))).toBe(true);
    expect(memory.underWay).toBe(2);
    await done();
    expect(rows.read()).toEqual([report("i/1", 150)]);
    expect(adder.adds).toEqual({ posted: 8, completed: 8 });
  });

  test("are whole numbers, and of a sum that no add can hold bring the rest with the next", async () => {
    await started();
    adder.begin("i/1");
    const much = 3 * 2 ** 53;
    expect(adder.take("i/1", { ...usage(1), allocationCoreNs: much, executionNs: 10.7 })).toBe(
      true,
    );
    await until(() => {
      memory.finish();
      rows.read();
      return rows.rises >= 6;
    }, "all has come");
    const out = new Float64Array(5);
    memory.read(0, out);
    expect([...out]).toEqual([much, 10, 0, 1, 64]);
  });

  test("wait for room, and lose nothing", async () => {
    await started();
    adder.begin("i/1");
    memory.room = 1;
    for (let calls = 1; calls <= 5; calls++) expect(adder.take("i/1", usage(calls))).toBe(true);
    expect(memory.underWay).toBe(1);
    await until(() => {
      memory.finish();
      rows.read();
      return rows.rises === 8;
    }, "the second add has come");
    await done();
    adder.take("i/1", usage(6));
    await done();
    expect(sums()).toEqual([["i/1", 6]]);
  });

  test("go to a row only when the manager reads it", async () => {
    await started();
    binding = false;
    adder.begin("i/1");
    expect(adder.take("i/1", usage(1))).toBe(false);
    adder.bound(7, "i/1");
    adder.bound(0, "i/9");
    expect(adder.take("i/1", usage(1))).toBe(false);
    expect(memory.underWay).toBe(0);
  });

  test("to a lease that has ended are done before its row is another's", async () => {
    await started();
    for (const lease of ["i/1", "i/2"]) adder.begin(lease);
    for (const lease of ["i/1", "i/2", "i/3"]) adder.take(lease, usage(5));
    expect(memory.underWay).toBe(2);
    adder.end("i/1");
    rows.unbind("i/1");
    adder.begin("i/3");
    expect(adder.take("i/3", usage(1))).toBe(false);
    await until(() => {
      memory.finish();
      adder.begin("i/3");
      return adder.take("i/3", usage(2));
    }, "the row is free again");
    await done();
    expect(sums().toSorted()).toEqual([
      ["i/2", 5],
      ["i/3", 2],
    ]);
    adder.end("i/9");
  });

  test("end when the connection fails: all is told by message, and it is tried again", async () => {
    await started();
    adder.begin("i/1");
    adder.take("i/1", usage(5));
    const lost = memory;
    lost.problem = "the other side disconnected";
    await until(() => fellBack === 1, "it falls back");
    expect(lost.closed).toBe(false);
    expect(adder.take("i/1", usage(6))).toBe(false);
    expect(logged.at(-1)).toContain("told by message for now: 10.0.0.1:5: the other side disconn");
    await until(() => adder.connected, "it is connected again");
    expect([asked, memory === lost]).toEqual([2, false]);
    adder.begin("i/1");
    expect(adder.take("i/1", usage(7))).toBe(true);
    await done();
    expect(sums()).toEqual([["i/1", 7]]);
  });

  test("end when they are not done in time", async () => {
    await started();
    adder.begin("i/1");
    adder.take("i/1", usage(5));
    await until(() => fellBack === 1, "it falls back");
    expect(logged.at(-1)).toContain("adds were not done within");
    expect(adder.take("i/1", usage(6))).toBe(false);
  });

  test("end when the manager goes, without a word and without another try", async () => {
    await started();
    adder.begin("i/1");
    const { length } = logged;
    adder.stop();
    expect(adder.take("i/1", usage(1))).toBe(false);
    expect(logged.slice(length)).toEqual([
      "adds to the manager's ledger at 10.0.0.1:5: 0 begun, 0 done",
    ]);
    expect(fellBack).toBe(0);
    adder.close();
    expect(memory.closed).toBe(true);
  });

  test("hold on to the last connection, to hear that the device is removed", async () => {
    await started();
    const first = memory;
    first.problem = "the other side disconnected";
    await until(() => fellBack === 1, "it falls back");
    await until(() => adder.connected, "it is connected again");
    expect(first.closed).toBe(false);
    adder.stop();
    expect([first.closed, memory.closed]).toEqual([true, false]);
    Object.assign(memory, { problem: "the device was removed", deviceRemoved: true });
    await until(() => memory.closed, "it is closed");
  });
});

test("a manager without counters is asked again, and it is said once", async () => {
  const logged: string[] = [];
  let asked = 0;
  const adder: LedgerAdder = new LedgerAdder({
    fabric: "verbs",
    connect: () => new Rows(1),
    ask: () => {
      asked++;
      adder.declined("this machine has no RDMA device");
    },
    bind() {},
    fellBack() {},
    log: (_, message) => logged.push(message),
  });
  adder.start();
  await until(() => asked === 2, "it asks again");
  adder.close();
  expect(logged).toEqual([
    "the manager's ledger is told by message: this machine has no RDMA device",
  ]);
});
