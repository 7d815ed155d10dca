/** RDMA through libibverbs and librdmacm: whether it can be had, and the connections of one lease. */
import type { Pointer } from "bun:ffi";
import { check } from "./errors.ts";
import { native } from "./library.ts";
import type { Region } from "./region.ts";

/** Why this process has no verbs, in words that end with what to do; null when it has. */
export function verbsProblem(): string | null {
  switch (native().rfaas_verbs_state()) {
    case 0:
      return null;
    case 1:
      return "this executable was built without the RDMA headers; install libibverbs-dev and librdmacm-dev and build it again";
    case 2:
      return "libibverbs.so.1 cannot be opened; install libibverbs1 and ibverbs-providers";
    case 3:
      return "librdmacm.so.1 cannot be opened; install librdmacm1";
    default:
      return "libibverbs or librdmacm is too old; install rdma-core 32 or later";
  }
}

export interface DeviceLimits {
  /** Bytes that may travel inside a work request. */
  inlineBytes: number;
  /** Work requests that a queue pair may hold. */
  workRequests: number;
  longestMessageBytes: number;
  readsInFlight: number;
  atomics: boolean;
}

/** What a device can do, found by opening it and creating a queue pair. Throws `NativeError`. */
export function probeDevice(name: string, port: number): DeviceLimits {
  const out = new Float64Array(new ArrayBuffer(40));
  check(`opening ${name}`, native().rfaas_verbs_probe(text(name), port, out));
  const [inlineBytes, workRequests, longestMessageBytes, readsInFlight, atomics] =
    out as unknown as [number, number, number, number, number];
  return {
    inlineBytes,
    workRequests,
    longestMessageBytes,
    readsInFlight,
    atomics: atomics !== 0,
  };
}

/** Why a link or an end of it does not work. `enum rfaas_verbs_failure`. */
export const LINK_FAILURE = {
  sound: 0,
  completion: 1,
  disconnected: 2,
  deviceRemoved: 3,
  protocol: 4,
  setup: 5,
  rejected: 6,
  timedOut: 7,
  post: 8,
} as const;

/** What was being done when a set-up failed. `enum rfaas_verbs_stage`. */
export const LINK_STAGE = {
  resources: 0,
  address: 1,
  route: 2,
  register: 3,
  queues: 4,
  connect: 5,
  listen: 6,
} as const;

export interface LinkState {
  /** Listening, or connected with every worker. */
  ready: boolean;
  /** One of {@link LINK_FAILURE}. */
  failure: number;
  /** A completion's status, an errno, or a reason. */
  detail: number;
  /** What failed: a kind of work, or one of {@link LINK_STAGE}. */
  of: number;
  /** Bytes that travel inside a work request; of a worker's end only. */
  inlineBytes: number;
}

/** Inline bytes that are asked for when nobody says; a device that can do less gives what it can. */
export const DEFAULT_INLINE_BYTES = 256;

/** The queue pairs between a client and the workers of one lease. A thread of the shim sets them up and watches them. */
export class Link {
  /** For endpoints. */
  readonly handle: number;
  #open = true;

  private constructor(handle: number) {
    if (handle === 0)
      throw new RangeError(verbsProblem() ?? "out of memory for a link; lease fewer workers");
    this.handle = handle;
  }

  /**
   * Begins to connect to a node's `address`, which is a number and no name. `source` chooses this side's device by its address,
   * `""` leaves it to the routing table. `notifyFd` gets a byte whenever {@link state} changes.
   */
  static connect(
    region: Region,
    to: { address: string; port: number; nonce: Uint8Array; source: string },
    notifyFd: number,
    inlineBytes: number,
  ): Link {
    return new Link(
      native().rfaas_link_connect(
        region.handle as Pointer,
        text(to.source),
        text(to.address),
        to.port,
        to.nonce,
        notifyFd,
        inlineBytes,
      ),
    );
  }

  /** Begins to listen on the device that has `address`, for the one client that knows the 16-byte `nonce`. */
  static listen(
    region: Region,
    at: { address: string; nonce: Uint8Array },
    notifyFd: number,
    inlineBytes: number,
  ): Link {
    return new Link(
      native().rfaas_link_listen(
        region.handle as Pointer,
        text(at.address),
        at.nonce,
        notifyFd,
        inlineBytes,
      ),
    );
  }

  /** Where it listens; 0 for a client's. */
  get port(): number {
    return native().rfaas_link_port(this.handle as Pointer);
  }

  /** Of the whole link, or of one worker's end. */
  state(worker = -1): LinkState {
    const out = new Int32Array(new ArrayBuffer(20));
    native().rfaas_link_state(this.handle as Pointer, worker, out);
    const [ready, failure, detail, of, inlineBytes] = out as unknown as [
      number,
      number,
      number,
      number,
      number,
    ];
    return { ready: ready !== 0, failure, detail, of, inlineBytes };
  }

  /** Disconnects and frees every verbs object. Endpoints must be closed, the region must still be mapped. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native().rfaas_link_close(this.handle as Pointer);
  }
}

function text(value: string): Uint8Array {
  return Buffer.from(`${value}\0`);
}
