import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { LedgerUnavailable, UsageError } from "../../src/base/errors.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { DEFAULT_PRICES, type Prices, price, readPrices } from "../../src/manager/ledger/prices.ts";
import type { Usage, UsageReport } from "../../src/protocol/manager-messages.ts";
import { Scratch } from "../support/scratch.ts";

const NOTHING: Usage = { allocationCoreNs: 0, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 };

function report(
  lease: string,
  used: Partial<Usage> = {},
  rest: Partial<UsageReport> = {},
): UsageReport {
  return {
    lease,
    node: "n1",
    user: "ada",
    workers: 2,
    startedAtMs: 1000,
    endedAtMs: null,
    reason: null,
    usage: { ...NOTHING, ...used },
    ...rest,
  };
}

function ended(lease: string, used: Partial<Usage>, rest: Partial<UsageReport> = {}): UsageReport {
  return report(lease, used, { endedAtMs: 2000, reason: "released", ...rest });
}

class Fixture implements Disposable {
  readonly #scratch = new Scratch();
  readonly path = this.#scratch.join("ledger.sqlite");
  ledger = Ledger.open(this.path);

  reopen(): void {
    this.ledger.close();
    this.ledger = Ledger.open(this.path);
  }

  [Symbol.dispose](): void {
    this.ledger.close();
    this.#scratch[Symbol.dispose]();
  }
}

