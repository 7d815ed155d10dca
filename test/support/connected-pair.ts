/** Two control connections, each the other's peer, over memory. */
import type { Connection, Wire, WireEvents } from "../../src/control/connection.ts";

/** A socket of memory: what is written comes to the peer in another turn, as from a kernel. */
class MemoryWire implements Wire {
  readonly #peer: WireEvents;
  #open = true;
  /** Whether the connection keeps the process alive. */
  refs = true;

  constructor(peer: WireEvents) {
    this.#peer = peer;
  }

  write(bytes: Uint8Array): number {
    if (!this.#open) return 0;
    const copy = bytes.slice();
    setImmediate(() => this.#peer.received(copy));
    return bytes.length;
  }

  end(): void {
    if (!this.#open) return;
    this.#open = false;
    setImmediate(() => this.#peer.close());
  }

  terminate(): void {
    this.end();
  }

  ref(): void {
    this.refs = true;
  }

  unref(): void {
    this.refs = false;
  }
}

/** Opens both, and returns their ends. */
export function connectedPair(
  one: Connection<any, any>,
  other: Connection<any, any>,
): [MemoryWire, MemoryWire] {
  const ends: [MemoryWire, MemoryWire] = [new MemoryWire(other), new MemoryWire(one)];
  one.opened(ends[0]);
  other.opened(ends[1]);
  return ends;
}
