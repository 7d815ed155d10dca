/** A lease that is there again after it was lost: a further one is taken, on another node where there is one. */
import { type Lease, LeaseLost, WorkerLost } from "rfaas";

/** What is taken anew each time: a lease, and what belongs to it. */
export interface Taken extends AsyncDisposable {
  readonly lease: Pick<Lease, "events">;
}

const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 5000;

/**
 * Takes a lease, and takes a new one when that is lost or about to be.
 *
 * @example
 * ```ts
 * await using kept = new KeptLease(take, (problem) => console.error(problem));
 * const price = await kept.use(({ price }) => price(option), AbortSignal.timeout(1000));
 * ```
 */
export class KeptLease<Held extends Taken> implements AsyncDisposable {
  readonly #take: (signal: AbortSignal) => Promise<Held>;
  readonly #report: (problem: string) => void;
  readonly #closing = new AbortController();
  readonly #kept: Promise<void>;
  #held = Promise.withResolvers<Users<Held>>();
  #up = false;

  constructor(
    take: (signal: AbortSignal) => Promise<Held>,
    report: (problem: string) => void = () => {},
  ) {
    this.#take = take;
    this.#report = report;
    this.#kept = this.#keep();
  }

  /** Whether there is a lease; else one is being taken. */
  get up(): boolean {
    return this.#up;
  }

  /** Calls `work` with the lease, which it waits for; `signal` ends the wait. */
  async use<Result>(work: (held: Held) => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const users = await untilAborted(this.#held.promise, signal);
    users.enter();
    try {
      return await work(users.held);
    } catch (error) {
      // The call may hear of it before the event comes.
      if (error instanceof WorkerLost || error instanceof LeaseLost) users.retire(error.message);
      throw error;
    } finally {
      users.leave();
    }
  }

  /** Gives the lease back when the calls that use it have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error("the service is closed"));
    await this.#kept;
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing;
    const releases = new Set<Promise<void>>();
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        const users = new Users(await this.#take(signal));
        pauseMs = FIRST_PAUSE_MS;
        this.#up = true;
        this.#held.resolve(users);
        const reason = await untilAborted(users.retired, signal).catch(() => undefined);
        this.#up = false;
        this.#held = Promise.withResolvers();
        if (reason !== undefined) this.#report(`${reason}; taking another lease`);
        // The next lease does not wait for calls that are in flight on this one.
        const release: Promise<void> = users
          .release()
          .catch((error) => this.#report(`a lease was not given back: ${error}`))
          .finally(() => releases.delete(release));
        releases.add(release);
      } catch (error) {
        if (signal.aborted) break;
        this.#report(`no lease: ${error instanceof Error ? error.message : error}`);
        await untilAborted(Bun.sleep(pauseMs), signal).catch(() => {});
        pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
      }
    }
    this.#held.promise.catch(() => {});
    this.#held.reject(signal.reason);
    await Promise.all(releases);
  }
}

/** A lease, and how many calls use it. */
class Users<Held extends Taken> {
  readonly held: Held;
  /** Resolves, to the reason, when no further call should use it. */
  readonly retired: Promise<string>;
  readonly retire: (reason: string) => void;
  #count = 0;
  readonly #idle = Promise.withResolvers<void>();
  #ending = false;

  constructor(held: Held) {
    this.held = held;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.retired = promise;
    this.retire = resolve;
    void this.#watch();
  }

  enter(): void {
    this.#count++;
  }

  leave(): void {
    this.#count--;
    if (this.#ending && this.#count === 0) this.#idle.resolve();
  }

  async release(): Promise<void> {
    this.#ending = true;
    if (this.#count > 0) await this.#idle.promise;
    await this.held[Symbol.asyncDispose]();
  }

  async #watch(): Promise<void> {
    for await (const event of this.held.lease.events())
      if (event.type === "lost" || event.type === "revoking" || event.type === "worker-lost")
        return this.retire(event.message);
  }
}

async function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
