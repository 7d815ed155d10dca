/** A call of a lease that replaces what it loses: waits for a worker where there is none, and is made again where it may be. */
import { LeaseLost, UsageError } from "../../base/errors.ts";
import { withinDeadline } from "../calls/deadline.ts";
import type { PublicCall } from "../calls/public-call.ts";
import { mayHaveRun, saysNotRun } from "../failures/fate.ts";
import { isLoss } from "../failures/retry.ts";
import type { SubmitOptions } from "../options/call-options.ts";
import type { Healing } from "./healing.ts";

/** Makes the call; undefined while no worker can have it. */
export type Attempt = (options: SubmitOptions | undefined) => PublicCall | undefined;

export class HealedCall implements PublicCall {
  readonly #attempt: Attempt;
  readonly #healing: Pick<Healing, "healed" | "open" | "pending">;
  readonly #outcome: Promise<number>;
  #options: SubmitOptions | undefined;
  /** The attempt in flight. */
  #call: PublicCall | undefined;
  /** The one that was made last. */
  #last: PublicCall | undefined;
  #began = performance.now();
  #attempts = 0;
  #ran = false;
  #done = false;

  constructor(
    attempt: Attempt,
    healing: Pick<Healing, "healed" | "open" | "pending">,
    options: SubmitOptions | undefined,
  ) {
    this.#attempt = attempt;
    this.#healing = healing;
    this.#options = options;
    this.#try();
    this.#outcome = this.#run().finally(() => (this.#done = true));
    // As any call, it runs whether its program waits for it or not.
    this.#outcome.catch(() => {});
  }

  get timings() {
    return this.#last?.timings;
  }

  get worker(): number {
    return this.#last?.worker ?? this.#options?.worker ?? 0;
  }

  get attempt(): number {
    return Math.max(0, this.#attempts - 1) + (this.#last?.attempt ?? 0);
  }

  get done(): boolean {
    return this.#done || (this.#call?.done === true && !this.#options?.idempotent);
  }

  get(): number {
    for (;;) {
      const call = this.#call;
      if (call === undefined)
        throw new UsageError(
          "the call waits for a worker that takes a lost one's place, which needs the event loop; await it",
        );
      try {
        return call.get();
      } catch (error) {
        this.#failed(call, error);
      }
    }
  }

  then<A = number, B = never>(
    onFulfilled?: ((bytes: number) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#outcome.then(onFulfilled, onRejected);
  }

  catch<B = never>(
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<number | B> {
    return this.#outcome.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<number> {
    return this.#outcome.finally(onFinally);
  }

  async #run(): Promise<number> {
    for (;;) {
      const call = this.#call;
      if (call === undefined) {
        try {
          this.#options = await this.#healing.healed(this.#options);
        } catch (error) {
          throw this.#ran ? mayHaveRun(error) : error;
        }
        this.#began = performance.now();
        this.#try();
        continue;
      }
      try {
        return await call;
      } catch (error) {
        this.#failed(call, error);
      }
    }
  }

  #try(): void {
    this.#call = this.#attempt(this.#options);
    if (this.#call === undefined) return;
    this.#last = this.#call;
    this.#attempts++;
  }

  /** Makes it again, unless that has been done; throws what it ends with where it may not be. */
  #failed(call: PublicCall, error: unknown): void {
    if (this.#call !== call) return;
    if (!this.#options?.idempotent || !isLoss(error) || !this.#healing.open)
      throw this.#ran ? mayHaveRun(error) : error;
    this.#ran ||= !saysNotRun(error);
    this.#options = withinDeadline(this.#options, performance.now() - this.#began);
    this.#began = performance.now();
    // A part that is about to be taken back has refused it, and would refuse it again.
    const refused = error instanceof LeaseLost && saysNotRun(error);
    if (this.#healing.pending && refused) this.#call = undefined;
    else this.#try();
  }
}
