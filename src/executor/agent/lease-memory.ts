/**
 * The memory of a lease and the sockets that wake its two ends, on the node: the agent makes them, hands them to the host and to a
 * client on this machine, and then closes its own descriptors. A host that is kept has them before there is a client.
 */
import { fstatSync, writeSync } from "node:fs";
import {
  type MailSender,
  type MailSlot,
  closeDescriptor,
  notifyPair,
} from "../../../ffi/descriptors.ts";
import type { Polling } from "../../../ffi/layout.ts";
import { LeasePage, type RegionShape, createRegion } from "../../../ffi/region.ts";
import type { Allocate } from "../../protocol/lease-messages.ts";
import type { Resume } from "../../protocol/host-messages.ts";

/** What the system counts files in, whatever their pages. */
const BLOCK_BYTES = 512;
const HUGE_PAGE_BYTES = 2 * 1024 * 1024;

/** Spin budgets when a lease names none: a little more than one wake-up takes; a waiting client blocks after the same time. */
const DEFAULT_SPIN_NS: Record<Polling, number> = { hot: 0, warm: 50_000, adaptive: 50_000 };
/** The shape of a lease's memory, on a node whose workers wait as `usual` where the lease does not say. */
export function shapeOf(request: Allocate, usual: Polling): RegionShape {
  const { workers, slots, memoryBytes: arenaBytes } = request;
  const polling = request.polling ?? usual;
  return {
    workers,
    slots,
    arenaBytes,
    polling,
    spinNs: request.spinNs ?? DEFAULT_SPIN_NS[polling],
  };
}

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
  /** What it takes before the arena is used: of huge pages all are set aside. */
  readonly takenBytes: number;
  readonly #shape: RegionShape;
  #fds: Descriptors | undefined;

  /** Throws `NativeError` when the machine has no memory or descriptors for it. */
  constructor(shape: RegionShape) {
    this.#shape = shape;
    const memory = createRegion(shape);
    const pairs: [number, number][] = [];
    try {
      for (let i = 0; i <= shape.workers; i++) pairs.push(notifyPair());
      this.page = new LeasePage(memory);
      const { size, blksize, blocks } = fstatSync(memory);
      [this.bytes, this.pageBytes] = [size, blksize];
      this.takenBytes = blksize >= HUGE_PAGE_BYTES ? size : blocks * BLOCK_BYTES;
    } catch (error) {
      for (const fd of [memory, ...pairs.flat()]) closeDescriptor(fd);
      throw error;
    }
    const [client, ...workers] = pairs as [[number, number], ...[number, number][]];
    this.#fds = { memory, client, workers };
  }

  /** The host gets the memory, the client's notify socket, and both ends of each worker's. */
  toHost(mailbox: MailSlot, nonce: Uint8Array): void {
    const { memory, client, workers } = this.#fds!;
    mailbox.send(nonce, [memory, client[1], ...workers.flat()]);
  }

  /** Makes memory for the next lease and gives it to the host, to take the place of this one. Throws where it cannot be had. */
  successor(mailbox: MailSlot, nonce: Uint8Array): LeaseMemory {
    const next = new LeaseMemory(this.#shape);
    try {
      if (next.bytes !== this.bytes || next.pageBytes !== this.pageBytes)
        throw new Error("the machine has pages of another size alone");
      next.toHost(mailbox, nonce);
      return next;
    } catch (error) {
      next.close();
      throw error;
    }
  }

  /** A client on this machine gets the memory, the host's pidfd, its notify socket and each worker's. */
  toClient(sender: MailSender, mailbox: Uint8Array, nonce: Uint8Array, pidfd: number): void {
    const { memory, client, workers } = this.#fds!;
    sender.send(mailbox, nonce, [memory, pidfd, client[0], ...workers.map(([, notify]) => notify)]);
  }

  /** To a host at rest that has the memory: its workers resume, each as its order says. */
  resume(orders: readonly Resume[]): void {
    for (const [worker, [, notify]] of this.#fds!.workers.entries())
      writeSync(notify, `${JSON.stringify(orders[worker])}\n`);
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
