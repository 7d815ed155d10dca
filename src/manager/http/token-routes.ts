/** The operations on tokens: which were issued, and that some count no more. */
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { DEFAULT_GRACE_MS, MAX_GRACE_MS } from "../../protocol/tokens/revocation.ts";
import { LAST_MS, UserName } from "../../protocol/token.ts";
import { ListedToken, type KnownToken, type Revoking } from "../tokens/tables.ts";
import { type Answer, HttpError, type Manager, type Operation, operation } from "./operation.ts";

const exact = { additionalProperties: false } as const;
const graceMs = Type.Optional(
  Type.Integer({ minimum: 0, maximum: MAX_GRACE_MS, default: DEFAULT_GRACE_MS }),
);
const Revoke = Type.Object({ graceMs }, exact);
const RevokeOne = Type.Object(
  {
    graceMs,
    /** Of a token that is in no list: what it says of itself. */
    known: Type.Optional(
      Type.Object(
        {
          user: UserName,
          expiresAtMs: Type.Union([Type.Number({ minimum: 0, maximum: LAST_MS }), Type.Null()]),
        },
        exact,
      ),
    ),
  },
  exact,
);
const TokenQuery = Type.Object({ user: Type.Optional(Type.String({ maxLength: 256 })) }, exact);
const Revoked = Type.Object({ user: Type.String(), graceMs: Type.Integer({ minimum: 0 }) });

export const TOKEN_OPERATIONS: readonly Operation[] = [
  operation({
    ...{ method: "GET", path: "/v1/tokens", id: "listTokens", scope: "read" },
    summary:
      "the tokens that were issued and have not expired, without the tokens themselves; a token that takes leases shows its user's",
    query: TokenQuery,
    answers: { 200: Type.Object({ tokens: Type.Array(ListedToken) }) },
    run: ({ issued }, { query: { user }, viewer }) => ({
      status: 200,
      body: { tokens: issued.list(viewer && !viewer.seesAll ? viewer.user : user) },
    }),
  }),
  operation({
    ...{ method: "POST", path: "/v1/tokens/{name}/revoke", id: "revokeToken", scope: "admin" },
    summary: "let a token, named by its id, count no more; its leases end",
    body: RevokeOne,
    answers: { 200: Revoked },
    run: async (manager, { name, body: { graceMs: grace, known } }) =>
      await revoke(manager, { id: name }, grace, known),
  }),
  operation({
    ...{ method: "POST", path: "/v1/users/{name}/revoke", id: "revokeUser", scope: "admin" },
    summary: "let all tokens of a user that were issued until now count no more; their leases end",
    body: Revoke,
    answers: { 200: Revoked },
    run: async (manager, { name, body }) => await revoke(manager, { user: name }, body.graceMs),
  }),
];

async function revoke(
  { issued }: Manager,
  what: Revoking,
  grace = DEFAULT_GRACE_MS,
  known?: KnownToken,
): Promise<Answer> {
  try {
    const { user } = await issued.revoke(what, grace, known);
    return { status: 200, body: { user, graceMs: grace } };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new HttpError(404, "RFAAS_NOT_FOUND", error.message);
  }
}
