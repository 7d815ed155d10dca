/**
 * The host: one process per lease, started before a client asks for it. Its threads wait for a lease; when one comes it maps the
 * lease's memory, confines itself, and lets each worker load the module. User code never runs on this main thread, which
 * stays free to stop a worker that does not stop by itself.
 */
import { adoptOrphans, endWithParent, reapAdopted } from "../../../ffi/children.ts";
import { Mailbox, closeDescriptor, duplicateDescriptor } from "../../../ffi/descriptors.ts";
import type { RoomFreedoms } from "../../../ffi/sandbox.ts";
import { inheritShim } from "../../../ffi/library.ts";
import {
  forbidPrivileges,
  outlastSignals,
  printLines,
  standFirst,
  ticksPerNs,
} from "../../../ffi/system.ts";
import { HostBeat } from "../../../ffi/worker-endpoint.ts";
import { forgetEngineSettings, hideEngineSettings } from "../../base/machine/engine.ts";
import { shortage } from "../../base/shortage.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { HOST_EXIT } from "../../protocol/ends/host-exit.ts";
import { PROTOCOL_VERSION } from "../../protocol/frames/framing.ts";
import { linkToAgent } from "./agent-link.ts";
import { startThread } from "./host-thread.ts";
import { PROCESS_ENDS } from "./lease-parts.ts";
import { rehearse, rehearseListening } from "./rehearsal.ts";
import { Seal } from "./seal.ts";

/** The connection to the agent, and what the agent puts its descriptors into, as a process inherits them. */
const INHERITED = { control: 3, mailbox: 4 };
/** What a thread of Bun takes at its start. */
const DESCRIPTORS_PER_THREAD = 6;

export interface HostOptions {
  prewarmedWorkers: number;
  /** It is to wait for a lease, and has time to try one; else one waits for it. */
  waits: boolean;
  /** The process that it is to end with; 0 where its sandbox ends it. */
  parentPid: number;
  /** What its functions may do, where it takes the rest away; else its sandbox does, or nothing. */
  sealedTo: RoomFreedoms | undefined;
  /** Where the agent has opened the shim, as this process can open it, or where it hands over what a process else inherits. */
  shim: string;
  /** Those that leases may use and that are loaded or prepared before, by name. */
  fabrics: readonly string[];
}

/** Runs a host until its agent goes away. */
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
  const inherited = await openInherited(options.shim);
  // First of all: batch systems, service managers and terminals send these to a node's every process, also to one that has just begun.
  outlastSignals();
  // The exit code tells the agent why the host ended; 0 means that the agent left first.
  process.on("uncaughtException", (error) => {
    console.error(error);
    const short = shortage(error, "the host process") !== undefined;
    process.exit(short ? HOST_EXIT.noResources : HOST_EXIT.uncaught);
  });
  forbidPrivileges();
  hideEngineSettings();
  // Bun itself ends the program where a thread gets none.
  if (lacksDescriptors(inherited.control, DESCRIPTORS_PER_THREAD * (1 + options.prewarmedWorkers)))
    process.exit(HOST_EXIT.noDescriptors);
  const prewarmed = Array.from({ length: options.prewarmedWorkers }, (_, i) => startThread(i));
  // All else is done while the threads start, which have been given the environment.
  forgetEngineSettings();
  if (options.parentPid === 0) adoptOrphans();
  else if (!endWithParent(options.parentPid)) process.exit(0);
  standFirst();
  printLines();
  const beat = new HostBeat();
  process.on("SIGCHLD", reapAdopted);
  const mailbox = Mailbox.inherited(inherited.mailbox);
  for (const name of options.fabrics) {
    const { fabricNamed } = await import("../../fabric/registry.ts");
    fabricNamed(name)?.prepare?.();
  }
  ticksPerNs();
  await Promise.all(prewarmed.map((thread) => thread.ready));

  const seal = options.sealedTo && new Seal(options.sealedTo);
  if (options.waits) {
    if (options.fabrics.length > 0) await rehearseListening(options.fabrics);
    await rehearse(prewarmed);
    seal?.begin();
  }
  // Without a parent to end with, this process is the first of its room: all others end with it.
  const closed = options.parentPid === 0 ? () => process.exit(0) : undefined;
  const agent = linkToAgent(prewarmed, mailbox, { ...PROCESS_ENDS, beat }, seal, closed);
  await watchDescriptor(inherited.control, agent.handler());
  agent.send({ t: "ready", protocol: PROTOCOL_VERSION });
}

async function openInherited(shim: string): Promise<{ control: number; mailbox: number }> {
  // As `protocol/handed.ts` marks it, which other hosts do not load.
  if (shim.startsWith("handed:")) return (await import("./handed.ts")).takeFromAgent(shim);
  inheritShim(shim);
  return INHERITED;
}

function lacksDescriptors(of: number, count: number): boolean {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(duplicateDescriptor(of));
    return false;
  } catch {
    return true;
  } finally {
    for (const fd of opened) closeDescriptor(fd);
  }
}
