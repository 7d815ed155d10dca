/** `rfaas token`: makes the tokens that a cluster asks for, and shows what one says. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../base/errors.ts";
import { TokenKeys } from "../manager/tokens/keys.ts";
import { MAX_LABEL_CHARACTERS, issueToken, renewToken } from "../manager/tokens/tables.ts";
import { DEFAULT_GRACE_MS, MAX_GRACE_MS } from "../protocol/tokens/revocation.ts";
import { defaultStateDir } from "../manager/state/state.ts";
import { Credential, NewHolder } from "../protocol/holder/credential.ts";
import { readPublicKeys } from "../protocol/token-key.ts";
import {
  LAST_MS,
  MAX_WEIGHT,
  SCOPES,
  type Scope,
  TokenNode,
  TokenVerifier,
  UserName,
  readClaims,
} from "../protocol/token.ts";
import { project } from "../protocol/fields.ts";
import { coreHoursOf } from "./cluster/core-hours.ts";
import { parseBytes, parseDuration } from "../base/units.ts";
import { duration, readAs, text, truth, whole } from "../options/fields.ts";
import { listTokens, revokeTokens, rotateKey } from "./cluster/issued-tokens.ts";
import { managerAt, managerFields } from "./cluster/manager-client.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField, requireOneOf, stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";

const DEFAULT_TTL = "30d";
const DEFAULT_SCOPES = "client,read";
const DEFAULT_OVERLAP_MS = 30 * 86_400_000;
const MAX_OVERLAP_MS = 3650 * 86_400_000;

const Options = Type.Object({
  user: Type.Optional(
    readAs(userName, { description: "whose token it is, as on the bill", placeholder: "name" }),
  ),
  maxCores: Type.Optional(
    whole(1, 0xffffffff, { description: "cores to lease at once", otherwise: "no limit" }),
  ),
  maxMemory: Type.Optional(
    readAs(parseBytes, {
      description: "memory to lease at once, heaps included, such as 64GiB",
      otherwise: "no limit",
      placeholder: "size",
    }),
  ),
  maxLeases: Type.Optional(
    whole(1, 0xffffffff, { description: "leases to hold at once", otherwise: "no limit" }),
  ),
  coreHours: Type.Optional(
    readAs(coreHoursOf, {
      description: "what its user's leases may cost, such as 100/month or 8/day",
      otherwise: "no limit",
      placeholder: "n/period",
    }),
  ),
  weight: Type.Optional(
    whole(1, MAX_WEIGHT, {
      description: "the user's share of a node that others wait for, too, against theirs",
      otherwise: "1",
    }),
  ),
  ttl: Type.Optional(
    readAs(ttlMs, {
      description: "for how long: 12h, 30d, or never",
      otherwise: DEFAULT_TTL,
      placeholder: "duration",
    }),
  ),
  scope: Type.Optional(
    readAs(scopesOf, {
      description: "what for",
      otherwise: DEFAULT_SCOPES,
      placeholder: "list",
      listOf: SCOPES,
    }),
  ),
  node: Type.Optional(
    readAs(nodeName, {
      description: "the only node that it is for",
      otherwise: "any; a token of the scope node names one",
      placeholder: "name",
    }),
  ),
  project: Type.Optional(
    readAs(projectName, {
      description: "what its leases are for, as on the bill",
      otherwise: "what their client says",
      placeholder: "name",
    }),
  ),
  bearer: Type.Optional(
    truth({ description: "without a key: for programs that can prove none, such as curl" }),
  ),
  label: Type.Optional(
    text("a text", {
      description: "what it is called in the list, such as where it is used",
      placeholder: "text",
    }),
  ),
  graceMs: Type.Optional(
    duration(0, MAX_GRACE_MS, {
      description: "for revoke: how long leases may go on from when a node hears of it",
      default: DEFAULT_GRACE_MS,
    }),
  ),
  overlapMs: Type.Optional(
    duration(0, MAX_OVERLAP_MS, {
      description: "for rotate: how long tokens of the former key count",
      default: DEFAULT_OVERLAP_MS,
    }),
  ),
  ...stateField("where the key is"),
  ...managerFields,
  ...jsonField("for list: one JSON object"),
});
type Options = Static<typeof Options>;

export const token = defineCommand({
  usage: "token <create|show|renew|list|revoke|rotate> [token]",
  summary: "make, show, list and revoke access tokens; replace the key that signs them",
  description: `create  prints a new token, signed with the key of the manager's state directory, which is made on first use
show    prints what a token says, given as an argument or in RFAAS_TOKEN, without checking who says it
renew   prints a newer token of the same id, user, key and limits as one that this cluster has signed, for --ttl, or as long again; the
        holder's key is in it where it was in the one that is given, and a program that has a key adds it to a token without
list    lists the tokens that were issued and have not expired: whose they are, what for, until when; never the tokens themselves
revoke  lets one count no more, named by its id or by itself, or with --user all of a user that were issued until now
rotate  lets a new key sign; tokens of the former one count for as long as --overlap says, and not longer than they say themselves. Leases that
        were taken with them end then, after "revoking"; with --overlap 0s within 30 s, as those of a token that is revoked

list and revoke ask the manager where --http or RFAAS_HTTP names one, for which they want a token with the scope admin, and use the state directory
otherwise, also while its manager runs. The manager tells its nodes at once what was revoked, and those that were away when they come back. They
grant nothing more for such a token, and end its leases when --grace has passed: programs hear "revoking" first. A node without a manager
reads --revoked-tokens, a copy of revoked-tokens.json, again at SIGHUP.

A token is a JWS, signed with EdDSA, and valid in one cluster. Nodes check it with the manager's public key, without asking the
manager. What is printed is the token with a private key, TOKEN.KEY: a secret, for RFAAS_TOKEN. Nodes and managers are shown the token and,
for each connection, a proof of the key that counts there alone, so that none of them can use it. With --bearer there is no key: any
holder acts as its user until it expires, and it is sent only over loopback and to what is pinned. Its scopes are client (take leases), bill (see its user's
bill), node (join as a node), read (look at the manager) and admin (look, and change), and renew: a program with it gets a newer one of the manager by itself, until it is revoked. A token with client and read shows only the leases
and the bill of its user; one with read but without client, or with admin, shows those of all users.

With --weight, its user has a larger share of a node where several users wait for room: of two with the weights 1 and 3 one has a fourth
of its cores and the other three. A node of an earlier rfaas refuses a token that has a weight.

With --project, its leases are that project's on the bill, and no other's; without, their client may name one.`,
  options: Options,
  examples: [
    ["rfaas token create --user ada --max-cores 64", "for a user, for 30 days"],
    [
      "rfaas token create --user rack1 --scope node --node rack1 --ttl never",
      "for a node that joins by no join token",
    ],
    ["rfaas token create --user ada --project climate", "likewise, for one project"],
    ["rfaas token create --user slurm --scope admin", "for a batch system"],
    ["rfaas token create --user grafana --scope read --bearer", "for a program that uses HTTP"],
    ["rfaas token show $RFAAS_TOKEN", "whose it is, and until when"],
    ["rfaas token list --user ada", "which tokens a user has"],
    ["rfaas token revoke --user ada --grace 5m", "all of them; her leases end in 5 minutes"],
    ["rfaas token rotate --overlap 7d", "another key signs; tokens are to be renewed in a week"],
  ],
  async run(args, options) {
    const [verb, ...rest] = args;
    if (verb === undefined || !Object.hasOwn(VERBS, verb) || rest.length > TAKES[verb as Verb])
      throw new UsageError(`token takes ${Object.keys(VERBS).join(", ")}; see: rfaas help token`);
    await VERBS[verb as Verb](rest[0], options);
  },
});

const VERBS = {
  create: async (_, options) => await create(options),
  show: async (given) => show(given ?? process.env["RFAAS_TOKEN"]),
  renew: async (given, options) => await renew(given ?? process.env["RFAAS_TOKEN"], options),
  list: async (_, options) => await listTokens(issuedAt(options), options),
  revoke: async (token, options) =>
    await revokeTokens(issuedAt(options), {
      ...{ token, user: options.user, graceMs: options.graceMs ?? DEFAULT_GRACE_MS },
    }),
  rotate: async (_, { state = defaultStateDir(), overlapMs = DEFAULT_OVERLAP_MS }) =>
    await rotateKey(state, overlapMs),
} satisfies Record<string, (given: string | undefined, options: Options) => Promise<void>>;
type Verb = keyof typeof VERBS;
/** How many arguments each takes. */
const TAKES: Record<Verb, number> = { create: 0, show: 1, renew: 1, list: 0, revoke: 1, rotate: 0 };

