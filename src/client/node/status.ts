/** What a node says of itself now. */
export interface NodeStatus {
  freeCores: number;
  freeMemoryBytes: number;
  leases: number;
  prewarmedHosts: number;
}
