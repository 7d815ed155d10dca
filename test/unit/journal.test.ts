/** The journal of bills that no manager has taken: what a killed process has left of it, damage, bounds and a full disk. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { headOf, lineOf, parse } from "../../src/executor/accounts/journal-file.ts";
import { BillJournal } from "../../src/executor/accounts/journal.ts";
import { leftBills } from "../../src/executor/accounts/left-bills.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { TestClock } from "../support/clock.ts";
import { closedFilesOf } from "../support/open-files.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const OF = { node: "n1", manager: "manager:1", instance: "first", cores: 8 };

function report(lease: number, calls: number, more: Partial<UsageReport> = {}): UsageReport {
  return {
    ...{ lease: `first/${lease}`, node: "n1", user: "ada", workers: 2, startedAtMs: 1000 },
    ...{ endedAtMs: null, reason: null },
    usage: { allocationCoreNs: 6e9, executionNs: 0, pollingNs: 0, calls, bytes: 0 },
    ...more,
  };
}
const ended = (lease: number, calls: number): UsageReport =>
  report(lease, calls, { endedAtMs: 5000, reason: "released" });

/** Without the locks beside them. */
const journalsIn = (folder: string): string[] =>
  readdirSync(folder).filter((name) => name.endsWith(".bills"));

class Fixture implements AsyncDisposable {
  readonly #scratch = new Scratch();
  readonly folder = this.#scratch.join("bills");
  readonly clock = new TestClock();
  readonly lines: string[] = [];
  readonly journal: BillJournal;

  constructor(folder?: string, maxBills?: number) {
    this.folder = folder ?? this.folder;
    this.journal = new BillJournal({
      ...{ folder: this.folder, of: OF, clock: this.clock, maxBills },
      log: (level, message) => this.lines.push(`${level}: ${message}`),
    });
  }

  /** Lets it write what presses. */
  async note(...reports: UsageReport[]): Promise<void> {
    for (const one of reports) this.journal.note(one, true);
    await Promise.resolve();
  }

  get written(): UsageReport[] {
    return parse(readFileSync(this.journal.path, "utf8"))!.reports;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.journal.close();
    await closedFilesOf(this.folder);
    this.#scratch[Symbol.dispose]();
  }
}

/** A process that writes a journal, and is killed before it can do anything else. */
function leftBy(folder: string, reports: readonly UsageReport[], of: object = OF): void {
  const source = `
    import { BillJournal } from ${JSON.stringify(join(import.meta.dir, "../../src/executor/accounts/journal.ts"))};
    import { SYSTEM_CLOCK } from ${JSON.stringify(join(import.meta.dir, "../../src/base/clock.ts"))};
    const [folder, of, reports] = JSON.parse(process.argv[1]);
    const journal = new BillJournal({ folder, of, clock: SYSTEM_CLOCK, log: console.error });
    for (const report of reports) journal.note(report, true);
    await Promise.resolve();
    process.kill(process.pid, "SIGKILL");`;
  const given = JSON.stringify([folder, of, reports]);
  const { signalCode, stderr } = Bun.spawnSync([process.execPath, "-e", source, given]);
  expect([signalCode, stderr.toString()]).toEqual(["SIGKILL", ""]);
}