/** Where tokens that were issued are known. */
function issuedAt(options: Options) {
  requireOneOf(options, "state", "http");
  const { state } = options;
  const manager = state === undefined ? managerAt(options) : undefined;
  return { manager, state: state ?? defaultStateDir() };
}

async function create({
  user = userName("", "--user"),
  maxCores,
  maxMemory,
  maxLeases,
  coreHours,
  weight,
  ttl = ttlMs(DEFAULT_TTL, "--ttl"),
  scope = scopesOf(DEFAULT_SCOPES, "--scope"),
  node,
  project,
  bearer = false,
  label,
  state = defaultStateDir(),
}: Options): Promise<void> {
  if (scope.includes("node") && node === undefined)
    throw new UsageError(
      "a token of the scope node is for one node alone; name it with --node, or let the node join: rfaas node join-token",
    );
  const nowMs = Date.now();
  if (!TokenKeys.exist(state))
    log.info(
      `a new key is made in ${state}; a manager that runs there asks for tokens from here on`,
    );
  const holder = bearer ? undefined : new NewHolder();
  if (label !== undefined && label.length > MAX_LABEL_CHARACTERS)
    throw new UsageError(`--label has at most ${MAX_LABEL_CHARACTERS} characters; shorten it`);
  const claims = {
    user,
    maxCores: maxCores ?? null,
    ...onlyGiven({ maxMemoryBytes: maxMemory, maxLeases, coreHours, node, project, weight }),
    // Tokens count whole seconds; rounding up keeps a token valid for at least the requested time.
    expiresAtMs: ttl === null ? null : Math.ceil((nowMs + ttl) / 1000) * 1000,
    scopes: scope,
    ...(holder ? { holderKey: holder.holderKey } : {}),
  };
  const signed = await issueToken(state, claims, label);
  process.stdout.write(`${holder ? holder.with(signed) : signed}\n`);
}

