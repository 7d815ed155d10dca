/**
 * Hands a host its descriptors where its engine, unlike a parent, passes none on: over a socket in a folder that the container shows, once, to the
 * first process of a namespace that is the node's user. The folder has the shim, too, without which a host could take no descriptor.
 */
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  MailSlot,
  closeDescriptor,
  duplicateDescriptor,
  notifyPair,
} from "../../../../ffi/descriptors.ts";
import { peerOf } from "../../../../ffi/system.ts";
import { HANDED, HANDED_NONCE } from "../../../protocol/handed.ts";
import type { HostStart } from "../driver.ts";
import { isFirstOfNamespace } from "./first-process.ts";
import { HANDED_FOLDER } from "./inside.ts";

/** What the socket is of the event loop's; its types do not list the descriptor. */
interface Connected {
  fd: number;
  terminate(): void;
}

export class Handed {
  /** The agent's end of the host's connection. */
  readonly control: number;
  /** As the driver is to start it. */
  readonly start: HostStart;
  readonly #folder: string;
  readonly #listener: { stop(force: boolean): void };
  #descriptors: number[] = [];
  #pid: number | undefined;

  /** Throws when the machine has no descriptors or disk for it. */
  constructor(start: HostStart) {
    const { folders, descriptors } = start;
    const [, mailbox, shim] = descriptors as [unknown, number, number];
    this.#folder = join(dirname(folders!.scratch), "handed");
    this.start = {
      ...start,
      folders: { ...folders!, handed: this.#folder },
      command: (parentPid) => start.command(parentPid, HANDED_FOLDER),
    };
    mkdirSync(this.#folder, { mode: 0o700 });
    copyFileSync(`/proc/self/fd/${shim}`, join(this.#folder, HANDED.shim));
    const [own, its] = notifyPair();
    this.control = own;
    this.#descriptors.push(its);
    try {
      this.#descriptors.push(duplicateDescriptor(mailbox));
      this.#listener = Bun.listen({
        unix: join(this.#folder, HANDED.socket),
        socket: { open: (socket) => this.#met(socket as unknown as Connected), data() {} },
      });
    } catch (error) {
      for (const fd of [own, ...this.#descriptors]) closeDescriptor(fd);
      throw error;
    }
  }

  /** Of the host, as the agent sees it, once it has its descriptors. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** None gets anything from now on. */
  close(): void {
    for (const fd of this.#descriptors) closeDescriptor(fd);
    this.#descriptors = [];
    this.#listener.stop(true);
    rmSync(join(this.#folder, HANDED.socket), { force: true });
  }

  #met(socket: Connected): void {
    const pid = this.#descriptors.length === 0 ? undefined : hostAt(socket.fd);
    // One that is gone again has got nothing.
    if (pid === undefined || !new MailSlot(socket.fd).offer(HANDED_NONCE, this.#descriptors))
      return socket.terminate();
    this.#pid = pid;
    this.close();
  }
}

/** The host's pid, where it is the host that is at the other end. */
function hostAt(fd: number): number | undefined {
  try {
    const { pid, uid } = peerOf(fd);
    return uid === process.getuid!() && isFirstOfNamespace(pid) ? pid : undefined;
  } catch {
    return undefined;
  }
}
