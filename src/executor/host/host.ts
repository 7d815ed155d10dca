/**
 * The host: one process per lease, started before anyone asks for it. Its threads wait for a lease; when one comes it maps the
 * lease's memory, confines itself, and lets each worker load the module. User code never runs on this main thread, which
 * stays free to stop a worker that does not stop by itself.
 */
import { endWithParent, reapAdopted } from "../../../ffi/children.ts";
import { Mailbox, closeDescriptor, duplicateDescriptor } from "../../../ffi/descriptors.ts";
import { END } from "../../../ffi/layout.ts";
import { Region, createRegion } from "../../../ffi/region.ts";
import {
  confine,
  forbidPrivileges,
  setNativeEnvironment,
  ticksPerNs,
} from "../../../ffi/system.ts";
import { WorkerControl } from "../../../ffi/worker-endpoint.ts";
import { Connection } from "../../control/connection.ts";
import { type Answer, type Handlers, answering } from "../../control/requests.ts";
import type { RfaasError } from "../../base/errors.ts";
import type { Listener } from "../../fabric/fabric.ts";
import { fabricNamed, listenOver } from "../../fabric/registry.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import {
  type AgentMessage,
  type Attach,
  type HostMessage,
  type Reload,
  agentMessages,
  agentVocabulary,
} from "../../protocol/host-messages.ts";
import type { Exports } from "../../protocol/module-report.ts";
import { PROTOCOL_VERSION } from "../../protocol/messages.ts";
import { HOST_EXIT } from "../../protocol/host-exit.ts";
import { workerCpus } from "../machine/cores.ts";
import { shortage, shortageOfDescriptors } from "../../base/shortage.ts";
import { toErrorRecord } from "../results/error-record.ts";
import { freeHelperThreads } from "../machine/helper-threads.ts";
import { type Thread, startThread } from "./host-thread.ts";
import { News } from "./news.ts";
import type {
  AttachWorker,
  LoadOrder,
  WorkerOrder,
  WorkerReport,
} from "../worker/thread-messages.ts";

/** How long a call may go on after its deadline before its thread is replaced: one that keeps the thread busy, */
const BUSY_GRACE_MS = 50;
/** and an asynchronous one, beside which other calls go on that the thread's end would end, too. */
const PENDING_GRACE_MS = 2000;
/** Threads that nobody needs end this long after the grant: their end takes a processor for milliseconds. */
const SPARES_END_AFTER_MS = 50;
/** How long a thread may take to die before the whole host does. */
const TERMINATE_LIMIT_MS = 2000;
/** How long calls may keep their worker from going over to another build of its module. */
const RELOAD_GRACE_MS = 10_000;
/** What a thread of Bun takes at its start. */
const DESCRIPTORS_PER_THREAD = 6;

interface HostOptions {
  prewarmedWorkers: number;
  parentPid: number;
  /** Those that leases may use, by name. */
  fabrics: readonly string[];
}

/** Runs a host until its agent goes away. The agent is at the other end of descriptor 3. */
export async function runHost(options: HostOptions): Promise<void> {
  try {
    await startHost(options);
  } catch (error) {
    const why = shortage(error, "the host process");
    if (why === undefined) throw error;
    console.error(why);
    process.exit(HOST_EXIT.noResources);
  }
}

