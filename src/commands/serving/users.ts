/** Users of the machine that a node gives its own users, as the command line has them. */
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { countOf } from "../../base/units.ts";
import type { SandboxDriver } from "../../executor/sandbox/driver.ts";
import { DRIVERS } from "../../executor/sandbox/registry.ts";
import { accountsHere, clashesOf } from "../../executor/sandbox/users/accounts.ts";
import { whyNoRights } from "../../executor/sandbox/users/rights.ts";
import { type UidRange, Users } from "../../executor/sandbox/users/range.ts";
import { log } from "../shared/log.ts";

/** Above it is what stands for no user. */
const MAX_UID = 2 ** 32 - 2;
/** Beyond those that systems give to accounts, containers and services. */
const SUGGESTED = "1879048192-1879113727";

/** Reads `FROM-TO`. Throws {@link UsageError}. */
export function readRange(text: string, what: string): UidRange {
  const [, first, last] = /^(\d{1,10})-(\d{1,10})$/.exec(text) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (!(from >= 1 && from <= to && to <= MAX_UID))
    throw new UsageError(
      `${what} must be two numbers from 1 to ${MAX_UID}, the lower one first, such as ${SUGGESTED}; it is ${JSON.stringify(text)}`,
    );
  return { from, to };
}

/**
 * The users of a range.
 *
 * @throws {EnvironmentError} the node cannot make its hosts these users, or they are others' already
 */
export function openUsers(range: UidRange, driver: SandboxDriver): Users {
  const named = `--uid-range ${range.from}-${range.to}`;
  if (process.getuid?.() !== 0)
    throw new EnvironmentError(
      `${named}: only root can run functions as other users; serve as root, or leave the option out`,
    );
  if (!driver.users) {
    const others = DRIVERS.filter((other: SandboxDriver) => other.users).map(({ name }) => name);
    throw new EnvironmentError(
      `${named}: hosts of the sandbox ${driver.name} cannot become other users; serve with --sandbox ${others.join(" or ")}`,
    );
  }
  const lack = whyNoRights(driver.usersTake) ?? driver.whyNoUsers?.();
  if (lack !== undefined) throw new EnvironmentError(`${named}: ${lack}`);
  const clashes = clashesOf(range, accountsHere());
  if (clashes.length > 0)
    throw new EnvironmentError(
      `${named}: functions would run as users whom the machine has already: ${clashes.slice(0, 5).join("; ")}; choose a range that is no one else's, such as ${SUGGESTED}`,
    );
  const users = new Users(range);
  log.info(
    `each user's functions run as a user of the machine of their own, one of ${countOf(users.size, "uid")} from ${range.from} on`,
  );
  return users;
}
