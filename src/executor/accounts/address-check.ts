/** Whether clients find the node where it says: the manager looks for it there, and the node's log says what stands against it. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import type { OwnAddress, Proof } from "../../control/reach/reach.ts";

export interface AddressCheckOptions {
  own: OwnAddress;
  /** As the node has announced it. */
  address: string;
  /** As the node calls it. */
  manager: string;
  /** Asks the manager; rejects when it does not look. */
  ask(proof: Proof): Promise<string>;
  log(level: "info" | "warn", message: string): void;
  clock?: Clock | undefined;
}

/** An address that was not reached is looked at again, since a firewall may be opened. */
const AGAIN_MS = 60_000;

export class AddressCheck {
  readonly #options: AddressCheckOptions;
  readonly #clock: Clock;
  #again: Timer | undefined;
  #looks = false;
  /** What was found last, if anything. */
  #found: string | undefined;

  constructor(options: AddressCheckOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  /** The manager has accepted the node; it `looks` when it is asked to. */
  joined(looks: boolean): void {
    this.#again?.clear();
    this.#looks = looks;
    if (looks) void this.#look();
  }

  close(): void {
    this.#looks = false;
    this.#again?.clear();
  }

  async #look(): Promise<void> {
    const { own, ask } = this.#options;
    let found: string | undefined;
    try {
      found = await ask(own.newProof());
    } catch {
      // It has more to do, or the connection was lost.
    }
    if (!this.#looks) return;
    if (found !== undefined) this.#tell(found);
    if (found === "yes") return;
    this.#again?.clear();
    this.#again = this.#clock.after(AGAIN_MS, () => void this.#look());
    this.#again.unref();
  }

  /** Once, until something else is found. */
  #tell(found: string): void {
    const { address, manager, log } = this.#options;
    const before = this.#found;
    this.#found = found;
    if (found === before) return;
    const problem = problemOf(found, address, manager);
    if (problem !== undefined) log("warn", problem);
    else if (before !== undefined)
      log("info", `the manager at ${manager} reaches this node at ${address}`);
  }
}

const ADVERTISE = "--advertise HOST:PORT";

/** What stands between clients and the node, with what to do; undefined when nothing does. */
export function problemOf(found: string, address: string, manager: string): string | undefined {
  const problem = PROBLEMS[found] ?? PROBLEMS["unproven"]!;
  if (found === "yes") return undefined;
  return `clients may not find this node at ${address}: ${problem(`the manager at ${manager}`)}`;
}

/** By what the manager has found; `manager` is it in words. */
const PROBLEMS: Readonly<Record<string, (manager: string) => string>> = {
  "unknown-name": (manager) =>
    `${manager} cannot resolve that name; put it into DNS, or name an address that leads here: ${ADVERTISE}`,
  refused: (manager) =>
    `nothing listens there, as ${manager} sees it; let the address lead to this node's port, or name another one: ${ADVERTISE}`,
  timeout: (manager) =>
    `${manager} gets no answer from there, as where a firewall drops what is sent; open the port, or name an address that leads here: ${ADVERTISE}`,
  unreachable: (manager) =>
    `${manager} has no route to it; name an address that other machines reach: ${ADVERTISE}`,
  another: (manager) =>
    `something else answers there, as ${manager} sees it; name an address that leads to this node: ${ADVERTISE}`,
  loopback: (manager) =>
    `it leads each machine to itself, and ${manager} is on another one; serve with --listen 0.0.0.0:PORT, and name an address that other machines reach: ${ADVERTISE}`,
  socket: (manager) =>
    `a socket's path leads to no other machine, and ${manager} is on another one; serve with --listen 0.0.0.0:PORT`,
  unproven: (manager) =>
    `${manager} does not find it there; see that the address leads to this node's port, or name another one: ${ADVERTISE}`,
};
