/** `rfaas ps`: the nodes of a cluster and the leases on them. */
import { Type } from "@sinclair/typebox";
import { ManagerSubscription } from "../client/manager-link.ts";
import { UsageError } from "../errors.ts";
import type { NodeInfo, UsageReport } from "../protocol/manager-messages.ts";
import { formatBytes } from "../units.ts";
import type { Command } from "./command.ts";
import { flag, readOptions, text } from "./options.ts";
import { printable, table } from "./table.ts";

const Options = Type.Object({
  manager: Type.Optional(text),
  watch: Type.Optional(flag),
  json: Type.Optional(flag),
});

/** Leases are asked for this often while they are watched; nodes show at once. */
const WATCH_INTERVAL_MS = 1_000;
const CLEAR = "\x1b[2J\x1b[H";

export const ps: Command = {
  usage: "ps",
  summary: "list a cluster's nodes and leases",
  description: `Asks the manager which nodes there are, what they have free, and which leases run on them: whose they are, how many workers and
cores they have, what they have used. A lease's numbers are at most a fraction of a second old. Where tokens are asked for, it shows the leases of the token's
user, and with the scope admin all.`,
  options: [
    {
      flag: "--manager <address>",
      description: "HOST:PORT of the manager (default: $RFAAS_MANAGER)",
    },
    { flag: "--watch", description: "show it again whenever something changes, until Ctrl-C" },
    { flag: "--json", description: "one JSON object; with --watch one for each change" },
  ],
  examples: [
    ["rfaas ps --manager 10.0.0.1:7800", "who is there, and what runs"],
    ["rfaas ps --watch", "the same, as it changes"],
  ],
  async run(args, raw) {
    if (args.length > 0)
      throw new UsageError(`ps takes no argument "${args[0]}"; see: rfaas help ps`);
    const { manager, watch, json } = readOptions(Options, raw);
    const address = String(manager ?? process.env["RFAAS_MANAGER"] ?? "");
    if (address === "")
      throw new UsageError("ps needs the manager's address; give --manager or set RFAAS_MANAGER");
    const subscription = await ManagerSubscription.connect(
      address,
      process.env["RFAAS_TOKEN"] || null,
    );
    const show = async (): Promise<void> => {
      const leases = await subscription.leases();
      const nodes = [...subscription.nodes.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
      const shown = json
        ? `${JSON.stringify({ nodes, leases })}\n`
        : page(nodes, leases, Date.now());
      process.stdout.write(watch && !json && process.stdout.isTTY ? CLEAR + shown : shown);
    };
    try {
      await show();
      if (watch) await untilInterrupted(subscription, show);
    } finally {
      subscription.close();
    }
  },
};

/** Shows each change of nodes at once, and leases at every interval. */
async function untilInterrupted(
  subscription: ManagerSubscription,
  show: () => Promise<void>,
): Promise<void> {
  let wake: () => void = () => {};
  let interrupted = false;
  const stop = subscription.onChange(() => wake());
  const timer = setInterval(() => wake(), WATCH_INTERVAL_MS);
  process.once("SIGINT", () => {
    interrupted = true;
    wake();
  });
  try {
    while (!interrupted) {
      await new Promise<void>((resolve) => (wake = resolve));
      // A manager that is away for a moment leaves what was shown last.
      if (!interrupted && subscription.connected) await show().catch(() => {});
    }
  } finally {
    stop();
    clearInterval(timer);
  }
}

/** Both tables as text. */
export function page(
  nodes: readonly NodeInfo[],
  leases: readonly UsageReport[],
  nowMs: number,
): string {
  const nodeRows = nodes.map((node) => [
    printable(node.name),
    node.state,
    printable(node.address),
    `${node.freeCores}/${node.cores}`,
    formatBytes(node.freeMemoryBytes),
    String(node.leases),
  ]);
  const leaseRows = leases.map(
    ({ lease, node, user, workers, coresPerWorker = 1, startedAtMs, usage }) => [
      `${printable(node)}/${printable(lease.split("/").at(-1) ?? "")}`,
      printable(user),
      String(workers),
      String(workers * coresPerWorker),
      seconds(nowMs - startedAtMs),
      String(usage.calls),
      seconds(usage.executionNs / 1e6),
      seconds(usage.pollingNs / 1e6),
    ],
  );
  return [
    table([["node", "state", "address", "free/cores", "free memory", "leases"], ...nodeRows], 3),
    "\n",
    leaseRows.length === 0
      ? "no leases\n"
      : table(
          [
            ["lease", "user", "workers", "cores", "age[s]", "calls", "running[s]", "polling[s]"],
            ...leaseRows,
          ],
          2,
        ),
  ].join("");
}

const seconds = (ms: number): string => (Math.max(0, ms) / 1000).toFixed(3);
