/**
 * A node's membership of a cluster whose manager is on another machine: its key, the certificate that the manager has issued for it,
 * and its token. It joins once with a join token; from then on what it needs is in its folder, and it renews its certificate itself.
 */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { UsageError } from "../../base/errors.ts";
import { type NetworkAddress, placeOf } from "../../control/address.ts";
import { signingRequest } from "../../trust/certificates.ts";
import type { CredentialFiles } from "../../trust/credentials.ts";
import { enrolAtAny } from "./enrol.ts";
import { type Certified, MemberFiles } from "./member-files.ts";

export interface MembershipOptions {
  /** One, or several of one cluster. Dialled by TLS. */
  managers: readonly NetworkAddress[];
  /** The node's name in the cluster. */
  name: string;
  joinToken: string | undefined;
  /** Of this node alone. */
  folder: string;
  log(level: "info" | "warn", message: string): void;
  clock?: Clock;
}

/** Of a certificate's life, after which there is to be another one. */
const RENEWAL_AT = 2 / 3;
const LOOKS_PER_LIFE = 30;
const TOKEN_INTERVAL_MS = 5_000;
const MIN_LOOK_MS = 100;
/** A machine may have slept. */
const MAX_LOOK_MS = 60_000;

export class Membership implements Disposable {
  readonly #options: MembershipOptions;
  readonly #files: MemberFiles;
  readonly #clock: Clock;
  readonly #managers: readonly NetworkAddress[];
  #certified: Certified;
  #timer: Timer | undefined;
  #asking = false;
  #wantsToken = false;
  #tokenAskedAtMs = Number.NEGATIVE_INFINITY;
  #complaint = "";

  private constructor(options: MembershipOptions, files: MemberFiles, certified: Certified) {
    this.#options = options;
    this.#files = files;
    this.#certified = certified;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#managers = options.managers.map((manager) => pinned(manager, certified));
    this.#plan();
  }

  /**
   * Takes up the membership that the folder holds, or joins.
   *
   * @throws {UsageError} the node has not joined, and has no join token
   * @throws {TokenRefused} the manager does not let it in
   * @throws {NodeUnreachable} no manager answers
   * @throws {PeerNotTrusted} what answers is not the manager that is pinned
   * @throws {EnvironmentError} the folder cannot be used
   */
  static async open(options: MembershipOptions): Promise<Membership> {
    const { managers, name, joinToken, folder, log, clock = SYSTEM_CLOCK } = options;
    const files = new MemberFiles(folder);
    const place = managers.map(placeOf).join(", ");
    const kept = files.certified(managers, clock.wallMs());
    if (typeof kept === "object") return new Membership(options, files, kept);
    if (joinToken === undefined)
      throw new UsageError(
        `this node has not joined the cluster of the manager at ${place} (${kept}); type on the manager's machine: rfaas node join-token, and start the node with what it prints`,
      );
    const { key, request } = await signingRequest(name, files.key());
    const asked = { name, request, joinToken, certificate: null };
    const { manager, ...enrolled } = await enrolAtAny(managers, asked);
    const certified = files.keep(manager, { key, ...enrolled }, clock.wallMs());
    log("info", `this node has joined the cluster of the manager at ${place} as ${name}`);
    return new Membership(options, files, certified);
  }

  /** The node's key and its certificates, for its listener. */
  get tls(): CredentialFiles {
    return this.#files.tls;
  }

  /** The managers' addresses with whom to trust there. */
  get managers(): readonly NetworkAddress[] {
    return this.#managers;
  }

  /** What the node shows the manager; null where the cluster asks for no tokens. */
  readonly token = (): string | null => this.#certified.token;

  /** The manager does not take that: it has another key since. Another token is asked for, with the certificate. */
  tokenRefused(): void {
    this.#wantsToken = true;
    const nowMs = this.#clock.nowMs();
    // A manager that takes none of its own tokens is asked for another one now and then.
    if (nowMs - this.#tokenAskedAtMs < TOKEN_INTERVAL_MS) return;
    this.#tokenAskedAtMs = nowMs;
    void this.#look();
  }

  [Symbol.dispose](): void {
    this.#timer?.clear();
  }

  #plan(): void {
    const { issuedAtMs, untilMs } = this.#certified;
    const lookMs = Math.max(
      MIN_LOOK_MS,
      Math.min(MAX_LOOK_MS, (untilMs - issuedAtMs) / LOOKS_PER_LIFE),
    );
    this.#timer?.clear();
    this.#timer = this.#clock.every(lookMs, () => void this.#look());
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const { issuedAtMs, untilMs } = this.#certified;
    const lifeMs = untilMs - issuedAtMs;
    const isTime = this.#clock.wallMs() >= issuedAtMs + lifeMs * RENEWAL_AT;
    if (this.#asking || !(isTime || this.#wantsToken)) return;
    this.#asking = true;
    const { name, log } = this.#options;
    try {
      const { key, request } = await signingRequest(name, this.#files.key());
      const { certificate } = this.#certified;
      const asked = { name, request, joinToken: null, certificate };
      const { manager, ...enrolled } = await enrolAtAny(this.#managers, asked);
      this.#certified = this.#files.keep(manager, { key, ...enrolled }, this.#clock.wallMs());
      this.#wantsToken = false;
      this.#complaint = "";
      this.#plan();
      log(
        "info",
        `this node has another certificate, good until ${isoTime(this.#certified.untilMs)}`,
      );
    } catch (error) {
      // Whatever it is, leases go on.
      this.#complain(
        `the node's certificate, good until ${isoTime(untilMs)}, could not be renewed: ${(error as Error).message}`,
      );
    } finally {
      this.#asking = false;
    }
  }

  /** Logs a repeated failure once. */
  #complain(message: string): void {
    if (message === this.#complaint) return;
    this.#complaint = message;
    this.#options.log("warn", message);
  }
}

/** With whom the node has trusted when it joined, where nothing else is said. */
function pinned(manager: NetworkAddress, { pin }: Certified): NetworkAddress {
  return manager.secure?.pin || !pin ? manager : { ...manager, secure: { pin } };
}

const isoTime = (ms: number): string => new Date(ms).toISOString();
