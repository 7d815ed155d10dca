/** How long a lease lasts, as its holder sees it: renewals in the background, and the events of its life. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { LeaseLost } from "../../base/errors.ts";
import {
  type HeldEvent,
  type HeldState,
  advanceHeld,
  heldUntilNs,
  holdLease,
  renewalIntervalNs,
  revokedAtNs,
} from "../../lease/term.ts";
import type { LogLine } from "../../protocol/module-report.ts";
import type { UsageReply } from "../../protocol/lease-messages.ts";
import { NOTHING_USED, type Usage } from "../../protocol/usage.ts";
import { type Losses, adviceFor } from "../failures/advice.ts";
import { notRun } from "../failures/fate.ts";
import { EventHub } from "../events/event-hub.ts";
import type { LeaseEvent, LeaseEventOf } from "../events/lease-event.ts";
import type { LeaseUsage } from "./lease-usage.ts";

/** What the term needs of the node. */
export interface TermNode {
  renew(lease: number, ttlMs: number | null, signal?: AbortSignal): Promise<void>;
  usage(lease: number, signal?: AbortSignal): Promise<UsageReply>;
}

export class LeaseTerm {
  /** Which part of its lease it is the term of. */
  part = 0;
  readonly #node: TermNode;
  readonly #lease: number;
  readonly #hub = new EventHub();
  readonly #clock: Clock;
  readonly #losses: Losses;
  #state: HeldState;
  /** When the lease ends, by the node's last message. */
  #untilNs: number;
  /** When a revocation ends the lease, for calls to read; Infinity without one. */
  #revokedAtNs = Infinity;
  #timer: Timer | undefined;
  /** Aborts pending renewals when the lease is over. */
  readonly #ending = new AbortController();
  #over: LeaseEvent | undefined;
  /** What the node has said last of what the lease has cost. */
  #last: Usage = NOTHING_USED;
  /** Nothing can add to that: the lease has ended. */
  #lastIsFinal = false;

  constructor(
    node: TermNode,
    lease: number,
    ttlMs: number,
    expiresInMs: number,
    clock: Clock = SYSTEM_CLOCK,
    losses: Losses = {},
  ) {
    this.#losses = losses;
    this.#node = node;
    this.#lease = lease;
    this.#clock = clock;
    const atNs = clock.nowNs();
    this.#untilNs = atNs + expiresInMs * 1e6;
    this.#state = holdLease(atNs, ttlMs * 1e6, expiresInMs * 1e6);
    this.#keepRenewing();
  }

  get expiresAt(): Date {
    return this.#wallClock(this.#untilNs);
  }

  /** Whether the node has said when it takes the lease back. */
  get endsSoon(): boolean {
    return this.#revokedAtNs !== Infinity;
  }

