/**
 * The host: one process per lease, started before a client asks for it. Its threads wait for a lease; when one comes it maps the
 * lease's memory, confines itself, and lets each worker load the module. User code never runs on this main thread, which
 * stays free to stop a worker that does not stop by itself.
 */
import { endWithParent, reapAdopted } from "../../../ffi/children.ts";
import { Mailbox, closeDescriptor, duplicateDescriptor } from "../../../ffi/descriptors.ts";
import { inheritShim } from "../../../ffi/library.ts";
import { Region, createRegion } from "../../../ffi/region.ts";
import { forbidPrivileges, ticksPerNs } from "../../../ffi/system.ts";
import { shortage } from "../../base/shortage.ts";
import { Connection, type Hearing } from "../../control/connection.ts";
import { type Handlers, answeringTo } from "../../control/requests.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import type { Request } from "../../protocol/declare.ts";
import { HOST_EXIT } from "../../protocol/host-exit.ts";
import type { AgentMessage, HostMessage, agentMessages } from "../../protocol/host-messages.ts";
import { PROTOCOL_VERSION } from "../../protocol/frame.ts";
import { startThread } from "./host-thread.ts";
import { HostedLease } from "./hosted-lease.ts";

/** The connection to the agent. */
const CONTROL_FD = 3;
/** What a thread of Bun takes at its start. */
const DESCRIPTORS_PER_THREAD = 6;

/** Its agent is of the same version, and says only what its types allow: no schema is loaded to check it. */
const fromAgent: Hearing<AgentMessage> = { parse: (message) => message as AgentMessage };
type Asked = Extract<(typeof agentMessages)[number], Request>["name"];
const ASKED = { attach: true, reload: true, rest: true } satisfies Record<Asked, true>;

export interface HostOptions {
  prewarmedWorkers: number;
  parentPid: number;
  /** Where the agent has opened the shim, as this process can open it. */
  shim: string;
  /** Those that leases may use and that have something to prepare, by name. */
  fabrics: readonly string[];
}

/** Runs a host until its agent goes away. The agent is at the other end of {@link CONTROL_FD}. */
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
  inheritShim(options.shim);
  // The exit code tells the agent why the host ended; 0 means that the agent left first.
  process.on("uncaughtException", (error) => {
    console.error(error);
    const short = shortage(error, "the host process") !== undefined;
    process.exit(short ? HOST_EXIT.noResources : HOST_EXIT.uncaught);
  });
  forbidPrivileges();
  // Bun itself ends the program where a thread gets none.
  if (lacksDescriptors(DESCRIPTORS_PER_THREAD * (1 + options.prewarmedWorkers)))
    process.exit(HOST_EXIT.noDescriptors);
  const prewarmed = Array.from({ length: options.prewarmedWorkers }, (_, i) => startThread(i));
  // All else is done while the threads start.
  if (!endWithParent(options.parentPid)) process.exit(0);
  process.on("SIGCHLD", reapAdopted);
  const mailbox = new Mailbox();
  for (const name of options.fabrics) {
    const { fabricNamed } = await import("../../fabric/registry.ts");
    fabricNamed(name)?.prepare?.();
  }
  rehearse();
  ticksPerNs();
  await Promise.all(prewarmed.map((thread) => thread.ready));

  let taking: Promise<HostedLease> | undefined;
  let lease: HostedLease | undefined;
  const handlers: Handlers<typeof agentMessages> = {
    attach: (attach, _, answer) => {
      if (lease) return lease.resume(attach, answer);
      taking = HostedLease.take(agent, attach, mailbox, prewarmed);
      void taking.then((taken) => {
        lease = taken;
        return taken.serve(answer);
      });
    },
    reload: ({ module, moduleName }, _, answer) =>
      void taking?.then((taken) => taken.reload(module, moduleName, answer)),
    rest: (_, __, answer) => lease?.rest(answer),
    detach: () => {
      if (lease) lease.stop();
      else process.exit(0);
    },
    brought: ({ greeting }) => lease?.brought(greeting),
    "host-abort": ({ worker, slot, sequence, gently }) =>
      lease?.abort(worker, slot, sequence, gently),
  };
  const heard = answeringTo<typeof agentMessages>(new Set(Object.keys(ASKED)), handlers, {
    // Answers are what a host says.
    send: (answer) => agent.send(answer as HostMessage),
  });
  const agent: Connection<AgentMessage, HostMessage> = new Connection(fromAgent, {
    message: (message) => heard(message),
    // The agent is dead, or kills this process: first kill the processes that functions have started.
    closed: () => {},
  });
  await watchDescriptor(CONTROL_FD, agent.handler());
  agent.send({ t: "ready", protocol: PROTOCOL_VERSION, mailbox: mailbox.name });
}

/** Runs once the code that a lease needs, so that it is loaded and warm. */
function rehearse(): void {
  const fd = createRegion({ workers: 1, slots: 1, arenaBytes: 4096, polling: "warm", spinNs: 0 });
  Region.map(fd, 1, 1).close();
  closeDescriptor(fd);
}

function lacksDescriptors(count: number): boolean {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(duplicateDescriptor(CONTROL_FD));
    return false;
  } catch {
    return true;
  } finally {
    for (const fd of opened) closeDescriptor(fd);
  }
}
