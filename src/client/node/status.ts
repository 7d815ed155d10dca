/** A node's own report of its state. */
export interface NodeStatus {
  freeCores: number;
  freeMemoryBytes: number;
  leases: number;
  prewarmedHosts: number;
  /** Hosts that wait for another lease of their module (`keepWarmMs`). */
  keptHosts: number;
}
