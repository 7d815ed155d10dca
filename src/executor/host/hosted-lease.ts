/**
 * The lease of a host: its memory, its threads, and the connection to its client. `host-machine.ts` decides about its workers; this
 * file carries the decisions out.
 */
import { closeDescriptor, duplicateDescriptor } from "../../../ffi/descriptors.ts";
import { END } from "../../../ffi/layout.ts";
import { freeEngineThreads } from "../../../ffi/system.ts";
import { WorkerControl } from "../../../ffi/worker-endpoint.ts";
import type { RfaasError } from "../../base/errors.ts";
import type { Connection } from "../../control/connection.ts";
import type { Answer } from "../../control/requests.ts";
import type { Listener } from "../../fabric/fabric.ts";
import type {
  AgentMessage,
  Attach,
  HostMessage,
  Loaded,
  Reload,
  Rest,
  Resume,
} from "../../protocol/host-messages.ts";
import type { Exports } from "../../protocol/module-report.ts";
import { workerCpus } from "../machine/cores.ts";
import type {
  AttachWorker,
  StopOrder,
  WorkerOrder,
  WorkerReport,
} from "../worker/thread-messages.ts";
import {
  type Build,
  type HostEffect,
  type HostEvent,
  type HostState,
  advanceHost,
  startHostState,
} from "./host-machine.ts";
import { type Thread, endThread, startThread, whenReady } from "./host-thread.ts";
import type { Intake } from "./intake.ts";
import { type LeaseEnd, type Parts, descriptorsOf } from "./lease-parts.ts";
import { News } from "./news.ts";
import { Resting } from "./resting.ts";

/** How long a call that keeps its thread busy may run after its deadline before the host replaces the thread, */
const BUSY_GRACE_MS = 50;
/** and how long an asynchronous one may, since replacing the thread ends its other calls, too. */
const PENDING_GRACE_MS = 2000;
/** Threads that no worker needs end this long after the grant: their end takes a processor for milliseconds. */
const SPARES_END_AFTER_MS = 50;
/** How long calls may keep their worker from going over to another build of its module. */
const RELOAD_GRACE_MS = 10_000;

export class HostedLease {
  readonly #agent: Connection<AgentMessage, HostMessage>;
  readonly #end: LeaseEnd;
  #attach: Attach;
  readonly #parts: Parts;
  readonly #news: News;
  readonly #rests: Resting | undefined;
  /** Once the lease is being taken back. */
  #intake: Intake | undefined;
  readonly #controls: readonly WorkerControl[];
  readonly #exports: (Exports | undefined)[] = [];
  /** What each worker does for a limited time. */
  readonly #timers = new Map<number, ReturnType<typeof setTimeout>>();
  #state: HostState;
  #overdue: ReturnType<typeof setTimeout> | undefined;
  #disposes = false;
  /** To the agent, when the module has loaded, and when all workers have gone over to the newest build. */
  #attached: Answer<typeof Attach> | undefined;
  readonly #reloading: Answer<typeof Reload>[] = [];
  /** Of a host at rest: what the agent has asked of the next lease, of which no worker has spoken yet. */
  #early: (() => void)[] | undefined;

  /** Begins to listen for its client, with parts whose workers load the module; the agent hears why when that cannot be done. */
  static async take(
    agent: Connection<AgentMessage, HostMessage>,
    attach: Attach,
    parts: Promise<Parts>,
    end: LeaseEnd,
  ): Promise<HostedLease> {
    return new HostedLease(agent, attach, await parts, end);
  }

