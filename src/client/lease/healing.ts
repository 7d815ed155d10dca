/**
 * Keeps the number of a lease's workers (`onLoss: "replace"`): notes which are lost, or are to be taken back, and has others take their
 * numbers. Which nodes give them, who asks on its behalf knows.
 */
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { ConnectionFailed, LeaseLost, LeaseRefused, NodeUnreachable } from "../../base/errors.ts";
import { withinCall } from "../calls/within-call.ts";
import { notRun } from "../failures/fate.ts";
import type { SubmitOptions } from "../options/call-options.ts";
import type { PartLease } from "./part.ts";

/** A part that has not joined a lease yet, and where it is. */
export interface Found<Module> {
  lease: PartLease<Module>;
  node: string;
  address: string;
}

/** Takes as many workers as are to be replaced, in one part or several; or throws, and then holds none. */
export type Replace<Module> = (
  workers: number,
  signal: AbortSignal,
) => Promise<readonly Found<Module>[]>;

/** What it needs of its lease. */
export interface Healed<Module> {
  /** Who has the worker of this number now. */
  holderOf(worker: number): PartLease<Module>;
  /** They have the numbers from `firstWorker` on. */
  seat(found: readonly Found<Module>[], firstWorker: number): void;
  /** What is lost cannot be replaced. */
  giveUp(message: string): void;
}

/** A node may be about to say why a part is lost that the client has found lost. */
const WORD_LIMIT_MS = 20;
/** Between two attempts, and before workers that were lost soon after they came are replaced: doubles each time. */
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 5000;
/** Workers that live for so long have not come in vain. */
const SOON_MS = 500;

/** Of requests to an invoker that is closed: no other one will end otherwise. */
export const CLOSED: ReadonlySet<string> = new Set([
  ...["RFAAS_CLUSTER_CLOSED", "RFAAS_INVOKER_CLOSED"],
]);
/** Errors with which a request ends that another may end without. */
const mayPass = (error: unknown): boolean =>
  (error instanceof LeaseRefused && !CLOSED.has(error.code)) ||
  error instanceof NodeUnreachable ||
  error instanceof ConnectionFailed ||
  error instanceof LeaseLost;

export class Healing<Module = unknown> {
  readonly #replace: Replace<Module>;
  readonly #clock: Clock;
  readonly #ended = new AbortController();
  /** Numbers of workers that are to be replaced. */
  readonly #gaps = new Set<number>();
  #lease: Healed<Module> | undefined;
  #running = false;
  #pauseMs = 0;
  #seatedAtMs = -Infinity;
  #change = Promise.withResolvers<void>();

  constructor(replace: Replace<Module>, clock: Clock = SYSTEM_CLOCK) {
    this.#replace = replace;
    this.#clock = clock;
    this.#change.promise.catch(() => {});
  }

  /** Replaces what the lease loses, from now on. */
  attend(lease: Healed<Module>): void {
    this.#lease = lease;
  }

