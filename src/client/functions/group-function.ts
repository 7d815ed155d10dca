/** A function of a group: each call goes to the lease with the fewest calls for each of its workers. */
import { DeadlineExceeded, LeaseLost, WorkerLost } from "../../base/errors.ts";
import type { StructFields } from "../../codec/struct.ts";
import {
  type InvokeOptions,
  type SubmitOptions,
  type ValueBroadcastOptions,
  checkSubmitOptions,
} from "../options/call-options.ts";
import type { StructFunction } from "./struct-function.ts";
import type { TypedFunction } from "./value-function.ts";
import { mapOf } from "../map/values.ts";

type Handle = TypedFunction<unknown, unknown> | StructFunction<StructFields, StructFields>;

interface Member {
  workers: number;
  handle: Handle;
  calls: number;
  lost: boolean;
}

/** One handle made of those of all leases; they are all of the same kind. */
export function joinFunctions(
  handles: readonly { handle: unknown; workers: number; slots: number }[],
): unknown {
  const members = handles.map(({ handle, workers }): Member => ({
    handle: handle as Handle,
    workers,
    calls: 0,
    lost: false,
  }));
  let turn = 0;
  const next = (): Member => {
    const there = members.filter(({ lost }) => !lost);
    // When all are lost, the first says so.
    if (there.length === 0) return members[0]!;
    turn++;
    let best = there[turn % there.length]!;
    for (const member of there)
      if (member.calls / member.workers < best.calls / best.workers) best = member;
    return best;
  };
  const through = <Result>(member: Member, call: () => Result): Result => {
    try {
      return call();
    } catch (error) {
      member.lost ||= error instanceof WorkerLost || error instanceof LeaseLost;
      throw error;
    }
  };
  const attempt = async (value: unknown, options: SubmitOptions | undefined): Promise<unknown> => {
    const member = next();
    member.calls++;
    try {
      return await member.handle(value as never, options);
    } catch (error) {
      return through(member, () => {
        throw error;
      });
    } finally {
      member.calls--;
    }
  };
  /** A lease repeats what it can; a lease that is lost leaves its calls to the others. */
  const call = async (value: unknown, options?: SubmitOptions): Promise<unknown> => {
    if (options !== undefined) checkSubmitOptions(options);
    const began = performance.now();
    for (let left = options?.retries ?? 0; ; left--)
      try {
        return await attempt(value, withinDeadline(options, performance.now() - began));
      } catch (error) {
        const elsewhere = members.some(({ lost }) => !lost);
        const wasLost = error instanceof WorkerLost || error instanceof LeaseLost;
        if (left <= 0 || !wasLost || !elsewhere) throw error;
      }
  };
  const broadcast = async (value: unknown, options?: ValueBroadcastOptions): Promise<unknown> =>
    (
      await Promise.all(members.map(({ handle }) => handle.broadcast(value as never, options)))
    ).flat();
  const map = mapOf(call, {
    workers: members.reduce((sum, { workers }) => sum + workers, 0),
    slots: Math.min(...handles.map(({ slots }) => slots)),
  });
  const dispose = () => members.forEach(({ handle }) => handle[Symbol.dispose]());
  const first = members[0]!.handle;
  if ("slot" in first) {
    const { input, output, invoke, submit } = first;
    const slot = () => {
      const { handle } = next();
      return "slot" in handle ? handle.slot() : undefined;
    };
    return Object.assign(call, {
      ...{ input, output, invoke, submit, slot, map, broadcast },
      [Symbol.dispose]: dispose,
    });
  }
  const invoke = (value: unknown, options?: InvokeOptions): unknown => {
    const member = next();
    return through(member, () => (member.handle as typeof first).invoke(value, options));
  };
  return Object.assign(call, { invoke, map, broadcast, [Symbol.dispose]: dispose });
}

/** A deadline covers all attempts. */
function withinDeadline(
  options: SubmitOptions | undefined,
  passedMs: number,
): SubmitOptions | undefined {
  if (options?.deadlineMs === undefined) return options;
  const leftMs = options.deadlineMs - passedMs;
  if (leftMs <= 0) throw new DeadlineExceeded(options.deadlineMs);
  return { ...options, deadlineMs: leftMs };
}
