/**
 * Which nodes are there, in a file of the state directory that managers share: the one that takes over names them to clients at once, and
 * not only when each has come to it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { Clock, Timer } from "../../base/clock.ts";
import { NodeInfo } from "../../protocol/manager-messages.ts";
import { replaceFile } from "../../trust/files.ts";
import { MAX_NODES, type Registry } from "./registry.ts";

const FILE_NAME = "nodes-seen.json";
/** How long changes wait for others. */
const GATHER_MS = 500;

const Seen = Type.Object({
  version: Type.Literal(1),
  nodes: Type.Array(NodeInfo, { maxItems: MAX_NODES }),
});

/** Takes those that the manager before has seen as there, until they come or a while has passed. A file that is none says nothing. */
export function presumeSeen(registry: Registry, stateDir: string, nowMs: number): void {
  const path = join(stateDir, FILE_NAME);
  if (!existsSync(path)) return;
  try {
    const read: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (Value.Check(Seen, read)) registry.presume(read.nodes, nowMs);
  } catch {
    // Nodes come by themselves.
  }
}

/** Writes the file whenever other nodes are there, while `leads`. */
export function keepSeen(
  registry: Registry,
  stateDir: string,
  { leads, clock, log }: { leads(): boolean; clock: Clock; log(message: string): void },
): void {
  let timer: Timer | undefined;
  let written = "";
  const write = (): void => {
    timer = undefined;
    if (!leads()) return;
    const nodes = registry.nodes().filter(({ state }) => state === "up" || state === "draining");
    const text = JSON.stringify({ version: 1, nodes: nodes.map(withoutMoment) });
    if (text === written) return;
    try {
      replaceFile(join(stateDir, FILE_NAME), `${text}\n`, 0o600);
      written = text;
    } catch (error) {
      log((error as Error).message);
    }
  };
  registry.onChange(() => {
    timer ??= clock.after(GATHER_MS, write);
    timer.unref();
  });
}

/** What is free changes with each lease. */
function withoutMoment(info: NodeInfo): NodeInfo {
  const { keptHosts: _, reachable: __, waiting: ___, waitingSinceMs: ____, ...node } = info;
  const { cores: freeCores, memoryBytes: freeMemoryBytes } = node;
  return { ...node, freeCores, freeMemoryBytes, leases: 0, state: "up" };
}
