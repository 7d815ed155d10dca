/** RDMA through libibverbs and librdmacm: whether this process can use it, what a device can do, and why a connection failed. */
import { check } from "../errors.ts";
import { verbs } from "./symbols.ts";

/** Why this process has no verbs, in words that end with what to do; null when it has. */
export function verbsProblem(): string | null {
  switch (verbs().rfaas_verbs_state()) {
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
  check(`opening ${name}`, verbs().rfaas_verbs_probe(Buffer.from(`${name}\0`), port, out));
  // As long as the shim fills it, which the type of an array cannot say.
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

/** Inline bytes that are asked for by default; a device that can do less gives what it can. */
export const DEFAULT_INLINE_BYTES = 256;
