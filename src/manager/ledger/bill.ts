/** The bill: what users owe, in the shape that programs read. */
import { type Static, Type } from "@sinclair/typebox";
import type { Ledger } from "./ledger.ts";
import { Prices, price } from "./prices.ts";

/** An integer that may be more than a JavaScript number holds exactly. */
const bigCount = Type.Unsafe<bigint>(Type.Integer({ minimum: 0 }));

export const Bill = Type.Object({
  prices: Prices,
  total: Type.Number({ minimum: 0 }),
  rows: Type.Array(
    Type.Object({
      user: Type.String(),
      project: Type.Union([Type.String(), Type.Null()]),
      leases: Type.Integer({ minimum: 0 }),
      live: Type.Integer({ minimum: 0, description: "leases that have not ended" }),
      presumed: Type.Integer({
        minimum: 0,
        description:
          "leases that have ended with their node, as it seems: their sums are what it had said last",
      }),
      allocationCoreNs: bigCount,
      executionNs: bigCount,
      pollingNs: bigCount,
      calls: bigCount,
      bytes: bigCount,
      cost: Type.Number({ minimum: 0 }),
    }),
  ),
});
export type Bill = Static<typeof Bill>;

/** The rows of a bill with what they cost. */
export function billOf(
  ledger: Pick<Ledger, "bill">,
  prices: Prices,
  query: Parameters<Ledger["bill"]>[0],
): Bill {
  const rows = ledger.bill(query).map((row) => ({ ...row, cost: price(row, prices) }));
  return { prices, rows, total: rows.reduce((sum, { cost }) => sum + cost, 0) };
}

/** JSON in which a `bigint` is an integer with all its digits. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === "bigint" ? exactJson.rawJSON(item.toString()) : item,
  );
}
/** The engine has it; the types of the language do not yet. */
const exactJson = JSON as unknown as { rawJSON(text: string): unknown };
