/**
 * Counters in the memory of one process that another process raises remotely, which a fabric may have. The owner of the memory sets
 * rows of zeros aside for each peer and reads them; its processor takes no part in an add.
 */

/** Of a row, on every fabric. Counters are 64 bits and only grow. */
export const COUNTERS_PER_ROW = 5;

/** Where a peer connects, and the 16 bytes that it shows there. */
export interface CounterAddress {
  address: string;
  port: number;
  nonce: Uint8Array;
}

export interface OneSidedCounters {
  /** Where this process can listen, best first. Throws {@link FabricUnavailable}. */
  addresses(): string[];
  /** Listens at an address, a number, at a port of the kernel's choice. Throws `NativeError`. */
  listen(address: string): CounterPort;
  /** Begins to connect to rows; the link's state tells what becomes of it. Throws `NativeError`. */
  connect(to: CounterAddress): CounterLink;
}

export interface CounterPort {
  readonly port: number;
  /** Whether its device is still there. */
  readonly sound: boolean;
  /** Sets rows of zeros aside for the one peer that knows the nonce. Throws `NativeError`. */
  open(nonce: Uint8Array, rows: number): CounterSet;
  /** Ends all connections. Sets must not be used any more, and need not be closed. */
  close(): void;
}

/** The rows of one peer. */
export interface CounterSet {
  readonly rows: number;
  readonly state: "awaited" | "connected" | "lost";
  /** Writes a row to `out`. Each counter is whole; they are not of one moment. */
  read(row: number, out: Float64Array<ArrayBuffer>): void;
  /** Sets a row to zeros. Its peer must have nothing under way to it. */
  clear(row: number): void;
  /** Disconnects the peer, and frees the memory. */
  close(): void;
}

/** A peer's connection to its rows. No call of it waits. */
export interface CounterLink {
  readonly state: CounterLinkState;
  /** Begins to add whole numbers to a row, and says how many adds that are; null when it cannot now. Throws `NativeError`. */
  add(row: number, deltas: Float64Array<ArrayBuffer>): number | null;
  /** How many adds are done. They are done in the order in which they were begun. */
  completed(): number;
  close(): void;
}

export interface CounterLinkState {
  /** Connected. */
  ready: boolean;
  rows: number;
  /** What ended it, or why it could not be set up, in a few words; undefined while it is sound. */
  problem: string | undefined;
  /** Whether its own device was removed. */
  deviceRemoved: boolean;
}
