/**
 * Counters in the manager's memory that nodes raise by remote atomics: {@link CounterPort} and {@link Counters} are the manager's
 * side, {@link Adder} is a node's.
 */
import type { Pointer } from "bun:ffi";
import { NativeError, check } from "../errors.ts";
import type { LinkState } from "../link.ts";
import { verbs } from "./symbols.ts";
import { LINK_FAILURE } from "./verbs.ts";

/** Of a row; `RFAAS_COUNTERS_PER_ROW`. */
export const COUNTERS_PER_ROW = 5;
const EAGAIN = -11;
const ENOTCONN = -107;

/** Where nodes connect: one device, a thread of the shim's own. */
export class CounterPort {
  readonly #handle: Pointer;

  /** Listens on the device that has `address`, a number, at a port of the kernel's choice. Throws `NativeError`. */
  constructor(address: string) {
    const bytes = Buffer.from(`${address}\0`);
    this.#handle = check(
      `listening for counters at ${address}`,
      verbs().rfaas_counter_port_open(bytes),
    ) as Pointer;
  }

  get port(): number {
    return verbs().rfaas_counter_port_number(this.#handle);
  }

  /** Whether its device is still there. */
  get sound(): boolean {
    const out = new Int32Array(new ArrayBuffer(12));
    verbs().rfaas_counter_port_state(this.#handle, out);
    return out[0] === LINK_FAILURE.sound;
  }

  /** Sets `rows` of zeros aside for the one node that knows the 16-byte `nonce`. Throws `NativeError`. */
  open(nonce: Uint8Array, rows: number): Counters {
    const handle = verbs().rfaas_counters_open(this.#handle, nonce, rows);
    return new Counters(check("registering counters", handle) as Pointer, rows);
  }

  /** Ends the connections of all its nodes. Their counters must not be used any more, and need not be closed. */
  close(): void {
    verbs().rfaas_counter_port_close(this.#handle);
  }
}

const STATES = ["awaited", "connected", "lost"] as const;

/** The rows of one node. */
export class Counters {
  readonly rows: number;
  readonly #handle: Pointer;

  constructor(handle: Pointer, rows: number) {
    this.#handle = handle;
    this.rows = rows;
  }

  get state(): (typeof STATES)[number] {
    return STATES[verbs().rfaas_counters_state(this.#handle)]!;
  }

  /** Writes the {@link COUNTERS_PER_ROW} counters of a row to `out`. Each is whole; they are not of one moment. */
  read(row: number, out: Float64Array<ArrayBuffer>): void {
    check("reading counters", verbs().rfaas_counters_read(this.#handle, row, out));
  }

  /** Sets a row to zeros. Its node must have nothing under way to it. */
  clear(row: number): void {
    check("clearing counters", verbs().rfaas_counters_clear(this.#handle, row));
  }

  /** Disconnects the node, and frees the memory. */
  close(): void {
    verbs().rfaas_counters_close(this.#handle);
  }
}

/** A node's connection to its rows. No call of it waits. */
export class Adder {
  readonly #handle: Pointer;

  /** Begins to connect; {@link state} tells what becomes of it. Throws `NativeError`. */
  constructor(to: { address: string; port: number; nonce: Uint8Array }) {
    const address = Buffer.from(`${to.address}\0`);
    this.#handle = check(
      "connecting to the manager's counters",
      verbs().rfaas_adder_open(address, to.port, to.nonce),
    ) as Pointer;
  }

  get state(): LinkState & { rows: number } {
    const out = new Int32Array(new ArrayBuffer(20));
    verbs().rfaas_adder_state(this.#handle, out);
    const [failure, detail, of, ready, rows] = out as unknown as [
      number,
      number,
      number,
      number,
      number,
    ];
    return { ready: ready !== 0, failure, detail, of, inlineBytes: 0, rows };
  }

  /**
   * Begins to add whole numbers to the counters of a row; the manager's device refuses a row that there is not, and the connection
   * ends. Returns how many adds that are, or null while too many are under way. Throws `NativeError` for anything but a lost
   * connection, which {@link state} tells.
   */
  add(row: number, deltas: Float64Array<ArrayBuffer>): number | null {
    const posted = verbs().rfaas_adder_add(this.#handle, row, deltas);
    if (posted === EAGAIN || posted === ENOTCONN) return null;
    if (posted < 0) throw new NativeError("adding to counters", posted);
    return posted;
  }

  /** How many adds are done. They are done in the order in which they were begun. */
  completed(): number {
    return verbs().rfaas_adder_completed(this.#handle);
  }

  close(): void {
    verbs().rfaas_adder_close(this.#handle);
  }
}
