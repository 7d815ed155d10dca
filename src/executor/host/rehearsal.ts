/**
 * A lease of no client's, with which a waiting host tries itself: code that runs for the first time takes ten times as long as later,
 * and a lease would wait for it. The agent's messages are made here; all that they set going is what a lease does, to the end of its
 * workers' loops, after which their threads wait for a module again.
 */
import { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { type MailSlot, Mailbox, closeDescriptor, notifyPair } from "../../../ffi/descriptors.ts";
import { Region, createRegion } from "../../../ffi/region.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { FrameCutter, frameOf } from "../../protocol/frames/framing.ts";
import { JSON_TEXT } from "../../protocol/frames/json-text.ts";
import type { Listener } from "../../fabric/fabric.ts";
import type { AgentMessage, Attach } from "../../protocol/host-messages.ts";
import { UNPINNED } from "../machine/cores.ts";
import { linkToAgent } from "./agent-link.ts";
import type { Thread } from "./host-thread.ts";
import type { Parts } from "./lease-parts.ts";

/** A module of one function, as most are loaded: a file that is no part of the executable. */
const MODULE = "data:text/typescript,export const rehearse = (): number => 0;";
const SLOTS = 16;
const ARENA_BYTES = 4096;
/** More than any process has, so that the bound of the lease that comes is the smaller one. */
const HEAP_BYTES = 2 ** 46;
const LIMIT_MS = 10_000;

interface Answered {
  t: string;
  message?: string;
}

/** Resolves when the threads, which are ready, wait for a lease again. Throws where the machine has no memory or descriptors for it. */
export async function rehearse(threads: readonly Thread[]): Promise<void> {
  const workers = threads.length;
  if (workers === 0) return;
  const { mailbox, slot } = Mailbox.withSlot();
  const over = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  const end = (parts: Parts): void => {
    leave(parts);
    over.resolve();
  };
  const link = linkToAgent(threads, mailbox, { stopped: "wait", over: end });
  // Through the system's sockets, as from an agent.
  const [ours, agents] = notifyPair();
  await watchDescriptor(ours, link.handler());
  const frames = new FrameCutter(JSON_TEXT);
  const agent = await watchDescriptor(agents, {
    binaryType: "uint8array",
    data: (_, bytes) => {
      for (const answer of frames.read(bytes) as Iterable<Answered>)
        if (answer.t === "failed") answered.reject(new Error(answer.message));
        else answered.resolve();
    },
  });
  const tell = (message: AgentMessage) => agent.write(frameOf(message, JSON_TEXT));
  const client = new OwnClient(slot, workers);
  try {
    tell({ t: "attach", id: 1, ...attachOf(client.nonce.toHex(), workers) });
    await answered.promise;
    client.call();
    tell({ t: "detach" });
    await over.promise;
  } finally {
    client.close();
    slot.close();
    link.terminate();
    agent.terminate();
  }
}

const attachOf = (nonce: string, workers: number): Attach => ({
  ...{ nonce, workers, coresPerWorker: 1, slots: SLOTS, polling: "warm", listen: null },
  cpus: new Array<number>(workers).fill(UNPINNED),
  ...{ module: MODULE, moduleName: "rehearsal", lease: 0, heapBytes: HEAP_BYTES },
  ...{ loadTimeoutMs: LIMIT_MS, keepWarm: false },
});

/** The threads wait for another module. The native endpoints stay, since a thread may look at its own until its garbage is collected. */
function leave({ threads, region, clientFd, loopFds }: Parts): void {
  for (const thread of threads) thread.onReport = () => {};
  region.close();
  for (const fd of [clientFd, ...loopFds]) closeDescriptor(fd);
}

/**
 * Waits for a client over each of the fabrics whose clients come through the node's port and that need no device, and turns a stranger
 * away that is brought.
 */
export async function rehearseListening(fabrics: readonly string[]): Promise<void> {
  const { fabricNamed, listenOver } = await import("../../fabric/registry.ts");
  for (const name of fabrics) {
    const { greeting, prepare } = fabricNamed(name) ?? {};
    if (!greeting || prepare) continue;
    const memory = createRegion({
      ...{ workers: 1, slots: SLOTS, arenaBytes: ARENA_BYTES, polling: "warm", spinNs: 0 },
    });
    const region = Region.map(memory, 1, SLOTS);
    closeDescriptor(memory);
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    let listener: Listener | undefined;
    try {
      listener = await listenOver(name, region, { address: "", options: {} }, nonce);
      await listener.ready;
      bringStranger(listener, nonce, greeting.bytes);
    } catch {
      // A lease that needs it hears why.
    } finally {
      listener?.close();
      region.close();
    }
  }
}

/** As the agent brings a connection, and the lease takes it. */
function bringStranger(listener: Listener, nonce: Uint8Array, bytes: number): void {
  const { mailbox, slot } = Mailbox.withSlot();
  const pair = notifyPair();
  try {
    slot.send(nonce, [pair[0]]);
    const [descriptor] = mailbox.receive(Uint8Array.fromHex(nonce.toHex())) ?? [];
    const greeting = new Uint8Array(bytes).toHex();
    if (descriptor !== undefined) listener.adopt(descriptor, Uint8Array.fromHex(greeting));
  } finally {
    for (const fd of pair) closeDescriptor(fd);
    mailbox.close();
    slot.close();
  }
}

/** The other end of the lease's memory, which it makes and sends as an agent does. */
class OwnClient {
  readonly nonce = crypto.getRandomValues(new Uint8Array(16));
  readonly #region: Region;
  readonly #endpoints: ClientEndpoint[] = [];
  readonly #notifyFds: number[] = [];

  constructor(mailbox: MailSlot, workers: number) {
    const shape = { workers, slots: SLOTS, arenaBytes: ARENA_BYTES };
    const memory = createRegion({ ...shape, polling: "warm", spinNs: 0 });
    const [clientWatch, clientNotify] = notifyPair();
    const pairs = Array.from({ length: workers }, () => notifyPair());
    mailbox.send(this.nonce, [memory, clientNotify, ...pairs.flat()]);
    this.#region = Region.map(memory, workers, SLOTS);
    for (const [worker, [watch, notifyFd]] of pairs.entries()) {
      this.#endpoints.push(
        new ClientEndpoint(this.#region, worker, SLOTS, { hostPidfd: -1, notifyFd }),
      );
      closeDescriptor(watch);
      this.#notifyFds.push(notifyFd);
    }
    for (const fd of [memory, clientWatch, clientNotify]) closeDescriptor(fd);
  }

  /** Calls the function on every worker. */
  call(): void {
    for (const endpoint of this.#endpoints) endpoint.call(0, 0, 8, 64, 8, LIMIT_MS);
  }

  close(): void {
    for (const endpoint of this.#endpoints) endpoint.close();
    this.#region.close();
    for (const fd of this.#notifyFds) closeDescriptor(fd);
  }
}