  private constructor(
    agent: Connection<AgentMessage, HostMessage>,
    attach: Attach,
    parts: Parts,
    end: LeaseEnd,
  ) {
    this.#agent = agent;
    this.#end = end;
    this.#attach = attach;
    this.#parts = parts;
    this.#news = new News({
      log: (line) => agent.offer({ t: "host-log", line }),
      progress: (report) => agent.offer({ t: "host-progress", report }),
      whenRoom: (listener) => agent.whenRoom(listener),
    });
    const { region, link, clientFd, loopFds, traces } = parts;
    this.#controls = Array.from(
      { length: attach.workers },
      (_, worker) =>
        new WorkerControl(region, worker, loopFds[2 * worker + 1]!, link?.link ?? { clientFd }),
    );
    end.beat?.answerFor(region, this.#controls);
    this.#rests = traces && new Resting(attach.workers, traces);
    const granted: Build = { path: attach.module, name: attach.moduleName };
    this.#state = startHostState(attach.workers, granted, link === undefined);
  }

  async serve(answer: Answer<typeof Attach>): Promise<void> {
    this.#attached = answer;
    const { loadTimeoutMs } = this.#attach;
    this.#overdue = setTimeout(() => {
      const message = `the module did not finish loading within ${loadTimeoutMs} ms; look for a top-level await or loop that never ends`;
      const error = { name: "ModuleTimeout", message };
      this.#tell({ kind: "cannot-serve", code: "RFAAS_MODULE_TIMEOUT", error });
    }, loadTimeoutMs);
    this.#overdue.unref();
    const { threads, link } = this.#parts;
    threads.forEach((thread, worker) => this.#begin(thread, worker));
    if (link) await this.#listen(link);
  }

  /**
   * The client aborted a call: its function is told. Unless `gently`, the host replaces the thread of a function that does not stop,
   * since it may write to the call's memory for as long as it runs.
   */
  abort(worker: number, slot: number, sequence: number, gently: boolean): void {
    if (this.#early) return void this.#early.push(() => this.abort(worker, slot, sequence, gently));
    const control = this.#controls[worker];
    if (!control || this.#state.phase === "loading" || this.#rests?.active) return;
    this.#order(worker, { slot, sequence, gently });
    if (gently) return;
    const attach = this.#attach;
    const restartIf = (goesOn: () => boolean) => {
      // A call of the host's next lease may have the same sequence.
      if (this.#attach === attach && goesOn()) this.#tell({ kind: "stuck", worker });
    };
    setTimeout(() => restartIf(() => control.runs(slot, sequence)), BUSY_GRACE_MS);
    setTimeout(() => restartIf(() => control.begun(slot, sequence)), PENDING_GRACE_MS);
  }

  /** A connection of the client has come to the node's port. */
  brought(greeting: Uint8Array): void {
    const [descriptor] = this.#parts.mailbox.receive(Uint8Array.fromHex(this.#attach.nonce)) ?? [];
    if (descriptor !== undefined) this.#parts.link!.adopt(descriptor, greeting);
  }

  /** Lets every worker go over to another build of the module, once the calls that it runs have ended. */
  reload(path: string, name: string, answer: Answer<typeof Reload>): void {
    this.#reloading.push(answer);
    this.#tell({ kind: "reload", build: { path, name } });
  }

  /** The lease ends then: calls that would not end before are not begun. No host that starts waits for the code of that. */
  async endsIn(leftMs: number): Promise<void> {
    const atMs = performance.now() + leftMs;
    const { Intake } = await import("./intake.ts");
    (this.#intake ??= new Intake(this.#controls, this.#attach.slots)).endsAt(atMs);
  }

  /** Lets the workers come to an end, then ends the process. The agent kills it when that takes too long. */
  stop(): void {
    this.#stopAll(this.#end.stopped);
  }

  /** Lets the workers come to rest, and goes over to the memory of another lease, which comes with `nonce`. */
  rest(nonce: string, answer: Answer<typeof Rest>): void {
    if (this.#early) return void this.#early.push(() => this.rest(nonce, answer));
    const rests = this.#rests;
    const { workers, granted } = this.#state;
    if (!rests) return answer.send({ left: "what a host that is not kept does not look for" });
    if (workers.some(({ phase, build }) => phase !== "serving" || build.path !== granted.path))
      return answer.send({ left: "a worker that is not as it was" });
    rests.begin((left) => answer.send({ left: left ?? this.#goOver(nonce) }));
    this.#stopAll("rest");
  }

  /** Takes the next lease's memory in place of the last one's. Returns why that cannot be done, or null. */
  #goOver(nonce: string): string | null {
    const parts = this.#parts;
    const { region, clientFd, loopFds } = parts;
    try {
      const { memoryFd, ...fds } = descriptorsOf(nonce, this.#attach.workers, parts.mailbox);
      Object.assign(parts, fds satisfies Partial<Parts>);
      this.#end.beat!.answerFor(region, this.#controls, () => region.refill(memoryFd));
      closeDescriptor(memoryFd);
      for (const [worker, control] of this.#controls.entries()) {
        const [watchFd, wakeFd] = parts.loopFds.slice(2 * worker) as [number, number];
        control.renew(region, worker, wakeFd, parts.clientFd);
        this.#order(worker, { next: { watchFd: duplicateDescriptor(watchFd) } });
      }
      this.#intake?.stop();
      this.#intake = undefined;
      this.#early = [];
    } catch (error) {
      return `too little memory for another lease (${(error as Error).message})`;
    }
    for (const fd of [clientFd, ...loopFds]) closeDescriptor(fd);
    return null;
  }

  /** A worker, and so all of them, run the calls of the next lease. */
  #resumed({ lease, cpus, loadTimeoutMs }: Resume): void {
    const early = this.#early;
    if (!early) return;
    this.#early = undefined;
    this.#attach = { ...this.#attach, lease, cpus, loadTimeoutMs };
    this.#parts.masks = workerCpus(cpus, this.#attach.coresPerWorker);
    this.#rests?.end();
    this.#news.renew();
    for (const heed of early) heed();
  }

  #stopAll(stopped: StopOrder["stopped"]): void {
    for (const [worker, control] of this.#controls.entries()) {
      this.#order(worker, { stopped });
      control.stop();
    }
  }

  async #listen(link: Listener): Promise<void> {
    try {
      await link.ready;
    } catch (cause) {
      const { code, message } = cause as RfaasError;
      const error = { name: "ConnectionFailed", message };
      return this.#tell({ kind: "cannot-serve", code: String(code), error });
    }
    link.onWake = () => this.#lookForClient(link);
    this.#tell({ kind: "listening" });
  }

  /** One lost connection ends all workers: the client has gone, or has damaged the connection. */
  #lookForClient(link: Listener): void {
    const lost = this.#controls.map((_, worker) => link.lost(worker)).find((error) => error);
    if (lost) this.#agent.send({ t: "client-lost", message: lost.message });
  }

  /** Lets a thread that loads the module run calls. */
  #begin(thread: Thread, worker: number): void {
    const { slots, workers, polling, lease } = this.#attach;
    const attach: AttachWorker = {
      ...{ handle: this.#controls[worker]!.handle, region: this.#parts.region.handle, slots },
      hot: polling === "hot",
      lease,
      worker,
      workers,
      granted: this.#exports[worker] ?? null,
      watchFd: duplicateDescriptor(this.#parts.loopFds[2 * worker]!),
    };
    const first = thread.onReport;
    thread.onReport = (report) =>
      report.t === "ready" ? first(report) : this.#reported(worker, report);
    void thread.ended.then((error) => {
      if (this.#parts.threads[worker] === thread) this.#tell({ kind: "crashed", worker, error });
    });
    whenReady(thread, attach);
  }

  #reported(worker: number, report: WorkerReport): void {
    switch (report.t) {
      case "log":
        return this.#news.logged(report.line);
      case "denied":
        return void this.#agent.offer({ t: "denied", rule: report.rule });
      case "progress":
        return this.#news.progressed(report.report);
      case "stopped":
        return this.#tell({ kind: "rested", worker });
      case "at-rest":
        return this.#rests?.rested(report.left, [this.#parts.clientFd, ...this.#parts.loopFds]);
      case "resumed":
        return this.#resumed(report.resume);
      case "load-failed":
        return this.#tell({ kind: "load-failed", worker, code: report.code, error: report.error });
      case "loaded":
        if (this.#state.phase === "loading") {
          this.#exports[worker] = report.exports;
          this.#disposes ||= report.disposes;
        }
        return this.#tell({ kind: "loaded", worker });
    }
  }

  #tell(event: HostEvent): void {
    const before = this.#state.workers;
    const [state, effects] = advanceHost(this.#state, event);
    this.#state = state;
    for (const [worker, { phase }] of state.workers.entries())
      if (phase !== before[worker]!.phase) clearTimeout(this.#timers.get(worker));
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: HostEffect): void {
    switch (effect.kind) {
      case "answer":
        return this.#answer();
      case "fail-load":
        return this.#attached?.fail(effect.code, effect.error.message, effect.error);
      case "answer-reload":
        for (const answer of this.#reloading.splice(0)) answer.send({});
        return;
      case "fail-reload": {
        const { code, error } = effect;
        for (const answer of this.#reloading.splice(0)) answer.fail(code, error.message, error);
        return;
      }
      case "leave":
        this.#order(effect.worker, { leave: true });
        return this.#limit(effect.worker, RELOAD_GRACE_MS);
      case "end-thread":
        return void this.#endThread(effect.worker, effect.abort);
      case "start-thread":
        return this.#startAgain(effect.worker, effect.build);
      case "lose":
        return void this.#lose(effect.worker, effect.why);
      case "exit":
        return this.#end.over(this.#parts);
    }
  }

  #answer(): void {
    clearTimeout(this.#overdue);
    const { endSpares, traces } = this.#parts;
    setTimeout(() => {
      void endSpares().then(() => traces?.prune());
      freeEngineThreads();
    }, SPARES_END_AFTER_MS);
    this.#attached?.send(this.#loaded());
  }

  #loaded(): Loaded {
    const { startedNs, link } = this.#parts;
    return {
      exports: this.#exports[0]!,
      loadNs: Bun.nanoseconds() - startedNs,
      port: link?.port || null,
      disposes: this.#disposes,
    };
  }

  #limit(worker: number, limitMs: number): void {
    const overdue = (): void => this.#tell({ kind: "overdue", worker, limitMs });
    this.#timers.set(worker, setTimeout(overdue, limitMs));
  }

  /** A starting thread must get its module first. */
  #order(worker: number, order: WorkerOrder): void {
    whenReady(this.#parts.threads[worker]!, order);
  }

  async #endThread(worker: number, abort: boolean): Promise<void> {
    const control = this.#controls[worker]!;
    if (abort) control.stop();
    await endThread(this.#parts.threads[worker]!, worker);
    if (abort) control.abortCalls();
    this.#tell({ kind: "ended", worker });
  }

  #startAgain(worker: number, build: Build): void {
    this.#rests?.spoil();
    const fresh = startThread(worker);
    const { threads, masks, sealedTo: room } = this.#parts;
    threads[worker] = fresh;
    const { coresPerWorker: cores, loadTimeoutMs } = this.#attach;
    this.#limit(worker, loadTimeoutMs);
    // What a thread that replaces another was in the middle of is not known: its host is not kept.
    void fresh.ready.then(
      () => {
        fresh.place(masks[worker] ?? []);
        fresh.load({ ...build, cores, keepWarm: false, room });
      },
      () => {},
    );
    this.#begin(fresh, worker);
  }

  /** No thread will answer calls of this worker again. */
  async #lose(worker: number, why: string): Promise<void> {
    // The next lease would wait for it: a host is kept whole or not at all.
    if (this.#rests?.active) {
      console.error(`worker ${worker} of a host that rests is lost, so the host ends: ${why}`);
      process.exit(0);
    }
    // Until it is gone it may begin calls, which would be told to have not run.
    await endThread(this.#parts.threads[worker]!, worker);
    this.#controls[worker]!.lose(END.workerFailed, 0);
    this.#agent.send({ t: "worker-ended", worker, message: why });
  }
}
