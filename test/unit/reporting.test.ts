import { describe, expect, test } from "bun:test";
import { type Report, Progress, Reporter } from "../../src/executor/worker/reporting.ts";
import { toJson } from "../../src/commands/shared/json-values.ts";

describe("the log of a worker", () => {
  function logged(write: (reporter: Reporter) => void) {
    const said: Report[] = [];
    write(new Reporter(3, (report) => said.push(report)));
    return said.flatMap((report) => (report.t === "log" ? [report.line] : []));
  }

  test("says level, message, worker and data as JSON", () => {
    const [line] = logged(({ log }) => log.warn("low", { left: 3, at: [1n, new Float32Array(2)] }));
    expect(line).toMatchObject({ worker: 3, level: "warn", message: "low", dropped: 0 });
    expect(JSON.parse(line!.data!)).toEqual({
      left: 3,
      at: ["1n", expect.stringContaining("Float32Array")],
    });
    expect(logged(({ log }) => log.info("x"))[0]!.data).toBeNull();
  });

  test("takes a message or data of any sort and any length", () => {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    const lines = logged(({ log }) => {
      for (const data of [
        circle,
        () => 1,
        Symbol("s"),
        1n,
        {
          get x() {
            throw new Error("no");
          },
        },
      ])
        log.debug("odd", data);
      log.error("m".repeat(1e6), "d".repeat(1e6));
      log.info(7 as never);
    });
    expect(lines).toHaveLength(7);
    for (const { data, message } of lines) {
      if (data !== null) JSON.parse(data);
      expect((data?.length ?? 0) + message.length).toBeLessThan(64 * 1024);
    }
  });

  test("says how many lines were too many", async () => {
    const said: Report[] = [];
    const { log } = new Reporter(0, (report) => said.push(report));
    let logged = 0;
    const say = (): void => log.info(`line ${++logged}`);
    while (logged < 1000) say();
    expect(said.length).toBeGreaterThanOrEqual(200);
    const before = said.length;
    while (said.length === before) {
      await Bun.sleep(1);
      say();
    }
    const lines = said as (Report & { t: "log" })[];
    const dropped = lines.reduce((sum, { line }) => sum + line.dropped, 0);
    expect(lines.length + dropped).toBe(logged);
  });
});

test("progress that comes too fast is counted, and the end of it always comes", () => {
  const progress = new Progress();
  expect(progress.admits(0.1)).toBe(true);
  expect(progress.takeDropped()).toBe(0);
  expect([0.2, 0.3].map((fraction) => progress.admits(fraction))).toEqual([false, false]);
  expect(progress.admits(1)).toBe(true);
  expect([progress.takeDropped(), progress.takeDropped()]).toEqual([2, 0]);
});

test("values without a form in JSON are printed in the one that people expect", () => {
  const value = {
    a: new Float32Array([1, 2]),
    b: new Map([["k", 1]]),
    c: new Set([1]),
    d: 5n,
    e: 2n ** 60n,
    f: new Date(0),
    g: NaN,
    h: undefined,
    i: new Uint8Array([7]).buffer,
  };
  expect(toJson(value)).toBe(
    '{"a":[1,2],"b":[["k",1]],"c":[1],"d":5,"e":"1152921504606846976","f":"1970-01-01T00:00:00.000Z","g":"NaN","i":[7]}',
  );
  expect(toJson(undefined)).toBe("null");
  expect(toJson([Buffer.from([1, 2]), new Date(0)])).toBe('[[1,2],"1970-01-01T00:00:00.000Z"]');
});
