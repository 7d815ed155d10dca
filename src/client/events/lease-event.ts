/** The events of a lease. */
import { UsageError } from "../../base/errors.ts";
import { nearest } from "../../base/near-names.ts";
import { show } from "../../base/show.ts";
import type { LogLevel } from "../../function/context.ts";

/** What happens to a lease; `part` is a place in {@link Lease.parts}. The last event is `lost` or `released`. */
export type LeaseEvent =
  | { type: "renewed"; part: number; expiresAt: Date }
  /**
   * The part ends at `deadline`, calls that run then are aborted: the node wants its cores back, or the token was revoked or expires.
   * `cause` says which in one word: `"stopping"`, `"drained"`, `"removed"`, `"token-revoked"`, `"token-expires"`; left out by a node that
   * does not say. After `"token-expires"`, a newer token lets it go on, as `renewed` tells.
   */
  | { type: "revoking"; part: number; deadline: Date; message: string; cause?: string }
  | { type: "worker-lost"; part: number; worker: number; message: string }
  /** A function has written a line with `ctx.log`; `dropped` lines of its worker before it were too many to be sent. */
  | {
      type: "log";
      part: number;
      worker: number;
      level: LogLevel;
      message: string;
      data: unknown;
      at: Date;
      dropped: number;
    }
  /** All workers of a part are gone; those of others go on. */
  | { type: "part-lost"; part: number; message: string }
  /** Others have the places and the numbers of workers that were lost, or are taken back; `cold`: as new ones, without their state. */
  | {
      type: "replaced";
      part: number;
      firstWorker: number;
      workers: number;
      node: string;
      cold: boolean;
    }
  /** The last part is gone. */
  | { type: "lost"; part: number; message: string }
  | { type: "released" };

export type LeaseEventOf<Type extends LeaseEvent["type"]> = LeaseEvent & { type: Type };
export const EVENT_TYPES = [
  "renewed",
  "revoking",
  "worker-lost",
  "part-lost",
  "replaced",
  "log",
  "lost",
  "released",
] as const satisfies readonly LeaseEvent["type"][];

/** Throws {@link UsageError} when a program names an unknown event, or passes a listener that is no function. */
export function requireListener(type: unknown, listener: unknown, types: readonly string[]): void {
  if (!types.some((known) => known === type)) {
    const near = typeof type === "string" ? nearest(type, types) : undefined;
    const hint = near === undefined ? "listen" : `did you mean ${JSON.stringify(near)}? Listen`;
    throw new UsageError(
      `there is no event ${show(type)}; ${hint} to ${types.map((known) => JSON.stringify(known)).join(", ")}`,
    );
  }
  if (typeof listener !== "function")
    throw new UsageError(
      `the listener of ${show(type)} must be a function; it is ${show(listener)}; pass the function itself`,
    );
}