describe("the ledger", () => {
  test("has the bills of other managers as these have them, unless it knows the end that they presume", () => {
    using f = new Fixture();
    f.ledger.record([report("a/1", { calls: 9 }), report("a/2", { calls: 9 })]);
    f.ledger.record([ended("a/3", { calls: 9 })]);
    const settled = ["a/1", "a/2", "a/3", "a/4"].map((lease) => ended(lease, { calls: 5 }));
    f.ledger.adopt(
      settled.map((bill) => (bill.lease === "a/1" ? bill : { ...bill, presumed: true as const })),
    );
    expect(["a/1", "a/2", "a/3", "a/4"].map((lease) => f.ledger.get(lease))).toEqual([
      settled[0],
      { ...settled[1]!, presumed: true },
      ended("a/3", { calls: 9 }),
      { ...settled[3]!, presumed: true },
    ]);
    f.ledger.record([ended("a/2", { calls: 7 })]);
    expect(f.ledger.get("a/2")).toEqual(ended("a/2", { calls: 7 }));
    f.ledger.adopt([ended("a/2", { calls: 6 })]);
    expect(f.ledger.get("a/2")).toEqual(ended("a/2", { calls: 6 }));
  });

  test("keeps a lease for the node and the user that it was first of, whatever others report", () => {
    using f = new Fixture();
    f.ledger.record([report("a/1", { calls: 1 })]);
    f.ledger.record([
      ended("a/1", { calls: 1e9 }, { node: "n2" }),
      ended("a/1", { calls: 1e9 }, { user: "bob" }),
    ]);
    f.ledger.record([report("a/1", { calls: 2 })]);
    expect(f.ledger.live()).toEqual([report("a/1", { calls: 2 })]);
    expect(f.ledger.bill().map(({ user, calls }) => [user, calls])).toEqual([["ada", 2n]]);
  });

  test("bills what was reported, by user, over a restart", () => {
    using f = new Fixture();
    const usage = { allocationCoreNs: 5, executionNs: 4, pollingNs: 3, calls: 2, bytes: 1 };
    f.ledger.record([ended("a", usage), ended("b", usage), ended("c", usage, { user: "bob" })]);
    f.reopen();
    expect(f.ledger.bill()).toEqual([
      {
        ...{ user: "ada", project: null, leases: 2, live: 0, presumed: 0 },
        ...{ allocationCoreNs: 10n, executionNs: 8n, pollingNs: 6n, calls: 4n, bytes: 2n },
      },
      {
        ...{ user: "bob", project: null, leases: 1, live: 0, presumed: 0 },
        ...{ allocationCoreNs: 5n, executionNs: 4n, pollingNs: 3n, calls: 2n, bytes: 1n },
      },
    ]);
    expect(f.ledger.bill({ user: "bob" }).map(({ user }) => user)).toEqual(["bob"]);
    expect(f.ledger.bill({ user: "eve" })).toEqual([]);
  });

  test("takes a report any number of times, in any order, and lowers no counter", () => {
    using f = new Fixture();
    const reports = [
      report("a", { calls: 1, bytes: 10 }),
      report("a", { calls: 2, bytes: 20 }),
      ended("a", { calls: 3, bytes: 30 }),
    ];
    for (const order of [reports, reports.toReversed(), [...reports, ...reports]]) {
      f.ledger.record(order);
      for (const one of order) f.ledger.record([one]);
      expect(f.ledger.bill()).toMatchObject([{ leases: 1, live: 0, calls: 3n, bytes: 30n }]);
    }
    f.ledger.record([report("a", { calls: 1, bytes: 99 })]);
    expect(f.ledger.bill()).toMatchObject([{ calls: 3n, bytes: 99n }]);
  });

  test("keeps the first end of a lease", () => {
    using f = new Fixture();
    f.ledger.record([ended("a", {}, { endedAtMs: 5000, reason: "expired" })]);
    f.ledger.record([ended("a", {}, { endedAtMs: 9000, reason: "released" })]);
    f.ledger.record([report("a", {})]);
    expect(f.ledger.live()).toEqual([]);
    using db = new Database(f.path, { readonly: true });
    expect(db.query("SELECT ended_at_ms, reason FROM lease_usage").all()).toEqual([
      { ended_at_ms: 5000, reason: "expired" },
    ]);
  });

  test("marks an end that is presumed, at the moment of the last report, until the node says more", () => {
    using f = new Fixture();
    const used = { allocationCoreNs: 8e9, calls: 5 };
    f.ledger.record([
      report("a", used, { coresPerWorker: 2, startedAtMs: 1000 }),
      ended("over", { calls: 1 }),
    ]);
    f.ledger.presumeEnded(["a", "over", "unknown"]);
    const row = () => {
      using db = new Database(f.path, { readonly: true });
      return db.query("SELECT ended_at_ms, reason, presumed FROM lease_usage").get();
    };
    // Two workers of two cores each had been held for two seconds.
    expect(row()).toEqual({ ended_at_ms: 3000, reason: "node-lost", presumed: 1 });
    expect(f.ledger.bill()).toMatchObject([{ leases: 2, live: 0, presumed: 1, calls: 6n }]);
    // It was only away, and goes on.
    f.ledger.record([report("a", { ...used, calls: 7 }, { coresPerWorker: 2 })]);
    expect(row()).toEqual({ ended_at_ms: null, reason: null, presumed: 0 });
    f.ledger.presumeEnded(["a"]);
    f.ledger.record([ended("a", { ...used, calls: 9 }, { coresPerWorker: 2, endedAtMs: 4000 })]);
    expect(row()).toEqual({ ended_at_ms: 4000, reason: "released", presumed: 0 });
    f.ledger.presumeEnded(["a"]);
    expect(row()).toEqual({ ended_at_ms: 4000, reason: "released", presumed: 0 });
    expect(f.ledger.bill()).toMatchObject([{ leases: 2, live: 0, presumed: 0, calls: 10n }]);
  });

  test("holds a lease for as long as its cores were, though what its killed node has left is older than what was heard", () => {
    using f = new Fixture();
    const [heard, left] = [{ allocationCoreNs: 4e9 }, { allocationCoreNs: 1e9 }];
    const lost = { endedAtMs: 1500, reason: "node-lost" };
    f.ledger.record([report("open", heard), report("presumed", heard), report("newer", left)]);
    f.ledger.presumeEnded(["presumed"]);
    f.ledger.record([
      ended("open", left, lost),
      ended("presumed", left, lost),
      ended("newer", heard, { ...lost, endedAtMs: 3000 }),
    ]);
    using db = new Database(f.path, { readonly: true });
    const rows = db
      .query("SELECT ended_at_ms, allocation_core_ns, presumed FROM lease_usage")
      .all();
    // Two workers of one core each had been held for two seconds.
    const row = { ended_at_ms: 3000, allocation_core_ns: 4e9, presumed: 0 };
    expect(rows).toEqual([row, row, row]);
  });

  test("bills each project of a user apart, and one alone when asked to", () => {
    using f = new Fixture();
    f.ledger.record([
      ended("a", { calls: 1 }, { project: "climate" }),
      ended("b", { calls: 2 }, { project: "climate" }),
      ended("c", { calls: 4 }, { project: "genome" }),
      ended("d", { calls: 8 }),
      ended("e", { calls: 16 }, { project: "climate", user: "bob" }),
    ]);
    const rows = (query = {}) =>
      f.ledger.bill(query).map(({ user, project, calls }) => [user, project, Number(calls)]);
    expect(rows()).toEqual([
      ["ada", null, 8],
      ["ada", "climate", 3],
      ["ada", "genome", 4],
      ["bob", "climate", 16],
    ]);
    expect(rows({ project: "climate" })).toEqual([
      ["ada", "climate", 3],
      ["bob", "climate", 16],
    ]);
    // Its first report says what a lease is for.
    f.ledger.record([ended("c", { calls: 4 }, { project: "climate" })]);
    expect(rows({ user: "ada", project: "genome" })).toEqual([["ada", "genome", 4]]);
  });

  test("of the layout before projects is brought up to date, with all that it has", () => {
    using f = new Fixture();
    f.ledger.record([ended("a", { calls: 3 }), report("b", { calls: 4 })]);
    f.ledger.close();
    {
      using db = new Database(f.path);
      for (const column of ["project", "presumed", "cores_per_worker"])
        db.run(`ALTER TABLE lease_usage DROP COLUMN ${column}`);
      db.run("PRAGMA user_version = 1");
    }
    expect(() => Ledger.openToRead(f.path)).toThrow(/has the older layout 1 .* brings it up/);
    f.reopen();
    expect(f.ledger.bill()).toMatchObject([{ project: null, leases: 2, live: 1, calls: 7n }]);
    f.ledger.record([ended("b", { calls: 5 })]);
    expect(f.ledger.bill()).toMatchObject([{ leases: 2, live: 0, calls: 8n }]);
    expect(Ledger.openToRead(f.path).bill()).toHaveLength(1);
  });

  test("shows the leases that go on, with their latest report", () => {
    using f = new Fixture();
    const later = report("late", { calls: 7 }, { startedAtMs: 3000 });
    f.ledger.record([later, report("a", { calls: 1 }), ended("z", { calls: 9 })]);
    f.ledger.record([report("a", { calls: 2 })]);
    expect(f.ledger.live()).toEqual([report("a", { calls: 2 }), later]);
    expect(f.ledger.bill()).toMatchObject([{ leases: 3, live: 2, calls: 18n }]);
  });

  test("bills a lease whole in the period in which it started, and once", () => {
    using f = new Fixture();
    const starts = [1000, 1999, 2000, 2500, 3000];
    f.ledger.record(
      starts.map((startedAtMs) =>
        ended(`at ${startedAtMs}`, { calls: 1 }, { startedAtMs, endedAtMs: 9000 }),
      ),
    );
    const calls = (sinceMs?: number, untilMs?: number): bigint[] =>
      f.ledger.bill({ sinceMs, untilMs }).map((row) => row.calls);
    expect([calls(undefined, 2000), calls(2000, 3000), calls(3000)]).toEqual([[2n], [2n], [1n]]);
    expect(calls()).toEqual([5n]);
  });

  test("adds up exactly beyond what a number or 64 bits hold", () => {
    using f = new Fixture();
    const each = 2 ** 62;
    f.ledger.record(
      Array.from({ length: 5 }, (_, i) => ended(`${i}`, { executionNs: each, bytes: 2 ** 53 })),
    );
    f.ledger.record([ended("one more", { executionNs: 1, bytes: 1 })]);
    expect(f.ledger.bill()).toMatchObject([
      { executionNs: 5n * 2n ** 62n + 1n, bytes: 5n * 2n ** 53n + 1n },
    ]);
  });

  test("takes fractions down, and what is too much as the most it can hold", () => {
    using f = new Fixture();
    f.ledger.record([ended("a", { calls: 1.9, bytes: 1e21 }, { startedAtMs: 1000.5 })]);
    expect(f.ledger.bill()).toMatchObject([{ calls: 1n, bytes: 2n ** 63n - 1n }]);
    expect(f.ledger.bill({ sinceMs: 1001 })).toEqual([]);
  });

  test("records a batch whole or not at all", () => {
    using f = new Fixture();
    const broken = report("b", { calls: -1 });
    expect(() => f.ledger.record([report("a"), broken])).toThrow();
    expect(f.ledger.live()).toEqual([]);
    f.ledger.record([report("a")]);
    expect(f.ledger.live()).toHaveLength(1);
  });

  test("keeps names apart that SQL could confuse", () => {
    using f = new Fixture();
    const names = ["'; DROP TABLE lease_usage; --", "ADA", "ada", "%", "\u00e9"];
    f.ledger.record(names.map((user) => ended(user, { calls: 1 }, { user })));
    for (const user of names) expect(f.ledger.bill({ user })).toMatchObject([{ user, calls: 1n }]);
  });

  test("can be read while another process writes it", () => {
    using f = new Fixture();
    f.ledger.record([ended("a", { calls: 1 })]);
    using reader = Ledger.openToRead(f.path);
    f.ledger.record([ended("b", { calls: 1 })]);
    expect(reader.bill()).toMatchObject([{ leases: 2 }]);
    expect(() => reader.record([ended("c", {})])).toThrow(LedgerUnavailable);
    expect(reader.failure?.code).toBe("RFAAS_LEDGER");
    expect(f.ledger.failure).toBeNull();
  });

  test("can be read after its writer was killed", () => {
    using f = new Fixture();
    f.ledger.record([ended("a", { calls: 1 })]);
    using scratch = new Scratch();
    // What a kill leaves: the log is there, and nothing of what it holds was copied into the file.
    for (const suffix of ["", "-wal"])
      copyFileSync(f.path + suffix, scratch.join(`ledger.sqlite${suffix}`));
    using reader = Ledger.openToRead(scratch.join("ledger.sqlite"));
    expect(reader.bill()).toMatchObject([{ leases: 1, calls: 1n }]);
  });

  test("leaves one file when it is closed", () => {
    using f = new Fixture();
    f.ledger.record([ended("a", {})]);
    f.ledger.close();
    expect(() => statSync(`${f.path}-wal`)).toThrow();
    expect(Ledger.openToRead(f.path).bill()).toHaveLength(1);
  });
});

