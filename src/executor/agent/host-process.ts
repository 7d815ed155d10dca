/** A host as its agent sees it: a child process, its control connection, and how it ended. */
import { join } from "node:path";
import {
  type MailSlot,
  closeDescriptor,
  duplicateDescriptor,
  mailboxToInherit,
} from "../../../ffi/descriptors.ts";
import { LAYOUT } from "../../../ffi/layout.ts";
import { openPidfd } from "../../../ffi/system.ts";
import { Connection } from "../../control/connection.ts";
import { type AskOptions, Requests } from "../../control/requests.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import type { FieldsOf, MessageOf, ReplyOf, Request } from "../../protocol/declare.ts";
import {
  type AgentMessage,
  type Detach,
  type Become,
  type EndsIn,
  type HostAbort,
  type HostMessage,
  type HostNotice,
  hostVocabulary,
} from "../../protocol/host-messages.ts";
import { PROTOCOL_VERSION } from "../../protocol/frame.ts";
import { handedIn } from "../../protocol/handed.ts";
import { describeHostEnd } from "../../protocol/ends/host-exit.ts";
import { freedomsOf } from "../host/seal.ts";
import { programPaths, selfCommand } from "../../base/process.ts";
import type { HostExit, RoomFolders, RoomTerms, StartedHost } from "../sandbox/driver.ts";
import { hostEnvironment } from "../sandbox/environment.ts";
import type { Room } from "../sandbox/room.ts";
import { shimFiles, shimFor } from "../sandbox/shim.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { Held, Limiter } from "../limits/limiter.ts";
import { filesOf } from "../limits/scratch.ts";
import { hasMemory, privateBytesOf } from "../machine/process.ts";
import { HostOutput } from "../output/host-output.ts";
import type { OutputReader } from "../output/line-cutter.ts";
import type { PackageUse } from "../packages/cache.ts";

export type { HostExit };

/**
 * The child's descriptor 3 is its control connection, its mailbox the next one, and the shim, where it is no file or the child cannot
 * see that, the last.
 */
const SHIM_FD = 5;

/** How a host is to be started. */
export interface HostWanted {
  /** So many threads wait for a lease. */
  threads: number;
  /** It is to wait for a lease, and has time to try one before it is ready. */
  waits: boolean;
  /** Fabrics that it loads before. */
  fabrics: readonly string[];
  sandbox: Sandbox;
  terms: RoomTerms;
  limiter: Limiter;
  /** Hears what it prints, until a lease does. */
  reader: OutputReader;
}

/** What the agent needs of a host: {@link HostProcess}, or what a test plays. */
export type LeaseHost = Pick<
  HostProcess,
  | "pid"
  | "ready"
  | "exited"
  | "attend"
  | "admit"
  | "mailbox"
  | "tell"
  | "bring"
  | "ask"
  | "openPidfd"
  | "kill"
  | "privateBytes"
  | "isAlive"
> & { readonly held?: Held };

/** What hears a host: its lease, or what keeps it. */
export interface HostListener {
  /** Every notice after `ready`. */
  notice(notice: HostNotice): void;
  exited(exit: HostExit): void;
  /** What it prints from then on. Default: the reader before goes on. */
  readonly reader?: OutputReader;
}

/** How often the agent tries to bring a host a connection, and the pause between. */
const BRING = { tries: 1000, pauseMs: 5 };
export class HostProcess {
  /** Resolves when the host waits for a lease; rejects when it dies before. */
  readonly ready: Promise<void>;
  /** Resolves when the process is gone, and all that it started. */
  readonly exited: Promise<HostExit>;
  /** What bounds its memory and its processes. */
  held?: Held;
  #listener: HostListener | undefined;
  #exit: HostExit | undefined;
  /** Connections that wait for room in its mailbox. */
  #bringing = 0;
  /** Nothing else can send to its mailbox. */
  readonly mailbox: MailSlot;

