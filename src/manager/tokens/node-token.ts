/** The token of a node that has enrolled: it lets the node announce itself for as long as its certificate is good. */
import { MAX_USER_LENGTH } from "../../protocol/token.ts";
import { TokenKeys } from "./keys.ts";
import { issueToken } from "./tables.ts";

/** Begins the names of users that are nodes. */
const PREFIX = "node.";

/** As which user a node of this name has its token: a name of a node may have what one of a user has not. */
const userOf = (name: string): string =>
  `${PREFIX}${name.replaceAll(":", "-")}`.slice(0, MAX_USER_LENGTH);

/** Null where the cluster has no key, and so asks for no tokens. Throws `EnvironmentError` when the key cannot be used. */
export async function nodeToken(
  stateDir: string,
  name: string,
  { untilMs }: { untilMs: number },
): Promise<string | null> {
  if (!TokenKeys.exist(stateDir)) return null;
  return await issueToken(
    stateDir,
    {
      user: userOf(name),
      maxCores: null,
      // Tokens count whole seconds.
      expiresAtMs: Math.ceil(untilMs / 1000) * 1000,
      scopes: ["node"],
      node: name,
    },
    `of the node ${name}, by its certificate`,
  );
}
