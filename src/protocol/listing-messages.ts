/** Control messages about the leases that a node has, for whoever wants to look at them. */
import { type Static, Type } from "@sinclair/typebox";
import { count, index, text } from "./fields.ts";
import { Usage } from "./usage.ts";

/** More are not told; a node has hardly as many cores. */
export const MAX_LISTED = 4096;
/** Longer names of modules are cut. */
export const MAX_LISTED_NAME = 256;

const time = Type.Number({ minimum: 0, maximum: 8.64e15 });

/** A lease as those see it who may: the node's own user all of them, another user those of that user. */
export const ListedLease = Type.Object({
  lease: count,
  user: text,
  /** As its client calls it. */
  module: Type.String({ maxLength: MAX_LISTED_NAME }),
  workers: count,
  coresPerWorker: count,
  memoryBytes: Type.Number({ minimum: 0 }),
  fabric: text,
  phase: Type.Union([
    Type.Literal("loading"),
    Type.Literal("active"),
    Type.Literal("revoking"),
    Type.Literal("ending"),
  ]),
  startedAtMs: time,
  usage: Usage,
});
export type ListedLease = Static<typeof ListedLease>;

export const AskLeases = Type.Object({ t: Type.Literal("ask-leases"), id: count });
export const Leases = Type.Object({
  t: Type.Literal("leases"),
  id: count,
  draining: Type.Boolean(),
  freeCores: index,
  freeMemoryBytes: Type.Number({ minimum: 0 }),
  /** All that there are, also those that are not shown. */
  total: index,
  shown: Type.Array(ListedLease, { maxItems: MAX_LISTED }),
});
export type Leases = Static<typeof Leases>;