  readonly #process: StartedHost;
  readonly #room: Room | undefined;
  readonly #output: HostOutput;
  /** The folder of its packages, as it sees it. */
  readonly #packages: string;
  readonly #connection: Connection<HostMessage, AgentMessage>;
  /** A host that dies leaves them unanswered: its exit says why. */
  readonly #requests = new Requests({
    // The table sends only what the agent may say.
    send: (message) => this.#connection.send(message as AgentMessage),
  });

  private constructor(
    process: StartedHost,
    { room, packages, output }: { room: Room | undefined; packages: string; output: HostOutput },
    connection: Connection<HostMessage, AgentMessage>,
    mailbox: MailSlot,
    ready: Promise<void>,
    exited: Promise<HostExit>,
  ) {
    this.#process = process;
    this.#room = room;
    this.#packages = packages;
    this.#output = output;
    this.#connection = connection;
    this.mailbox = mailbox;
    this.ready = ready;
    this.exited = exited;
  }

  /** Throws when the machine has no descriptors, processes, memory or disk for it. */
  static spawn(wanted: HostWanted): HostProcess {
    const { threads, waits, fabrics, sandbox, terms, limiter } = wanted;
    const { driver } = sandbox;
    const exit = Promise.withResolvers<HostExit>();
    const shim = shimFor(driver);
    const shimPath = "path" in shim ? shim.path : `/proc/self/fd/${SHIM_FD}`;
    const { mailboxFd, slot } = mailboxToInherit();
    let output: HostOutput | undefined;
    let room: Room | undefined;
    let inside: RoomFolders | undefined;
    let child: StartedHost;
    let held: Held | undefined;
    try {
      output = new HostOutput(wanted.reader);
      room = sandbox.makeRoom();
      inside = room && (driver.inside?.(room.folders, terms) ?? room.folders);
      child = driver.start({
        command: (parentPid, handed) =>
          selfCommand([
            ...["__host", String(threads), String(parentPid)],
            handed === undefined ? shimPath : handedIn(handed),
            ...[waits ? "waits" : "wanted", freedomsOf(driver.seals ? terms : undefined)],
            ...fabrics,
          ]),
        environment: hostEnvironment(terms.env, inside?.scratch),
        descriptors: ["pipe", mailboxFd, ...("fd" in shim ? [shim.fd] : [])],
        output: output.descriptor,
        ...{ terms, folders: room?.folders },
        program: room ? [...programPaths(), ...shimFiles()] : [],
        onExit: (how) => {
          const excess = held?.postMortem();
          held?.close();
          const heard = output!.end().then(() => exit.resolve({ ...how, excess }));
          void heard.then(() => room?.remove());
        },
      });
      output.begin();
    } catch (error) {
      slot.close();
      output?.abandon();
      void room?.remove();
      throw error;
    } finally {
      closeDescriptor(mailboxFd);
    }
    const ready = Promise.withResolvers<void>();
    ready.promise.catch(() => {});
    let host: HostProcess;
    const connection: Connection<HostMessage, AgentMessage> = new Connection(hostVocabulary, {
      message(message) {
        if (host.#requests.heard(message)) return;
        if (message.t !== "ready") return host.#listener?.notice(message);
        if (held) return; // A function's word: it would be held anew, without its lease's bounds.
        if (message.protocol !== PROTOCOL_VERSION)
          return ready.reject(new Error("the host is of another version"));
        const files = filesOf(host.pid, sandbox.filePlaces(room?.folders, inside));
        held = host.held = limiter.hold(host.pid, files);
        void held.ready.then(ready.resolve);
      },
      // The agent cannot reach a host whose connection is lost, so it kills the host.
      closed: () => host.kill(),
    });
    const lodging = { room, packages: inside?.package ?? "", output };
    host = new HostProcess(child, lodging, connection, slot, ready.promise, exit.promise);
    void exit.promise.then((how) => {
      host.#exit = how;
      slot.close();
      host.#listener?.exited(how);
      const why = driver.explain?.(how, terms) ?? describeHostEnd(how);
      ready.reject(new Error(`the host process did not start: it ${why}`));
      connection.close();
    });
    watchDescriptor(child.control, connection.handler()).catch((error: Error) =>
      connection.close(error),
    );
    return host;
  }

  /** As the agent sees it. Known once the host is ready. */
  get pid(): number {
    return this.#process.pid;
  }

  /** The module as the host is to load it: linked into its room, where it has one. Before that, the host becomes its user, if any. */
  async admit(module: PackageUse, user?: Become): Promise<PackageUse> {
    if (user) {
      this.#room?.giveTo(user.uid);
      this.tell({ t: "become", ...user });
    }
    const linked = await this.#room?.admit(module.path);
    return linked === undefined ? module : { ...module, path: join(this.#packages, linked) };
  }

  /** From now on `listener` hears the host, in place of the one before. It hears of an exit that has been, too. */
  attend(listener: HostListener): void {
    this.#listener = listener;
    if (listener.reader) this.#output.reader = listener.reader;
    const exit = this.#exit;
    if (exit) queueMicrotask(() => listener.exited(exit));
  }

  /** Sends a notice, which has no answer. */
  tell(notice: MessageOf<typeof HostAbort | typeof EndsIn | typeof Detach | typeof Become>): void {
    if (notice.t === "detach") this.#process.meter?.();
    this.#connection.send(notice);
  }

  /**
   * Brings it a connection of its client, whom the lease's nonce names. The descriptor stays the caller's. Resolves when the host has
   * it; a host that makes no room, or is gone, never gets it, nor does one whose agent has no descriptor left. Never rejects.
   */
  async bring(nonce: Uint8Array, connection: number, greeting: Uint8Array): Promise<void> {
    // A lease has one for each worker, and one more. A client that makes others can stop its host.
    if (this.#bringing > LAYOUT.maxWorkers) return;
    let descriptor: number;
    try {
      descriptor = duplicateDescriptor(connection);
    } catch {
      return;
    }
    this.#bringing++;
    try {
      for (let tries = 0; !this.mailbox.offer(nonce, [descriptor]); tries++) {
        if (tries === BRING.tries || this.#exit) return;
        await Bun.sleep(BRING.pauseMs);
      }
      this.#connection.send({ t: "brought", greeting: greeting.toHex() });
    } finally {
      this.#bringing--;
      closeDescriptor(descriptor);
    }
  }

  ask<Asked extends Request>(
    request: Asked,
    fields: FieldsOf<Asked>,
    options?: AskOptions<Asked>,
  ): Promise<ReplyOf<Asked>> {
    return this.#requests.ask(request, fields, options);
  }

  /** Memory that it shares with no other process; 0 where the system does not say. */
  privateBytes(): number {
    return privateBytesOf(this.pid);
  }

  /** Whether it lives, also before the news of its end has come. */
  isAlive(): boolean {
    return hasMemory(this.pid);
  }

  /** A descriptor that becomes readable when the process ends; the caller closes it. */
  openPidfd(): number {
    return openPidfd(this.pid);
  }

  /** Ends the process at once; {@link exited} tells when it is gone. */
  kill(): void {
    this.#process.kill();
  }
}
