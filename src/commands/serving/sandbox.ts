/** How a node keeps its functions apart, as the command line has it. */
import { join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { EnvironmentError, FabricUnavailable } from "../../base/errors.ts";
import { GUARDS, type Guard, type SandboxDriver } from "../../executor/sandbox/driver.ts";
import {
  DEFAULT_SANDBOX,
  SANDBOX_NAMES,
  SANDBOX_VARIABLE,
  driverNamed,
} from "../../executor/sandbox/registry.ts";
import { Sandbox } from "../../executor/sandbox/sandbox.ts";
import type { Survey, Withheld } from "../../fabric/registry.ts";
import { defaultStateDir } from "../../manager/state/state.ts";
import { choice, texts, truth } from "../../options/fields.ts";
import { inherited } from "../../options/flags.ts";
import { pathField } from "../shared/fields.ts";
import { log } from "../shared/log.ts";

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
  requireIsolation: Type.Optional(
    truth({
      description: "serve only where the sandbox holds every guard on this machine",
      otherwise: "for clients of other users, in rooms",
    }),
  ),
};

const Fields = Type.Object(sandboxFields);
type SandboxAsked = Static<typeof Fields> & { state?: string | undefined };

/**
 * The sandbox of a node. `shared`: it serves clients that are not its own user's.
 *
 * @throws {EnvironmentError} it cannot be had on this machine, or holds too little
 */
export function openSandbox(asked: SandboxAsked, shared: boolean): Sandbox {
  const driver = usable(asked.sandbox ?? inherited(Fields, "sandbox") ?? DEFAULT_SANDBOX);
  const guards = driver.guards();
  const missing = GUARDS.filter((guard) => !guards.has(guard));
  // A node that is told to have no sandbox is warned of below.
  const required = asked.requireIsolation ?? (shared && driver.rooms);
  if (required && missing.length > 0)
    throw new EnvironmentError(
      `--require-isolation: nothing in the sandbox ${driver.name} guards ${missing.join(", ")} on this machine${remedies(driver, missing)}; serve with another --sandbox, or see what this machine lacks: rfaas doctor`,
    );
  if (guards.size > 0)
    log.info(
      `sandbox ${driver.name}: ${GUARDS.flatMap((guard) => (guards.has(guard) ? [`${guard} by ${guards.get(guard)}`] : [])).join(", ")}`,
    );
  if (shared && missing.length > 0)
    log.warn(
      driver.rooms
        ? `the sandbox ${driver.name} does not guard ${missing.join(", ")} on this machine: functions of one user can reach those of another; see: rfaas doctor`
        : "there is no sandbox: functions of every client have all that this node's user has, its files and its other functions among them; serve with --sandbox, or serve only those whom you trust",
    );
  return new Sandbox({
    ...{ driver, folder: roomsFolder(asked.state), network: asked.allowNetwork },
    processes: asked.allowProcesses,
    images: asked.images === undefined ? undefined : resolve(asked.images),
    readPaths: asked.allowRead?.map((path) => resolve(path)),
  });
}

function remedies({ wouldHold }: SandboxDriver, missing: readonly Guard[]): string {
  const named = missing.flatMap((guard) => wouldHold?.[guard] ?? []);
  return named.length === 0 ? "" : `, which ${[...new Set(named)].join(", and ")} would`;
}

/** What of a survey the hosts of a node can use: in sealed rooms without network, no fabric that opens sockets late. */
export function usableInRooms(
  survey: Survey,
  sandbox: Sandbox,
  { allowNetwork }: SandboxAsked,
): Survey {
  if (!sandbox.driver.seals || allowNetwork) return survey;
  const late = survey.offers.filter(({ fabric }) => fabric.connectsLate !== undefined);
  return {
    offers: survey.offers.filter((offer) => !late.includes(offer)),
    withheld: [
      ...survey.withheld,
      ...late.map(({ fabric }) => ({
        fabric: fabric as Withheld["fabric"],
        lacks: new FabricUnavailable(
          `over ${fabric.name} a host ${fabric.connectsLate} when its client connects, which the sandbox ${sandbox.driver.name} does not let it; serve with --allow-network, or with another --fabric`,
        ),
      })),
    ],
  };
}

/** The sandbox of a private node, whose client may have what its own user has. */
export function openPrivateSandbox({ sandbox }: Static<typeof Fields>): Sandbox {
  const driver = usable(sandbox ?? inherited(Fields, "sandbox") ?? DEFAULT_SANDBOX);
  const folder = roomsFolder(undefined);
  return new Sandbox({ driver, folder, network: true, processes: true });
}

function usable(name: string): SandboxDriver {
  const driver = driverNamed(name)!;
  const lack = driver.whyNot();
  if (!lack) return driver;
  throw new EnvironmentError(
    `the sandbox ${name} cannot be had: ${lack.found}; ${lack.fix === undefined ? "choose another --sandbox" : `run: ${lack.fix}`}`,
  );
}

const roomsFolder = (state: string | undefined): string =>
  join(resolve(state ?? defaultStateDir()), "rooms");
