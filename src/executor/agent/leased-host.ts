/** One granted lease on the node: its host, its client, and the effects of its life. */
import { type MailSender, closeDescriptor } from "../../../ffi/descriptors.ts";
import type { RegionShape } from "../../../ffi/region.ts";
import type { Clock } from "../../base/clock.ts";
import type { ListenOrder } from "../../fabric/fabric.ts";
import { publicNameOf } from "../../fabric/public-name.ts";
import type { LeaseBook } from "../../lease/book.ts";
import type { Share } from "../../lease/capacity.ts";
import type { EndReason, LeaseEffect, LeaseEvent, LeaseState } from "../../lease/lease.ts";
import type { Allocate } from "../../protocol/lease-messages.ts";
import type { ErrorRecord } from "../../protocol/failed.ts";
import { Attach, type HostNotice, type Loaded, Reload } from "../../protocol/host-messages.ts";
import type { LogLine, ProgressReport } from "../../protocol/module-report.ts";
import type { Usage } from "../../protocol/usage.ts";
import type { RequestRefused } from "../../control/requests.ts";
import { shortage } from "../../base/shortage.ts";
import { type ClaimedCpus, type CpuClaims, workerCpus } from "../machine/cores.ts";
import { hasEndedProcesses } from "../machine/oom-kills.ts";
import type { HostExit, LeaseHost } from "./host-process.ts";
import { letGo } from "./let-go.ts";
import { type RestingHost, bringToRest } from "./kept-hosts.ts";
import { denialOf, endOf } from "./lease-ends.ts";
import { HostWatch } from "../limits/host-watch.ts";
import { LeaseWatch } from "../limits/lease-watch.ts";
import type { LeaseMemory } from "./lease-memory.ts";
import { heapOf } from "../admission/lease-request.ts";
import { Meter, isSpent } from "../metering/meter.ts";
import { EarlyLines } from "../host/early-lines.ts";
import type { OutputReader } from "../output/line-cutter.ts";
import type { PackageUse } from "../packages/cache.ts";

/** What the agent hears of a lease. */
export interface LeaseEvents {
  granted(lease: LeasedHost, nonce: Uint8Array, loaded: Loaded): void;
  denied(lease: LeasedHost, code: string, message: string, error?: ErrorRecord): void;
  lost(lease: LeasedHost, reason: EndReason): void;
  workerLost(lease: LeasedHost, worker: number, message: string): void;
  /** The node revokes it, as its state says. */
  revoking(lease: LeasedHost, state: LeaseState): void;
  extended(lease: LeasedHost, state: LeaseState): void;
  /** A function has written a line, after the client has the lease. */
  logged(lease: LeasedHost, line: LogLine): void;
  progressed(lease: LeasedHost, report: ProgressReport): void;
  ruled(lease: LeasedHost, rule: string): void;
  /** Hears what its functions print. */
  readonly reader: OutputReader;
  /** Its host, which was to be kept, is not, since this was found to be left. */
  notKept(lease: LeasedHost, left: string): void;
  /** The host is gone or rests, the share is free and the bill is final, as of `atMs`; called once, last. */
  finished(lease: LeasedHost, usage: Usage, reason: EndReason, atMs: number): void;
}

/** What a lease begins with. */
export interface LeaseStart {
  book: LeaseBook;
  id: number;
  request: Allocate;
  share: Share;
  shape: RegionShape;
  module: PackageUse;
  /** How its host is to wait for its client, where that connects. */
  listen: ListenOrder | null;
  memory: LeaseMemory;
  /** What its client takes descriptors from. */
  sender: MailSender;
  host: LeaseHost;
  /** What is known of a host that has loaded the module for a former lease. */
  resting: RestingHost | undefined;
  /** Takes the host over when the lease is released; undefined where it is not to be kept. */
  keep: ((resting: RestingHost) => void) | undefined;
  claims: CpuClaims;
  /** How long its host may be stopped, or give no sign of life while calls are in flight, where the request does not say. */
  hostTimeoutMs: number | undefined;
  clock: Clock;
}

