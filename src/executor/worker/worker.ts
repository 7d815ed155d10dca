/**
 * A worker thread: waits, pre-warmed, for its lease, loads the module, then runs calls until it is stopped.
 *
 * Between calls it looks into its event loop, so timers and promises of the module make progress: every 10 ms while it spins
 * or is busy, every 250 ms while it sleeps, and at once while asynchronous functions are in flight. After a second without a call it
 * sleeps in its event loop, where nothing but calls, timers and what it is told wakes it.
 */
import { native } from "../../../ffi/library.ts";
import { restrictThread, thisThread } from "../../../ffi/system.ts";
import { Region, expectMemory } from "../../../ffi/region.ts";
import { STOPPED, WorkerEndpoint } from "../../../ffi/worker-endpoint.ts";
import { forgetEngineSettings } from "../../base/machine/engine.ts";
import type { Hooks } from "../../function/define-hooks.ts";
import type { Exports } from "../../protocol/module-report.ts";
import { WorkerScope } from "./call-context.ts";
import { toErrorRecord } from "../results/error-record.ts";
import { enterRoom } from "../results/denied.ts";
import { LoadFailure, type LoadedModule } from "../modules/loaded-module.ts";
import { loadModule } from "../modules/loader.ts";
import { confineToThread } from "./confine.ts";
import { Orders } from "./orders.ts";
import { Reporter } from "./reporting.ts";
import { CallServer } from "./serve.datapath.ts";
import type {
  AttachWorker,
  LoadOrder,
  LoopOrder,
  Signed,
  WorkerOrder,
  WorkerReport,
} from "./thread-messages.ts";
import { ThreadTraces } from "./traces.ts";
import { Wakes } from "./wakes.ts";

/** How many threads OpenMP and the libraries for linear algebra start. */
const THREAD_COUNT = "OMP_NUM_THREADS";
/** How long a module's `dispose` may take. The agent waits a little longer. */
const DISPOSE_LIMIT_MS = 2000;
/** A worker that has waited so long for its lease has time to prepare for a module of typed functions, which most are not. */
const IDLE_MS = 1000;
/** Sleeps in a row without a call, of a quarter of a second each, before it sleeps in its event loop. */
const SLEEPS_BEFORE_PARKED = 4;
/** There it looks for a call this often although nothing woke it: a client may fail to, and an emulated processor. */
const PARKED_CHECK_MS = 2000;
/** What most leases have, by default. */
const USUAL_MEMORY_BYTES = 64 * 1024 * 1024;

// Its own: a module may replace the global one.
const post = postMessage;
const [token] = crypto.getRandomValues(new BigUint64Array(1)) as unknown as [bigint];
/** What is done with each order that comes; the first one is to load a module. */
let perform: (order: never) => void = load;
// Functions can dispatch events as well, which are not trusted.
addEventListener("message", ({ isTrusted, data }: MessageEvent) => {
  if (isTrusted) perform(data as never);
});
// An error that nothing catches ends the thread, and only here it is more than a text.
addEventListener("error", (event) => {
  if (event.isTrusted) report({ t: "crashed", error: toErrorRecord((event as ErrorEvent).error) });
});
let idle: ReturnType<typeof setTimeout> | undefined;
// Opening the shim takes a millisecond that no lease should wait for.
native();
forgetEngineSettings();
confineToThread();
report({ t: "ready", thread: thisThread() });

/** The module loads while the main thread maps the lease's memory. */
function load(order: LoadOrder): void {
  clearTimeout(idle);
  const traces = order.keepWarm ? new ThreadTraces() : undefined;
  const { room } = order;
  const enter = (): void => {
    if (room) enterRoom(room, (rule) => report({ t: "denied", rule }));
  };
  enter();
  tellCores(order.cores);
  const loading = loadModule(order.path, order.name);
  loading.catch(() => {});
  perform = (attach: AttachWorker) => void serve(attach, order, loading, traces, enter);
}

/** What it is told about its calls. */
type CallOrder = Exclude<WorkerOrder, LoopOrder>;

/** Does what a lease would otherwise wait for, and waits for one. */
function waitForLease(): void {
  perform = load;
  expectMemory(USUAL_MEMORY_BYTES);
  idle = setTimeout(() => void import("../../kinds/registry.ts"), IDLE_MS);
}

function report(report: WorkerReport): void {
  post({ token, report } satisfies Signed);
}

