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
  #met: readonly string[] = [];

  constructor(etcd: Etcd, prefix: string, address: string, events: Pick<ShareEvents, "managers">) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#address = address;
    this.#events = events;
  }

  /** Says that this one is there, and hears of the others. */
  async meet(wallMs: number): Promise<void> {
    const address = this.#address;
    if (Math.abs(wallMs - this.#saidAtMs) > SAY_INTERVAL_MS) {
      const value = JSON.stringify({ address, atMs: wallMs });
      await this.#etcd.transact([], [{ put: this.#prefix + encodeURIComponent(address), value }]);
      this.#saidAtMs = wallMs;
    }
    const { keys } = await this.#etcd.range(this.#prefix, { prefix: true });
    const others = keys
      .map(({ value }) => readRecord(value, PresentManager))
      .filter((one) => one !== undefined)
      .filter((one) => one.address !== address && wallMs - one.atMs < MEMORY_MS)
      .map((one) => one.address);
    const met = [address, ...others];
    if (Bun.deepEquals(met, this.#met)) return;
    this.#met = met;
    this.#events.managers(met);
  }
}
