/** `rfaas ps`: the nodes of a cluster and the leases on them, or the leases of one node. */
import { type Static, Type } from "@sinclair/typebox";
import { type Address, parseAddress } from "../control/address.ts";
import { ManagerSubscription } from "../client/cluster/manager-link.ts";
import { ManagedClusterOptions } from "../client/options/connect-options.ts";
import { NodeConnection } from "../client/node/connection.ts";
import { UsageError } from "../base/errors.ts";
import type { Leases, LineState } from "../protocol/messages.ts";
import type { NodeInfo, UsageReport } from "../protocol/manager-messages.ts";
import { formatBytes } from "../base/units.ts";
import { address, truth, worded } from "../options/fields.ts";
import { inherited } from "../options/flags.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField, requireOneOf } from "./shared/fields.ts";
import { Progress, progressFields } from "./shared/progress.ts";
import { printable, table } from "./shared/table.ts";
import { waitingOf } from "./cluster/waiting.ts";

const Options = Type.Object({
  manager: Type.Optional(
    worded(ManagedClusterOptions.properties.manager, { variable: "RFAAS_MANAGER" }),
  ),
  node: Type.Optional(
    address({
      description: "one node: its socket path or HOST:PORT",
      variable: "RFAAS_NODE",
    }),
  ),
  insecure: ManagedClusterOptions.properties.insecure,
  watch: Type.Optional(
    truth({ description: "show it again whenever something changes, until Ctrl-C" }),
  ),
  ...jsonField("one JSON object; with --watch one for each change"),
  ...progressFields,
});
type Options = Static<typeof Options>;

/** How often `--watch` asks for the leases; changes of a manager's nodes show at once. */
const WATCH_INTERVAL_MS = 1_000;
const CLEAR = "\x1b[2J\x1b[H";

export const ps = defineCommand({
  usage: "ps",
  summary: "list a cluster's nodes and leases, or those of one node",
  description: `Asks the manager which nodes there are, what they have free, how many hosts they keep with their module for another lease, how many requests wait for room, and which
leases run on them: whose they are, how many workers and cores they have, what they have used. A lease's numbers are at most a
fraction of a second old. Where tokens are asked for, it shows the leases of the token's user, and with the scope admin all.

With --node it asks that node, and needs no manager. The node's own user sees all leases, over its Unix socket or from the same
machine; others need the token that they lease with, and see the leases of their user.`,
  options: Options,
  examples: [
    ["rfaas ps --manager 10.0.0.1:7800", "who is there, and what runs"],
    ["rfaas ps --watch", "the same, as it changes"],
    ["rfaas ps --node ./node.sock", "what runs on one node"],
  ],
  async run(_args, options) {
    const { watch, json } = options;
    using progress = Progress.of(options);
    progress.step("connecting");
    const source = await openSource(options);
    progress.end();
    const show = async (): Promise<void> => {
      const { value, text } = await source.look();
      const shown = json ? `${JSON.stringify(value)}\n` : text;
      process.stdout.write(watch && !json && process.stdout.isTTY ? CLEAR + shown : shown);
    };
    try {
      await show();
      if (watch) await untilInterrupted(source, show);
    } finally {
      source.close();
    }
  },
});

/** The manager or the node that the command asks. */
interface Source {
  /** The current state: `value` for programs, `text` for people. */
  look(): Promise<{ value: unknown; text: string }>;
  /** Calls `listener` at every change, where the source reports changes by itself. */
  onChange(listener: () => void): () => void;
  /** Whether it may come back when it does not answer. */
  mayReturn: boolean;
  close(): void;
}

async function openSource(options: Options): Promise<Source> {
  requireOneOf(options, "manager", "node");
  const token = process.env["RFAAS_TOKEN"] || null;
  const manager =
    options.manager ?? (options.node === undefined ? inherited(Options, "manager") : undefined);
  if (manager !== undefined) return await openManager(manager, token, options);
  const { node = inherited(Options, "node") } = options;
  if (node !== undefined) return await openNode(parseAddress(node), token, options);
  throw new UsageError(
    "ps needs to know whom to ask; give --manager or --node, or set RFAAS_MANAGER or RFAAS_NODE",
  );
}

