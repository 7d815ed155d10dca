/** A node's own report of its state. */
export interface NodeStatus {
  freeCores: number;
  freeMemoryBytes: number;
  leases: number;
  prewarmedHosts: number;
  /** Hosts that wait for another lease of their module (`keepWarmMs`). */
  keptHosts: number;
  /** Requests that wait for room; 0 where the node does not say. */
  waiting: number;
  /** How long the one that waits longest has waited, in milliseconds; 0 when none waits. */
  longestWaitMs: number;
}
