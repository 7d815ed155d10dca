/**
 * What a host and all that it has started have of the kernel's memory by their descriptors, which no process's own memory shows: what was sent
 * to their sockets and not received, and what epoll instances watch. The agent looks only where there are descriptors enough for that to matter.
 */
import { SocketLook, type SocketUsage, missingSocketModules } from "../../../ffi/children.ts";

/** What a socket holds at most, where a system lets it hold much. */
const BYTES_PER_SOCKET = 8 * 2 ** 20;
/** What the kernel has of each descriptor that an epoll instance watches. */
const BYTES_PER_WATCH = 200;
/** Sums up to this part of what matters are not looked into. */
const LEAST_PART = 1 / 8;
/** So long the agent waits for a look: most find little. */
const WAIT_US = 300;
/** A pause is so many times as long as the look before it. */
const PAUSE_PER_LOOK = 10;
/** Where others have the CPUs, a look takes long, and two are needed to see what is in flight. */
const MAX_PAUSE_MS = 500;

let untold: string | undefined;

/**
 * Why not all that sockets hold can be counted on this machine; undefined where it can. A lease that has sockets is not held to its `heap`
 * then, whatever else bounds it.
 */
export function whyUncounted(): { found: string; fix: string } | undefined {
  untold ??= missingSocketModules().join(" ");
  if (untold === "") return undefined;
  return {
    found: `the kernel does not tell what sockets hold, for want of ${untold}: leases with network or processes can have more memory than their heap`,
    fix: `modprobe -a ${untold}`,
  };
}

export interface HostSockets {
  /** As far as looks have got, where so many descriptors besides those of a bare host could hold `matterBytes`. */
  bytes(descriptors: number, matterBytes: number): number;
  /** A look goes on, whose result is due soon. */
  readonly isLooking: boolean;
  /** The host is gone. */
  close(): void;
}

/** Of a process and what it has started; `look` begins a look. */
export class SocketLooks implements HostSockets {
  readonly #begin: (leastBytes: number, many: boolean) => Pick<SocketLook, "take" | "abandon">;
  #look: Pick<SocketLook, "take" | "abandon"> | undefined;
  #last: SocketUsage = { heldBytes: 0, inFlightBytes: 0, watchBytes: 0 };
  #bytes = 0;
  #nextMs = 0;

  constructor(
    pid: number,
    begin = (leastBytes: number, many: boolean): Pick<SocketLook, "take" | "abandon"> =>
      new SocketLook(pid, leastBytes, many),
  ) {
    this.#begin = begin;
  }

  get isLooking(): boolean {
    return this.#look !== undefined;
  }

  bytes(descriptors: number, matterBytes: number): number {
    const matters = descriptors * BYTES_PER_SOCKET > matterBytes;
    if (!matters && !this.#look) return (this.#bytes = 0);
    const begins = matters && !this.#look && performance.now() >= this.#nextMs;
    if (begins) {
      const leastBytes = LEAST_PART * matterBytes;
      this.#look = this.#begin(leastBytes, BYTES_PER_WATCH * (descriptors / 2) ** 2 > leastBytes);
    }
    const found = this.#look?.take(begins ? WAIT_US : 0);
    if (!found) return this.#bytes;
    this.#look = undefined;
    this.#nextMs = performance.now() + Math.min(MAX_PAUSE_MS, PAUSE_PER_LOOK * found.tookMs);
    // Who passes a descriptor on does not leave it waiting: what is still there at the next look may be counted as its own.
    const inFlight = Math.min(found.inFlightBytes, this.#last.inFlightBytes);
    this.#last = found;
    return (this.#bytes = found.heldBytes + found.watchBytes + inFlight);
  }

  close(): void {
    this.#look?.abandon();
  }
}
