/** How requests wait at one node, in the time that they have: in its line, and for other leases of their user to end, which no line tells. */
import { LeaseRefused } from "../../base/errors.ts";
import { parseBytes } from "../../base/units.ts";
import { untilAborted } from "../../base/waiting.ts";
import { MAX_DURATION_MS } from "../../protocol/fields.ts";
import type { Welcome } from "../../protocol/messages.ts";
import {
  type AllocateOptions,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_WAIT_TIMEOUT_MS,
} from "../options/allocate-options.ts";
import { atLimit } from "../failures/at-limit.ts";
import { Gate } from "./gate.ts";

/** Between two requests to a node that is full: twice as long each time. */
const MIN_BACK_OFF_MS = 10;
const MAX_BACK_OFF_MS = 1000;
/** Of requests that wait for room. */
const MAX_ASKED_AT_ONCE = 64;

export class RoomWait {
  readonly #node: Pick<Welcome, "cores" | "memoryBytes">;
  readonly #gate = new Gate(MAX_ASKED_AT_ONCE);
  /** Resolves when a lease of this program is over. */
  #released = Promise.withResolvers<void>();

  constructor(node: Pick<Welcome, "cores" | "memoryBytes">) {
    this.#node = node;
  }

  /** A lease of this program is over. */
  released(): void {
    const { resolve } = this.#released;
    this.#released = Promise.withResolvers<void>();
    resolve();
  }

  /**
   * Lets the request wait in the node's line for as long as the options say, and asks a node again that has no line, or too long a one, or
   * lets the user hold no more now. Of those that wait so many are asked for at a time, as each has a descriptor open.
   */
  async inTime<Granted extends { waited: number }>(
    options: AllocateOptions,
    signal: AbortSignal,
    ask: (waitMs: number) => Promise<Granted>,
  ): Promise<Granted> {
    const { wait = false, timeoutMs = DEFAULT_WAIT_TIMEOUT_MS } = options;
    if (!wait || !this.#canEverHold(options)) return await ask(0);
    const startedMs = performance.now();
    const leftMs = () => Math.max(0, Math.ceil(startedMs + timeoutMs - performance.now()));
    using _ = await this.#gate.enter(leftMs(), signal);
    for (let backOffMs = MIN_BACK_OFF_MS; ; backOffMs = Math.min(MAX_BACK_OFF_MS, 2 * backOffMs)) {
      const { promise: released } = this.#released;
      try {
        const beforeMs = performance.now() - startedMs;
        const granted = await ask(Math.min(leftMs(), MAX_DURATION_MS));
        // Behind other requests of this program, or at a node whose line was too long.
        if (beforeMs >= 1) granted.waited += beforeMs;
        return granted;
      } catch (error) {
        if (!mayPass(error)) throw error;
        // The node knows only of the time that was left when it was asked, if it was asked to wait at all.
        if (leftMs() === 0) throw noRoom(error, timeoutMs);
        const pause = Bun.sleep(Math.min(backOffMs, leftMs())).then(() => false);
        const isSooner = released.then(() => error.limit !== undefined);
        if (await untilAborted(Promise.race([pause, isSooner]), signal))
          backOffMs = MIN_BACK_OFF_MS / 2;
      }
    }
  }

  /** Whether waiting can help: the node refuses at once what it can never hold. */
  #canEverHold({
    workers = 1,
    coresPerWorker = 1,
    memory = DEFAULT_MEMORY_BYTES,
  }: AllocateOptions): boolean {
    const { cores, memoryBytes } = this.#node;
    return workers * coresPerWorker <= cores && parseBytes(memory, "memory") <= memoryBytes;
  }
}

const mayPass = (error: unknown): error is LeaseRefused =>
  error instanceof LeaseRefused && (error.limit?.passes || error.code === "RFAAS_NODE_FULL");

function noRoom(error: LeaseRefused, timeoutMs: number): LeaseRefused {
  if (error.limit) return atLimit(error, timeoutMs);
  return new LeaseRefused(
    "RFAAS_NODE_FULL",
    `the node had no room within ${timeoutMs} ms; release another lease, or wait longer with timeoutMs`,
    { cause: error },
  );
}
