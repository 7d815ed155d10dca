/** One request for a lease of one node: resolves the module, attaches the memory, and on failure releases everything. */
import { PackageUnknown } from "../../base/errors.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import type { FabricName } from "../../fabric/registry.ts";
import { explained } from "../../base/shortage.ts";
import { parseBytes } from "../../base/units.ts";
import type { ClientFabrics } from "./attach.ts";
import { PartLease } from "./part.ts";
import { type ModuleSource, findModule } from "../node/modules.ts";
import type { AllocateRequest, GrantedLease, NodeConnection } from "../node/connection.ts";
import type { LeaseListener } from "../node/lease-listener.ts";
import {
  type AllocateOptions,
  DEFAULT_LOAD_TIMEOUT_MS,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_SLOTS,
  DEFAULT_TTL_MS,
} from "../options/allocate-options.ts";
import { untilAborted } from "../../base/waiting.ts";

/** The connection, module and options of a request for a lease. */
export interface AllocationContext {
  connection: NodeConnection;
  fabrics: ClientFabrics;
  fabric: FabricName;
  /** Ends the request. */
  signal: AbortSignal;
  /** How long the node may let the request wait for room. Default: not at all. */
  waitMs?: number;
  /** The node's offer that the lease takes. Default: none. */
  offer?: number | undefined;
}

/** For one lease: a full cache may evict what was just sent. */
const MAX_UPLOADS = 3;
/** And so many kept hosts may have died as they were granted. */
const MAX_DEAD_HOSTS = 3;

/** Takes one part of a lease, with checked options. `join` gives the part its place among others. */
export async function allocateLease<Module>(
  module: string | URL,
  options: AllocateOptions,
  context: AllocationContext,
): Promise<PartLease<Module>> {
  const { fabrics, fabric, signal, waitMs = 0, offer } = context;
  const { ttlMs = DEFAULT_TTL_MS, memory = DEFAULT_MEMORY_BYTES } = options;
  signal.throwIfAborted();
  const source = await untilAborted(findModule(module, options), signal);
  const request = {
    module: source.module,
    ...(source.origin === undefined ? {} : { origin: source.origin }),
    workers: options.workers ?? 1,
    coresPerWorker: options.coresPerWorker ?? 1,
    memoryBytes: fabrics.memoryFor(fabric, parseBytes(memory, "memory")),
    slots: options.slots ?? DEFAULT_SLOTS,
    polling: options.polling ?? null,
    spinNs: options.spinNs ?? null,
    loadTimeoutMs: options.loadTimeoutMs ?? DEFAULT_LOAD_TIMEOUT_MS,
    ttlMs,
    budget: options.budget ?? {},
    ...onlySet({
      ...{ waitMs, keepWarmMs: options.keepWarmMs, network: options.network },
      ...{ processes: options.processes, env: options.env, image: options.image },
      ...{ project: options.project, hostTimeoutMs: options.hostTimeoutMs, offer },
      heapBytes: options.heap === undefined ? undefined : parseBytes(options.heap, "heap"),
    }),
    fabric,
    ...(fabrics.encrypts(fabric) ? { encrypt: true } : {}),
  };
  for (let dead = 0; ; dead++) {
    const lease = await takeLease<Module>(source, request, options, context);
    // The node gives a host that was kept without a word from it: one that has died meanwhile has run no call.
    if (dead === MAX_DEAD_HOSTS || !lease.phases.kept || !lease.isOver()) return lease;
    await lease.release();
  }
}

async function takeLease<Module>(
  source: ModuleSource,
  request: AllocateRequest,
  options: AllocateOptions,
  { connection, fabrics, fabric, signal }: AllocationContext,
): Promise<PartLease<Module>> {
  let lease: PartLease<Module> | undefined;
  // The lease may be lost before it is opened here.
  const early: ((opened: PartLease<Module>) => void)[] = [];
  const tell = (note: (opened: PartLease<Module>) => void) =>
    void (lease ? note(lease) : early.push(note));
  const listener: LeaseListener = {
    lost: (message, how) => tell((opened) => opened.lose(message, how)),
    disconnected: (message) => tell((opened) => opened.disconnected(message)),
    workerLost: (worker, message) => tell((opened) => opened.loseWorker(worker, message)),
    renewed: (inMs, usage) => tell((opened) => opened.term.renewed(inMs, usage)),
    revoking: (inMs, message, cause) =>
      tell((opened) => opened.term.revoking(inMs, message, cause)),
    goesOn: (inMs) => tell((opened) => opened.term.goesOn(inMs)),
    logged: (line) => tell((opened) => opened.logged(line)),
    progressed: (report) => lease?.progressed(report),
  };
  const grant = await ask(connection, request, source, listener, options, signal);
  let attachment: Attachment | undefined;
  try {
    const attaching = fabrics.attach(request, grant, connection.reached);
    attachment = await untilAborted(attaching, signal, (late) => late.close());
    const { granted } = grant;
    const { ttlMs } = request;
    lease = await PartLease.open<Module>(
      { node: connection, module: source.name, granted, ttlMs, attachment },
      fabric,
    );
    signal.throwIfAborted();
  } catch (error) {
    if (!lease) attachment?.close();
    const released = lease ? lease.release() : connection.release(grant.granted.lease);
    // A program that has aborted must not wait for the release.
    if (signal.aborted) released.catch(() => {});
    else await released;
    throw explained(error, "the lease's memory cannot be opened");
  }
  if (options.onLog) lease.on("log", options.onLog);
  for (const note of early) note(lease);
  return lease;
}

type Wishes = Pick<
  AllocateRequest,
  | "waitMs"
  | "offer"
  | "keepWarmMs"
  | "network"
  | "processes"
  | "env"
  | "image"
  | "heapBytes"
  | "project"
  | "hostTimeoutMs"
>;

/** Those that ask for something: what an older node does not know is sent where it is asked for alone. */
function onlySet(wishes: { [Name in keyof Wishes]: Wishes[Name] | undefined }): Wishes {
  return Object.fromEntries(Object.entries(wishes).filter(([, wish]) => wish));
}

/** Asks for the lease before any upload: a node that has the package in its cache needs none. */
async function ask(
  connection: NodeConnection,
  request: AllocateRequest,
  source: ModuleSource,
  listener: LeaseListener,
  { onProgress }: AllocateOptions,
  signal: AbortSignal,
): Promise<GrantedLease> {
  for (let uploads = 0; ; uploads++) {
    try {
      return await connection.allocate(request, source.name, listener, signal);
    } catch (error) {
      if (!(error instanceof PackageUnknown) || !source.package || uploads === MAX_UPLOADS)
        throw error;
      await connection.packages.send(source.package, onProgress, signal);
    }
  }
}