  /** Replaces what this part loses. */
  watch(part: PartLease<Module>): void {
    const look = (): void => this.#look(part);
    Object.assign(part.core.losses, { heard: look, heals: () => this.open && !part.endsForGood });
    part.on("lost", ({ message }) => (part.endsForGood ? this.#lease!.giveUp(message) : look()));
    part.on("revoking", look);
    // It may have been lost before.
    if (isGone(part)) this.#look(part);
  }

  /** Whether workers that are lost will be replaced. */
  get open(): boolean {
    return !this.#ended.signal.aborted;
  }

  /** Whether workers are to be replaced. */
  get pending(): boolean {
    return this.#gaps.size > 0;
  }

  /**
   * Waits for the next workers that take the places of others, for as long as a call may take. Resolves to what is left of its options.
   *
   * @throws {LeaseLost} there were none to be had now, or there will be none
   */
  async healed(options: SubmitOptions | undefined): Promise<SubmitOptions | undefined> {
    this.#ended.signal.throwIfAborted();
    return await withinCall(this.#change.promise, options);
  }

  /** Calls `listener` when nothing is replaced any more. */
  onOver(listener: () => void): void {
    this.#ended.signal.addEventListener("abort", listener, { once: true });
  }

  /** The lease is over: `why` calls that wait end. */
  end(why: Error): void {
    if (!this.open) return;
    this.#ended.abort(why);
    this.#fail(why);
  }

  #look(part: PartLease<Module>): void {
    if (!this.open) return;
    const { lanes } = part.core;
    const whole = isGone(part) || part.state === "revoking";
    for (const { index, lost } of lanes) {
      const worker = part.firstWorker + index;
      if ((whole || lost !== undefined) && this.#lease!.holderOf(worker) === part)
        this.#gaps.add(worker);
    }
    if (!whole && part.isOver()) this.#awaitWord(part);
    if (this.pending && !this.#running) void this.#run();
  }

  /** One worker was found lost, and so are the others: a moment later at most they are told. */
  #awaitWord(part: PartLease<Module>): void {
    this.#clock.after(WORD_LIMIT_MS, () => {
      const { lost } = part.core.lanes.find((lane) => lane.lost !== undefined) ?? {};
      if (part.state === "up" && part.isOver())
        part.lose(lost?.message.replace(/; [^;]*$/, "") ?? "its workers are lost");
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    const { signal } = this.#ended;
    // The others of a part are told in the same turn.
    await Promise.resolve();
    if (this.#clock.nowMs() - this.#seatedAtMs > SOON_MS) this.#pauseMs = 0;
    else await this.#pause();
    while (this.pending && this.open) {
      const run = firstRun(this.#gaps);
      try {
        const found = await this.#replace(run.length, signal);
        if (!this.open) for (const { lease } of found) void lease.release().catch(() => {});
        else this.#seat(found, run[0]!);
      } catch (error) {
        if (!this.open) break;
        const { message } = error as Error;
        if (!mayPass(error)) {
          this.#lease!.giveUp(`workers were lost and cannot be replaced: ${message}`);
          break;
        }
        const why = `workers were lost and cannot be replaced now: ${message}`;
        this.#fail(notRun(new LeaseLost(why, { cause: error })));
        await this.#pause();
      }
    }
    this.#running = false;
  }

  #seat(found: readonly Found<Module>[], first: number): void {
    this.#seatedAtMs = this.#clock.nowMs();
    const count = found.reduce((sum, { lease }) => sum + lease.workers, 0);
    for (let i = 0; i < count; i++) this.#gaps.delete(first + i);
    this.#lease!.seat(found, first);
    const { resolve } = this.#change;
    this.#renew();
    resolve();
  }

  #fail(error: Error): void {
    const { reject } = this.#change;
    this.#renew();
    reject(error);
  }

  #renew(): void {
    this.#change = Promise.withResolvers();
    // No call may be waiting for it.
    this.#change.promise.catch(() => {});
  }

  async #pause(): Promise<void> {
    this.#pauseMs = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, 2 * this.#pauseMs));
    const over = Promise.withResolvers<void>();
    const timer = this.#clock.after(this.#pauseMs, over.resolve);
    this.#ended.signal.addEventListener("abort", () => over.resolve(), { once: true });
    await over.promise;
    timer.clear();
  }
}

/** Whether no worker of a part takes calls any more, or only `worker` of its lease is asked of. */
export function isGone(
  { state, core, firstWorker }: Pick<PartLease, "state" | "core" | "firstWorker">,
  worker?: number,
): boolean {
  if (state === "lost" || state === "released") return true;
  if (worker !== undefined) return core.lanes[worker - firstWorker]?.lost !== undefined;
  return core.lanes.every(({ lost }) => lost !== undefined);
}

/** The first numbers that follow each other: a part has such. */
function firstRun(gaps: ReadonlySet<number>): number[] {
  const sorted = [...gaps].toSorted((a, b) => a - b);
  const end = sorted.findIndex((worker, i) => i > 0 && worker !== sorted[i - 1]! + 1);
  return end < 0 ? sorted : sorted.slice(0, end);
}
