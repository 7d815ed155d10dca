/** A node's cores and memory, and who has them. Pure bookkeeping: the node is the only authority over its capacity. */

export interface Share {
  cpus: readonly number[];
  memoryBytes: number;
}

export class Capacity {
  readonly #freeCpus: number[];
  #freeMemoryBytes: number;
  readonly totalCores: number;
  readonly totalMemoryBytes: number;

  constructor(cpus: readonly number[], memoryBytes: number) {
    this.#freeCpus = [...cpus];
    this.#freeMemoryBytes = memoryBytes;
    this.totalCores = cpus.length;
    this.totalMemoryBytes = memoryBytes;
  }

  get freeCores(): number {
    return this.#freeCpus.length;
  }

  get freeMemoryBytes(): number {
    return this.#freeMemoryBytes;
  }

  /** Takes cores and memory, or says in words what is missing. */
  take(workers: number, memoryBytes: number): Share | string {
    if (workers > this.totalCores)
      return `the node has ${this.totalCores} cores for leases and ${workers} are asked for; ask for fewer workers or serve with --cores ${workers}`;
    if (memoryBytes > this.totalMemoryBytes)
      return `the node has ${this.totalMemoryBytes} bytes for leases and ${memoryBytes} are asked for; ask for less memory or serve with more --memory`;
    if (workers > this.#freeCpus.length)
      return `${this.#freeCpus.length} of ${this.totalCores} cores are free and ${workers} are asked for; release another lease or try again later`;
    if (memoryBytes > this.#freeMemoryBytes)
      return `${this.#freeMemoryBytes} of ${this.totalMemoryBytes} bytes are free and ${memoryBytes} are asked for; release another lease or ask for less memory`;
    this.#freeMemoryBytes -= memoryBytes;
    return { cpus: this.#freeCpus.splice(0, workers), memoryBytes };
  }

  /** Gives a share back. */
  give(share: Share): void {
    this.#freeCpus.push(...share.cpus);
    this.#freeCpus.sort((a, b) => b - a);
    this.#freeMemoryBytes += share.memoryBytes;
  }
}
