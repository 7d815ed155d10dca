/** The managers of a cluster, as they are named: one, or several with commas between, of which one leads. */
import { UsageError } from "../base/errors.ts";
import { type Address, formatAddress, parseAddress, placeOf } from "./address.ts";

/** A cluster has two or three. */
const MAX_MANAGERS = 16;

/** At least one, each once. Throws {@link UsageError} as `parseAddress` does. */
export function parseManagers(text: string): Address[] {
  const addresses = new Map<string, Address>();
  for (const part of text.split(",")) {
    const address = parseAddress(part);
    addresses.set(placeIn(address), address);
  }
  if (addresses.size <= MAX_MANAGERS) return [...addresses.values()];
  throw new UsageError(`${MAX_MANAGERS} managers are enough; leave some of them out`);
}

const placeIn = (address: Address): string =>
  address.kind === "unix" ? address.path : placeOf(address);

/** Between two attempts where there are several: the one that leads is found soon after it has taken over. */
const MAX_DELAY_MS = 1_000;

/** Which of them is tried: the next one after each failure, and the one that has answered for as long as it does. */
export class Managers {
  readonly #all: readonly Address[];
  #at = 0;

  constructor(named: Address | readonly Address[] | string) {
    this.#all = typeof named === "string" ? parseManagers(named) : [named].flat();
  }

  get count(): number {
    return this.#all.length;
  }

  get current(): Address {
    return this.#all[this.#at]!;
  }

  /** As messages name it. */
  get place(): string {
    return placeIn(this.current);
  }

  /** All of them, as messages name them. */
  get places(): string {
    return this.#all.map(placeIn).join(",");
  }

  /** All of them, as they were named. */
  get addresses(): string {
    return this.#all.map(formatAddress).join(",");
  }

  /** The longest pause between two attempts; undefined for that of any connection. */
  get maxDelayMs(): number | undefined {
    return this.#all.length > 1 ? MAX_DELAY_MS : undefined;
  }

  next(): void {
    this.#at = (this.#at + 1) % this.#all.length;
  }
}
