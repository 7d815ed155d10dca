/** `rfaas user`: what users may hold and use in a cluster. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { ProtocolError, UsageError } from "../base/errors.ts";
import { formatBytes, parseBytes } from "../base/units.ts";
import { UserStatus, setLimits } from "../manager/http/user-routes.ts";
import { userLimits } from "../manager/quotas/user-limits.ts";
import { defaultStateDir } from "../manager/state/state.ts";
import { readAs } from "../options/fields.ts";
import { UserName } from "../protocol/token.ts";
import { coreHoursOf } from "./cluster/core-hours.ts";
import { type ManagerClient, managerAt, managerFields } from "./cluster/manager-client.ts";
import { requireManagerState } from "./cluster/manager-state.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField, requireOneOf, stateField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { printable, table } from "./shared/table.ts";

/** A limit, or null to take it away. */
const limit = <T>(
  read: (text: string, what: string) => T,
  description: string,
  placeholder: string,
) =>
  Type.Optional(
    readAs((text, what): T | null => (text === "none" ? null : read(text, what)), {
      description: `for set: ${description}, or none for no limit`,
      placeholder,
    }),
  );

const Options = Type.Object({
  maxCores: limit(wholeOf, "cores to hold at a time in the whole cluster", "n"),
  maxMemory: limit(parseBytes, "memory likewise, heaps included, such as 64GiB", "size"),
  maxLeases: limit(wholeOf, "leases likewise", "n"),
  coreHours: limit(coreHoursOf, "what leases may cost, such as 100/month or 8/day", "n/period"),
  ...stateField("the manager's directory"),
  ...managerFields,
  ...jsonField("for list and show: one JSON object"),
});
type Options = Static<typeof Options>;

export const user = defineCommand({
  usage: "user <set|list|show> [name]",
  summary: "say what users may hold in a cluster, and see what they do",
  description: `set   limits what a user may hold at a time in the whole cluster, or use in a day or a month (of UTC)
list  lists users who have a limit or hold something
show  shows one: limits, what is held and where, and the core-hours of the present period

A limit counts at once, for new leases; those that are held go on, but for core-hours: when these are used up, leases hear
"revoking" and end. Of a token's limits and these the lower ones count. While the manager runs, no quota is overshot; while it is away each
node keeps to what it was told last. Asks the manager where --http or RFAAS_HTTP names one, and uses the state directory otherwise, which
knows the limits alone.`,
  options: Options,
  examples: [
    ["rfaas user set ada --max-cores 64 --core-hours 100/month", "on the manager's machine"],
    ["rfaas user set ada --max-cores none", "no limit any more"],
    ["rfaas user show ada --http 10.0.0.1:7801", "what she holds, and where"],
  ],
  async run([verb, name, ...rest], options) {
    requireOneOf(options, "state", "http");
    const { state } = options;
    const manager = state === undefined ? managerAt(options) : undefined;
    const at = { manager, state: state ?? defaultStateDir() };
    const named = verb === "list" ? name === undefined : name !== undefined;
    if (!VERBS.includes(verb!) || !named || rest.length > 0) throw new UsageError(USAGE);
    if (name !== undefined && !Value.Check(UserName, name))
      throw new UsageError(
        `a user's name is of letters, digits and . _ @ + -; it is ${JSON.stringify(name)}`,
      );
    if (!manager) requireManagerState(at.state);
    if (verb === "list") return print(await usersAt(at), options.json ?? false);
    if (verb === "show") return print([await userAt(at, name!)], options.json ?? false);
    await set(at, name!, options);
  },
});

const VERBS: readonly string[] = ["set", "list", "show"];
const USAGE = "user takes set NAME, list or show NAME; see: rfaas help user";

interface Where {
  manager: ManagerClient | undefined;
  state: string;
}

async function set({ manager, state }: Where, name: string, options: Options): Promise<void> {
  const { maxCores, maxMemory, maxLeases, coreHours } = options;
  const wanted = Object.fromEntries(
    Object.entries({ maxCores, maxMemoryBytes: maxMemory, maxLeases, coreHours }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  if (Object.keys(wanted).length === 0)
    throw new UsageError(
      "user set needs a limit: --max-cores, --max-memory, --max-leases or --core-hours",
    );
  if (manager) await manager.ask("POST", `/v1/users/${encodeURIComponent(name)}`, wanted);
  else {
    using limits = userLimits(state);
    await setLimits(limits, name, wanted);
  }
  log.info(`the limits of ${name} count from now on`);
}

async function usersAt({ manager, state }: Where): Promise<UserStatus[]> {
  if (manager) {
    const answer: unknown = JSON.parse(await manager.ask("GET", "/v1/users"));
    const Users = Type.Object({ users: Type.Array(UserStatus) });
    if (Value.Check(Users, answer)) return answer.users;
    throw strange();
  }
  using limits = userLimits(state);
  return [...limits.all()].map(([name, of]) => ({ ...NONE_HELD, user: name, limits: of }));
}

async function userAt(at: Where, name: string): Promise<UserStatus> {
  if (!at.manager) {
    using limits = userLimits(at.state);
    return { ...NONE_HELD, user: name, limits: limits.all().get(name) ?? {} };
  }
  const path = `/v1/users/${encodeURIComponent(name)}`;
  const answer: unknown = JSON.parse(await at.manager.ask("GET", path));
  if (Value.Check(UserStatus, answer)) return answer;
  throw strange();
}

const NONE_HELD = {
  user: "",
  limits: {},
  held: { cores: 0, memoryBytes: 0, leases: 0 },
  nodes: [],
};

const strange = (): ProtocolError =>
  new ProtocolError(
    "what answered knows nothing of users; is --http the address of an rfaas manager of this version?",
  );

function print(users: readonly UserStatus[], json: boolean): void {
  process.stdout.write(json ? `${JSON.stringify({ users })}\n` : forPeople(users));
}

function forPeople(users: readonly UserStatus[]): string {
  const header = ["user", "cores", "memory", "leases", "core-hours", "where"];
  const lines = users.map(({ user: name, limits, held, nodes, usedCoreHours = 0 }) => [
    printable(name),
    `${held.cores}/${limits.maxCores ?? "-"}`,
    `${formatBytes(held.memoryBytes)}/${limits.maxMemoryBytes === undefined ? "-" : formatBytes(limits.maxMemoryBytes)}`,
    `${held.leases}/${limits.maxLeases ?? "-"}`,
    limits.coreHours
      ? `${usedCoreHours.toFixed(2)}/${limits.coreHours.hours} a ${limits.coreHours.period}`
      : "-",
    nodes.map(({ node, cores }) => `${printable(node)}:${cores}`).join(" ") || "-",
  ]);
  return table([header, ...lines]);
}

function wholeOf(text: string, what: string): number {
  const value = Number(text);
  if (/^\d{1,9}$/.test(text)) return value;
  throw new UsageError(
    `${what} must be a whole number from 0 on, or none; it is ${JSON.stringify(text)}`,
  );
}
