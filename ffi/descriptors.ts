/** Passing file descriptors between processes, and the sockets that wake an event loop. */
import { check } from "./errors.ts";
import { LAYOUT } from "./layout.ts";
import { native } from "./library.ts";

const MAX_DESCRIPTORS = 2 * LAYOUT.maxWorkers + 4;
const EAGAIN = -11;

/** A place to receive descriptors that come with a nonce. */
export class Mailbox {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * One that a process of this machine can send to by its name, which is in no file system: only the socket that is named `sender`
   * where that is given, every socket where not. Throws `NativeError`.
   */
  static named(sender?: Uint8Array): { mailbox: Mailbox; name: Uint8Array } {
    const name = newName();
    const fd = native().rfaas_mailbox_open(name, sender ? nameOf(sender) : null);
    return { mailbox: new Mailbox(check("opening a mailbox", fd)), name };
  }

  /** One without a name, that only its slot sends to. Throws `NativeError`. */
  static withSlot(): { mailbox: Mailbox; slot: MailSlot } {
    const { mailboxFd, slot } = mailboxToInherit();
    return { mailbox: new Mailbox(mailboxFd), slot };
  }

  /** The descriptor of {@link mailboxToInherit}, in the process that has inherited it, whose own children do not. Throws `NativeError`. */
  static inherited(fd: number): Mailbox {
    const own = duplicateDescriptor(fd);
    closeDescriptor(fd);
    return new Mailbox(own);
  }

  /** The descriptors sent with `nonce`, or null when none have come. They are now the caller's to close. */
  receive(nonce: Uint8Array): number[] | null {
    const fds = new Int32Array(new ArrayBuffer(4 * MAX_DESCRIPTORS));
    const count = native().rfaas_mailbox_receive(this.#fd, nonce, fds, fds.length);
    if (count === EAGAIN) return null;
    return [...fds.subarray(0, check("receiving descriptors", count))];
  }

  close(): void {
    native().rfaas_close(this.#fd);
  }
}

/** What sends to one mailbox, which nothing else can send to. */
export class MailSlot {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Sends copies of `fds`; the receiver must know the 16-byte `nonce`. Throws `NativeError`, also where the mailbox is full. */
  send(nonce: Uint8Array, fds: readonly number[]): void {
    send(this.#fd, null, nonce, fds);
  }

  /** As {@link send}. False where the mailbox is full: some systems let it hold ten messages, and a lease has a connection for each worker. */
  offer(nonce: Uint8Array, fds: readonly number[]): boolean {
    try {
      this.send(nonce, fds);
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    if (this.#fd >= 0) native().rfaas_close(this.#fd);
    this.#fd = -1;
  }
}

/** The descriptor of a mailbox for a child, to be closed once the child has it, and what sends to it. Throws `NativeError`. */
export function mailboxToInherit(): { mailboxFd: number; slot: MailSlot } {
  const fds = new Int32Array(new ArrayBuffer(8));
  check("opening a mailbox", native().rfaas_mailbox_pair(fds));
  return { mailboxFd: fds[0]!, slot: new MailSlot(fds[1]!) };
}

/** What sends to mailboxes by their names. It has a name, so that a mailbox can take from it alone; it opens with its first use. */
export class MailSender {
  #fd: number | undefined;
  readonly #name = newName();

  /** Throws `NativeError`. */
  get name(): Uint8Array {
    this.#opened();
    return this.#name;
  }

  /** Sends copies of `fds` to the mailbox `name`; the receiver must know the 16-byte `nonce`. Throws `NativeError`. */
  send(name: Uint8Array, nonce: Uint8Array, fds: readonly number[]): void {
    send(this.#opened(), nameOf(name), nonce, fds);
  }

  close(): void {
    if (this.#fd !== undefined && this.#fd >= 0) native().rfaas_close(this.#fd);
    this.#fd = -1;
  }

  #opened(): number {
    return (this.#fd ??= check("opening a mailbox", native().rfaas_sender_open(this.#name)));
  }
}

const NAME_BYTES = 5;
const NONCE_BYTES = 16;

const newName = (): Uint8Array<ArrayBuffer> => new Uint8Array(new ArrayBuffer(NAME_BYTES));

function nameOf(name: Uint8Array): Uint8Array {
  if (name.length !== NAME_BYTES) throw new RangeError(`a mailbox name has ${NAME_BYTES} bytes`);
  return name;
}

function send(
  fd: number,
  name: Uint8Array | null,
  nonce: Uint8Array,
  fds: readonly number[],
): void {
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`a nonce has ${NONCE_BYTES} bytes`);
  check(
    "sending descriptors",
    native().rfaas_mailbox_send(fd, name, nonce, Int32Array.from(fds), fds.length),
  );
}

/**
 * The descriptors that who listens at the socket `path` hands over with `nonce`, as {@link MailSlot.send} does on a connection. Waits ten
 * seconds for them. They are the caller's to close. Throws `NativeError`.
 */
export function takeHanded(path: string, nonce: Uint8Array, count: number): number[] {
  const fds = new Int32Array(new ArrayBuffer(4 * count));
  const text = Buffer.from(`${path}\0`);
  const taken = native().rfaas_handed_take(text, nonce, fds, count);
  return [...fds.subarray(0, check("taking descriptors from the agent", taken))];
}

/** A connected pair of sockets: bytes written to the second wake the event loop that watches the first. */
export function notifyPair(): [watch: number, notify: number] {
  const fds = new Int32Array(new ArrayBuffer(8));
  check("opening a notify socket", native().rfaas_notify_pair(fds));
  return [fds[0]!, fds[1]!];
}

/** A pipe: its end to read, which waits for nothing, and its end to write. Both are closed where a program is executed. */
export function outputPipe(): [read: number, write: number] {
  const fds = new Int32Array(new ArrayBuffer(8));
  check("opening a pipe", native().rfaas_output_pipe(fds));
  return [fds[0]!, fds[1]!];
}

/** Whether a descriptor would take some bytes at once: the pipe behind it has room, or is gone. */
export function canBeWritten(fd: number): boolean {
  return native().rfaas_can_be_written(fd) !== 0;
}

/** Another descriptor of the same thing. */
export function duplicateDescriptor(fd: number): number {
  return check("duplicating a descriptor", native().rfaas_duplicate(fd));
}

export function closeDescriptor(fd: number): void {
  native().rfaas_close(fd);
}
