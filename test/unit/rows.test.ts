import { describe, expect, spyOn, test } from "bun:test";
import { type Column, type Format, type Row, RowWriter, isNoisy } from "../../bench/rows.ts";

const ROW: Row = {
  benchmark: "latency",
  fabric: "shm",
  polling: "hot",
  bytes: 8,
  iterations: 20_000,
  p50_ns: 391.23456789,
  p99_ns: 800,
  p999_ns: 2500,
  min_ns: 300,
  max_ns: 90_000,
  mean_ns: 400.5,
  stdev_ns: 12,
  baseline: { name: "raw C shared-memory ping-pong", p50_ns: 290, p99_ns: 500 },
  overhead_p50_ns: 101,
  ratio_p50: 1.349,
  ratio_p99: 1.6,
  ratio_p50_quartiles: [1.3, 1.4],
  pairs: 15,
  noisy: false,
  environment: {
    rfaas: "0",
    bun: "1",
    kernel: "6",
    arch: "x64",
    cpu: "a CPU, of some kind",
    usable_cpus: 2,
    clock: "cycle counter",
    command: "rfaas bench latency",
  },
};

function written(format: Format, ...rows: Row[]): string[] {
  return writtenWith(() => [], format, ...rows);
}

function writtenWith(
  columns: (row: Row) => readonly Column[],
  format: Format,
  ...rows: Row[]
): string[] {
  const write = spyOn(process.stdout, "write").mockImplementation(() => true);
  try {
    const writer = new RowWriter(format, columns);
    for (const row of rows) writer.write(row);
    return write.mock.calls.map(([text]) => String(text));
  } finally {
    write.mockRestore();
  }
}

describe("a row as JSON", () => {
  const lines = written("json", ROW, { ...ROW, bytes: 1024 });
  const row: Record<string, unknown> = JSON.parse(lines[0]!);

  test("is one line each, without a header", () => {
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line.indexOf("\n")).toBe(line.length - 1);
    expect(lines.map((line) => JSON.parse(line).bytes)).toEqual([8, 1024]);
  });

  test.each(["p50_ns", "p99_ns", "p999_ns", "min_ns", "mean_ns", "overhead_p50_ns", "ratio_p50"])(
    "has the number %s",
    (field) => {
      expect(row[field]).toBeNumber();
    },
  );

  test("has the baseline, its figures, and what the figures depend on", () => {
    expect(row["baseline"]).toEqual(ROW.baseline);
    expect(row["environment"]).toEqual(ROW.environment);
    expect(row["ratio_p50_quartiles"]).toEqual([1.3, 1.4]);
  });

  test("has nothing that the row does not have, and all that it has", () => {
    expect(Object.keys(row).sort()).toEqual(Object.keys(ROW).sort());
  });

  test("has six digits of a fraction, and whole numbers as they are", () => {
    expect(row["p50_ns"]).toBe(391.235);
    expect(row["iterations"]).toBe(20_000);
    expect(JSON.parse(written("json", { ...ROW, max_ns: 123_456_789 })[0]!).max_ns).toBe(
      123_456_789,
    );
  });
});

describe("rows as CSV", () => {
  test("start with one header, and have a value for each of its columns", () => {
    const [header, ...rows] = written("csv", ROW, ROW);
    expect(rows).toHaveLength(2);
    for (const row of rows) expect(row.split(",")).toHaveLength(header!.split(",").length);
    expect(header).toStartWith("bytes,iterations,t_min[usec],");
  });

  test("give times in microseconds under the names of the columns", () => {
    const [header, row] = written("csv", ROW).map((line) => line.trim().split(","));
    const value = (column: string) => row![header!.indexOf(column)];
    expect(value("bytes")).toBe("8");
    expect(value("t_typical[usec]")).toBe("0.391");
    expect(value("99.9%[usec]")).toBe("2.500");
    expect(value("floor[usec]")).toBe("0.290");
    expect(value("ratio")).toBe("1.35");
    expect(value("mode")).toBe("hot");
  });

  test("have the columns of their scenario behind the others, or in the place of one of them", () => {
    const columns = (): Column[] => [
      ["mode", "prewarmed"],
      ["calls/s", "2000000"],
    ];
    const [header, row] = writtenWith(columns, "csv", ROW).map((line) => line.trim().split(","));
    expect(header!.filter((name) => name === "mode")).toHaveLength(1);
    expect(row![header!.indexOf("mode")]).toBe("prewarmed");
    expect(header!.at(-1)).toBe("calls/s");
    expect(row!.at(-1)).toBe("2000000");
  });
});

test("rows of a table line up under a header that starts with #", () => {
  const [header, row] = written("table", ROW);
  expect(header).toStartWith("#");
  expect(row).toHaveLength(header!.length);
});

test("pairs are noisy when their middle half spreads over more than a third of the median", () => {
  expect(isNoisy(2, [1.9, 2.1])).toBe(false);
  expect(isNoisy(2, [1.6, 2.4])).toBe(true);
});
