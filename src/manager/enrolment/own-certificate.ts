/** The manager's own certificate, which the cluster's authority issues: another one before each has expired, for connections from then on. */
import { X509Certificate } from "node:crypto";
import { hostname, networkInterfaces } from "node:os";
import { type SecureContext, createSecureContext } from "node:tls";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { validityOf } from "../../trust/certificates.ts";
import type { Fingerprint } from "../../trust/fingerprint.ts";
import { keyOf } from "../../trust/judge.ts";
import type { Authority } from "./authority.ts";

/** Looks at least so often whether it is time: a machine may have slept. */
const MAX_LOOK_MS = 60_000;
const MIN_LOOK_MS = 100;
const LOOKS_PER_LIFE = 20;
/** Of a certificate's life, after which there is to be another one. */
export const RENEWAL_AT = 2 / 3;

export interface OwnCertificateOptions {
  /** Where the manager listens, which may stand for every address. */
  listen: readonly string[];
  log(level: "info" | "warn", message: string): void;
  clock?: Clock;
}

export class OwnCertificate implements Disposable {
  readonly #authority: Authority;
  readonly #options: OwnCertificateOptions;
  readonly #clock: Clock;
  readonly #timer: Timer;
  #context: SecureContext;
  /** The fingerprint of its key, which stays. */
  readonly key: Fingerprint;
  #renewAtMs: number;
  #busy = false;

  private constructor(
    authority: Authority,
    options: OwnCertificateOptions,
    { context, key, renewAtMs, lifeMs }: Issued,
  ) {
    this.#authority = authority;
    this.#options = options;
    this.#context = context;
    this.key = key;
    this.#renewAtMs = renewAtMs;
    const lookMs = Math.max(MIN_LOOK_MS, Math.min(MAX_LOOK_MS, lifeMs / LOOKS_PER_LIFE));
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#timer = this.#clock.every(lookMs, () => void this.#look());
  }

  static async issuedBy(
    authority: Authority,
    options: OwnCertificateOptions,
  ): Promise<OwnCertificate> {
    const { listen, clock = SYSTEM_CLOCK } = options;
    return new OwnCertificate(authority, options, await issued(authority, listen, clock.wallMs()));
  }

  /** What a connection that comes now is met with. */
  get context(): SecureContext {
    return this.#context;
  }

  [Symbol.dispose](): void {
    this.#timer.clear();
  }

  async #look(): Promise<void> {
    if (this.#busy || this.#clock.wallMs() < this.#renewAtMs) return;
    this.#busy = true;
    try {
      const next = await issued(this.#authority, this.#options.listen, this.#clock.wallMs());
      this.#context = next.context;
      this.#renewAtMs = next.renewAtMs;
      this.#options.log("info", "the manager has another certificate");
    } catch (error) {
      this.#options.log("warn", `no other certificate can be issued: ${String(error)}`);
    } finally {
      this.#busy = false;
    }
  }
}

interface Issued {
  key: Fingerprint;
  context: SecureContext;
  renewAtMs: number;
  lifeMs: number;
}

async function issued(
  authority: Authority,
  listen: readonly string[],
  nowMs: number,
): Promise<Issued> {
  const { key, chain } = await authority.managerCredentials(namesOfThisMachine(listen), nowMs);
  const lifeMs = validityOf(chain).untilMs - nowMs;
  const context = createSecureContext({ key, cert: chain, minVersion: "TLSv1.3" });
  const ownKey = keyOf(new X509Certificate(chain));
  return { context, key: ownKey, renewAtMs: nowMs + lifeMs * RENEWAL_AT, lifeMs };
}

/** By which clients that know only names, such as curl, may have found the manager. */
function namesOfThisMachine(listen: readonly string[]): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const usable = addresses
    .map(({ address }) => address)
    .filter((address) => !/^fe80:/i.test(address));
  const named = listen.filter((host) => !["0.0.0.0", "::"].includes(host) && !host.includes("%"));
  return [...new Set(["localhost", hostname(), ...named, ...usable])];
}
