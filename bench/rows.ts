/** What a benchmark reports, and how it is written: perftest's columns, CSV, or one JSON object a row. */
import type { FabricName } from "../src/fabric/registry.ts";
import type { BusyUser } from "./machine/busy.ts";
import type { Environment } from "./environment.ts";
import {
  type Compared,
  type Summary,
  compare,
  median,
  medianSummary,
  quartiles,
} from "./statistics.ts";

export interface Baseline {
  name: string;
  p50_ns: number;
  p99_ns: number;
  p999_ns?: number;
}

/** What every row has; a scenario adds fields of its own. */
export interface Row {
  benchmark: string;
  fabric: FabricName;
  polling: string;
  bytes: number;
  iterations: number;
  p50_ns: number;
  p99_ns: number;
  p999_ns: number;
  min_ns: number;
  max_ns: number;
  mean_ns: number;
  stdev_ns: number;
  baseline: Baseline;
  /** Medians over pairs of windows, each on fresh memory. */
  overhead_p50_ns: number;
  ratio_p50: number;
  ratio_p99: number;
  /** First and third quartile of the pairs' ratios. */
  ratio_p50_quartiles: [number, number];
  pairs: number;
  /** The pairs disagree so much that the figures reflect the machine more than rfaas. */
  noisy: boolean;
  /** Who else used the machine when the run began. */
  busy?: readonly BusyUser[];
  environment: Environment;
}

/** The summary of pairs of windows: the fields that every scenario shares. `compared` is what each pair says. */
export function pairedFields(
  calls: readonly Summary[],
  floors: readonly Summary[],
  floorName: string,
  compared: readonly Compared[] = calls.map((call, i) => compare(call, floors[i]!)),
) {
  const call = medianSummary(calls);
  const floor = medianSummary(floors);
  const ratios = compared.map(({ ratio_p50 }) => ratio_p50);
  const ratio = median(ratios);
  const spread = quartiles(ratios);
  return {
    p50_ns: call.p50,
    p99_ns: call.p99,
    p999_ns: call.p999,
    min_ns: call.min,
    max_ns: call.max,
    mean_ns: call.mean,
    stdev_ns: call.stdev,
    baseline: { name: floorName, p50_ns: floor.p50, p99_ns: floor.p99, p999_ns: floor.p999 },
    overhead_p50_ns: median(compared.map(({ overhead_p50 }) => overhead_p50)),
    ratio_p50: ratio,
    ratio_p99: median(compared.map(({ ratio_p99 }) => ratio_p99)),
    ratio_p50_quartiles: spread,
    pairs: calls.length,
    noisy: isNoisy(ratio, spread),
  } satisfies Partial<Row>;
}

/** Pairs whose middle half spreads over more than this share of the median are called noisy. */
const NOISY_SPREAD = 0.35;

export function isNoisy(median: number, [low, high]: readonly [number, number]): boolean {
  return (high - low) / median > NOISY_SPREAD;
}

export type Format = "table" | "json" | "csv";

/** Name with unit, value. */
export type Column = readonly [name: string, value: string];

/** Writes rows to stdout as they come; the table and CSV start with a header. */
export class RowWriter {
  readonly #format: Format;
  readonly #ownColumns: (row: Row) => readonly Column[];
  #headed = false;

  /** `ownColumns` are those of the scenario: behind the common ones, or instead of one of the same name. */
  constructor(format: Format, ownColumns: (row: Row) => readonly Column[]) {
    this.#format = format;
    this.#ownColumns = ownColumns;
  }

  write(row: Row): void {
    if (this.#format === "json") return print(JSON.stringify(rounded(row)));
    const columns = [...new Map([...commonColumns(row), ...this.#ownColumns(row)])];
    const separator = this.#format === "csv" ? "," : " ";
    if (!this.#headed)
      print(
        (this.#format === "csv" ? "" : "#") +
          columns.map(([name]) => this.#pad(name)).join(separator),
      );
    this.#headed = true;
    print(
      (this.#format === "csv" ? "" : " ") +
        columns.map(([name, value]) => this.#pad(value, name)).join(separator),
    );
  }

  #pad(value: string, name = value): string {
    return this.#format === "csv" ? value : value.padStart(Math.max(name.length, 12));
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** In the order of perftest, then what is our own. */
function commonColumns(row: Row): Column[] {
  return [
    ["bytes", String(row.bytes)],
    ["iterations", String(row.iterations)],
    ["t_min[usec]", us(row.min_ns)],
    ["t_max[usec]", us(row.max_ns)],
    ["t_typical[usec]", us(row.p50_ns)],
    ["t_avg[usec]", us(row.mean_ns)],
    ["t_stdev[usec]", us(row.stdev_ns)],
    ["99%[usec]", us(row.p99_ns)],
    ["99.9%[usec]", us(row.p999_ns)],
    ["mode", row.polling],
    ["floor[usec]", us(row.baseline.p50_ns)],
    ["overhead[usec]", us(row.overhead_p50_ns)],
    ["ratio", row.ratio_p50.toFixed(2)],
  ];
}

/** Microseconds, to the nanosecond. */
export const us = (ns: number): string => (ns / 1000).toFixed(3);

/** Tenths of nanoseconds are noise. */
function rounded(value: unknown): unknown {
  if (typeof value === "number")
    return Number.isInteger(value) ? value : Number(value.toPrecision(6));
  if (Array.isArray(value)) return value.map(rounded);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, rounded(field)]));
  return value;
}
