/** Whatever bytes come, a parser ends soon, with a value that it can write again or with its own error. */
import { beforeAll, describe, expect, test } from "bun:test";
import { type Report, fuzz, replayOf } from "./engine/campaign.ts";
import { TARGETS } from "./targets.ts";

const SECONDS = 5;
/** Of the branches of each parser, by the inputs in the repository. */
const LEAST = 0.95;
const seed = Number(process.env["RFAAS_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

describe("a parser", () => {
  const reports = new Map<string, Promise<Report>>();
  beforeAll(() => {
    // Two at a time, since each is one thread.
    const lanes: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()];
    for (const [i, target] of Object.keys(TARGETS).entries()) {
      const orders = { target, seed, seconds: SECONDS, maxInputs: Number.MAX_SAFE_INTEGER };
      const report = lanes[i % 2]!.then(() => fuzz(orders));
      reports.set(target, report);
      lanes[i % 2] = report;
    }
  });

  test.each(Object.keys(TARGETS))("of %s takes any input", async (target) => {
    const report = await reports.get(target)!;
    if (report.finding)
      throw new Error(
        `seed ${seed}: ${report.finding.what}\ntry it again: ${replayOf(target, report.finding.input)}`,
      );
    const reached = 1 - report.unreachedAtFirst / report.branches;
    expect(reached, `the corpus of ${target}, of its branches`).toBeGreaterThanOrEqual(LEAST);
    expect(report.inputs).toBeGreaterThan(100);
  });
});

describe("the fuzzer", () => {
  const orders = { target: "planted", seed: 1, maxInputs: 2_000_000 };
  const replayed = (input: Uint8Array) =>
    fuzz({ ...orders, seconds: 0, inputs: [input.toBase64()] }, 2000);
  const long = (first: number) => Uint8Array.from([first, ...new Uint8Array(100)]);

  test("is led to a bug that four bytes in a row hide", async () => {
    const { finding } = await fuzz({ ...orders, seconds: 50 });
    expect(finding?.what).toContain("the planted bug");
    expect(Buffer.from(finding!.input, "base64").toString()).toStartWith("BUG!");
    const { finding: again } = await replayed(Uint8Array.fromBase64(finding!.input));
    expect(again?.what).toContain("the planted bug");
  });

  test("notices an input that never ends, does too much, or ends the process", async () => {
    const what = async (first: number) => {
      const { finding } = await replayed(long(first));
      expect(finding?.input).toBe(long(first).toBase64());
      return finding?.what;
    };
    expect(await what(1)).toBe("does not end within 2 s");
    expect(await what(2)).toContain("steps for 101 bytes");
    expect(await what(3)).toBe("ends the process: SIGKILL");
  });
});
