/** `rfaas bill`: what users owe, from the ledger of a state directory or from a manager. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { ProtocolError } from "../base/errors.ts";
import { Bill, billOf, toJson } from "../manager/ledger/bill.ts";
import { type BillRow, Ledger } from "../manager/ledger/ledger.ts";
import { DEFAULT_PRICES, type Prices, readPrices } from "../manager/ledger/prices.ts";
import { defaultStateDir, ledgerPath } from "../manager/state/state.ts";
import { MOMENT_FORMS, formatBytes } from "../base/units.ts";
import { moment, text, truth } from "../options/fields.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField, pathField, requireOneOf, stateField } from "./shared/fields.ts";
import { type ManagerClient, managerAt, managerFields } from "./cluster/manager-client.ts";
import { Progress, progressFields } from "./shared/progress.ts";
import { printable, table } from "./shared/table.ts";

const Options = Type.Object({
  user: Type.Optional(text("a name", { description: "this user alone", placeholder: "name" })),
  project: Type.Optional(
    text("a name", { description: "this project alone", placeholder: "name" }),
  ),
  sinceMs: Type.Optional(moment({ description: MOMENT_FORMS })),
  untilMs: Type.Optional(
    moment({ description: "likewise; leases that start then are not counted" }),
  ),
  ...jsonField("one JSON object, with all digits"),
  csv: Type.Optional(truth({ description: "comma-separated, with all digits" })),
  ...stateField("the manager's directory"),
  ...managerFields,
  prices: pathField("file", { description: "other prices than the manager's" }),
  ...progressFields,
});
type Options = Static<typeof Options>;

export const bill = defineCommand({
  usage: "bill",
  summary: "say what users owe",
  description: `A line for each user, and for each project of the user: the leases that started in the period, what they used, and what that
costs. A lease counts whole in the period in which it started, so that periods side by side bill each lease once; what leases that go on
have used still rises. Leases whose node is lost are counted as presumed: they have ended as it seems, with what the node had said last.
When the node comes back, or starts again, its word takes the place of that.

Reads the ledger in the manager's state directory, also while the manager runs, or asks the manager, which shows a user his own bill
alone. --prices is a JSON file of
${Object.keys(DEFAULT_PRICES).join(", ")}.`,
  options: Options,
  examples: [
    ["rfaas bill", "everything, on the manager's machine"],
    ["rfaas bill --user ada --since 30d", "of one user, lately"],
    ["rfaas bill --since 2026-03-01 --until 2026-04-01 --csv", "of a month, for a spreadsheet"],
    ["rfaas bill --http 10.0.0.1:7801 --json", "from elsewhere"],
  ],
  async run(_args, options) {
    requireOneOf(options, "json", "csv");
    requireOneOf(options, "state", "http");
    using progress = Progress.of(options);
    const found = await progress.during("reading the ledger", () => findBill(options));
    process.stdout.write(
      options.json ? `${toJson(found)}\n` : options.csv ? csv(found) : forPeople(found),
    );
  },
});

async function findBill(options: Options): Promise<Bill> {
  const { user, project, sinceMs, untilMs } = options;
  const query = { user, project, sinceMs, untilMs };
  const prices = options.prices === undefined ? undefined : readPrices(options.prices);
  const manager = options.state === undefined ? managerAt(options) : undefined;
  if (manager) return await askBill(manager, query, prices);
  const { state = defaultStateDir() } = options;
  using ledger = Ledger.openToRead(ledgerPath(state));
  return billOf(ledger, prices ?? DEFAULT_PRICES, query);
}

interface Query {
  user: string | undefined;
  project: string | undefined;
  sinceMs: number | undefined;
  untilMs: number | undefined;
}

async function askBill(
  manager: ManagerClient,
  { user, project, sinceMs, untilMs }: Query,
  prices: Prices | undefined,
): Promise<Bill> {
  const query = new URLSearchParams();
  if (user !== undefined) query.set("user", user);
  if (project !== undefined) query.set("project", project);
  // A duration is of this machine's clock, and the manager may be asked a moment later.
  if (sinceMs !== undefined) query.set("since", isoTime(sinceMs));
  if (untilMs !== undefined) query.set("until", isoTime(untilMs));
  const answer = parseBill(await manager.ask("GET", `/v1/bill?${query}`));
  return prices ? billOf({ bill: () => answer.rows }, prices, {}) : answer;
}

/** No lease started before 1970, and not every earlier time can be written. */
const isoTime = (ms: number): string => new Date(Math.max(0, ms)).toISOString();

const COUNTERS = ["allocationCoreNs", "executionNs", "pollingNs", "calls", "bytes"] as const;

/** The bill in JSON, with all digits of its sums. Throws {@link ProtocolError}. */
export function parseBill(json: string): Bill {
  try {
    if (Value.Check(Bill, JSON.parse(json))) {
      const exact = parseExactly(json) as Bill;
      const rows = exact.rows.map((row) => ({ ...row, ...countersOf(row) }));
      return { ...exact, rows };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ProtocolError(
    "what answered is no bill; is --http the address of an rfaas manager of this version?",
  );
}

function countersOf(row: BillRow): Pick<BillRow, (typeof COUNTERS)[number]> {
  const counters = COUNTERS.map((name) => [name, BigInt(row[name])]);
  return Object.fromEntries(counters) as Pick<BillRow, (typeof COUNTERS)[number]>;
}

/** Integers that a number does not hold become `bigint`. */
function parseExactly(json: string): unknown {
  const reviver = (_: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^\d+$/.test(context?.source ?? "")
      ? BigInt(context!.source!)
      : value;
  return JSON.parse(json, reviver) as unknown;
}

function csv({ rows, prices }: Bill): string {
  const header = ["user", "project", "leases", "live", "presumed", ...COUNTERS, "cost", "currency"];
  const lines = rows.map((row) => [
    ...[quoted(row.user), quoted(row.project ?? "")],
    ...[row.leases, row.live, row.presumed, ...COUNTERS.map((name) => row[name]), row.cost],
    quoted(prices.currency),
  ]);
  return [header, ...lines].map((cells) => `${cells.join(",")}\n`).join("");
}

function quoted(text: string): string {
  return /^[\w.@+-]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`;
}

function forPeople({ rows, prices, total }: Bill): string {
  const cost = `cost[${printable(prices.currency)}]`;
  // Most clusters have none of these.
  const projects = rows.some(({ project }) => project !== null);
  const presumed = rows.some((row) => row.presumed > 0);
  const counted = ["leases", "live", ...(presumed ? ["presumed"] : [])];
  const used = ["held[core-s]", "running[s]", "polling[s]", "calls"];
  const header = ["user", ...(projects ? ["project"] : []), ...counted, ...used];
  const lines = rows.map((row) => [
    printable(row.user),
    ...(projects ? [printable(row.project ?? "-")] : []),
    ...[row.leases, row.live, ...(presumed ? [row.presumed] : [])].map(String),
    ...[row.allocationCoreNs, row.executionNs, row.pollingNs].map(seconds),
    String(row.calls),
    formatBytes(Number(row.bytes)),
    money(row.cost),
  ]);
  const sum = ["total", ...Array.from({ length: header.length }, () => ""), money(total)];
  return table([[...header, "payload", cost], ...lines, sum]);
}

const seconds = (ns: bigint): string => (Number(ns) / 1e9).toFixed(3);
const money = (amount: number): string => amount.toFixed(6);
