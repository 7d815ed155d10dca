/** What a program can ask of a lease: when it takes it, when it renews it, and of the package that its module becomes. */
import { type Static, Type } from "@sinclair/typebox";
import { LAYOUT, MAX_ARENA_BYTES, POLLING, type Polling } from "../../../ffi/layout.ts";
import { MAX_LEASE_CORES, PROJECT_NAME } from "../../protocol/fields.ts";
import type { LeaseEventOf } from "../events/lease-event.ts";
import type { UploadProgress } from "../events/upload-progress.ts";
import { MAX_LEASE_WORKERS } from "./call-options.ts";
import { hostFields, lossFields } from "./loss-fields.ts";
import { roomFields } from "./room-fields.ts";
import {
  MAX_TIMER_MS,
  callback,
  choice,
  milliseconds,
  signalField,
  size,
  truth,
  whole,
} from "../../options/fields.ts";
import { PackageOptions } from "../../package/options.ts";

export const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;
export const DEFAULT_SLOTS = 64;
export const DEFAULT_LOAD_TIMEOUT_MS = 10_000;
export const DEFAULT_TTL_MS = 120_000;
export const DEFAULT_WAIT_TIMEOUT_MS = 30_000;
const MIN_TTL_MS = 100;
const MAX_TTL_MS = 86_400_000;
const MAX_KEEP_WARM_MS = 3_600_000;
const MAX_SPIN_NS = 1_000_000_000;
const MAX_COUNTER = 1e21;

export { PackageOptions };

const uploading = {
  /** Called while a package is sent, to each of several nodes; not at all when the node has it. */
  onProgress: Type.Optional(
    callback<(progress: UploadProgress) => void>({
      description: "receives the progress of an upload",
    }),
  ),
};

export const PushOptions = Type.Object(
  { ...PackageOptions.properties, ...uploading, ...signalField },
  { title: "Bringing a package to a node", call: "rf.packages.push(module, options)" },
);
export type PushOptions = Static<typeof PushOptions>;

const nanoseconds = (description: string) =>
  Type.Number({
    unit: "ns",
    minimum: 0,
    maximum: MAX_COUNTER,
    errorMessage: `must be a number of nanoseconds from 0 to ${MAX_COUNTER}`,
    description,
  });

/** When a lease ends by what it has cost. */
const Budget = Type.Object(
  {
    /** Cores held, times how long. */
    allocationCoreNs: Type.Optional(nanoseconds("cores held, times how long")),
    /** CPU time that was not polling. */
    executionNs: Type.Optional(
      nanoseconds("CPU time that was not polling; short polls are told by samples"),
    ),
    /** CPU time that workers spent polling for the next call. */
    pollingNs: Type.Optional(nanoseconds("CPU time that was polling")),
    calls: Type.Optional(whole(0, MAX_COUNTER, { description: "calls" })),
    /** Bytes of payload, in both directions. */
    bytes: Type.Optional(whole(0, MAX_COUNTER, { description: "bytes of payload" })),
  },
  {
    description: "ends the lease when one of these is reached",
    errorMessage: "must be an object such as { calls: 1000 }",
  },
);

const powersOfTwo = Array.from(
  { length: Math.log2(LAYOUT.maxSlots) + 1 },
  (_, exponent) => 2 ** exponent,
);