  /**
   * Why a call that takes `needMs` (0: unknown) cannot be made any more; undefined when it can. Only a revocation is certain: a lease
   * that is renewed, or used, does not end at {@link expiresAt}.
   */
  refusal(needMs: number): LeaseLost | undefined {
    // Calls of a lease that is over fail with the lease's own error.
    if (this.#revokedAtNs === Infinity || this.#over) return undefined;
    const leftMs = Math.floor((this.#revokedAtNs - this.#clock.nowNs()) / 1e6);
    if (leftMs > 0 && needMs <= leftMs) return undefined;
    const when = leftMs > 0 ? `takes the lease back in ${leftMs} ms` : `has taken the lease back`;
    const need = leftMs > 0 ? `, and the call may take ${needMs} ms` : "";
    const shorter = leftMs > 0 ? ", or call with a deadlineMs or durationMs that is shorter" : "";
    const advice = adviceFor(this.#losses);
    return notRun(new LeaseLost(`the node ${when}${need}; ${advice}${shorter}`));
  }

  async renew(ttlMs: number | null): Promise<void> {
    if (this.#over) throw this.#overError();
    if (ttlMs !== null) {
      this.#advance({ kind: "asked", ttlNs: ttlMs * 1e6 });
      this.#keepRenewing();
    }
    await this.#node.renew(this.#lease, ttlMs, this.#ending.signal);
  }

  async usage(signal?: AbortSignal): Promise<LeaseUsage> {
    if (this.#released) throw this.#overError();
    try {
      const { usage, final = false } = await this.#node.usage(this.#lease, signal);
      this.#last = usage;
      this.#lastIsFinal = final;
      return { ...usage, state: final ? "final" : "live" };
    } catch (error) {
      if (!this.#over || signal?.aborted) throw error;
      // The connection to the node may be what was lost.
      if (this.#released) throw this.#overError();
      return { ...this.#last, state: this.#lastIsFinal ? "final" : "last-known" };
    }
  }

  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>) => void,
  ): () => void {
    return this.#hub.on(type, listener);
  }

  events(): AsyncGenerator<LeaseEvent, void> {
    return this.#hub.events();
  }

  // ---- the node's messages ----

  renewed(expiresInMs: number, usage?: Usage): void {
    if (!this.#lastIsFinal) this.#last = usage ?? this.#last;
    this.#advance({ kind: "renewed", atNs: this.#clock.nowNs(), leftNs: expiresInMs * 1e6 });
    this.#hub.tell({ type: "renewed", part: this.part, expiresAt: this.expiresAt });
  }

  goesOn(expiresInMs: number): void {
    this.#advance({ kind: "extended", atNs: this.#clock.nowNs(), leftNs: expiresInMs * 1e6 });
    this.#revokedAtNs = Infinity;
    this.#hub.tell({ type: "renewed", part: this.part, expiresAt: this.expiresAt });
  }

  revoking(deadlineInMs: number, message: string, cause?: string): void {
    const atNs = this.#clock.nowNs();
    const leftNs = deadlineInMs * 1e6;
    this.#advance({ kind: "revoked", atNs, leftNs });
    this.#revokedAtNs = revokedAtNs(this.#state);
    this.#hub.tell({
      type: "revoking",
      part: this.part,
      deadline: this.#wallClock(atNs + leftNs),
      message,
      ...(cause === undefined ? {} : { cause }),
    });
  }

  workerLost(worker: number, message: string): void {
    this.#hub.tell({ type: "worker-lost", part: this.part, worker, message });
  }

  logged({ worker, level, message, data, atMs, dropped }: LogLine): void {
    this.#hub.tell({
      type: "log",
      part: this.part,
      worker,
      level,
      message,
      data: parsed(data),
      at: new Date(atMs),
      dropped,
    });
  }

  /** Ends the term. The first reason stays. */
  end(why: { type: "lost"; message: string } | { type: "released" }): void {
    if (this.#over) return;
    const event = why.type === "lost" ? { ...why, part: this.part } : why;
    this.#over = event;
    this.#advance({ kind: "over" });
    this.#timer?.clear();
    this.#ending.abort(this.#overError());
    this.#hub.tell(event);
  }

  #advance(event: HeldEvent): void {
    this.#state = advanceHeld(this.#state, event);
    this.#untilNs = heldUntilNs(this.#state) ?? this.#untilNs;
  }

  #keepRenewing(): void {
    this.#timer?.clear();
    this.#timer = this.#clock.every(
      renewalIntervalNs(this.#state) / 1e6,
      () => void this.renew(null).catch(() => {}),
    );
    // The timer of an idle lease must not keep the process alive.
    this.#timer.unref();
  }

  #wallClock(atNs: number): Date {
    return new Date(this.#clock.wallMs() + (atNs - this.#clock.nowNs()) / 1e6);
  }

  get #released(): boolean {
    return this.#over?.type === "released";
  }

  #overError(): LeaseLost {
    const why = this.#over?.type === "lost" ? this.#over.message : "the lease was released";
    return new LeaseLost(`${why}; ${adviceFor(this.#losses)}`);
  }
}

/** What a function has logged is JSON, unless its process is damaged. */
function parsed(json: string | null): unknown {
  if (json === null) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}