async function startHost(options: HostOptions): Promise<void> {
  if (!endWithParent(options.parentPid)) process.exit(0);
  process.on("SIGCHLD", reapAdopted);
  // The exit code is the host's last word to its agent; 0 says that the agent left first.
  process.on("uncaughtException", (error) => {
    console.error(error);
    const short = shortage(error, "the host process") !== undefined;
    process.exit(short ? HOST_EXIT.noResources : HOST_EXIT.uncaught);
  });
  forbidPrivileges();
  // Bun itself ends the program where a thread gets none.
  if (shortageOfDescriptors("", DESCRIPTORS_PER_THREAD * (1 + options.prewarmedWorkers)))
    process.exit(HOST_EXIT.noDescriptors);
  const mailbox = new Mailbox();
  const prewarmed = Array.from({ length: options.prewarmedWorkers }, (_, i) => startThread(i));
  // What the first lease would otherwise wait for, while the threads start.
  ticksPerNs();
  agentVocabulary.prepare("attach");
  for (const name of options.fabrics) fabricNamed(name)?.prepare?.();
  rehearse();
  await Promise.all(prewarmed.map((thread) => thread.ready));

  let taking: Promise<HostedLease> | undefined;
  let lease: HostedLease | undefined;
  const handlers: Handlers<typeof agentMessages> = {
    attach: (attach, _, answer) => {
      taking = HostedLease.take(agent, attach, mailbox, prewarmed);
      void taking.then((taken) => {
        lease = taken;
        return taken.serve(answer);
      });
    },
    reload: ({ module, moduleName }, _, answer) =>
      void taking?.then((taken) => taken.reload(module, moduleName, answer)),
    detach: () => {
      if (lease) lease.stop();
      else process.exit(0);
    },
    "host-cancel": ({ worker, slot, sequence, gently }) =>
      lease?.cancel(worker, slot, sequence, gently),
  };
  const heard = answering(agentMessages, handlers, {
    // Answers are what a host says.
    send: (answer) => agent.send(answer as HostMessage),
  });
  const agent: Connection<AgentMessage, HostMessage> = new Connection(agentVocabulary, {
    message: (message) => heard(message),
    // The agent is dead, or kills this process: what functions have started is to end first.
    closed: () => {},
  });
  await watchDescriptor(3, agent.handler());
  agent.send({ t: "ready", protocol: PROTOCOL_VERSION, mailbox: mailbox.name });
}

/** Does once what a lease needs, so that its code is loaded and has run before. */
function rehearse(): void {
  const fd = createRegion({ workers: 1, slots: 1, arenaBytes: 4096, polling: "warm", spinNs: 0 });
  Region.map(fd, 1, 1).close();
  closeDescriptor(fd);
}

class HostedLease {
  readonly #agent: Connection<AgentMessage, HostMessage>;
  readonly #news: News;
  readonly #attach: Attach;
  readonly #region: Region;
  readonly #watchFds: number[];
  readonly #controls: WorkerControl[];
  readonly #threads: Thread[];
  readonly #restarting = new Set<number>();
  readonly #stopped = new Set<number>();
  readonly #reloads = new Map<number, ReturnType<typeof setTimeout>>();
  readonly #loaded: (Exports | undefined)[] = [];
  /** What threads load from now on, and what each of them was told to load. */
  #module: { path: string; name: string };
  readonly #modules: string[];
  /** Workers that go over to another build when their calls have ended. */
  readonly #leaving = new Map<number, ReturnType<typeof setTimeout>>();
  /** The way to the client, where it connects. */
  readonly #link: Listener | undefined;
  #disposes = false;
  #listening = false;
  #answered = false;
  /** To the agent, when the module has loaded, and when all workers have gone over to the newest build. */
  #attached: Answer<typeof Attach> | undefined;
  #reloading: Answer<typeof Reload>[] = [];
  readonly #startedNs: number;
  /** The CPUs of each worker. */
  readonly #masks: readonly (readonly number[])[];
  /** Ends threads that the lease has no use for. */
  readonly #endSpares: () => void;

