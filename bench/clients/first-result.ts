/** One lease from its request to its first result, and one thread from its start to its first word, with what each costs. */
import { startBareThread, startFunctionWorker } from "../../src/base/workers.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { type Cost, costOf, costsOfDescendants } from "../machine/processes.ts";
import { isHere } from "../placement.ts";

export type Echo = typeof import("../../functions/echo/echo.ts");

/** Nanoseconds. */
export interface Phases {
  connect: number;
  lease: number;
  spawn: number;
  load: number;
  first_call: number;
  total: number;
}

/** How long a process stays for the next lease: longer than a benchmark takes between two. */
export const KEEP_WARM_MS = 60_000;

export interface Round {
  phases: Phases;
  /** Its host had loaded the module for a former lease. */
  kept: boolean;
  /** What the host had cost when the lease was asked for, and when the result was there. */
  before: Cost | undefined;
  atFirstResult: Cost | undefined;
  clientFaults: number;
}

/** `keepWarmMs` is the lease's, `connect` how long the connection took. */
export async function measureRound(
  rf: NodeInvoker,
  connect: number,
  keepWarmMs: number,
): Promise<Round> {
  const hosts = costsOfDescendants();
  const faultsBefore = ownFaults();
  const startedNs = Bun.nanoseconds();
  await using lease = await rf.allocate<Echo>("rfaas:echo", {
    ...{ polling: "hot", memory: 4096, keepWarmMs },
  });
  const leasedNs = Bun.nanoseconds();
  firstResult(lease);
  const doneNs = Bun.nanoseconds();
  const clientFaults = ownFaults() - faultsBefore;
  const { spawnNs, loadNs, kept } = lease.phases;
  return {
    kept,
    clientFaults,
    before: hosts.get(lease.hostPid),
    // Elsewhere the number may be that of a process here.
    atFirstResult: isHere(rf, lease) ? costOf(lease.hostPid) : undefined,
    phases: {
      connect,
      lease: leasedNs - startedNs - spawnNs - loadNs,
      spawn: spawnNs,
      load: loadNs,
      first_call: doneNs - leasedNs,
      total: doneNs - startedNs,
    },
  };
}

/** Calls a lease for the first time, and checks the result. */
export function firstResult(lease: Lease<Echo>): void {
  const input = lease.input(Uint8Array, 8).fill(7);
  const output = lease.output(Uint8Array, 8);
  if (lease.invoke("echo", input, output) !== 8 || output[7] !== 7)
    throw new Error("the first call's echo is wrong");
}

/** Of this process, all of its threads. */
export const ownFaults = (): number => process.resourceUsage().minorPageFault;

export interface Thread {
  ns: number;
  minorFaults: number;
}

/** A thread that is to say a first word, and how to end it. */
interface Started {
  heard: Promise<unknown>;
  end(): Promise<unknown>;
}

/** A worker thread of rfaas. */
export function functionThread(): Started {
  const worker = startFunctionWorker("bare");
  const gone = Promise.withResolvers<void>();
  worker.addEventListener("close", () => gone.resolve());
  const heard = new Promise((resolve, reject) => {
    worker.addEventListener("message", resolve);
    worker.addEventListener("error", reject);
  });
  return { heard, end: () => (worker.terminate(), gone.promise) };
}

/** An empty thread of the runtime. */
export function bareThread(): Started {
  const worker = startBareThread();
  const heard = new Promise((resolve, reject) =>
    worker.once("message", resolve).once("error", reject),
  );
  return { heard, end: () => worker.terminate() };
}

/** From the start of a thread to its first message. */
export async function measureThread(start: () => Started): Promise<Thread> {
  const faultsBefore = ownFaults();
  const startedNs = Bun.nanoseconds();
  const { heard, end } = start();
  await heard;
  const ns = Bun.nanoseconds() - startedNs;
  const minorFaults = ownFaults() - faultsBefore;
  await end();
  return { ns, minorFaults };
}
