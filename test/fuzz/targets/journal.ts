import { lineOf, headOf, isOver, parse } from "../../../src/executor/accounts/journal-file.ts";
import { UsageReport } from "../../../src/protocol/manager-messages.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, same, textOf } from "./outcome.ts";
import { sample } from "./sample.ts";

const head = headOf({ node: "n", manager: "m:1", instance: "i", cores: 4 });
const report = { ...(sample(UsageReport) as UsageReport), node: "n" };

/** Lines with wrong sums count as damaged ones: what has none gets the right one, so that something is behind it. */
function summed(text: string): string {
  return text
    .split("\n")
    .map((line) => (line.startsWith("+") ? lineOf(lines(line.slice(1))).slice(0, -1) : line))
    .join("\n");
}

/** The text of a line, so that {@link lineOf} writes just that. */
const lines = (text: string): UsageReport =>
  ({ toJSON: () => (JSON.parse(text) as unknown) ?? 0 }) as unknown as UsageReport;

export const subject: Subject = {
  seeds: [
    bytesOf(lineOf(head) + lineOf(report)),
    bytesOf(`+${JSON.stringify(head)}\n+${JSON.stringify(report)}\n`),
    bytesOf(lineOf({ ...head, host: "elsewhere", machine: "other", pid: 2 ** 31 })),
    bytesOf(`${lineOf(head)}cut`),
    bytesOf("no head\n"),
  ],
  run(input) {
    let text = textOf(input);
    try {
      text = summed(text);
    } catch {
      // A line that is no JSON.
    }
    const read = parse(text);
    if (!read) return;
    must(read.damaged >= 0 && read.reports.every(({ node }) => node === read.head.node), "others");
    isOver(read.head);
    const again = parse(lineOf(read.head) + read.reports.map(lineOf).join(""));
    same(again, { ...read, damaged: 0 }, "is written otherwise");
  },
};
