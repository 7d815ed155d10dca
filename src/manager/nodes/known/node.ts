/** What is said of a node: by operators and lists, by itself, and what is wished of it. */
import { formatAddress, parseAddress } from "../../../control/address.ts";
import {
  type Capacity,
  MAX_NODE_CORES,
  MAX_NODE_MEMORY_BYTES,
  MAX_NODE_NAME_CHARACTERS,
  NODE_NAME_PATTERN,
} from "../../../protocol/manager-messages.ts";

/** A node that is named to the manager before it connects. */
export interface ExpectedNode {
  name: string;
  /** Where its agent will listen; empty when that is not known. */
  address: string;
  /** 0 when they are not known, as for its memory; the node tells when it comes. */
  cores: number;
  memoryBytes: number;
}

/** What a node says of itself when it connects. */
export interface Announcement extends ExpectedNode {
  instance: string;
  fabrics: readonly string[];
  machine: string;
  version: string;
}

/** What a node says from time to time. */
export type CapacityReport = Omit<Capacity, "t">;

/** The operator's wishes for a node, in contrast to the node's own reports. */
export interface NodeWish {
  name: string;
  /** Undefined for a node that registered by itself. */
  expected: ExpectedNode | undefined;
  /** Time left until it must be empty; undefined when it may serve. */
  drainLeftMs: number | undefined;
  /** It was told to serve again, and may not have heard it. */
  resumed: boolean;
  /** It was taken out of the cluster, and where it was found; left out for a node that is in it. */
  removedAt?: string;
}

/** Why a node that is there cannot be called or sized like this; undefined when it can. */
export function nodeProblem({ name, cores, memoryBytes }: ExpectedNode): string | undefined {
  if (name.length > MAX_NODE_NAME_CHARACTERS || !new RegExp(NODE_NAME_PATTERN).test(name))
    return `a node's name is 1 to ${MAX_NODE_NAME_CHARACTERS} letters, digits or . _ : - and not ${JSON.stringify(name.slice(0, 40))}; choose another --name`;
  if (!Number.isInteger(cores) || cores < 1 || cores > MAX_NODE_CORES)
    return `a node has 1 to ${MAX_NODE_CORES} cores and not ${cores}; choose another --cores`;
  if (!(memoryBytes >= 0 && memoryBytes <= MAX_NODE_MEMORY_BYTES))
    return `a node has up to ${MAX_NODE_MEMORY_BYTES} bytes of memory and not ${memoryBytes}; choose another --memory`;
  return undefined;
}

/** The address as all write it; undefined where it is none. */
export function normalAddress(text: string): string | undefined {
  try {
    return formatAddress(parseAddress(text));
  } catch {
    return undefined;
  }
}
