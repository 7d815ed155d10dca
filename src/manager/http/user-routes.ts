/** The operations on users: what they may hold in the cluster, and what they hold. */
import { type Static, Type } from "@sinclair/typebox";
import { UserLimits } from "../../protocol/tokens/limits.ts";
import { UserName } from "../../protocol/token.ts";
import { type Manager, HttpError, type Operation, checked, operation } from "./operation.ts";
import type { Viewer } from "../tokens/viewer.ts";

const holding = {
  cores: Type.Integer({ minimum: 0 }),
  memoryBytes: Type.Number({ minimum: 0 }),
  leases: Type.Integer({ minimum: 0 }),
};

/** A user as operators see it. */
export const UserStatus = Type.Object({
  user: UserName,
  /** By the manager's table. */
  limits: UserLimits,
  held: Type.Object(holding),
  nodes: Type.Array(Type.Object({ node: Type.String(), ...holding })),
  /** In the present period, where there is a limit. */
  usedCoreHours: Type.Optional(Type.Number({ minimum: 0 })),
});
export type UserStatus = Static<typeof UserStatus>;

/** Null takes a limit away; what is left out stays. */
const NewLimits = Type.Object(
  Object.fromEntries(
    Object.entries(UserLimits.properties).map(([name, schema]) => [
      name,
      Type.Optional(Type.Union([schema, Type.Null()])),
    ]),
  ),
  { additionalProperties: false },
);

export const USER_OPERATIONS: readonly Operation[] = [
  operation({
    ...{ method: "GET", path: "/v1/users", id: "listUsers", scope: "read" },
    summary:
      "users who have a limit or hold something; a token that takes leases shows its own user",
    answers: { 200: Type.Object({ users: Type.Array(UserStatus) }) },
    run: (manager, { viewer }) => ({
      status: 200,
      body: { users: usersOf(manager, viewer).map((user) => statusOf(manager, user)) },
    }),
  }),
  operation({
    ...{ method: "GET", path: "/v1/users/{name}", id: "getUser", scope: "read" },
    summary: "what a user may hold, holds and has used",
    answers: { 200: UserStatus },
    run: (manager, { name, viewer }) => {
      if (viewer && !viewer.seesAll && name !== viewer.user)
        throw new HttpError(
          404,
          "RFAAS_NOT_FOUND",
          `the token of ${viewer.user} shows no other user; ask for one with --scope read alone, or admin`,
        );
      return { status: 200, body: statusOf(manager, checked(UserName, name)) };
    },
  }),
  operation({
    ...{ method: "POST", path: "/v1/users/{name}", id: "setUser", scope: "admin" },
    summary: "what a user may hold from now on; null takes a limit away",
    body: NewLimits,
    answers: { 200: UserStatus },
    run: async (manager, { name, body }) => {
      const user = checked(UserName, name);
      await setLimits(manager.limits, user, body);
      return { status: 200, body: statusOf(manager, user) };
    },
  }),
];

/** Keeps a user's limits. Rejects with `EnvironmentError`. */
export async function setLimits(
  table: Manager["limits"],
  user: string,
  wanted: Readonly<Record<string, unknown>>,
): Promise<void> {
  const all = { ...table.all().get(user), ...wanted };
  const limits = Object.fromEntries(Object.entries(all).filter(([, limit]) => limit != null));
  const none = Object.keys(limits).length === 0;
  await table.change(new Map([[user, none ? undefined : limits]]));
}

function usersOf({ server, limits }: Manager, viewer: Viewer | undefined): string[] {
  if (viewer && !viewer.seesAll) return [viewer.user];
  return [
    ...new Set([...limits.all().keys(), ...(server.quotas?.quotas.users() ?? [])]),
  ].toSorted();
}

function statusOf({ server, limits }: Manager, user: string): UserStatus {
  const nothing = { cores: 0, memoryBytes: 0, leases: 0 };
  return (
    server.quotas?.statusOf(user) ?? {
      ...{ user, limits: limits.all().get(user) ?? {}, held: nothing, nodes: [] },
    }
  );
}
