/** A node's cores and memory, and who has them. Pure bookkeeping: the node is the only authority over its capacity. */

export interface Share {
  /** Those of one worker lie side by side. */
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

  /** Takes cores and memory, or says in words what is missing. The cores of a worker are near each other where they can be. */
  take(workers: number, memoryBytes: number, coresPerWorker = 1): Share | string {
    const cores = workers * coresPerWorker;
    const asked =
      coresPerWorker === 1
        ? `${workers} ${workers === 1 ? "is" : "are"} asked for`
        : `${cores} are asked for, ${coresPerWorker} for each worker`;
    if (cores > this.totalCores)
      return `the node has ${this.totalCores} ${this.totalCores === 1 ? "core" : "cores"} for leases and ${asked}; ask for fewer workers, or serve with --cores ${cores} (a private node: invoker({ cores: ${cores} }))`;
    if (memoryBytes > this.totalMemoryBytes)
      return `the node has ${this.totalMemoryBytes} bytes for leases and ${memoryBytes} are asked for; ask for less memory or heap, or serve with more --memory (a private node: invoker({ memory }))`;
    if (cores > this.#freeCpus.length)
      return `${this.#freeCpus.length} of ${this.totalCores} cores are free and ${asked}; release another lease or try again later`;
    if (memoryBytes > this.#freeMemoryBytes)
      return `${this.#freeMemoryBytes} of ${this.totalMemoryBytes} bytes are free and ${memoryBytes} are asked for; release another lease or ask for less memory or heap`;
    this.#freeMemoryBytes -= memoryBytes;
    const cpus = Array.from({ length: workers }, () => this.#takeNear(coresPerWorker)).flat();
    return { cpus, memoryBytes };
  }

  /** The best CPU; of several, those whose numbers are nearest to each other, since they share caches and memory. */
  #takeNear(count: number): number[] {
    const free = this.#freeCpus;
    // They are sorted, from the best on; a negative one is no CPU, and near to none.
    const known = free.findIndex((cpu) => cpu < 0);
    const last = (known < 0 ? free.length : known) - count;
    let best = 0;
    for (let from = 1; from <= last; from++)
      if (spread(free, from, count) < spread(free, best, count)) best = from;
    return free.splice(best, count);
  }

  /** Gives a share back. */
  give(share: Share): void {
    this.#freeCpus.push(...share.cpus);
    this.#freeCpus.sort((a, b) => b - a);
    this.#freeMemoryBytes += share.memoryBytes;
  }
}

const spread = (sorted: readonly number[], from: number, count: number): number =>
  sorted[from]! - sorted[from + count - 1]!;
