/** `rfaas token`: makes the tokens that a cluster asks for, and shows what one says. */
import { randomUUID } from "node:crypto";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../base/errors.ts";
import { TokenKeys } from "../manager/tokens/keys.ts";
import { defaultStateDir } from "../manager/state/state.ts";
import { Credential, NewHolder } from "../protocol/holder/credential.ts";
import { LAST_MS, type Scope, SCOPES, TokenNode, UserName, readClaims } from "../protocol/token.ts";
import { project } from "../protocol/fields.ts";
import { parseBytes, parseDuration } from "../base/units.ts";
import { readAs, truth, whole } from "../options/fields.ts";
import { defineCommand } from "./shared/command.ts";
import { stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";

const DEFAULT_TTL = "30d";
const DEFAULT_SCOPES = "client,read";

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
  ...stateField("where the key is"),
});
type Options = Static<typeof Options>;

export const token = defineCommand({
  usage: "token <create|show> [token]",
  summary: "make an access token, or show what one says",
  description: `create  prints a new token, signed with the key of the manager's state directory, which is made on first use
show    prints what a token says, given as an argument or in RFAAS_TOKEN, without checking who says it

A token is a JWS, signed with EdDSA, and valid in one cluster. Nodes check it with the manager's public key, without asking the
manager. What is printed is the token with a private key, TOKEN.KEY: a secret, for RFAAS_TOKEN. Nodes and managers are shown the token and,
for each connection, a proof of the key that counts there alone, so that none of them can use it. With --bearer there is no key: any
holder acts as its user until it expires, and it is sent only over loopback and to what is pinned. Its scopes are client (take leases), bill (see its user's
bill), node (join as a node), read (look at the manager) and admin (look, and change). A token with client and read shows only the leases
and the bill of its user; one with read but without client, or with admin, shows those of all users.

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
  ],
  async run(args, options) {
    const [verb, ...rest] = args;
    if (verb === "create" && rest.length === 0) await create(options);
    else if (verb === "show" && rest.length <= 1) show(rest[0] ?? process.env["RFAAS_TOKEN"]);
    else throw new UsageError("token takes create or show; see: rfaas help token");
  },
});

async function create({
  user = userName("", "--user"),
  maxCores,
  maxMemory,
  ttl = ttlMs(DEFAULT_TTL, "--ttl"),
  scope = scopesOf(DEFAULT_SCOPES, "--scope"),
  node,
  project,
  bearer = false,
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
  const signed = await TokenKeys.open(state).sign({
    id: randomUUID(),
    user,
    maxCores: maxCores ?? null,
    ...(maxMemory === undefined ? {} : { maxMemoryBytes: maxMemory }),
    // Tokens count whole seconds; rounding up keeps a token valid for at least the requested time.
    expiresAtMs: ttl === null ? null : Math.ceil((nowMs + ttl) / 1000) * 1000,
    scopes: scope,
    issuedAtMs: Math.floor(nowMs / 1000) * 1000,
    ...(node === undefined ? {} : { node }),
    ...(project === undefined ? {} : { project }),
    ...(holder ? { holderKey: holder.holderKey } : {}),
  });
  process.stdout.write(`${holder ? holder.with(signed) : signed}\n`);
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
