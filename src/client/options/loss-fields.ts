/** What a lease asks for its losses: when a host counts as lost, and what becomes of the lease then. */
import { Type } from "@sinclair/typebox";
import { choice, milliseconds } from "../../options/fields.ts";
import { MAX_HOST_TIMEOUT_MS, MIN_HOST_TIMEOUT_MS } from "../../protocol/fields.ts";

/** Of each part of a lease. */
export const hostFields = {
  /**
   * How long the process that runs the workers may be stopped, or give no sign of life while calls are in flight, until the node ends it and
   * those calls with it. A function that computes for long is no reason: a thread of its own answers. Default: the node's, 2 s.
   */
  hostTimeoutMs: Type.Optional(
    milliseconds(MIN_HOST_TIMEOUT_MS, MAX_HOST_TIMEOUT_MS, {
      description: "how long its process may be stopped, or give no sign of life in calls",
      otherwise: "the node's",
      flag: true,
    }),
  ),
};

/** Of a lease as a whole. */
export const lossFields = {
  /**
   * What becomes of the lease when it loses workers: `"end"` (default) leaves it with those that are left, and ends it with the last;
   * `"replace"` keeps their number: others take their places, on the same node or another one, with the numbers of those that are lost. They are new:
   * `ctx.state`, variables of the module and {@link Lease.remote} memory are gone.
   */
  onLoss: Type.Optional(
    choice(["end", "replace"], {
      description:
        "what becomes of a lease that loses workers: it goes on with fewer, or gets others",
      default: "end",
      flag: true,
    }),
  ),
};
