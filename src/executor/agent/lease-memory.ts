/**
 * The memory of a lease and the sockets that wake its two ends, on the node: the agent makes them, hands them to the host and to a
 * client on this machine, and then closes its own descriptors.
 */
import { fstatSync } from "node:fs";
import { closeDescriptor, notifyPair, sendDescriptors } from "../../../ffi/descriptors.ts";
import { LeasePage, type RegionShape, createRegion } from "../../../ffi/region.ts";

interface Descriptors {
  memory: number;
  client: [number, number];
  workers: [number, number][];
}

export class LeaseMemory {
  /** The lease's first pages: its counters, and why it is over. */
  readonly page: LeasePage;
  /** All of it. */
  readonly bytes: number;
  /** Of one of its pages: the machine may have huge ones for it. */
  readonly pageBytes: number;
  #fds: Descriptors | undefined;

  /** Throws `NativeError` when the machine has no memory or descriptors for it. */
  constructor(shape: RegionShape) {
    const memory = createRegion(shape);
    const pairs: [number, number][] = [];
    try {
      for (let i = 0; i <= shape.workers; i++) pairs.push(notifyPair());
      this.page = new LeasePage(memory);
      ({ size: this.bytes, blksize: this.pageBytes } = fstatSync(memory));
    } catch (error) {
      for (const fd of [memory, ...pairs.flat()]) closeDescriptor(fd);
      throw error;
    }
    const [client, ...workers] = pairs as [[number, number], ...[number, number][]];
    this.#fds = { memory, client, workers };
  }

  /** The host gets the memory, the client's notify socket, and both ends of each worker's. */
  toHost(mailbox: Uint8Array, nonce: Uint8Array): void {
    const { memory, client, workers } = this.#fds!;
    sendDescriptors(mailbox, nonce, [memory, client[1], ...workers.flat()]);
  }

  /** A client on this machine gets the memory, the host's pidfd, its notify socket and each worker's. */
  toClient(mailbox: Uint8Array, nonce: Uint8Array, pidfd: number): void {
    const { memory, client, workers } = this.#fds!;
    sendDescriptors(mailbox, nonce, [
      memory,
      pidfd,
      client[0],
      ...workers.map(([, notify]) => notify),
    ]);
  }

  /** Host and client have descriptors of their own. */
  closeDescriptors(): void {
    if (!this.#fds) return;
    const { memory, client, workers } = this.#fds;
    for (const fd of [memory, ...client, ...workers.flat()]) closeDescriptor(fd);
    this.#fds = undefined;
  }

  close(): void {
    this.closeDescriptors();
    this.page.close();
  }
}