async function openManager(
  managers: string,
  token: string | null,
  { insecure }: Options,
): Promise<Source> {
  const options = { insecure };
  const subscription = await ManagerSubscription.connect(managers, token, undefined, options);
  return {
    async look() {
      const leases = await subscription.leases();
      const nodes = [...subscription.nodes.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
      return { value: { nodes, leases }, text: page(nodes, leases, Date.now()) };
    },
    onChange: (listener) => subscription.onChange(listener),
    mayReturn: true,
    close: () => subscription.close(),
  };
}

async function openNode(
  address: Address,
  token: string | null,
  { insecure }: Options,
): Promise<Source> {
  const connection = await NodeConnection.connect(address, [], token, undefined, { insecure });
  const { cores, memoryBytes, version } = connection.welcome;
  return {
    async look() {
      const { draining, freeCores, freeMemoryBytes, total, shown, keptHosts, line } =
        await connection.leases();
      const state = draining ? "draining" : "up";
      const node = {
        ...{ address: connection.address, state, version, cores, memoryBytes },
        ...{ freeCores, freeMemoryBytes, leases: total, keptHosts, line },
      };
      return { value: { node, leases: shown }, text: nodePage(node, shown, Date.now()) };
    },
    onChange: () => () => {},
    mayReturn: false,
    close: () => void connection.close(),
  };
}

/** Shows each change at once where the source reports it, and the current state at every interval. */
async function untilInterrupted(source: Source, show: () => Promise<void>): Promise<void> {
  let wake: () => void = () => {};
  let interrupted = false;
  const stop = source.onChange(() => wake());
  const timer = setInterval(() => wake(), WATCH_INTERVAL_MS);
  process.once("SIGINT", () => {
    interrupted = true;
    wake();
  });
  try {
    while (!interrupted) {
      await new Promise<void>((resolve) => (wake = resolve));
      if (interrupted) return;
      // While the source is unreachable for a moment, the last output stays.
      await show().catch((error: unknown) => {
        if (!source.mayReturn) throw error;
      });
    }
  } finally {
    stop();
    clearInterval(timer);
  }
}

/** Both tables of a cluster as text. */
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
    String(node.keptHosts ?? "-"),
    waitingOf(node, nowMs),
  ]);
  const leaseRows = leases.map(
    ({ lease, node, user, workers, coresPerWorker = 1, startedAtMs, usage }) => [
      `${printable(node)}/${printable(lease.split("/").at(-1) ?? "")}`,
      printable(user),
      ...numbers(workers, workers * coresPerWorker, nowMs - startedAtMs, usage),
    ],
  );
  return [
    table(
      [
        ["node", "state", "address", "free/cores", "free memory", "leases", "kept", "waiting"],
        ...nodeRows,
      ],
      3,
    ),
    "\n",
    leaseRows.length === 0
      ? "no leases\n"
      : table([["lease", "user", ...NUMBERS], ...leaseRows], 2),
  ].join("");
}

interface NodeSeen {
  address: string;
  state: string;
  cores: number;
  freeCores: number;
  freeMemoryBytes: number;
  leases: number;
  /** An older node does not say. */
  keptHosts: number | undefined;
  line: LineState | undefined;
}

/** Both tables of one node as text. */
function nodePage(node: NodeSeen, leases: Leases["shown"], nowMs: number): string {
  const { address, state, cores, freeCores, freeMemoryBytes } = node;
  const nodeRow = [
    printable(address),
    state,
    `${freeCores}/${cores}`,
    formatBytes(freeMemoryBytes),
    String(node.leases),
  ];
  const rows = leases.map(
    ({ lease, user, module, phase, workers, coresPerWorker, startedAtMs, usage }) => [
      String(lease),
      printable(user),
      printable(module),
      phase,
      ...numbers(workers, workers * coresPerWorker, nowMs - startedAtMs, usage),
    ],
  );
  const hidden = node.leases - leases.length;
  return [
    table([["node", "state", "free/cores", "free memory", "leases"], nodeRow], 2),
    "\n",
    rows.length === 0
      ? `no leases${hidden > 0 ? " of yours" : ""}\n`
      : table([["lease", "user", "module", "state", ...NUMBERS], ...rows], 4),
    hidden > 0 && rows.length > 0 ? `and ${hidden} of other users\n` : "",
    node.keptHosts ? `hosts kept for another lease: ${node.keptHosts}\n` : "",
    node.line ? lineOf(node.line) : "",
  ].join("");
}

/** How many wait for room, and have waited. */
function lineOf({ waiting, longestWaitMs, served, waitedMs }: LineState): string {
  const now =
    waiting === 0 ? [] : [`${waiting} wait for room, the longest for ${seconds(longestWaitMs)} s`];
  const before =
    served === 0
      ? []
      : [`${served} have waited before, ${seconds(waitedMs / served)} s on average`];
  const all = [...now, ...before];
  return all.length === 0 ? "" : `${all.join("; ")}\n`;
}

const NUMBERS = ["workers", "cores", "age[s]", "calls", "running[s]", "polling[s]"];

function numbers(
  workers: number,
  cores: number,
  ageMs: number,
  usage: UsageReport["usage"],
): string[] {
  return [
    String(workers),
    String(cores),
    seconds(ageMs),
    String(usage.calls),
    seconds(usage.executionNs / 1e6),
    seconds(usage.pollingNs / 1e6),
  ];
}

const seconds = (ms: number): string => (Math.max(0, ms) / 1000).toFixed(3);
