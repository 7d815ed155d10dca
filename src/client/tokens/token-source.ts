/**
 * Where a program's token comes from, and newer ones: a token that is given, a file that is written anew, a callback, the manager. Who
 * shows tokens asks here for the present one, and hears of the next, so that leases outlive the token that they were taken with.
 */
import { type FSWatcher, readFileSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { EnvironmentError } from "../../base/errors.ts";
import { notify } from "../../base/notify.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { warnOnce } from "../../base/warnings.ts";
import { Credential } from "../../protocol/holder/credential.ts";
import { readClaims } from "../../protocol/token.ts";

export interface TokenOptions {
  token?: string | undefined;
  tokenFile?: string | undefined;
  renewToken?: (() => string | Promise<string>) | undefined;
}

/** A newer token is asked for so long before the present one expires, or a third of its time before. */
const MAX_LEAD_MS = 120_000;
const MIN_RETRY_MS = 500;

export class TokenSource implements Disposable {
  readonly #file: string | undefined;
  readonly #ask: (() => string | Promise<string>) | undefined;
  readonly #clock: Clock;
  readonly #listeners = new Set<(text: string) => void>();
  #askManager: (() => Promise<string | undefined>) | undefined;
  #text: string | null;
  #watcher: FSWatcher | undefined;
  #timer: Timer | undefined;
  #renewing: Promise<boolean> | undefined;
  #closed = false;

  /**
   * That of the options, else of the environment: `RFAAS_TOKEN`, or the file `RFAAS_TOKEN_FILE`.
   *
   * @throws {EnvironmentError} the file cannot be read
   */
  constructor(
    { token, tokenFile, renewToken }: TokenOptions,
    env: Record<string, string | undefined> = process.env,
    clock: Clock = SYSTEM_CLOCK,
  ) {
    const own = env["RFAAS_TOKEN"] || undefined;
    this.#file = tokenFile ?? ((token ?? own) ? undefined : env["RFAAS_TOKEN_FILE"] || undefined);
    this.#ask = renewToken;
    this.#clock = clock;
    this.#text = token ?? (this.#file === undefined ? (own ?? null) : read(this.#file));
    if (this.#text !== null) this.#plan();
    if (this.#file !== undefined) this.#watch(this.#file);
  }

  /** The present one; null where there is none. */
  get text(): string | null {
    return this.#text;
  }

  /** Calls `listener` with each newer one. Returns a function that ends that. */
  onNewer(listener: (text: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A manager that may be asked, too. */
  askManager(ask: () => Promise<string | undefined>): void {
    this.#askManager = ask;
  }

  /** Looks for a newer one now. Resolves to whether there is one. Never rejects. */
  renew(): Promise<boolean> {
    return (this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined)));
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#watcher?.close();
    this.#timer?.clear();
    this.#listeners.clear();
  }

  async #renew(): Promise<boolean> {
    const file = this.#file;
    const ways = [file === undefined ? undefined : () => read(file), this.#ask, this.#askManager];
    for (const way of ways) {
      try {
        const given = await way?.();
        if (given !== undefined && this.#take(given)) return true;
      } catch (error) {
        warnOnce(`no newer token: ${(error as Error).message}`, "RFAAS_TOKEN");
      }
    }
    return false;
  }

  /** Returns whether it is another one than before. Throws `TokenRefused` for what is none. */
  #take(given: string): boolean {
    const text = withKeyOf(given.trim(), this.#text);
    if (this.#closed || text === this.#text) return false;
    Credential.read(text);
    this.#text = text;
    this.#plan();
    for (const listener of [...this.#listeners]) notify(listener, text);
    return true;
  }

  /** Asks in time for the next, and again and again where there is none yet. */
  #plan(): void {
    this.#timer?.clear();
    const expiresAtMs = expiryOf(this.#text!);
    if (expiresAtMs === null) return;
    const leftMs = expiresAtMs - this.#clock.wallMs();
    const inMs = leftMs - Math.min(MAX_LEAD_MS, leftMs / 3);
    const look = (): void =>
      void this.renew().then((found) => {
        if (found || this.#closed) return;
        const soonMs = Math.max(MIN_RETRY_MS, (expiresAtMs - this.#clock.wallMs()) / 4);
        this.#after(soonMs, look);
      });
    if (leftMs > 0) this.#after(Math.max(MIN_RETRY_MS, inMs), look);
  }

  #after(delayMs: number, look: () => void): void {
    this.#timer = this.#clock.after(delayMs, look);
    // A program does not go on for its token.
    this.#timer.unref();
  }

  #watch(path: string): void {
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_, changed) => {
        if (changed === basename(path)) void this.renew();
      });
    } catch {
      // It is looked at in time all the same.
    }
  }
}

/** Null for a token that never expires, or says nothing. */
function expiryOf(text: string): number | null {
  try {
    return readClaims(Credential.read(text).token).expiresAtMs;
  } catch {
    return null;
  }
}

/** A newer token may come without the private key, which the program has: who has signed it need not have seen that. */
function withKeyOf(text: string, former: string | null): string {
  const key = former?.split(".")[3];
  if (key === undefined || text.split(".").length !== 3) return text;
  const whole = `${text}.${key}`;
  try {
    return Credential.read(whole).isBound ? whole : text;
  } catch {
    return text;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    throw new EnvironmentError(
      `the token's file ${path} cannot be read: ${reasonOf(cause)}; correct tokenFile (RFAAS_TOKEN_FILE)`,
      { cause },
    );
  }
}