describe("the journal of bills", () => {
  test("has the newest report of each lease, until the manager has taken the last one", async () => {
    await using f = new Fixture();
    await f.note(report(1, 1), report(2, 1), report(1, 5));
    expect(f.written).toEqual([report(1, 5), report(2, 1)]);
    f.journal.taken(report(1, 5));
    expect(f.journal.size).toBe(2);
    await f.note(ended(1, 9));
    f.journal.taken(ended(1, 9));
    expect(f.journal.size).toBe(1);
    await f.note(ended(2, 7));
    f.journal.taken(ended(2, 7));
    expect(f.written).toEqual([]);
    await f.note(report(3, 1));
    expect(f.written).toEqual([report(3, 1)]);
    expect(statSync(f.journal.path).mode & 0o777).toBe(0o600);
  });

  test("writes the first report of a lease at once, and later ones that do not press within a second", async () => {
    await using f = new Fixture();
    f.journal.note(report(1, 1), false);
    await Promise.resolve();
    expect(f.written).toEqual([report(1, 1)]);
    f.journal.note(report(1, 2), false);
    await Promise.resolve();
    f.clock.pass(900);
    expect(f.written).toEqual([report(1, 1)]);
    f.journal.note(report(1, 3), false);
    f.clock.pass(200);
    expect(f.written).toEqual([report(1, 3)]);
  });

  test("goes away with its node, unless it holds what the manager has not taken", async () => {
    await using f = new Fixture();
    await f.note(ended(1, 1), ended(2, 2));
    f.journal.taken(ended(1, 1));
    f.journal.close();
    expect(f.written).toContainEqual(ended(2, 2));
    await using g = new Fixture();
    await g.note(ended(1, 1));
    g.journal.taken(ended(1, 1));
    g.journal.close();
    expect(readdirSync(g.folder)).toEqual([]);
  });

  test("stays small, whatever is reported, and loses nothing when it is written anew", async () => {
    await using f = new Fixture();
    for (let calls = 1; calls <= 400; calls++) {
      await f.note(...Array.from({ length: 20 }, (_, lease) => report(lease + 1, calls)));
      if (calls % 20 > 0) continue;
      // A file that takes its place is synced meanwhile.
      await Bun.sleep(1);
      expect(f.written.every(({ usage }) => usage.calls === calls)).toBe(true);
    }
    const bytes = 400 * 20 * JSON.stringify(report(1, 400)).length;
    expect(bytes).toBeGreaterThan(1.5 * 2 ** 20);
    await until(() => statSync(f.journal.path).size < 2 ** 20, "it is written anew");
    expect(f.written).toHaveLength(20);
    expect(f.written[0]).toEqual(report(1, 400));
    expect(journalsIn(f.folder)).toHaveLength(1);
  });

  test("holds no more bills than it may, the newest ones, and says so once", async () => {
    await using f = new Fixture(undefined, 3);
    await f.note(...[1, 2, 3, 4, 5].map((lease) => ended(lease, lease)));
    expect(f.journal.size).toBe(3);
    expect(f.lines).toEqual([expect.stringContaining("no more than 3 of them")]);
    expect(f.written.map(({ lease }) => lease)).toEqual(["first/3", "first/4", "first/5"]);
  });

  test("that cannot be made costs nothing but itself, and says why and what to do", async () => {
    using scratch = new Scratch();
    const file = scratch.file("no-folder", "");
    await using f = new Fixture(join(file, "bills"));
    await f.note(ended(1, 1));
    await f.note(ended(2, 1));
    f.clock.pass(5000);
    expect(f.lines).toEqual([expect.stringMatching(/^warn: .*cannot be written, .*--state$/)]);
    rmSync(file);
    f.clock.pass(1000);
    expect(f.lines.at(-1)).toMatch(/^info: .* can be written again$/);
    expect(f.written).toHaveLength(2);
  });
});

test("a journal that cannot be synced is written anew, with all that comes meanwhile", async () => {
  await using f = new Fixture();
  mkdirSync(f.folder);
  // Takes what is written, and cannot be synced.
  expect(Bun.spawnSync(["mkfifo", f.journal.path]).exitCode).toBe(0);
  const reader = openSync(f.journal.path, "r+");
  const next = `${f.journal.path}.next`;
  mkdirSync(next);
  await f.note(ended(1, 1));
  await until(() => f.lines.length > 0, "the sync fails");
  expect(f.lines).toEqual([expect.stringMatching(/^warn: .*cannot be written, .*--state$/)]);
  // Nor can another file be written.
  f.clock.pass(3000);
  await f.note(ended(2, 2));
  f.clock.pass(3000);
  expect(f.lines).toHaveLength(1);
  rmdirSync(next);
  f.clock.pass(1000);
  await until(() => f.lines.length > 1, "it is written anew");
  expect(f.lines.at(-1)).toMatch(/^info: .* can be written again$/);
  expect(f.written).toEqual([ended(1, 1), ended(2, 2)]);
  await f.note(ended(3, 3));
  expect(f.written).toHaveLength(3);
  closeSync(reader);
});

// Only root can mount.
const asRoot = process.getuid?.() === 0;
if (!asRoot) console.warn("skipped, needs root: a full disk under the journal");
test.skipIf(!asRoot)(
  "a full disk under the journal is said once, tears no line, and loses nothing when there is room again",
  async () => {
    using scratch = new Scratch();
    const small = scratch.join("small");
    mkdirSync(small);
    const run = (...command: string[]) => Bun.spawnSync(command).exitCode;
    expect(run("mount", "-t", "tmpfs", "-o", "size=64k", "rfaas-test", small)).toBe(0);
    try {
      await using f = new Fixture(small);
      await f.note(ended(1, 1));
      // All but a part of a page.
      writeFileSync(join(small, "filler"), new Uint8Array(56 * 1024));
      for (let lease = 2; lease < 100; lease++) await f.note(ended(lease, lease));
      f.clock.pass(3000);
      expect(f.lines).toEqual([
        expect.stringMatching(/^warn: .*bills that no manager .* is full \(ENOSPC\)/),
      ]);
      const { damaged, reports } = parse(readFileSync(f.journal.path, "utf8"))!;
      expect([damaged, reports.length < 99]).toEqual([0, true]);
      rmSync(join(small, "filler"));
      f.clock.pass(1000);
      expect(f.lines.at(-1)).toMatch(/can be written again$/);
      expect(f.written).toHaveLength(99);
    } finally {
      await until(() => run("umount", small) === 0, "it can be unmounted");
    }
  },
);

