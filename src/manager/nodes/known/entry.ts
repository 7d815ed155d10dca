/** What the registry holds of a node, and how others see it then. */
import type { NodeInfo } from "../../../protocol/manager-messages.ts";
import type { ExpectedNode } from "./node.ts";

/** One connection of a node, known by a number that is never used again. */
export type Session = number;

export interface Entry {
  info: NodeInfo;
  expected: ExpectedNode | undefined;
  session: Session | undefined;
  heardAtMs: number;
  /** Taken for there until then, on another manager's word. */
  presumedUntilMs: number | undefined;
  downSinceMs: number;
  /** The deadline of the manager's drain. */
  drainUntilMs: number | undefined;
  /** It was told to serve again, or would have been if it had been there. */
  resumed: boolean;
  /** The node itself says that it drains. */
  drains: boolean;
}

export function newEntry(expected: ExpectedNode | undefined): Entry {
  const entry: Entry = {
    info: {
      name: "",
      instance: "",
      address: "",
      cores: 0,
      memoryBytes: 0,
      freeCores: 0,
      freeMemoryBytes: 0,
      leases: 0,
      fabrics: [],
      machine: "",
      version: "",
      state: "expected",
    },
    expected,
    session: undefined,
    heardAtMs: 0,
    presumedUntilMs: undefined,
    downSinceMs: 0,
    drainUntilMs: undefined,
    resumed: false,
    drains: false,
  };
  if (expected) entry.info = absent(entry, "expected");
  return entry;
}

/** A node that is not connected has nothing free; the rest of its entry is what the operator said of it in advance. */
export function absent({ info, expected }: Entry, state: NodeInfo["state"]): NodeInfo {
  const { reachable: _, ...last } = withoutKept(info);
  const known = { ...last, ...expected };
  return { ...known, freeCores: 0, freeMemoryBytes: 0, leases: 0, state };
}

/** What it keeps is what it has said last, and nothing when it is not there. */
export function withoutKept(node: NodeInfo): NodeInfo {
  const { keptHosts: _, waiting: __, waitingSinceMs: ___, ...info } = node;
  return info;
}

export function presentState({ drains, drainUntilMs }: Entry): NodeInfo["state"] {
  return drains || drainUntilMs !== undefined ? "draining" : "up";
}