  /**
   * Lets the workers load the module, maps the lease's memory meanwhile, and begins to listen for its client; the agent hears why
   * when that cannot be done.
   */
  static async take(
    agent: Connection<AgentMessage, HostMessage>,
    attach: Attach,
    mailbox: Mailbox,
    prewarmed: readonly Thread[],
  ): Promise<HostedLease> {
    const threads = Array.from(
      { length: attach.workers },
      (_, worker) => prewarmed[worker] ?? startThread(worker),
    );
    const startedNs = Bun.nanoseconds();
    // The bound counts from what the process has with all of its threads, and before any user code.
    await Promise.all(threads.map((thread) => thread.ready));
    confine(attach.heapBytes);
    const { cpus, coresPerWorker: cores } = attach;
    setNativeEnvironment("OMP_NUM_THREADS", String(cores));
    const masks = workerCpus(cpus, cores);
    threads.forEach(({ worker }, i) => {
      const { module: path, moduleName: name } = attach;
      const load: LoadOrder = { path, name, cpus: masks[i] ?? [], cores };
      worker.postMessage(load);
    });
    // Memory, the client's notify socket, then for each worker the two ends of its own.
    const fds = mailbox.receive(attach.nonce);
    if (!fds || fds.length !== 2 + 2 * attach.workers)
      throw new Error("the agent sent no memory with the lease");
    const [memoryFd, clientFd, ...loopFds] = fds as [number, number, ...number[]];
    mailbox.close();
    const region = Region.map(memoryFd, attach.workers, attach.slots);
    closeDescriptor(memoryFd);
    const { listen, nonce } = attach;
    const link = listen ? await listenOver(listen.fabric, region, listen, nonce) : undefined;
    const endSpares = () => {
      for (const spare of prewarmed.slice(attach.workers)) void spare.worker.terminate();
    };
    return new HostedLease(
      agent,
      attach,
      region,
      link,
      clientFd,
      loopFds,
      threads,
      masks,
      endSpares,
      startedNs,
    );
  }

