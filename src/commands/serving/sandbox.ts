/** How a node keeps its functions apart, as the command line has it. */
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { EnvironmentError, FabricUnavailable, UsageError } from "../../base/errors.ts";
import type { Finding } from "../../base/finding.ts";
import { GUARDS, type SandboxDriver } from "../../executor/sandbox/driver.ts";
import { type Guarding, guardingOf } from "../../executor/sandbox/guarding.ts";
import { none } from "../../executor/sandbox/none/driver.ts";
import {
  DEFAULT_SANDBOX,
  SANDBOX_NAMES,
  SANDBOX_VARIABLE,
  type SandboxName,
  driverNamed,
} from "../../executor/sandbox/registry.ts";
import { Sandbox } from "../../executor/sandbox/sandbox.ts";
import type { Survey, Withheld } from "../../fabric/registry.ts";
import { defaultStateDir } from "../../manager/state/state.ts";
import { choice, readAs, texts, truth } from "../../options/fields.ts";
import { inherited } from "../../options/flags.ts";
import { pathField } from "../shared/fields.ts";
import { log } from "../shared/log.ts";
import { openUsers, readRange } from "./users.ts";

/** For every node. */
export const sandboxField = {
  sandbox: Type.Optional(
    choice(SANDBOX_NAMES, {
      description: "what keeps functions apart from each other and from the machine",
      variable: SANDBOX_VARIABLE,
      default: DEFAULT_SANDBOX,
      placeholder: "name",
    }),
  ),
};

/** For a node that others use. */
export const sandboxFields = {
  ...sandboxField,
  allowNetwork: Type.Optional(
    truth({ description: "leases may ask for a room whose functions open connections" }),
  ),
  allowProcesses: Type.Optional(
    truth({ description: "leases may ask for a room whose functions start programs" }),
  ),
  allowRead: Type.Optional(
    texts("a path", {
      description: "functions may read this file, or all in this folder",
      placeholder: "path",
    }),
  ),
  images: pathField("folder", {
    description:
      "leases may name an entry of this folder as their image: the root of a system, or its file",
  }),
  uidRange: Type.Optional(
    readAs(readRange, {
      description:
        "with root: each user's functions run as a user of the machine of their own, one of these",
      otherwise: "all run as the node's user",
      placeholder: "from-to",
    }),
  ),
  requireIsolation: Type.Optional(
    truth({
      description: "serve only where the sandbox holds every guard on this machine",
      otherwise: "with --allow-remote, --token-key or --manager",
    }),
  ),
  noRequireIsolation: Type.Optional(
    truth({ description: "serve others where the sandbox does not hold every guard, too" }),
  ),
};

const Fields = Type.Object(sandboxFields);
type SandboxAsked = Static<typeof Fields> & { state?: string | undefined };

/**
 * The sandbox of a node. `shared`: it serves clients of other machines.
 *
 * @throws {EnvironmentError} it cannot be had on this machine, or holds too little
 */
export function openSandbox(asked: SandboxAsked, shared: boolean): Sandbox {
  const { requireIsolation, noRequireIsolation = false } = asked;
  if (requireIsolation && noRequireIsolation)
    throw new UsageError("--require-isolation and --no-require-isolation exclude each other");
  const chosen = choose(asked);
  const { driver } = chosen;
  const allowed = { network: asked.allowNetwork, processes: asked.allowProcesses };
  const guarding = guardingOf(driver, allowed);
  const { held } = guarding;
  const required = requireIsolation ?? (shared && !noRequireIsolation);
  if (required && guarding.missing.length > 0) throw lacksIsolation(chosen, guarding);
  if (held.size > 0)
    log.info(
      `sandbox ${driver.name}: ${GUARDS.flatMap((guard) => (held.has(guard) ? [`${guard} by ${held.get(guard)}`] : [])).join(", ")}`,
    );
  const weakness = weaknessOf(chosen, guarding);
  // Who names none for his own functions has said so.
  if (weakness !== undefined && (shared || driver.rooms || chosen.lack)) log.warn(weakness);
  return new Sandbox({
    ...{ driver, folders: roomsFolders(asked.state), ...allowed },
    images: asked.images === undefined ? undefined : resolve(asked.images),
    readPaths: asked.allowRead?.map((path) => resolve(path)),
    users: asked.uidRange && openUsers(asked.uidRange, driver),
    warn,
  });
}

interface Chosen {
  driver: SandboxDriver;
  /** Why the default cannot be had, for which `driver` stands in. */
  lack?: Finding;
}