const onlyGiven = <Fields extends object>(fields: Fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, field]) => field !== undefined)) as {
    [Name in keyof Fields]: Exclude<Fields[Name], undefined>;
  };

async function renew(
  given: string | undefined,
  { ttl, state = defaultStateDir() }: Options,
): Promise<void> {
  if (!given) throw new UsageError("token renew needs a token, as an argument or in RFAAS_TOKEN");
  const [, key] = /^[^.]*\.[^.]*\.[^.]*(\.[^.]*)?$/.exec(given) ?? [];
  const token = key === undefined ? given : given.slice(0, -key.length);
  if (!TokenKeys.exist(state))
    throw new UsageError(
      `there is no key in ${state}; name the manager's directory with --state DIR`,
    );
  const [present, ...former] = readPublicKeys(TokenKeys.open(state).publicKey, "the key");
  const everKeys = former.map((one) => ({ ...one, untilMs: null }));
  // One that has expired may be renewed here, where the key is.
  const claims = await new TokenVerifier(present, ...everKeys).verify(token, 0);
  const renewed = await renewToken(state, claims, ttl === undefined ? {} : { ttlMs: ttl });
  process.stdout.write(`${renewed}${key ?? ""}\n`);
}

function show(given: string | undefined): void {
  if (!given) throw new UsageError("token show needs a token, as an argument or in RFAAS_TOKEN");
  const { issuedAtMs, expiresAtMs, ...claims } = readClaims(Credential.read(given).token);
  const shown = {
    ...claims,
    issuedAt: isoTime(issuedAtMs),
    expiresAt: expiresAtMs === null ? null : isoTime(expiresAtMs),
  };
  process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`);
}

function userName(text: string, what: string): string {
  if (Value.Check(UserName, text)) return text;
  throw new UsageError(
    `${what} must be a name of up to 64 letters, digits and . _ @ + -; it is ${JSON.stringify(text)}`,
  );
}

function projectName(text: string, what: string): string {
  if (Value.Check(project, text)) return text;
  throw new UsageError(
    `${what} must be a project's name, of up to 64 letters, digits and . _ @ + -; it is ${JSON.stringify(text)}`,
  );
}

function nodeName(text: string, what: string): string {
  if (Value.Check(TokenNode, text)) return text;
  throw new UsageError(
    `${what} must be a node's name, of up to 128 letters, digits or . _ : -; it is ${JSON.stringify(text)}`,
  );
}

/** Null for one that never ends. */
function ttlMs(text: string, what: string): number | null {
  if (text === "never") return null;
  const ms = parseDuration(text, what);
  if (ms === 0 || Date.now() + ms > LAST_MS)
    throw new UsageError(`${what} must be a finite duration above 0; it is ${text}; or say never`);
  return ms;
}

function scopesOf(list: string, what: string): Scope[] {
  const names = [...new Set(list.split(",").map((name) => name.trim()))];
  for (const name of names)
    if (!SCOPES.includes(name as Scope))
      throw new UsageError(
        `${what} is a list of ${SCOPES.join(", ")}; it has ${JSON.stringify(name)}`,
      );
  return names as Scope[];
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
