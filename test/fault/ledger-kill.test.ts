/** The ledger under SIGKILL at any moment, and on a disk that is full. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LedgerUnavailable } from "../../src/base/errors.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { Scratch } from "../support/scratch.ts";
import { type Held, batch, expected, held } from "./ledger-batches.ts";

const WRITER = join(import.meta.dir, "ledger-writer.ts");
const KILLS = 100;
/** Kills come after up to this many batches: some while the log is copied back into the file. */
const MOST_BATCHES = 600;
const LIMIT_MS = 60_000;

/** Runs the writer until it has said `lines` lines, kills it, and returns all that it said. */
async function killedAfter(path: string, round: number, lines: number): Promise<string[]> {
  const child = Bun.spawn([process.execPath, WRITER, path, String(round)], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  let said = "";
  let seen = 0;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += text;
    seen += text.split("\n").length - 1;
    if (seen >= lines) child.kill("SIGKILL");
  }
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  return said.split("\n").slice(0, -1);
}

const savedIn = (said: readonly string[]): number =>
  said.filter((line) => line.startsWith("saved ")).length;

/** What of `all` belongs to a round. */
function roundOf(all: Held, round: number): Held {
  return new Map([...all].filter(([lease]) => lease.startsWith(`${round}/`)));
}

test(
  `${KILLS} times killed, the ledger holds what it said it had saved, once and whole`,
  async () => {
    using scratch = new Scratch();
    const path = scratch.join("ledger.sqlite");
    let before: Held = new Map();
    let batches = 0;
    for (let round = 0; round < KILLS; round++) {
      // Small numbers hit the start and the recovery: the first two lines come before any batch.
      const lines = 1 + Math.floor(Math.random() ** 2 * MOST_BATCHES);
      const saved = savedIn(await killedAfter(path, round, lines));
      batches += saved;
      // It may be killed before there is a file, or a table in it.
      Ledger.open(path).close();
      const now = held(path);
      // Killed after a batch was recorded and before it could say so.
      const oneMore = expected(round, saved + 1);
      const exact = Bun.deepEquals(roundOf(now, round), oneMore) ? oneMore : expected(round, saved);
      expect(now).toEqual(new Map([...before, ...exact]));
      before = now;
    }
    expect(batches).toBeGreaterThan(KILLS);

    using ledger = Ledger.open(path);
    const calls = [...before.values()].reduce((sum, line) => sum + Number.parseInt(line, 10), 0);
    const live = [...before.values()].filter((line) => !line.endsWith("ended")).length;
    expect(ledger.bill()).toMatchObject([{ leases: before.size, live, calls: BigInt(calls) }]);
    expect(ledger.live()).toHaveLength(live);
  },
  LIMIT_MS,
);

describe("on a full disk", () => {
  test(
    "what was saved stays, and the rest is refused with a reason",
    async () => {
      using scratch = new Scratch();
      const path = scratch.join("ledger.sqlite");
      // A file size limit stops the log and, when that is copied back, the file.
      const limited = `trap "" XFSZ; ulimit -f 1024; exec "$0" "$@"`;
      const child = Bun.spawn(["sh", "-c", limited, process.execPath, WRITER, path, "0"], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      });
      const said = (await child.stdout.text()).split("\n");
      expect(await child.exited).toBe(0);
      expect(said.at(-2)).toMatch(/^failed the ledger .* cannot be written: .*; nothing that was/);
      const saved = savedIn(said);
      expect(saved).toBeGreaterThan(10);
      Ledger.open(path).close();
      expect(held(path)).toEqual(expected(0, saved));
    },
    LIMIT_MS,
  );

  // Only root can mount.
  const asRoot = process.getuid?.() === 0;
  if (!asRoot) console.warn("skipped, needs root: the ledger goes on when there is room again");
  test.skipIf(!asRoot)("it goes on when there is room again", () => {
    using scratch = new Scratch();
    const folder = scratch.join("small");
    mkdirSync(folder);
    run("mount", "-t", "tmpfs", "-o", "size=2m", "rfaas-test", folder);
    try {
      const path = join(folder, "ledger.sqlite");
      using ledger = Ledger.open(path);
      ledger.record(batch(0, 0));
      fill(join(folder, "filler"));

      let n = 1;
      const failing = (): void => {
        for (; n < 100_000; n++) ledger.record(batch(0, n));
      };
      expect(failing).toThrow(LedgerUnavailable);
      expect(ledger.failure?.message).toMatch(/make room on its disk/);
      expect(failing).toThrow(LedgerUnavailable);
      expect(ledger.bill()).toMatchObject([{ leases: expected(0, n).size }]);
      expect(held(path)).toEqual(expected(0, n));

      rmSync(join(folder, "filler"));
      ledger.record(batch(0, n));
      expect(ledger.failure).toBeNull();
      expect(held(path)).toEqual(expected(0, n + 1));
    } finally {
      run("umount", folder);
    }
  });
});

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
}

/** Takes all the room that there is. */
function fill(path: string): void {
  const step = new Uint8Array(4096);
  try {
    for (;;) writeFileSync(path, step, { flag: "a" });
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
  }
  expect(statSync(path).size).toBeGreaterThan(0);
}