export class LeasedHost {
  readonly id: number;
  readonly request: Allocate;
  readonly share: Share;
  readonly shape: RegionShape;
  readonly host: LeaseHost;
  readonly heapBytes: number;
  /** By the wall clock, for the bill. */
  readonly startedAtMs: number;
  readonly #book: LeaseBook;
  readonly #clock: Clock;
  readonly #memory: LeaseMemory;
  readonly #sender: MailSender;
  readonly #meter: Meter;
  readonly #watch: LeaseWatch | undefined;
  readonly hostWatch: HostWatch;
  readonly #events: LeaseEvents;
  readonly #listen: ListenOrder | null;
  /** The module that its workers load; while they go over to another one, both. */
  readonly #modules: PackageUse[];
  /** The nonce that comes with the host's descriptors and that a client which connects must show. */
  readonly nonce = crypto.getRandomValues(new Uint8Array(16));
  #publicName: Uint8Array | undefined;
  readonly #claimed: ClaimedCpus;
  readonly #resting: RestingHost | undefined;
  #keep: LeaseStart["keep"];
  /** The host is gone, or goes on without the lease. */
  readonly #left = Promise.withResolvers<RestingHost | null>();
  #loaded: Loaded | undefined;
  #cpuNs: number | undefined;
  readonly #lines: EarlyLines;