  private constructor(
    agent: Connection<AgentMessage, HostMessage>,
    attach: Attach,
    region: Region,
    link: Listener | undefined,
    clientFd: number,
    loopFds: readonly number[],
    threads: Thread[],
    masks: readonly (readonly number[])[],
    endSpares: () => void,
    startedNs: number,
  ) {
    this.#endSpares = endSpares;
    this.#masks = masks;
    this.#threads = threads;
    this.#startedNs = startedNs;
    this.#agent = agent;
    this.#news = new News({
      log: (line) => agent.offer({ t: "host-log", line }),
      progress: (report) => agent.offer({ t: "host-progress", report }),
      whenRoom: (listener) => agent.whenRoom(listener),
    });
    this.#attach = attach;
    this.#module = { path: attach.module, name: attach.moduleName };
    this.#modules = threads.map(() => attach.module);
    this.#region = region;
    this.#link = link;
    this.#watchFds = loopFds.filter((_, i) => i % 2 === 0);
    const wakeFds = loopFds.filter((_, i) => i % 2 === 1);
    this.#controls = wakeFds.map(
      (fd, worker) => new WorkerControl(region, worker, fd, link?.link ?? { clientFd }),
    );
  }

  async serve(answer: Answer<typeof Attach>): Promise<void> {
    this.#attached = answer;
    setTimeout(() => {
      const message = `the module did not finish loading within ${this.#attach.loadTimeoutMs} ms; look for a top-level await or loop that never ends`;
      this.#failLoad("RFAAS_MODULE_TIMEOUT", { name: "ModuleTimeout", message });
    }, this.#attach.loadTimeoutMs).unref();
    this.#threads.forEach((thread, worker) => this.#begin(thread, worker));
    if (this.#link) await this.#listen(this.#link);
  }

  async #listen(link: Listener): Promise<void> {
    try {
      await link.ready;
    } catch (error) {
      const { code, message } = error as RfaasError;
      return this.#failLoad(String(code), { name: "ConnectionFailed", message });
    }
    this.#listening = true;
    link.onWake = () => this.#lookForClient(link);
    this.#answerIfReady();
  }

  /** One worker's connection is all workers' connection: its client is gone, or has damaged it. */
  #lookForClient(link: Listener): void {
    const lost = this.#controls.map((_, worker) => link.lost(worker)).find((error) => error);
    if (lost) this.#agent.send({ t: "client-lost", message: lost.message });
  }

  /**
   * The client gave up on a call: its function is told. Unless gently, one that goes on all the same has its thread replaced, since
   * it may write to the call's memory for as long as it runs.
   */
  cancel(worker: number, slot: number, sequence: number, gently: boolean): void {
    const control = this.#controls[worker];
    if (!control || !this.#answered) return;
    this.#order(worker, { slot, sequence, gently });
    if (gently) return;
    const restartIf = (goesOn: () => boolean) => {
      if (!this.#restarting.has(worker) && goesOn()) void this.#restart(worker);
    };
    setTimeout(() => restartIf(() => control.runs(slot, sequence)), BUSY_GRACE_MS);
    setTimeout(() => restartIf(() => control.begun(slot, sequence)), PENDING_GRACE_MS);
  }

  /** Lets every worker go over to another build of the module, once the calls that it runs have ended. */
  reload(path: string, name: string, answer: Answer<typeof Reload>): void {
    this.#module = { path, name };
    this.#reloading.push(answer);
    if (this.#answered) this.#goOverToNewest();
  }

  /** Lets the workers come to rest, then ends the process. The agent kills it when that takes too long. */
  stop(): void {
    for (const control of this.#controls) control.stop();
  }

  /** Lets a thread that loads the module run calls. */
  #begin(thread: Thread, worker: number): void {
    const { slots, workers } = this.#attach;
    const attach: AttachWorker = {
      handle: this.#controls[worker]!.handle,
      region: this.#region.handle,
      slots,
      hot: this.#attach.polling === "hot",
      lease: this.#attach.lease,
      worker,
      workers,
      granted: this.#loaded[worker] ?? null,
      watchFd: duplicateDescriptor(this.#watchFds[worker]!),
    };
    const first = thread.onReport;
    thread.onReport = (report) =>
      report.t === "ready" ? first(report) : this.#reported(worker, report);
    void thread.ended.then((error) => this.#ended(thread, worker, error));
    void thread.ready.then(
      () => thread.worker.postMessage(attach),
      () => {},
    );
  }

  #reported(worker: number, report: WorkerReport): void {
    if (report.t === "log") return this.#news.logged(report.line);
    if (report.t === "progress") return this.#news.progressed(report.report);
    if (report.t === "stopped") return this.#rested(worker);
    if (this.#answered) return this.#reloaded(worker, report);
    if (report.t === "load-failed") return this.#failLoad(report.code, report.error);
    if (report.t !== "loaded") return;
    this.#loaded[worker] = report.exports;
    this.#disposes ||= report.disposes;
    this.#answerIfReady();
  }

  #answerIfReady(): void {
    if (this.#answered || (this.#link && !this.#listening)) return;
    if (this.#controls.some((_, i) => this.#loaded[i] === undefined)) return;
    this.#answered = true;
    setTimeout(() => {
      this.#endSpares();
      freeHelperThreads();
    }, SPARES_END_AFTER_MS);
    this.#attached?.send({
      exports: this.#loaded[0]!,
      loadNs: Bun.nanoseconds() - this.#startedNs,
      port: this.#link?.port ?? null,
      disposes: this.#disposes,
    });
    this.#goOverToNewest();
  }

  #rested(worker: number): void {
    if (this.#restarting.has(worker)) return;
    if (this.#leaving.has(worker)) return void this.#goOver(worker);
    this.#stopped.add(worker);
    if (this.#stopped.size === this.#threads.length) process.exit(0);
  }

  #reloaded(worker: number, report: WorkerReport): void {
    if (report.t !== "loaded" && report.t !== "load-failed") return;
    clearTimeout(this.#reloads.get(worker));
    this.#reloads.delete(worker);
    const goesOver = this.#modules[worker] !== this.#attach.module;
    if (report.t === "loaded") return this.#hasGoneOver(worker);
    if (!goesOver) return this.#loseWorker(worker, report.error.message);
    const { code, error } = report;
    for (const answer of this.#reloading.splice(0)) answer.fail(code, error.message, error);
  }

  /** A thread that is still starting has its module to hear of first. */
  #order(worker: number, order: WorkerOrder): void {
    const thread = this.#threads[worker]!;
    void thread.ready.then(
      () => thread.worker.postMessage(order),
      () => {},
    );
  }

  /** A thread that loads is looked at again when it has loaded. */
  #leave(worker: number): void {
    if (this.#restarting.has(worker) || this.#reloads.has(worker) || this.#leaving.has(worker))
      return;
    if (this.#modules[worker] === this.#module.path) return;
    this.#order(worker, { leave: true });
    const overdue = setTimeout(() => void this.#restart(worker), RELOAD_GRACE_MS);
    this.#leaving.set(worker, overdue);
  }

  async #goOver(worker: number): Promise<void> {
    this.#restarting.add(worker);
    await this.#endThread(worker);
    this.#startAgain(worker);
  }

  #hasGoneOver(worker: number): void {
    this.#leave(worker);
    this.#answerIfGoneOver();
  }

  #goOverToNewest(): void {
    this.#controls.forEach((_, worker) => this.#leave(worker));
    this.#answerIfGoneOver();
  }

  #answerIfGoneOver(): void {
    const done = this.#modules.every((path) => path === this.#module.path);
    if (done && this.#reloads.size === 0)
      for (const answer of this.#reloading.splice(0)) answer.send({});
  }

  /** No thread of this worker will answer again. */
  #loseWorker(worker: number, why: string): void {
    this.#restarting.add(worker);
    void this.#threads[worker]!.worker.terminate();
    this.#controls[worker]!.lose(END.workerFailed, 0);
    this.#agent.send({ t: "worker-ended", worker, message: why });
  }

  #failLoad(code: string, error: { name: string; message: string }): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#attached?.fail(code, error.message, error);
  }

  /** A thread ended that was not asked to: an uncaught error outside any call. */
  #ended(thread: Thread, worker: number, error: Error): void {
    if (this.#threads[worker] !== thread || this.#restarting.has(worker)) return;
    if (!this.#answered) return this.#failLoad("RFAAS_MODULE_FAILED", toErrorRecord(error));
    this.#loseWorker(worker, `an uncaught error ended the worker: ${toErrorRecord(error).message}`);
  }

  async #restart(worker: number): Promise<void> {
    this.#restarting.add(worker);
    const control = this.#controls[worker]!;
    control.stop();
    await this.#endThread(worker);
    control.abortCalls();
    this.#startAgain(worker);
  }

  async #endThread(worker: number): Promise<void> {
    const giveUp = setTimeout(() => {
      console.error(
        `worker ${worker} is stuck in native code or WebAssembly and cannot be stopped; ending its lease`,
      );
      process.exit(HOST_EXIT.stuck);
    }, TERMINATE_LIMIT_MS);
    await this.#threads[worker]!.worker.terminate();
    clearTimeout(giveUp);
  }

  #startAgain(worker: number): void {
    clearTimeout(this.#leaving.get(worker));
    this.#leaving.delete(worker);
    const fresh = startThread(worker);
    this.#threads[worker] = fresh;
    this.#restarting.delete(worker);
    const { loadTimeoutMs } = this.#attach;
    const tooLong = () =>
      this.#loseWorker(worker, `its module did not load again within ${loadTimeoutMs} ms`);
    this.#reloads.set(worker, setTimeout(tooLong, loadTimeoutMs));
    const cores = this.#attach.coresPerWorker;
    const load: LoadOrder = { ...this.#module, cpus: this.#masks[worker] ?? [], cores };
    this.#modules[worker] = load.path;
    void fresh.ready.then(
      () => fresh.worker.postMessage(load),
      () => {},
    );
    this.#begin(fresh, worker);
  }
}
