/** What a program can ask of a pool. */
import { type Static, Type } from "@sinclair/typebox";
import { MAX_TIMER_MS, choice, milliseconds, whole } from "../../options/fields.ts";
import { AllocateOptions } from "./allocate-options.ts";
import { MAX_LEASE_WORKERS } from "./call-options.ts";

const MAX_CONCURRENCY = 1024;
const MAX_QUEUED = 2 ** 31 - 1;

const { workers: _, nodes: __, wait: ___, onLoss: ____, ...leasing } = AllocateOptions.properties;

/** Options of each of its leases, which have one worker, replace what they lose, and are taken where there is room; and: */
export const PoolOptions = Type.Object(
  {
    /** Workers that it always has. Default 1. */
    min: Type.Optional(
      whole(0, MAX_LEASE_WORKERS, { description: "workers that it always has", default: 1 }),
    ),
    /** The most workers that it takes. Default 4, or `min`. */
    max: Type.Optional(
      whole(1, MAX_LEASE_WORKERS, {
        description: "the most workers that it takes",
        otherwise: "4, or min",
      }),
    ),
    /** How long a worker beyond `min` may have no call before it is given back. Default 30 s. */
    idleMs: Type.Optional(
      milliseconds(1, MAX_TIMER_MS, {
        description: "how long a worker may have no call before it is given back",
        default: 30_000,
      }),
    ),
    /** Calls that a worker gets at a time: 1 for functions that compute, more for those that wait. Default 1. */
    concurrency: Type.Optional(
      whole(1, MAX_CONCURRENCY, {
        description: "calls that a worker gets at a time",
        default: 1,
      }),
    ),
    /** Calls that may wait for a worker. Default 1000. */
    maxQueued: Type.Optional(
      whole(0, MAX_QUEUED, { description: "calls that may wait for a worker", default: 1000 }),
    ),
    /** What becomes of a call when so many wait: it is refused with {@link QueueFull}, or waits all the same. Default `"refuse"`. */
    whenFull: Type.Optional(
      choice(["refuse", "wait"], {
        description: "what becomes of a call when so many wait",
        default: "refuse",
      }),
    ),
    ...leasing,
  },
  { title: "A pool of workers", call: "rf.pool(module, options)" },
);
export type PoolOptions = Static<typeof PoolOptions>;
