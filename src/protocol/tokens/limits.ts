/** What users may hold in a cluster, as managers and nodes say it. */
import { type Static, Type } from "@sinclair/typebox";
import { UserName } from "./names.ts";

/** What a user may hold and use in the whole cluster; what is left out has no limit. */
export const UserLimits = Type.Object({
  maxCores: Type.Optional(Type.Integer({ minimum: 0, maximum: 0xffffffff })),
  maxMemoryBytes: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  maxLeases: Type.Optional(Type.Integer({ minimum: 0, maximum: 0xffffffff })),
  coreHours: Type.Optional(
    Type.Object({
      hours: Type.Number({ minimum: 0, maximum: 1e12 }),
      period: Type.Union([Type.Literal("day"), Type.Literal("month")]),
    }),
  ),
});
export type UserLimits = Static<typeof UserLimits>;

/** What a node is told of users with a limit. */
export const UserWord = Type.Object({
  user: UserName,
  /** What the user may hold in the cluster, by the manager's table and the tokens that it has seen. */
  limits: UserLimits,
  /** What the node may let it hold while the manager is away. */
  allowance: UserLimits,
  /** What of its core-hours is the node's to give while the manager is away; left out, no limit. */
  leftCoreNs: Type.Optional(Type.Number({ minimum: 0 })),
  /** Its core-hours are used up in so long: leases end then, and no others are granted. */
  spentInMs: Type.Optional(Type.Number({ minimum: 0 })),
  /** What is so, and what to do. */
  why: Type.Optional(Type.String({ maxLength: 1024 })),
});
export type UserWord = Static<typeof UserWord>;
