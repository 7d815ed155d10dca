import { expect, test } from "bun:test";
import { News } from "../../src/executor/host/news.ts";
import type { LogLine, ProgressReport } from "../../src/protocol/module-report.ts";

const line = (worker: number, message: string, dropped = 0): LogLine => ({
  worker,
  level: "info",
  message,
  data: null,
  atMs: 0,
  dropped,
});
const report = (sequence: number, fraction: number): ProgressReport => ({
  worker: 0,
  slot: 3,
  sequence,
  fraction,
  message: null,
  dropped: 0,
});

/** A way that is open or not, and what came through. */
function way() {
  const lines: LogLine[] = [];
  const reports: ProgressReport[] = [];
  let room: (() => void) | undefined;
  let open = true;
  const news = new News({
    log: (sent) => open && lines.push(sent) > 0,
    progress: (sent) => open && reports.push(sent) > 0,
    whenRoom: (listener) => (room = listener),
  });
  return {
    news,
    lines,
    reports,
    close: () => (open = false),
    reopen: () => (open = true),
    open() {
      open = true;
      room?.();
    },
  };
}

test("lines that found no room are counted by worker, with those that were dropped before them", () => {
  const { news, lines, close, open } = way();
  news.logged(line(0, "a"));
  close();
  news.logged(line(0, "b"));
  news.logged(line(1, "c", 5));
  news.logged(line(0, "d"));
  open();
  news.logged(line(0, "e"));
  expect(lines.map(({ worker, dropped }) => [worker, dropped])).toEqual([
    [0, 0],
    [0, 2],
    [1, 6],
    [0, 0],
  ]);
  expect(lines[1]!.message).toContain("lines of the log are missing");
});

test("the next line tells how many are missing where it comes before anybody says that there is room", () => {
  const { news, lines, close, reopen } = way();
  close();
  for (let i = 0; i < 10; i++) news.logged(line(0, "lost"));
  reopen();
  news.logged(line(0, "next"));
  expect(lines).toEqual([line(0, "next", 10)]);
});

test("reports of a call that found no room are counted, and those of another call in its slot are not", () => {
  const { news, reports, close, open } = way();
  close();
  news.progressed(report(7, 0.1));
  news.progressed(report(7, 0.2));
  open();
  news.progressed(report(7, 0.3));
  close();
  news.progressed(report(7, 0.4));
  open();
  news.progressed(report(8, 0.1));
  expect(reports.map(({ sequence, dropped }) => [sequence, dropped])).toEqual([
    [7, 2],
    [8, 0],
  ]);
});

test("what a former lease has dropped is not told to the next one", () => {
  const { news, lines, reports, close, open } = way();
  close();
  news.logged(line(0, "a"));
  news.progressed(report(1, 0.5));
  news.renew();
  open();
  news.logged(line(0, "b"));
  news.progressed(report(1, 0.5));
  expect(lines.map(({ message, dropped }) => [message, dropped])).toEqual([["b", 0]]);
  expect(reports.map(({ dropped }) => dropped)).toEqual([0]);
});
