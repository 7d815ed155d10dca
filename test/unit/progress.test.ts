import { expect, test } from "bun:test";
import { showProgress } from "../../src/commands/shared/upload-line.ts";

const MiB = 1024 * 1024;

/** What is written to a screen when an upload of 10 MiB takes so many milliseconds for each MiB. */
function shown(msPerMiB: number, isTTY = true): string[] {
  let nowMs = 1000;
  const written: string[] = [];
  const screen = { isTTY, write: (text: string) => written.push(text) > 0 };
  const show = showProgress(screen as never, () => nowMs);
  for (let sent = 0; sent <= 10; sent++, nowMs += msPerMiB)
    show({ sentBytes: sent * MiB, totalBytes: 10 * MiB });
  return written;
}

test("a long upload has a line that is redrawn, and gone when it is over", () => {
  const lines = shown(150);
  expect(lines[0]).toBe("\r\x1b[Ksending the package: 2 MiB of 10 MiB (20 %)");
  expect(lines.at(-2)).toContain("9 MiB of 10 MiB (90 %)");
  expect(lines.at(-1)).toBe("\r\x1b[K");
});

test("redrawing has a bound", () => {
  expect(shown(40)).toHaveLength(2);
});

test("a short upload shows nothing, and neither does one that nobody watches", () => {
  expect(shown(20)).toEqual([]);
  expect(shown(150, false)).toEqual([]);
});