const leasing = {
  /**
   * How long the node may keep the lease's process after the release, with the module loaded, for the next lease of the same user,
   * package and options that has this option, too. That lease begins in a millisecond or a few, `ctx.cold` is false, `ctx.state` and
   * the module's variables are as they were, and `init` does not run again; `dispose` runs when the process ends. The node keeps only a
   * process without timers, child processes, sockets, open files or calls that its functions have left; it keeps few, and gives them up
   * for other leases. Leases that share memory alone. Default 0: the process ends with its lease.
   */
  keepWarmMs: Type.Optional(
    milliseconds(0, MAX_KEEP_WARM_MS, {
      description: "how long the process may wait, with its module, for the next such lease",
      default: 0,
      flag: true,
    }),
  ),
  /**
   * Cores of each worker, which the node sets aside and bills: threads and processes that its functions start run on them, and
   * `ctx.cores`, `navigator.hardwareConcurrency`, `nproc`, OpenMP and BLAS see so many. Default 1, at most 1024.
   */
  coresPerWorker: Type.Optional(
    whole(1, MAX_LEASE_CORES, {
      description:
        "cores of each worker, for the threads and processes that functions start; billed",
      default: 1,
      flag: true,
    }),
  ),
  ...hostFields,
  /** What the lease is for, on the bill of its user: up to 64 letters, digits and `. _ @ + -`. Default: what the token says, or nothing. */
  project: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 64,
      pattern: PROJECT_NAME,
      description: "what the lease is for, on its user's bill",
      otherwise: "what the token says, or nothing",
      errorMessage: "must be a name of up to 64 letters, digits and . _ @ + -",
      placeholder: "name",
      flag: true,
    }),
  ),
  /** Registered memory of each part, such as `"512MiB"`; at most 4 GiB less 64 bytes. Default 64 MiB. */
  memory: Type.Optional(
    size(MAX_ARENA_BYTES, "4 GiB less 64 bytes (take several leases)", {
      description: "registered memory",
      default: "64MiB",
    }),
  ),
  ...roomFields,
  /**
   * How workers wait: `"hot"` spins (fastest, a full core), `"warm"` sleeps (no CPU, a wake-up per call), `"adaptive"` spins
   * through gaps that are short. Default: the node's.
   */
  polling: Type.Optional(
    choice(Object.keys(POLLING) as Polling[], {
      description: "how workers wait for calls",
      otherwise: "the node's",
      flag: true,
    }),
  ),
  /** Calls in flight per worker: a power of two up to 1024. Default 64. */
  slots: Type.Optional(
    Type.Unsafe<number>(
      Type.Union(
        powersOfTwo.map((slots) => Type.Literal(slots)),
        {
          description: "calls in flight per worker",
          default: DEFAULT_SLOTS,
          errorMessage: `must be a power of two from 1 to ${LAYOUT.maxSlots}`,
        },
      ),
    ),
  ),
  /** Warm: how long a synchronous caller spins before it blocks. Adaptive: both sides. Default 50 us, about one wake-up. */
  spinNs: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_SPIN_NS,
      unit: "ns",
      description: "how long to spin before blocking",
      default: 50_000,
      errorMessage: `must be a whole number of nanoseconds from 0 to ${MAX_SPIN_NS}`,
    }),
  ),
  /** How long the module may take to load. Default 10 s. */
  loadTimeoutMs: Type.Optional(
    milliseconds(1, MAX_TIMER_MS, {
      description: "how long the module may take to load",
      default: DEFAULT_LOAD_TIMEOUT_MS,
      flag: true,
    }),
  ),
  /**
   * How long the lease lasts without a sign of life. It is renewed in the background, and by every call: this must be longer than
   * the program computes without a call or a turn of its event loop. Default 2 minutes, at most a day.
   */
  ttlMs: Type.Optional(
    milliseconds(MIN_TTL_MS, MAX_TTL_MS, {
      description: "how long the lease lasts without a sign of life",
      default: DEFAULT_TTL_MS,
    }),
  ),
  /**
   * Ends the lease when one of these is reached, such as `{ allocationCoreNs: 3600e9 }` for one core-hour. The node looks every 100 ms
   * (at the CPU time of processes that functions have started every 500 ms), so the lease may use what it uses in that time more.
   */
  budget: Type.Optional(Budget),
  ...PackageOptions.properties,
  ...uploading,
  /** Receives what functions write with `ctx.log`, from the module's `init` on. */
  onLog: Type.Optional(
    callback<(line: LeaseEventOf<"log">) => void>({
      description: "receives the log lines of functions",
    }),
  ),
  ...signalField,
};

export const AllocateOptions = Type.Object(
  {
    /** Worker threads in all, on as many nodes as it takes. Default 1. */
    workers: Type.Optional(
      whole(1, MAX_LEASE_WORKERS, {
        description: "worker threads, over which calls are spread",
        default: 1,
        flag: true,
      }),
    ),
    /**
     * Of several nodes: `"spread"` (default) gives each worker to the emptier of two nodes chosen at random; `"pack"` uses few nodes,
     * full ones first.
     */
    placement: Type.Optional(
      choice(["spread", "pack"], { description: "which nodes to ask", default: "spread" }),
    ),
    /** The most nodes to use. Default: any number. */
    nodes: Type.Optional(
      Type.Union([whole(1, MAX_TIMER_MS, { description: "" }), Type.Literal(Infinity)], {
        description: "the most nodes to use",
        otherwise: "any number",
        errorMessage: "must be a whole number from 1",
      }),
    ),
    /**
     * Whether to wait for room; also where other leases of the user use up what it may hold. What can never be granted is refused at once.
     * Default: a cluster is waited for, a single node is not.
     */
    wait: Type.Optional(
      truth({
        description: "wait while there is no room, or other leases use up the user's limit",
        otherwise: "for a cluster, and not for a single node",
      }),
    ),
    ...lossFields,
    /**
     * How long to wait for room. Loading the module (`loadTimeoutMs`) comes on top, and a few seconds for all else: then a request ends, also where
     * nodes or networks have gone without a word. An upload may take longer, while it makes progress. Default 30 s.
     */
    timeoutMs: Type.Optional(
      milliseconds(0, MAX_TIMER_MS, {
        description: "how long to wait for room",
        default: DEFAULT_WAIT_TIMEOUT_MS,
      }),
    ),
    ...leasing,
  },
  { title: "A lease", call: "rf.allocate(module, options)" },
);
export type AllocateOptions = Static<typeof AllocateOptions>;

/** Whose memory it is. */
export const MemoryOptions = Type.Object(
  {
    /** A worker of the part of the lease that the memory is to lie with. Default: one of the first part that is not lost. */
    worker: Type.Optional(
      whole(0, MAX_LEASE_WORKERS - 1, {
        description: "a worker of the part that the memory is to lie with",
        otherwise: "one of the first part that is not lost",
      }),
    ),
  },
  { title: "Memory of a lease", call: "lease.input(type, length, options)" },
);
export type MemoryOptions = Static<typeof MemoryOptions>;

export const RenewOptions = Type.Object(
  {
    /** How long the lease lasts from now on without a sign of life. Default: as long as it was taken for. */
    ttlMs: Type.Optional(
      milliseconds(MIN_TTL_MS, MAX_TTL_MS, {
        description: "how long the lease lasts from now on",
        otherwise: "as long as it was taken for",
      }),
    ),
    ...signalField,
  },
  { title: "A renewal", call: "lease.renew(options)" },
);
export type RenewOptions = Static<typeof RenewOptions>;

/** Options of methods that only wait. */
export const WaitOptions = Type.Object(signalField, {
  title: "What only waits",
  call: "rf.status(options)",
});
export type WaitOptions = Static<typeof WaitOptions>;