/** What is named must do. The default gives way to no sandbox where the machine has none of what it is made of. */
function choose(asked: { sandbox?: SandboxName | undefined }): Chosen {
  const named = asked.sandbox ?? inherited(Fields, "sandbox");
  const driver = driverNamed(named ?? DEFAULT_SANDBOX)!;
  const lack = driver.whyNot();
  if (!lack) return { driver };
  if (named === undefined) return { driver: none, lack };
  throw new EnvironmentError(
    `the sandbox ${named} cannot be had: ${lack.found}; ${lack.fix === undefined ? "choose another --sandbox" : `run: ${lack.fix}`}`,
  );
}

function lacksIsolation(
  { driver, lack }: Chosen,
  { missing, remedies }: Guarding,
): EnvironmentError {
  const required =
    "a node that serves others (--allow-remote, --token-key, --manager), or has --require-isolation, needs every guard";
  const found = lack
    ? `the sandbox ${DEFAULT_SANDBOX} cannot be had: ${lack.found}`
    : driver.rooms
      ? `nothing in the sandbox ${driver.name} guards ${missing.join(", ")} on this machine${remedies.length > 0 ? `, which ${remedies.join(", and ")} would` : ""}`
      : `the sandbox ${driver.name} guards nothing`;
  const remedy =
    driver.rooms || lack
      ? "serve with another --sandbox, or see what this machine lacks: rfaas doctor"
      : `leave --sandbox ${driver.name} (${SANDBOX_VARIABLE}) out`;
  return new EnvironmentError(
    `${required}: ${found}; ${remedy}; or, if all of its clients may have what this node's user has, --no-require-isolation`,
  );
}

/** What functions can reach for want of guards; undefined when nothing is missing. */
function weaknessOf({ driver, lack }: Chosen, { missing }: Guarding): string | undefined {
  if (missing.length === 0) return undefined;
  if (driver.rooms && missing.every((guard) => guard === "memory"))
    return `the sandbox ${driver.name} does not guard memory on this machine: leases with network or processes can have more than their heap; see: rfaas doctor`;
  if (driver.rooms)
    return `the sandbox ${driver.name} does not guard ${missing.join(", ")} on this machine: functions of one lease can reach those of another; see: rfaas doctor`;
  const why = lack
    ? `the sandbox ${DEFAULT_SANDBOX} cannot be had, ${lack.found}`
    : "none is asked for";
  return `there is no sandbox (${why}): functions of every client have all that this node's user has, its files and its other functions among them; serve with --sandbox, or serve only those whom you trust`;
}

/** What of a survey the hosts of a node can use: in sealed rooms without network, no fabric that opens sockets late. */
export function usableInRooms(
  survey: Survey,
  { driver }: Sandbox,
  { allowNetwork = false }: SandboxAsked,
): Survey {
  if (!driver.seals) return survey;
  const offers: Survey["offers"] = [];
  const withheld: Withheld[] = [];
  for (const offer of survey.offers) {
    const { name, connectsLate, outsideRooms } = offer.fabric;
    const [what, flag] =
      outsideRooms !== undefined
        ? [outsideRooms, "--sandbox none"]
        : [!allowNetwork && connectsLate, "--allow-network"];
    if (!what) offers.push(offer);
    else
      withheld.push({
        fabric: offer.fabric as Withheld["fabric"],
        lacks: new FabricUnavailable(
          `over ${name} a host ${what} when its client connects, which the sandbox ${driver.name} does not let it; serve with ${flag}, or with another --fabric`,
        ),
      });
  }
  return { offers, withheld: [...survey.withheld, ...withheld] };
}

/** The sandbox of a private node, whose client may have what its own user has. */
export function openPrivateSandbox(asked: Static<typeof Fields>): Sandbox {
  const chosen = choose(asked);
  const { driver } = chosen;
  const open = { network: true, processes: true };
  // Its start does not wait for the kernel's answer about sockets: all that its functions have is its client's.
  const weakness = weaknessOf(
    chosen,
    guardingOf(driver, open, () => undefined),
  );
  if (weakness !== undefined && (driver.rooms || chosen.lack)) log.debug(weakness);
  return new Sandbox({ driver, folders: roomsFolders(undefined), ...open, warn });
}

const warn = (message: string): void => log.warn(message);

/** Where rooms may be made, the best place first. A user's own folder may be one that can only be read. */
function roomsFolders(state: string | undefined): string[] {
  if (state !== undefined) return [join(resolve(state), "rooms")];
  const user = process.getuid?.() ?? 0;
  return [join(defaultStateDir(), "rooms"), join(tmpdir(), `rfaas-rooms-${user}`)];
}
