/** What usage costs. */
import { readFileSync } from "node:fs";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";

const amount = Type.Number({ minimum: 0 });

export const Prices = Type.Object(
  {
    currency: Type.String({ minLength: 1, maxLength: 16 }),
    /** Per second of one core held by a lease, used or not. */
    coreSecond: amount,
    /** Per second in which a worker ran a function. */
    executionSecond: amount,
    /** Per second in which a worker spun, waiting for a call. */
    pollingSecond: amount,
    millionCalls: amount,
    /** Per GiB of inputs and outputs. */
    gib: amount,
  },
  { additionalProperties: false },
);
export type Prices = Static<typeof Prices>;

/** A core held idle costs least. A spinning core costs as much as a working one, since no other program can use it. */
export const DEFAULT_PRICES: Prices = {
  currency: "EUR",
  coreSecond: 0.000004,
  executionSecond: 0.000008,
  pollingSecond: 0.000008,
  millionCalls: 0.02,
  gib: 0.001,
};

/** Usage of one lease, or sums over many, which no number may hold exactly. */
export interface Billable {
  allocationCoreNs: number | bigint;
  executionNs: number | bigint;
  pollingNs: number | bigint;
  calls: number | bigint;
  bytes: number | bigint;
}

/** The cost in `prices.currency`. */
export function price(usage: Billable, prices: Prices): number {
  return (
    (Number(usage.allocationCoreNs) / 1e9) * prices.coreSecond +
    (Number(usage.executionNs) / 1e9) * prices.executionSecond +
    (Number(usage.pollingNs) / 1e9) * prices.pollingSecond +
    (Number(usage.calls) / 1e6) * prices.millionCalls +
    (Number(usage.bytes) / 1024 ** 3) * prices.gib
  );
}

/** Prices of a JSON file; what it leaves out has its default. Throws {@link UsageError} that names the wrong field. */
export function readPrices(path: string): Prices {
  let given: unknown;
  try {
    given = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new UsageError(
      `--prices ${path} cannot be read: ${reasonOf(error)}; give a JSON file such as {"coreSecond": 0.00001}`,
      { cause: error },
    );
  }
  const wrong = Value.Errors(Type.Partial(Prices), given).First();
  if (wrong)
    throw new UsageError(
      `--prices ${path} is wrong at ${wrong.path || "/"}: ${wrong.message}; its fields are ${Object.keys(DEFAULT_PRICES).join(", ")}`,
    );
  return { ...DEFAULT_PRICES, ...(given as Partial<Prices>) };
}
