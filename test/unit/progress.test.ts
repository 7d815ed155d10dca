/** The line on the terminal, by a clock and a screen of the test's own. */
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Progress, connecting } from "../../src/commands/shared/progress.ts";
import { log } from "../../src/commands/shared/log.ts";
import { visibleCommands } from "../../src/commands/tree.ts";
import { nameOf } from "../../src/commands/shared/command.ts";
import { flagsOf } from "../../src/options/flags.ts";

const CLEAR = "\r\x1b[K";
const MiB = 1024 * 1024;
const TERM = process.env["TERM"];
const level = log.level;
afterEach(() => {
  if (TERM === undefined) delete process.env["TERM"];
  else process.env["TERM"] = TERM;
  log.level = level;
});

class Played {
  readonly written: string[] = [];
  readonly screen = {
    isTTY: true,
    columns: 40,
    write: (text: string) => void this.written.push(text),
  };
  timers = 0;
  #nowMs = 5_000;
  #looks = new Set<() => void>();

  line(enabled = true): Progress {
    process.env["TERM"] = "xterm";
    return new Progress(enabled, {
      screen: this.screen as never,
      nowMs: () => this.#nowMs,
      every: (_ms, look) => {
        this.#looks.add(look);
        this.timers++;
        return () => {
          if (this.#looks.delete(look)) this.timers--;
        };
      },
    });
  }

  /** Lets time pass, with a look of each timer every 10 ms. */
  pass(ms: number): void {
    for (const end = this.#nowMs + ms; this.#nowMs < end; this.#nowMs += 10)
      for (const look of [...this.#looks]) look();
  }
}

const signals = () => process.listenerCount("SIGINT") + process.listenerCount("exit");

describe("the line", () => {
  test("is not there in the first second, then moves ten times a second, and is gone at the end", () => {
    const played = new Played();
    const line = played.line();
    line.step("bundling fn.ts");
    played.pass(1000);
    expect(played.written).toEqual([]);
    played.pass(1000);
    expect(played.written[0]).toBe(`${CLEAR}bundling fn.ts, 1.0 s`);
    expect(played.written[3]).toBe(`${CLEAR}bundling fn.ts, 1.3 s`);
    expect(played.written).toHaveLength(10);
    line.end();
    expect(played.written.at(-1)).toBe(CLEAR);
    played.pass(2000);
    expect(played.written).toHaveLength(11);
    expect(played.timers).toBe(0);
  });

  test("counts all steps of one work, and starts anew with the next", () => {
    const played = new Played();
    const line = played.line();
    line.step("one");
    played.pass(900);
    line.step("two");
    played.pass(110);
    expect(played.written).toEqual([`${CLEAR}two, 1.0 s`]);
    line.end();
    line.step("three");
    played.pass(900);
    expect(played.written).toHaveLength(2);
  });

  test("is not redrawn more often, however often the step is told", () => {
    const played = new Played();
    const line = played.line();
    for (let i = 0; i < 300; i++) {
      line.step(`step ${i}`);
      played.pass(10);
    }
    expect(played.written.length).toBeGreaterThan(10);
    expect(played.written.length).toBeLessThanOrEqual(21);
    line.end();
  });

  test("fits the terminal, whose last column stays free, and shows no control characters", () => {
    const played = new Played();
    const line = played.line();
    line.step(`bundling ${"日本".repeat(40)}\x1b[31m.ts`);
    played.pass(1200);
    for (const text of played.written) {
      expect(Bun.stringWidth(text.slice(CLEAR.length))).toBeLessThanOrEqual(39);
      expect(text.slice(CLEAR.length)).not.toContain("\x1b");
    }
    played.screen.columns = 8;
    played.pass(200);
    expect(Bun.stringWidth(played.written.at(-1)!.slice(CLEAR.length))).toBeLessThanOrEqual(7);
    line.end();
  });

  test("makes room, and comes back while the work goes on", () => {
    const played = new Played();
    const line = played.line();
    line.step("work");
    played.pass(1110);
    line.clear();
    line.clear();
    expect(played.written.filter((text) => text === CLEAR)).toHaveLength(1);
    played.pass(300);
    expect(played.written.at(-1)).toStartWith(`${CLEAR}work, 1.`);
    line.end();
  });

  test("makes room for the log", () => {
    const played = new Played();
    const line = played.line();
    line.step("work");
    played.pass(1200);
    const write = spyOn(process.stderr, "write").mockImplementation((text) => {
      played.written.push(String(text));
      return true;
    });
    try {
      log.level = 3;
      log.warn("a warning");
    } finally {
      write.mockRestore();
    }
    const at = played.written.findIndex((text) => text.includes("a warning"));
    expect(played.written[at - 1]).toBe(CLEAR);
    line.end();
  });

  test("of what is timed sets no timer, and is drawn when it is told only", () => {
    const played = new Played();
    const line = played.line();
    line.still("measuring: 1 of 3");
    played.pass(2000);
    expect([played.timers, played.written]).toEqual([0, []]);
    line.still("measuring: 2 of 3");
    expect(played.written).toEqual([`${CLEAR}measuring: 2 of 3, 2.0 s`]);
    line.step("after it");
    expect(played.timers).toBe(1);
    line.still("measuring: 3 of 3");
    expect(played.timers).toBe(0);
    line.end();
  });

  test("says how far an upload is, then what follows", () => {
    const played = new Played();
    const line = played.line();
    const show = line.upload("loading fn.ts");
    show({ sentBytes: 0, totalBytes: 10 * MiB });
    played.pass(1500);
    show({ sentBytes: 2 * MiB, totalBytes: 10 * MiB });
    played.pass(200);
    played.screen.columns = 100;
    played.pass(200);
    expect(played.written.at(-1)).toStartWith(
      `${CLEAR}sending the package: 2 MiB of 10 MiB (20 %), `,
    );
    show({ sentBytes: 10 * MiB, totalBytes: 10 * MiB });
    played.pass(200);
    expect(played.written.at(-1)).toStartWith(`${CLEAR}loading fn.ts, `);
    line.end();
  });

  test("ends with the work, whether it succeeds or fails", async () => {
    const played = new Played();
    const line = played.line();
    expect(await line.during("work", async () => 7)).toBe(7);
    expect(played.timers).toBe(0);
    const failing = line.during("work", async () => {
      played.pass(1500);
      throw new Error("it failed");
    });
    await expect(failing).rejects.toThrow("it failed");
    expect(played.timers).toBe(0);
    expect(played.written.at(-1)).toBe(CLEAR);
  });

  test("listens for signals while it is on the screen only", () => {
    const played = new Played();
    const before = signals();
    const line = played.line();
    line.step("work");
    expect(signals()).toBe(before);
    played.pass(1500);
    expect(signals()).toBe(before + 2);
    line.end();
    expect(signals()).toBe(before);
  });

  test.each([
    ["on a pipe", (played: Played) => void (played.screen.isTTY = false), true],
    ["when it is not wanted", () => {}, false],
  ])("is not there %s", (_, set, enabled) => {
    const played = new Played();
    set(played);
    const line = played.line(enabled);
    line.step("work");
    line.still("work");
    played.pass(3000);
    line.end();
    expect([played.written, played.timers]).toEqual([[], 0]);
  });
});

test("--quiet leaves warnings and errors of the log", () => {
  log.level = 3;
  Progress.of({ quiet: true });
  expect(log.level).toBe(1);
  log.level = 0;
  Progress.of({ quiet: true });
  expect(log.level).toBe(0);
});

test("what is connected to is named", () => {
  expect(connecting({ node: "10.0.0.5:7700" })).toBe("connecting to 10.0.0.5:7700");
  expect(connecting({ node: "", manager: "" })).toBe("starting a node");
});

test("every command that draws a line takes --quiet and --no-progress", async () => {
  const folder = join(import.meta.dir, "..", "..", "src", "commands");
  const drawing = [...new Bun.Glob("**/*.ts").scanSync(folder)]
    .filter((path) => readFileSync(join(folder, path), "utf8").includes("Progress.of("))
    .map((path) => path.replace(/^.*\/|\.ts$/g, ""));
  expect(drawing).toEqual(expect.arrayContaining(["invoke", "package", "bench", "doctor"]));
  for (const command of await visibleCommands())
    if (drawing.includes(nameOf(command))) {
      const flags = flagsOf(command.options).map(({ long }) => long);
      expect(flags).toEqual(expect.arrayContaining(["quiet", "no-progress"]));
    }
});
