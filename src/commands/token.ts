/** `rfaas token`: makes the tokens that a cluster asks for, and shows what one says. */
import { randomUUID } from "node:crypto";
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../base/errors.ts";
import { TokenKeys } from "../manager/tokens/keys.ts";
import { defaultStateDir } from "../manager/state/state.ts";
import { LAST_MS, type Scope, SCOPES, UserName, readClaims } from "../protocol/token.ts";
import { parseDuration } from "../base/units.ts";
import type { Command } from "./shared/command.ts";
import { log } from "./shared/log.ts";
import { readOptions, text, whole } from "./shared/options.ts";

const DEFAULT_TTL = "30d";
const DEFAULT_SCOPES = "client,read";

const Options = Type.Object({
  user: Type.Optional(text),
  maxCores: Type.Optional(whole(1, 0xffffffff)),
  ttl: Type.Optional(text),
  scope: Type.Optional(text),
  state: Type.Optional(text),
});
type Options = ReturnType<typeof readOptions<typeof Options>>;

export const token: Command = {
  usage: "token <create|show> [token]",
  summary: "make an access token, or show what one says",
  description: `create  prints a new token, signed with the key of the manager's state directory, which is made on first use
show    prints what a token says, given as an argument or in RFAAS_TOKEN, without checking who says it

A token is a JWS, signed with EdDSA, and good in one cluster. Nodes check it with the manager's public key and ask nobody. A token is a secret: whoever has it is its user, until it
expires. Its scopes are client (take leases), node (join as a node), read (look at the manager) and admin (look, and change). One
for client and read shows the leases and the bill of its user alone; one for read without client, or for admin, those of all.`,
  options: [
    { flag: "--user <name>", description: "whose token it is, as on the bill" },
    { flag: "--max-cores <n>", description: "cores to lease at once (default: no limit)" },
    {
      flag: "--ttl <duration>",
      description: `for how long: 12h, 30d, or never (default: ${DEFAULT_TTL})`,
    },
    { flag: "--scope <list>", description: `what for (default: ${DEFAULT_SCOPES})` },
    {
      flag: "--state <dir>",
      description: "where the key is (default: $XDG_STATE_HOME/rfaas or ~/.local/state/rfaas)",
    },
  ],
  examples: [
    ["rfaas token create --user ada --max-cores 64", "for a user, for 30 days"],
    ["rfaas token create --user rack1 --scope node --ttl never", "for nodes"],
    ["rfaas token create --user slurm --scope admin", "for a batch system"],
    ["rfaas token show $RFAAS_TOKEN", "whose it is, and until when"],
  ],
  async run(args, raw) {
    const options = readOptions(Options, raw);
    const [verb, ...rest] = args;
    if (verb === "create" && rest.length === 0) await create(options);
    else if (verb === "show" && rest.length <= 1) show(rest[0] ?? process.env["RFAAS_TOKEN"]);
    else throw new UsageError("token takes create or show; see: rfaas help token");
  },
};

async function create(options: Options): Promise<void> {
  const user = String(options.user ?? "");
  if (!Value.Check(UserName, user))
    throw new UsageError(
      `--user must be a name of up to 64 letters, digits and . _ @ + -; it is ${JSON.stringify(user)}`,
    );
  const nowMs = Date.now();
  const expiresAtMs = expiry(String(options.ttl ?? DEFAULT_TTL), nowMs);
  const scopes = readScopes(String(options.scope ?? DEFAULT_SCOPES));
  const state = options.state === undefined ? defaultStateDir() : String(options.state);
  if (!TokenKeys.exist(state))
    log.info(
      `a new key is made in ${state}; a manager that runs there asks for tokens once it is restarted`,
    );
  const id = randomUUID();
  const maxCores = options.maxCores ?? null;
  const signed = await TokenKeys.open(state).sign({
    id,
    user,
    maxCores,
    expiresAtMs,
    scopes,
    issuedAtMs: Math.floor(nowMs / 1000) * 1000,
  });
  process.stdout.write(`${signed}\n`);
}

function show(given: string | undefined): void {
  if (!given) throw new UsageError("token show needs a token, as an argument or in RFAAS_TOKEN");
  const { issuedAtMs, expiresAtMs, ...claims } = readClaims(given);
  const shown = {
    ...claims,
    issuedAt: isoTime(issuedAtMs),
    expiresAt: expiresAtMs === null ? null : isoTime(expiresAtMs),
  };
  process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`);
}

function expiry(ttl: string, nowMs: number): number | null {
  if (ttl === "never") return null;
  const ms = parseDuration(ttl, "--ttl");
  if (ms === 0 || nowMs + ms > LAST_MS)
    throw new UsageError(`--ttl must be longer than nothing, and end; it is ${ttl}; or say never`);
  // Tokens count whole seconds, and none is good for a shorter time than was asked for.
  return Math.ceil((nowMs + ms) / 1000) * 1000;
}

function readScopes(list: string): Scope[] {
  const names = [...new Set(list.split(",").map((name) => name.trim()))];
  for (const name of names)
    if (!SCOPES.includes(name as Scope))
      throw new UsageError(
        `--scope is a list of ${SCOPES.join(", ")}; it has ${JSON.stringify(name)}`,
      );
  return names as Scope[];
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
