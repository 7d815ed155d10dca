/** The tasks of the benchmark's two processes, and the clock of their answers. */
import type { NodeInfo } from "../../src/protocol/manager-messages.ts";

export const CORES = 64;
export const MEMORY_BYTES = 256 * 1024 ** 3;

export const STATES = {
  joined: (node: NodeInfo) => node.state === "up" && node.freeCores === CORES,
  full: (node: NodeInfo) => node.state === "up" && node.freeCores === 0,
  draining: (node: NodeInfo) => node.state === "draining",
  down: (node: NodeInfo) => node.state === "down",
};
export type StateName = keyof typeof STATES;

/** What the benchmark asks of its two processes; each answers once. */
export type NodesTask =
  | { task: "clock" }
  | { task: "storm"; count: number }
  | { task: "joined" | "full" | "draining" | "cut" | "hush"; name: string };
export type ClientsTask =
  | { task: "clock" }
  | { task: "subscribe"; count: number }
  /** Answers when it watches these nodes, or so many of the storm's; the times come with {@link Seen}. */
  | { task: "watch"; names: readonly string[] | number; state: StateName };
export interface Answer {
  atMs: number;
}
/** When each client knew. */
export interface Seen {
  seenAtMs: number[];
}

/** The same in all processes; `process.hrtime` is not, it begins with each of them. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

export function nodeName(index: number): string {
  return `node-${index}`;
}