  constructor(
    { book, id, request, share, shape, module, listen, memory, host, clock, ...start }: LeaseStart,
    events: LeaseEvents,
  ) {
    this.#book = book;
    this.id = id;
    this.request = request;
    this.share = share;
    this.shape = shape;
    this.host = host;
    this.#clock = clock;
    this.startedAtMs = clock.wallMs() - (clock.nowNs() - this.#state.grantedAtNs) / 1e6;
    this.heapBytes = heapOf(request);
    this.#listen = listen;
    this.#modules = [module];
    this.#events = events;
    this.#lines = new EarlyLines((line) => events.logged(this, line));
    this.#memory = memory;
    this.#sender = start.sender;
    this.#resting = start.resting;
    this.#keep = start.keep;
    const startedNs = start.resting?.descendantsNs ?? 0;
    this.#meter = new Meter(memory.page, host.pid, shape.workers, share.cpus.length, startedNs);
    this.#claimed = start.claims.claim(share.cpus);
    host.attend({
      notice: (notice) => this.#heard(notice),
      exited: (exit) => this.#died(exit),
      reader: events.reader,
    });
    this.#watch = LeaseWatch.of(this, memory.bytes, clock);
    this.hostWatch = new HostWatch(this, memory.page, start.hostTimeoutMs, clock);
  }

  /** Gives the host its memory and lets it load the module; one that has both serves at once, and fails as a lease in use does. */
  attach(): void {
    this.#meter.begin();
    if (this.#resting) return this.#isLoaded({ ...this.#resting.loaded, loadNs: 0 });
    this.#memory.toHost(this.host.mailbox, this.nonce);
    const attach = {
      nonce: this.nonce.toHex(),
      listen: this.#listen && { fabric: this.request.fabric, ...this.#listen },
      workers: this.shape.workers,
      coresPerWorker: this.coresPerWorker,
      cpus: this.#claimed.cpus,
      ...{ slots: this.shape.slots, polling: this.shape.polling },
      module: this.#modules[0]!.path,
      moduleName: this.#modules[0]!.name,
      lease: this.id,
      heapBytes: this.heapBytes + this.request.memoryBytes,
      loadTimeoutMs: this.request.loadTimeoutMs,
      keepWarm: this.#keep !== undefined,
    };
    this.host
      .ask(Attach, attach, { onReply: (loaded) => this.#isLoaded(loaded) })
      .catch((error: RequestRefused) => {
        this.#lines.tell();
        this.#events.denied(this, error.code, error.message, error.record);
        this.end({ kind: "load-failed" });
      });
  }

  /** Lets the workers go over to another build of the module; ends the lease when that does not work. */
  reload(module: PackageUse): void {
    this.#keep = undefined;
    this.#modules.push(module);
    this.host.ask(Reload, { module: module.path, moduleName: module.name }).then(
      () => {
        for (const former of this.#modules.splice(0, this.#modules.indexOf(module))) former.end();
      },
      ({ message }: RequestRefused) => this.end({ kind: "reload-failed", message }),
    );
  }

  /** By which a client names it that encrypts what it sends. */
  get publicName(): Uint8Array {
    return (this.#publicName ??= publicNameOf(this.nonce));
  }

  /** Whether its host lets only a client in that encrypts. */
  get encrypted(): boolean {
    return this.#listen?.encrypt ?? false;
  }

  /** Where the host itself waits for its client, which connects. */
  get listeningAt(): { address: string; port: number } | null {
    const port = this.#loaded?.port ?? null;
    return this.#listen && port !== null ? { address: this.#listen.address, port } : null;
  }

  get coresPerWorker(): number {
    return this.request.coresPerWorker ?? 1;
  }

  /** What its client calls its module. */
  get moduleName(): string {
    return this.#modules.at(-1)!.name;
  }

  /** Where the workers are pinned. */
  get cpus(): number[] {
    return this.#claimed.cpus;
  }

  end(reason: EndReason): void {
    this.advance({ kind: "ended", atNs: this.#clock.nowNs(), reason });
  }

  /** The lease's usage so far. Ends the lease when its budget is used up. */
  usage(): Usage {
    const usage = this.#meter.read(this.#state, this.#clock.nowNs());
    if (isSpent(usage, this.request.budget)) this.end({ kind: "over-budget" });
    return usage;
  }

  /** Whether its workers have had calls since the last look. */
  wasUsed(): boolean {
    return this.#meter.wasUsed();
  }

  abort(worker: number, slot: number, sequence: number, gently: boolean): void {
    this.host.tell({ t: "host-abort", worker, slot, sequence, gently });
  }

  #isLoaded(loaded: Loaded): void {
    this.#loaded = loaded;
    // The workers wake while the client hears of the grant and maps its memory.
    if (this.#resting) this.#resume();
    this.advance({ kind: "loaded", atNs: this.#clock.nowNs() });
  }

  #heard(message: HostNotice): void {
    if (isOfAnother(message, this.shape)) return;
    switch (message.t) {
      case "client-lost":
        return this.end({ kind: "connection-lost", message: message.message });
      case "worker-ended":
        return this.#events.workerLost(this, message.worker, message.message);
      case "host-log":
        return this.#lines.logged(message.line);
      case "denied":
        return this.#events.ruled(this, message.rule);
      case "host-progress":
        return this.#events.progressed(this, message.report);
    }
  }

  #grant(nonce: Uint8Array): void {
    this.#events.granted(this, nonce, this.#loaded!);
    this.#lines.tell();
  }

  #died({ exitCode, signal, cpuNs, excess }: HostExit): void {
    this.#cpuNs = cpuNs;
    this.#left.resolve(null);
    if (excess) return this.end({ kind: "over-limit", ...excess });
    const starved = signal === "SIGKILL" && hasEndedProcesses();
    this.end({ kind: "host-died", exitCode, signal, starved });
  }

  #finish(resting: RestingHost | null): void {
    const state = this.#state;
    if (state.phase !== "ended") return;
    const [nowNs, atMs] = [this.#clock.nowNs(), this.#clock.wallMs()];
    const usage = this.#meter.read(state, nowNs, this.#cpuNs);
    this.#lines.tell();
    this.#claimed.release();
    this.#watch?.stop();
    this.#memory.close();
    this.#book.free(this.id);
    if (resting) this.#keep!(resting);
    this.#events.finished(this, usage, state.reason, atMs);
    // Last: it writes to a disk, for which the cores would wait, and the bill would end later than they were held.
    for (const module of this.#modules) module.end();
  }

  get #state(): LeaseState {
    return this.#book.state(this.id)!;
  }

  advance(event: LeaseEvent): void {
    this.perform(this.#book.advance(this.id, event));
  }

  /** Carries out the effects that the lease book returned. */
  perform(effects: readonly LeaseEffect[]): void {
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: LeaseEffect): void {
    switch (effect) {
      case "announce-grant":
        return this.#handOver();
      case "announce-revocation":
        return this.#events.revoking(this, this.#state);
      case "announce-extension":
        return this.#events.extended(this, this.#state);
      case "announce-loss":
        return this.#announceLoss();
      case "stop-host":
        return this.#stopHost();
      case "return-capacity":
        // The share becomes free when the host process has exited, or rests.
        void this.#left.promise.then((resting) => this.#finish(resting));
        return;
    }
  }

  /** A released host may finish its output; the agent kills any other at once. */
  #stopHost(): void {
    const state = this.#state;
    if (state.phase !== "ended") return;
    this.hostWatch.stop();
    this.#writeEnd(state.reason);
    if (state.reason.kind !== "released") return this.host.kill();
    if (this.#keep && this.#loaded && !this.#book.draining) return this.#rest(this.#loaded);
    letGo(this.host, this.#loaded?.disposes ?? false, this.#clock);
  }

  #rest(loaded: Loaded): void {
    const { host } = this;
    bringToRest(host, this.#memory, loaded.disposes ?? false, this.#clock, {
      rested: (memory) => {
        const descendantsNs = this.#meter.end(this.#state, this.#clock.nowNs());
        this.#left.resolve({ host, loaded, descendantsNs, memory });
      },
      left: (what) => this.#events.notKept(this, what),
    });
  }

  /** Writes the end into the lease's memory, for callers that block. The first reason stays. */
  #writeEnd(ended: EndReason): void {
    const { reason, detail } = endOf(ended);
    this.#memory.page.end(reason, detail);
  }

  /** The client gets its own copies of the memory, the host's pidfd, its notify socket and each worker's; ours are closed. */
  #handOver(): void {
    if (this.#listen) {
      this.#memory.closeDescriptors();
      return this.#grant(this.nonce);
    }
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    let pidfd = -1;
    try {
      pidfd = this.host.openPidfd();
      this.#memory.toClient(this.#sender, this.request.mailbox!, nonce, pidfd);
    } catch (error) {
      const short = shortage(error, "the node");
      const unreached = `the client cannot be reached over shared memory (${(error as Error).message}); run it on this machine, in the same network namespace`;
      const code = short === undefined ? "RFAAS_NO_SHARED_FABRIC" : "RFAAS_NODE_FAILED";
      this.#events.denied(this, code, short ?? unreached);
      return this.end({ kind: "load-failed" });
    } finally {
      if (pidfd >= 0) closeDescriptor(pidfd);
      this.#memory.closeDescriptors();
    }
    this.#grant(nonce);
  }

  #resume(): void {
    this.#watch?.resume();
    const { id: lease, cpus } = this;
    const order = { lease, cpus, loadTimeoutMs: this.request.loadTimeoutMs };
    this.#memory.resume(workerCpus(cpus, this.coresPerWorker).map((mask) => ({ ...order, mask })));
  }

  #announceLoss(): void {
    const state = this.#state;
    if (state.phase !== "ended" || state.reason.kind === "load-failed") return;
    const { reason, activeAtNs } = state;
    if (activeAtNs === undefined) {
      const { code, message } = denialOf(reason);
      return this.#events.denied(this, code, message);
    }
    // A host that has lost its client has already told the client why.
    if (reason.kind !== "connection-lost") this.#writeEnd(reason);
    this.#events.lost(this, reason);
  }
}

/** Whether a notice is of a worker or a slot that the lease does not have. It may be a function's word, and what is heard is kept for each. */
function isOfAnother(message: HostNotice, { workers, slots }: RegionShape): boolean {
  switch (message.t) {
    case "worker-ended":
      return message.worker >= workers;
    case "host-log":
      return message.line.worker >= workers;
    case "host-progress":
      return message.report.worker >= workers || message.report.slot >= slots;
  }
  return false;
}