async function serve(
  attach: AttachWorker,
  { name, cores }: LoadOrder,
  loading: Promise<LoadedModule>,
  traces: ThreadTraces | undefined,
  enterRoomAgain: () => void,
): Promise<void> {
  const orders = new Orders();
  // The lease may be over before the module has loaded, and a call be aborted.
  const early: CallOrder[] = [];
  let heed = (order: CallOrder): void => void early.push(order);
  perform = (order: WorkerOrder) => {
    if ("stopped" in order || "next" in order) orders.give(order);
    else heed(order);
  };
  const region = Region.at(attach.region);
  const { slots, worker, workers, lease } = attach;
  const scope = new WorkerScope(
    lease,
    { worker, workers, cores, region },
    new Reporter(worker, (said) => report(said)),
  );
  let loaded;
  try {
    loaded = await loading;
    if (attach.granted && !areCalledAlike(attach.granted, loaded.exports))
      throw changedModule(name);
    await initialise(loaded.hooks, scope);
  } catch (error) {
    const failure =
      error instanceof LoadFailure
        ? error
        : new LoadFailure("RFAAS_MODULE_FAILED", toErrorRecord(error));
    report({ t: "load-failed", code: failure.code, error: failure.record });
    return;
  }

  traces?.loaded();
  const endpoint = new WorkerEndpoint(attach.handle, slots);
  endpoint.setFunctionCount(loaded.functions.length, loaded.exports.functions.length);
  const server = new CallServer(
    endpoint,
    loaded.functions,
    loaded.exports.functions,
    scope,
    region,
    region.errorRecords(worker, slots),
    slots,
  );
  const wakes = new Wakes();
  let leaving = false;
  heed = (order) => {
    if ("leave" in order) leaving = true;
    else {
      const why = order.gently
        ? "the caller has aborted the call"
        : "the call's deadline has passed";
      server.abort(order.slot, order.sequence, new Error(why));
      loaded.kept?.abandon(order.slot, order.sequence);
    }
    wakes.wake();
  };
  server.onAllSettled = () => wakes.wake();
  server.onLate = (slot, sequence) => loaded.kept?.abandon(slot, sequence);
  for (const order of early) heed(order);
  wakes.watch(attach.watchFd);
  report({
    t: "loaded",
    exports: loaded.exports,
    disposes: loaded.hooks?.dispose !== undefined,
  });

  const runCalls = async (): Promise<void> => {
    let sleeps = 0;
    while (server.run() !== STOPPED) {
      sleeps = server.idle && server.pending === 0 ? sleeps + 1 : 0;
      if (leaving && server.pending === 0 && (loaded.kept?.empty ?? true)) return;
      const parks = !attach.hot && (server.pending > 0 || sleeps >= SLEEPS_BEFORE_PARKED);
      if (!parks || endpoint.park()) {
        await eventLoopTurn();
      } else {
        const check =
          server.pending > 0 ? undefined : setTimeout(() => wakes.wake(), PARKED_CHECK_MS);
        await wakes.next();
        clearTimeout(check);
        endpoint.unpark();
      }
    }
  };
  /** Rests until another lease comes. Returns whether one has. */
  const rest = async (): Promise<boolean> => {
    server.renew();
    await wakes.end();
    await eventLoopTurn();
    report({ t: "at-rest", left: leftBehind(server, loaded, traces) });
    let order = await orders.next();
    if ("next" in order) {
      wakes.watch(order.next.watchFd, (resume) => orders.give({ resume }));
      order = await orders.next();
    }
    if (!("resume" in order)) return false;
    const { resume } = order;
    report({ t: "resumed", resume });
    loaded.kept?.renew();
    enterRoomAgain();
    restrictThread(resume.mask);
    scope.lease = resume.lease;
    scope.cold = false;
    return true;
  };
  let order: LoopOrder | undefined;
  do await runCalls();
  while (!leaving && isRest((order = await orders.next())) && (await rest()));
  if (order && "stopped" in order && order.stopped === "wait") {
    await wakes.end();
    waitForLease();
  } else {
    await dispose(loaded.hooks, scope);
  }
  // The runtime writes functions' output in a turn of the event loop.
  await eventLoopTurn();
  report({ t: "stopped" });
}

const isRest = (order: LoopOrder): boolean => "stopped" in order && order.stopped === "rest";

/** Why the thread cannot serve another lease, in words; null where it can. */
function leftBehind(
  server: CallServer,
  { kept }: LoadedModule,
  traces: ThreadTraces | undefined,
): string | null {
  if (server.pending > 0) return "a call that has not ended";
  if (kept?.empty === false) return "a result that was not fetched";
  return traces ? traces.left() : "what a host that is not kept does not look for";
}

async function initialise(hooks: Hooks | undefined, scope: WorkerScope): Promise<void> {
  try {
    await hooks?.init?.(scope);
  } catch (error) {
    const record = toErrorRecord(error);
    const message = `the module's init failed: ${record.message}`;
    throw new LoadFailure("RFAAS_MODULE_INIT_FAILED", { ...record, message });
  }
}

async function dispose(hooks: Hooks | undefined, scope: WorkerScope): Promise<void> {
  if (!hooks?.dispose) return;
  const overdue = Promise.withResolvers<string>();
  const timer = setTimeout(
    () => overdue.resolve(`the module's dispose did not end within ${DISPOSE_LIMIT_MS} ms`),
    DISPOSE_LIMIT_MS,
  );
  try {
    const problem = await Promise.race([hooks.dispose(scope), overdue.promise]);
    if (typeof problem === "string") scope.log.warn(problem);
  } catch (error) {
    scope.log.error(`the module's dispose failed: ${toErrorRecord(error).message}`);
  } finally {
    clearTimeout(timer);
  }
}

/** Callers know functions by their index, and values by the types that came with the grant. */
function areCalledAlike(granted: Exports, loaded: Exports): boolean {
  const called = ({ functions, described }: Exports) => [functions, described];
  return Bun.deepEquals(called(granted), called(loaded));
}

function changedModule(name: string): LoadFailure {
  const message = `${name} has other functions, or the same with other types, than when the lease was granted; take a new lease`;
  return new LoadFailure("RFAAS_MODULE_CHANGED", { name: "ModuleChanged", message });
}

function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** How many the functions see. */
function tellCores(cores: number): void {
  // The runtime has counted the machine's, once for the process.
  Object.defineProperty(navigator, "hardwareConcurrency", {
    value: cores,
    configurable: true,
    enumerable: true,
  });
  process.env[THREAD_COUNT] = String(cores);
}
