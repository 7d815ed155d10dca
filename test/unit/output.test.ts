/** What hosts print, from their pipe to the node's log: lines, their bounds, and what is said of those that are missing. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { BoundedLog, readerOf } from "../../src/executor/output/bounded-log.ts";
import { HostOutput } from "../../src/executor/output/host-output.ts";
import { LineCutter, MAX_LINE_BYTES } from "../../src/executor/output/line-cutter.ts";
import { TestClock } from "../support/clock.ts";
import { until } from "../support/until.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A log with all that is in it. */
function logged() {
  const clock = new TestClock();
  const log = { printed: [] as string[], missing: [] as string[], room: true };
  const way = {
    hasRoom: () => log.room,
    printed: (text: string) => void log.printed.push(text),
    missing: (text: string) => void log.missing.push(text),
  };
  return Object.assign(log, { clock, bounded: new BoundedLog(way, clock) });
}

describe("lines", () => {
  function linesOf(...pieces: Uint8Array[]): string[] {
    const lines: string[] = [];
    const reader = readerOf((line) => void lines.push(line));
    const cutter = new LineCutter();
    for (const piece of pieces) cutter.take(piece, reader);
    cutter.finish(reader);
    return lines;
  }

  test("are whole however they come, and the last one needs no end", () => {
    const whole = bytes("first\n\n“second” ü\r\nlast");
    const expected = ["first", "", "“second” ü", "last"];
    for (let at = 0; at <= whole.length; at++)
      expect(linesOf(whole.subarray(0, at), whole.subarray(at))).toEqual(expected);
    expect(linesOf(...[...whole].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  test("that are too long come as several, and no character is cut", () => {
    const long = `a${"ü".repeat(MAX_LINE_BYTES)}`;
    const lines = linesOf(bytes(`${long}\nnext\n`));
    expect(lines.length).toBe(4);
    expect(lines.slice(0, -1).join("")).toBe(long);
    for (const line of lines) expect(bytes(line).length).toBeLessThanOrEqual(MAX_LINE_BYTES);
    expect(lines.at(-1)).toBe("next");
  });

  test("that their reader takes no more are counted, to the last byte", () => {
    const cutter = new LineCutter();
    const counted = { taken: 0, lines: 0, bytes: 0 };
    const reader = {
      line: () => counted.taken++ < 2,
      dropped(lines: number, bytes: number) {
        counted.lines += lines;
        counted.bytes += bytes;
      },
    };
    expect(cutter.take(bytes("1\n22\n333\n4444\n55555\nand"), reader)).toBe(false);
    expect(counted).toEqual({ taken: 3, lines: 2, bytes: "4444\n55555\n".length });
    expect(cutter.take(new Uint8Array(1 << 20), reader)).toBe(false);
    expect(counted.bytes).toBeGreaterThan((1 << 20) - MAX_LINE_BYTES);
  });
});

describe("a lease's part of the log", () => {
  test("has so many lines a second, and says how many are missing", () => {
    const { bounded, printed, missing, clock } = logged();
    for (let i = 0; i < 1000; i++) bounded.line(bytes("line"));
    expect(printed.length).toBe(200);
    expect(missing).toEqual([]);
    clock.pass(1000);
    expect(missing).toEqual([expect.stringMatching(/^800 lines \(3\.1 KiB\) .* are missing/)]);
    for (let i = 0; i < 1000; i++) bounded.line(bytes("line"));
    expect(printed.length).toBe(400);
    bounded.tell();
    expect(missing.length).toBe(2);
    bounded.tell();
    clock.pass(10_000);
    expect(missing.length).toBe(2);
  });

  test("has so many bytes a second", () => {
    const { bounded, printed, clock } = logged();
    const line = new Uint8Array(MAX_LINE_BYTES).fill(65);
    for (let i = 0; i < 100; i++) bounded.line(line);
    expect(printed.length).toBe(32);
    clock.pass(1000);
    for (let i = 0; i < 100; i++) bounded.line(line);
    expect(printed.length).toBe(40);
  });

  test("takes nothing while the log itself is not read, and counts that", () => {
    const log = logged();
    log.room = false;
    expect(log.bounded.line(bytes("lost"))).toBe(false);
    log.room = true;
    expect(log.bounded.line(bytes("heard"))).toBe(true);
    log.clock.pass(1000);
    expect(log.printed).toEqual(["heard"]);
    expect(log.missing).toEqual([expect.stringMatching(/^1 line \(4 B\)/)]);
  });
});

describe("the pipe of a host", () => {
  const openPipes = (): number => readdirSync("/proc/self/fd").length;

  function start(output: HostOutput, script: string): Bun.Subprocess {
    const child = Bun.spawn(["sh", "-c", script], {
      stdio: ["ignore", output.descriptor, output.descriptor],
    });
    output.begin();
    return child;
  }

  test("brings all that a process prints, also by the names of its descriptors, and is closed with it", async () => {
    const before = openPipes();
    const lines: string[] = [];
    const output = new HostOutput(readerOf((line) => void lines.push(line)));
    const child = start(output, "echo one; echo two >&2; echo three > /dev/stdout; printf four");
    await child.exited;
    await output.end();
    expect(lines).toEqual(["one", "two", "three", "four"]);
    await until(() => openPipes() <= before, "its descriptors are closed");
  });

  test("is read on while its lines are dropped, so a process that floods it ends", async () => {
    const { bounded, printed, missing } = logged();
    const output = new HostOutput(bounded);
    const child = start(output, "yes 'a flood' | head -n 300000");
    expect(await child.exited).toBe(0);
    await output.end();
    bounded.tell();
    expect(printed.length).toBe(200);
    const [, dropped] = /^(\d+) lines/.exec(missing.at(-1)!)!;
    expect(Number(dropped)).toBe(300_000 - 200);
  });

  test("makes its process wait where its reader asks for that, and loses nothing", async () => {
    let [room, lines] = [false, 0];
    const output = new HostOutput({ ...readerOf(() => lines++), hasRoom: () => room });
    const child = start(output, "yes 'a line' | head -n 100000");
    await until(() => lines > 0, "it has begun");
    expect(child.exitCode).toBe(null);
    room = true;
    expect(await child.exited).toBe(0);
    await output.end();
    expect(lines).toBe(100_000);
  });

  test("is let go when a process has kept it", async () => {
    const output = new HostOutput(readerOf(() => {}));
    const child = start(output, "sleep 1000 & echo $!; exec sleep 1000");
    await output.end();
    child.kill();
    await child.exited;
  });

  test("that no process was started for leaves nothing open", () => {
    const before = openPipes();
    new HostOutput(readerOf(() => {})).abandon();
    expect(openPipes()).toBe(before);
  });
});
