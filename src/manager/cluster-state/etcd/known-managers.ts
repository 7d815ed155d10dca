/** Which managers there are, as nodes and clients are to be told: each says in etcd that it is there. */
import type { ShareEvents } from "../cluster-state.ts";
import type { Etcd } from "./client.ts";
import { PresentManager, readRecord } from "./records.ts";

/** Of one that is not there any more. */
const MEMORY_MS = 7 * 86_400_000;
const SAY_INTERVAL_MS = MEMORY_MS / 7;

export class KnownManagers {
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #address: string;
  readonly #events: Pick<ShareEvents, "managers">;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  #saidStored = -1;
  #met: readonly string[] = [];

  constructor(etcd: Etcd, prefix: string, address: string, events: Pick<ShareEvents, "managers">) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#address = address;
    this.#events = events;
  }

  /**
   * Says that this one is there, and up to which record its ledger has the bills, and hears of the others. Resolves to the record up to which
   * all of them have; 0 where there is no other one.
   */
  async meet(wallMs: number, stored: number): Promise<number> {
    const address = this.#address;
    if (Math.abs(wallMs - this.#saidAtMs) > SAY_INTERVAL_MS || stored !== this.#saidStored) {
      const value = JSON.stringify({ address, atMs: wallMs, stored });
      await this.#etcd.transact([], [{ put: this.#prefix + encodeURIComponent(address), value }]);
      this.#saidAtMs = wallMs;
      this.#saidStored = stored;
    }
    const { keys } = await this.#etcd.range(this.#prefix, { prefix: true });
    const others = keys
      .map(({ value }) => readRecord(value, PresentManager))
      .filter((one) => one !== undefined)
      .filter((one) => one.address !== address && wallMs - one.atMs < MEMORY_MS);
    const met = [address, ...others.map((one) => one.address)];
    if (!Bun.deepEquals(met, this.#met)) {
      this.#met = met;
      this.#events.managers(met);
    }
    return others.length === 0 ? 0 : Math.min(stored, ...others.map((one) => one.stored ?? 0));
  }
}
