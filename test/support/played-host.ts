/** A host process as its agent sees it, played by a test: memory reaches it, and it says and ends what the test lets it. */
import { Mailbox, closeDescriptor } from "../../ffi/descriptors.ts";
import { openPidfd } from "../../ffi/system.ts";
import { RequestRefused } from "../../src/control/requests.ts";
import type { HostExit, HostListener, LeaseHost } from "../../src/executor/agent/host-process.ts";
import type { HostNotice, Loaded } from "../../src/protocol/host-messages.ts";

interface Asked {
  name: string;
  fields: Record<string, unknown>;
  reply(value: object): void;
  refuse(code: string, message: string): void;
}

export class PlayedHost implements LeaseHost {
  readonly pid = process.pid;
  readonly #mail = Mailbox.withSlot();
  readonly mailbox = this.#mail.slot;
  readonly #ready = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<HostExit>();
  readonly ready = this.#ready.promise;
  readonly exited = this.#exited.promise;
  #listener: HostListener | undefined;
  /** What it was asked and told, in order. */
  readonly asked: Asked[] = [];
  readonly told: string[] = [];
  killed = false;
  #closed = false;

  constructor(ready = true) {
    this.ready.catch(() => {});
    if (ready) this.#ready.resolve();
  }

  /** It waits for a lease. */
  start(): void {
    this.#ready.resolve();
  }

  attend(listener: HostListener): void {
    this.#listener = listener;
  }

  /** Says something to what hears it. */
  say(notice: HostNotice): void {
    this.#listener?.notice(notice);
  }

  async bring(): Promise<void> {}

  async admit<Module>(module: Module): Promise<Module> {
    return module;
  }

  tell({ t }: { t: string }): void {
    this.told.push(t);
  }

  ask: LeaseHost["ask"] = (request, fields, options) => {
    const answer = Promise.withResolvers<any>();
    this.asked.push({
      name: request.name,
      fields: fields as Record<string, unknown>,
      reply(value) {
        options?.onReply?.(value as never);
        answer.resolve(value);
      },
      refuse: (code, message) => answer.reject(new RequestRefused(code, message)),
    });
    return answer.promise;
  };

  /** The last request of this name. */
  request(name: string): Asked {
    const asked = this.asked.findLast((one) => one.name === name);
    if (!asked) throw new Error(`the host was not asked to ${name}`);
    return asked;
  }

  /** Its workers have loaded the module. */
  load(more: Partial<Loaded> = {}): void {
    const exports = { functions: ["echo"], others: {} };
    this.request("attach").reply({ exports, loadNs: 5, port: null, ...more });
  }

  /** The descriptors that came with the last request of this name, to be closed. */
  received(name: string): number[] {
    const nonce = this.request(name).fields["nonce"] as string;
    return this.#mail.mailbox.receive(Uint8Array.fromHex(nonce)) ?? [];
  }

  /** How many there are. */
  descriptors(name = "attach"): number {
    const fds = this.received(name);
    for (const fd of fds) closeDescriptor(fd);
    return fds.length;
  }

  #closeMail(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#mail.mailbox.close();
    this.mailbox.close();
  }

  /** Nothing can be sent to it. */
  closeMailbox(): void {
    this.#closeMail();
  }

  bytes = 8 * 2 ** 20;
  privateBytes(): number {
    return this.bytes;
  }

  alive = true;
  isAlive(): boolean {
    return this.alive;
  }

  openPidfd(): number {
    return openPidfd(this.pid);
  }

  /** Ends when the test says {@link exit}. */
  kill(): void {
    this.killed = true;
  }

  exit(exit: Partial<HostExit> = {}): void {
    this.#ready.reject(new Error("it is gone"));
    this.#closeMail();
    const how: HostExit = { exitCode: null, signal: "SIGKILL", cpuNs: 0, ...exit };
    this.#exited.resolve(how);
    void this.exited.then(() => this.#listener?.exited(how));
  }
}