describe("a ledger is not opened", () => {
  test("when it is not there and only to be read", () => {
    using scratch = new Scratch();
    expect(() => Ledger.openToRead(scratch.join("x"))).toThrow(/there is no ledger .*--http URL$/);
  });

  test("when its directory is not there", () => {
    using scratch = new Scratch();
    expect(() => Ledger.open(scratch.join("none/ledger"))).toThrow(/cannot be opened: .*--state/);
  });

  test("when it is text", () => {
    using scratch = new Scratch();
    const path = scratch.file("ledger.sqlite", "not a database ".repeat(1000));
    expect(() => Ledger.open(path)).toThrow(/is damaged: .*restore a backup or move it away$/);
    expect(readFileSync(path, "utf8")).toStartWith("not a database");
  });

  test("when it is another program's", () => {
    using scratch = new Scratch();
    const path = scratch.join("other.sqlite");
    const other = new Database(path);
    other.run("CREATE TABLE theirs (x)");
    other.close();
    expect(() => Ledger.open(path)).toThrow(/is another program's database; move it away/);
  });

  test("when a newer version wrote it", () => {
    using f = new Fixture();
    f.ledger.close();
    using db = new Database(f.path);
    db.run("PRAGMA user_version = 99");
    expect(() => Ledger.open(f.path)).toThrow(/has the layout 99 .* or a newer one$/);
  });

  test("when pages of it are damaged", () => {
    using f = new Fixture();
    f.ledger.record(Array.from({ length: 2000 }, (_, i) => ended(`lease ${i}`, { calls: i })));
    f.ledger.close();
    const bytes = readFileSync(f.path);
    expect(bytes.length).toBeGreaterThan(16 * 4096);
    bytes.fill(0xab, 5 * 4096, 12 * 4096);
    writeFileSync(f.path, bytes);
    expect(() => Ledger.open(f.path)).toThrow(LedgerUnavailable);
    expect(() => Ledger.open(f.path)).toThrow(/is damaged: /);
  });
});

describe("prices", () => {
  const prices: Prices = {
    currency: "EUR",
    ...{ coreSecond: 1, executionSecond: 10, pollingSecond: 100 },
    ...{ millionCalls: 1000, gib: 10_000 },
  };

  test("are per second, per million calls and per GiB", () => {
    const usage = { allocationCoreNs: 2e9, executionNs: 1e9, pollingNs: 5e8, calls: 2e6 };
    expect(price({ ...usage, bytes: 1024 ** 3 }, prices)).toBe(2 + 10 + 50 + 2000 + 10_000);
    expect(price({ ...NOTHING, calls: 1_000_000n }, prices)).toBe(1000);
    expect(price(NOTHING, prices)).toBe(0);
  });

  test("of a file replace the defaults that it names", () => {
    using scratch = new Scratch();
    const path = scratch.file("prices.json", '{"coreSecond": 7, "currency": "CHF"}');
    expect(readPrices(path)).toEqual({ ...DEFAULT_PRICES, coreSecond: 7, currency: "CHF" });
  });

  test.each([
    ["{", /cannot be read/],
    ["[]", /is wrong at \//],
    ['{"coreSecond": -1}', /is wrong at \/coreSecond: .*; its fields are currency, coreSecond/],
    ['{"coreseconds": 1}', /is wrong at \/coreseconds/],
  ])("in a file of %p are refused", (text, message) => {
    using scratch = new Scratch();
    const path = scratch.file("prices.json", text);
    expect(() => readPrices(path)).toThrow(UsageError);
    expect(() => readPrices(path)).toThrow(message);
  });
});