describe("what a killed node has left", () => {
  const own = { node: "n1", manager: "manager:1" };
  const found = (folder: string, lines: string[] = [], of = own) =>
    leftBills(folder, of, (level, message) => lines.push(`${level}: ${message}`));

  test("is found by its next run, once: leases that went on have ended with it", () => {
    using scratch = new Scratch();
    leftBy(scratch.path, [report(1, 3), ended(2, 4), report(3, 5, { coresPerWorker: 3 })]);
    const [left, ...more] = found(scratch.path);
    expect(more).toEqual([]);
    expect(left!.instance).toBe("first");
    expect(left!.reports).toEqual([
      // Two cores for three seconds, six for one.
      report(1, 3, { endedAtMs: 4000, reason: "node-lost" }),
      ended(2, 4),
      report(3, 5, { coresPerWorker: 3, endedAtMs: 2000, reason: "node-lost" }),
    ]);
    left!.stays();
    expect(found(scratch.path)).toHaveLength(1);
    left!.done();
    expect(readdirSync(scratch.path)).toEqual([]);
  });

  test("is not of a run that lives, of another node, or for another manager, of which the log hears", async () => {
    await using f = new Fixture();
    await f.note(ended(1, 1));
    expect(found(f.folder)).toEqual([]);
    leftBy(f.folder, [ended(1, 1)], { ...OF, instance: "other", node: "n2" });
    leftBy(f.folder, [ended(1, 1)], { ...OF, instance: "moved", manager: "elsewhere:1" });
    const lines: string[] = [];
    expect(found(f.folder, lines)).toEqual([]);
    expect(lines.toSorted()).toEqual([
      expect.stringMatching(/^info: an earlier run .*bills for the manager at elsewhere:1/),
      expect.stringMatching(/^info: the journal of bills .*first\.bills stays: .* goes on$/),
    ]);
    expect(journalsIn(f.folder)).toHaveLength(3);
  });

  test("is its own while it lives, to processes that count others and machines that are called otherwise, and no longer", async () => {
    await using f = new Fixture();
    await f.note(ended(1, 1));
    const path = join(f.folder, "n1.first.bills");
    const { head, reports } = parse(readFileSync(path, "utf8"))!;
    expect(head.locked).toBe(true);
    const elsewhere = { ...head, host: "another", machine: "another", processStart: "1" };
    writeFileSync(path, [elsewhere, ...reports].map(lineOf).join(""));
    expect(found(f.folder)).toEqual([]);
    f.journal.close();
    await closedFilesOf(f.folder);
    expect(readdirSync(f.folder)).toEqual(["n1.first.bills"]);
    const [left] = found(f.folder);
    // Nor do two runs hand it in.
    expect(found(f.folder)).toEqual([]);
    left!.done();
    expect(readdirSync(f.folder)).toEqual([]);
  });

  test("where files cannot be locked, stays on a machine that is called otherwise, and the log says why", () => {
    using scratch = new Scratch();
    const head = headOf(OF);
    const unlocked = { ...head, processStart: "1", machine: "another" };
    const name = (host: string) => ({ ...unlocked, host });
    const path = scratch.file("n1.first.bills", lineOf(name("another")) + lineOf(ended(1, 1)));
    const lines: string[] = [];
    expect(found(scratch.path, lines)).toEqual([]);
    expect(lines).toEqual([expect.stringMatching(/^info: .* stays: .* a machine called another/)]);
    writeFileSync(path, lineOf(name(head.host)) + lineOf(ended(1, 1)));
    expect(found(scratch.path)).toHaveLength(1);
  });

  test("is read up to where it was cut off, at any byte, and what is damaged is skipped with a word", () => {
    using scratch = new Scratch();
    const all = [ended(1, 1), ended(2, 2), ended(3, 3)];
    leftBy(scratch.path, all);
    const path = join(scratch.path, journalsIn(scratch.path)[0]!);
    const whole = readFileSync(path, "utf8");
    const ends = [...whole.matchAll(/\n/g)].map(({ index }) => index + 1);
    for (let length = 0; length < whole.length; length++) {
      const journal = parse(whole.slice(0, length));
      const lines = ends.filter((end) => end <= length).length;
      if (lines === 0) expect(journal).toBeUndefined();
      else {
        expect(journal!.reports).toEqual(all.slice(0, lines - 1));
        expect(journal!.damaged).toBe(ends.includes(length) ? 0 : 1);
      }
    }
    writeFileSync(path, `${whole.slice(0, ends[1]! + 30)}X${whole.slice(ends[1]! + 31)}torn`);
    const lines: string[] = [];
    const [left] = found(scratch.path, lines);
    expect(left!.reports).toEqual([ended(1, 1), ended(3, 3)]);
    left!.stays();
    expect(lines).toEqual([expect.stringMatching(/^warn: 2 damaged lines of .* skipped$/)]);
    writeFileSync(path, "what is this?");
    expect(found(scratch.path, lines)).toEqual([]);
    expect(lines.at(-1)).toMatch(/is no journal of bills/);
    expect(existsSync(path)).toBe(true);
  });
});
