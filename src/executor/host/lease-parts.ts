/** What a host puts together for its lease: threads that load the module, memory, descriptors, and the way to the client. */
import { type Mailbox, closeDescriptor } from "../../../ffi/descriptors.ts";
import { Region } from "../../../ffi/region.ts";
import type { RoomFreedoms } from "../../../ffi/sandbox.ts";
import { confine, setNativeEnvironment } from "../../../ffi/system.ts";
import type { HostBeat } from "../../../ffi/worker-endpoint.ts";
import type { Listener } from "../../fabric/fabric.ts";
import type { Attach } from "../../protocol/host-messages.ts";
import { workerCpus } from "../machine/cores.ts";
import { type Thread, startThread } from "./host-thread.ts";
import type { Seal } from "./seal.ts";
import type { ProcessTraces } from "./traces.ts";

/** What a lease begins with. */
export interface Parts {
  region: Region;
  /** The way to the client, where it connects. */
  link: Listener | undefined;
  clientFd: number;
  /** For each worker the two ends of its notify socket. */
  loopFds: readonly number[];
  threads: Thread[];
  /** What functions may do, where the host has given up the rest. */
  sealedTo: RoomFreedoms | undefined;
  /** The CPUs of each worker. */
  masks: readonly (readonly number[])[];
  /** Ends threads that the lease has no use for. */
  endSpares: () => Promise<unknown>;
  startedNs: number;
  mailbox: Mailbox;
  /** Of a host that may be kept. */
  traces: ProcessTraces | undefined;
}

/** What workers and their process do when the lease is over. */
export interface LeaseEnd {
  stopped: "end" | "wait";
  /** Tells the agent that the process is there. */
  beat?: HostBeat;
  /** All workers have come to it. */
  over(parts: Parts): void;
}

export const PROCESS_ENDS: LeaseEnd = { stopped: "end", over: () => process.exit(0) };

/** The agent ends a lease that crosses its heap; this stops native memory that grows faster than the agent looks. */
const DATA_PER_HEAP = 1.25;
/** Descriptors of each process of a lease, as many as shells allow; workers have event loops and connections. Some cost the kernel much. */
const FILES = 1024;
const FILES_PER_WORKER = 64;

/**
 * Lets the workers load the module and maps the lease's memory meanwhile. Before they load it, the host gives up what its functions may
 * not do, if anything: by then it listens for its client, where one is to connect.
 */
export async function takeParts(
  attach: Attach,
  mailbox: Mailbox,
  prewarmed: readonly Thread[],
  seal?: Seal,
): Promise<Parts> {
  const threads = Array.from(
    { length: attach.workers },
    (_, worker) => prewarmed[worker] ?? startThread(worker),
  );
  const startedNs = Bun.nanoseconds();
  // The bound counts from what the process has with all of its threads, and before any user code.
  await Promise.all(threads.map((thread) => thread.ready));
  confine(DATA_PER_HEAP * attach.heapBytes, FILES + FILES_PER_WORKER * attach.workers);
  const { cpus, coresPerWorker: cores } = attach;
  setNativeEnvironment("OMP_NUM_THREADS", String(cores));
  const masks = workerCpus(cpus, cores);
  const traces = attach.keepWarm ? await processTraces() : undefined;
  const listening = seal && attach.listen ? await takePlaces(attach, mailbox) : undefined;
  threads.forEach((thread, i) => thread.place(masks[i] ?? []));
  // From then on no thread moves itself: the agent moves the others, and those that come later.
  seal?.finish();
  const sealedTo = seal?.freedoms;
  const { module: path, moduleName: name, keepWarm } = attach;
  for (const thread of threads) thread.load({ path, name, cores, keepWarm, room: sealedTo });
  const places = listening ?? (await takePlaces(attach, mailbox));
  // Connections of the client, or the memory of another lease, may come later.
  if (!traces && !attach.listen) mailbox.close();
  const endSpares = () =>
    Promise.all(prewarmed.slice(attach.workers).map((spare) => spare.terminate()));
  return { ...places, sealedTo, threads, masks, endSpares, startedNs, mailbox, traces };
}

/** The lease's memory, and the ways to its client. */
async function takePlaces(
  attach: Attach,
  mailbox: Mailbox,
): Promise<Pick<Parts, "region" | "link" | "clientFd" | "loopFds">> {
  const { memoryFd, ...ways } = descriptorsOf(attach.nonce, attach.workers, mailbox);
  const region = Region.map(memoryFd, attach.workers, attach.slots);
  closeDescriptor(memoryFd);
  const { listen, nonce } = attach;
  const link = listen ? await waitForClient(listen, region, Uint8Array.fromHex(nonce)) : undefined;
  return { region, link, ...ways };
}

/** Loaded for a host that may be kept, and for no other. */
async function processTraces(): Promise<ProcessTraces> {
  const { ProcessTraces } = await import("./traces.ts");
  return new ProcessTraces();
}

/** Loads the fabric, which a lease of shared memory does without. */
async function waitForClient(
  order: NonNullable<Attach["listen"]>,
  region: Region,
  nonce: Uint8Array,
): Promise<Listener> {
  const { listenOver } = await import("../../fabric/registry.ts");
  return await listenOver(order.fabric, region, order, nonce);
}

/** Memory, the client's notify socket, then for each worker the two ends of its own. */
export function descriptorsOf(
  nonce: string,
  workers: number,
  mailbox: Mailbox,
): { memoryFd: number; clientFd: number; loopFds: number[] } {
  const fds = mailbox.receive(Uint8Array.fromHex(nonce));
  if (!fds || fds.length !== 2 + 2 * workers)
    throw new Error("the agent sent no memory with the lease");
  const [memoryFd, clientFd, ...loopFds] = fds as [number, number, ...number[]];
  return { memoryFd, clientFd, loopFds };
}
