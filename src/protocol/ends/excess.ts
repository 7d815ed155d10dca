/** A bound of the node that a lease has crossed, and has ended with: as data, and in words. */
import { type Static, Type } from "@sinclair/typebox";

export const Excess = Type.Object({
  /** Memory besides the registered one, in bytes; or processes and threads. */
  what: Type.Union([Type.Literal("heap"), Type.Literal("tasks")]),
  used: Type.Number({ minimum: 0 }),
  bound: Type.Number({ minimum: 0 }),
  /** Of a heap: what of it were files, in its scratch folder. */
  files: Type.Optional(Type.Number({ minimum: 0 })),
  /** Of a heap: what of it the kernel held for its sockets and other descriptors. */
  sockets: Type.Optional(Type.Number({ minimum: 0 })),
});
export type Excess = Static<typeof Excess>;

/** What was crossed, and what to do. A `bound` of 0 is not known. */
export function describeExcess({ what, used, bound, files = 0, sockets = 0 }: Excess): string {
  if (what === "tasks") {
    const most = bound === 0 ? "more than a lease may" : `and may have ${bound}`;
    return `it had ${used} processes and threads, ${most}; let its functions start fewer`;
  }
  const most = bound === 0 ? "" : `, and its heap is ${mebibytes(bound)}`;
  const parts = [
    ...(files === 0 ? [] : [`${mebibytes(files)} of it files in its scratch folder`]),
    ...(sockets === 0 ? [] : [`${mebibytes(sockets)} of it data in its sockets`]),
  ];
  const ofIt = parts.length === 0 ? "" : ` (${parts.join(", ")})`;
  return `out of memory: besides its registered memory it had ${mebibytes(used)}${ofIt}${most}; keep less, or ask for a larger heap`;
}

/**
 * As a number in the lease's memory: KiB, or processes and threads below zero. The bound travels with the grant, or with the node's
 * message.
 */
export const packExcess = ({ what, used }: Excess): number =>
  what === "heap" ? Math.min(2 ** 31 - 1, Math.ceil(used / 1024)) : -Math.min(2 ** 31 - 1, used);

export const unpackExcess = (detail: number, heapBytes: number): Excess =>
  detail < 0
    ? { what: "tasks", used: -detail, bound: 0 }
    : { what: "heap", used: 1024 * detail, bound: heapBytes };

const mebibytes = (bytes: number): string => `${Number((bytes / 2 ** 20).toFixed(1))} MiB`;
