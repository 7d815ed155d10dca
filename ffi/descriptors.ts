/** Passing file descriptors between processes, and the sockets that wake an event loop. */
import { check } from "./errors.ts";
import { LAYOUT } from "./layout.ts";
import { native } from "./library.ts";

const MAX_DESCRIPTORS = 2 * LAYOUT.maxWorkers + 4;
const EAGAIN = -11;

/** A place to receive descriptors, known to the sender by {@link name} and a nonce. In no file system. */
export class Mailbox {
  readonly name: Uint8Array;
  readonly #fd: number;

  constructor() {
    this.name = new Uint8Array(new ArrayBuffer(5));
    this.#fd = check("opening a mailbox", native().rfaas_mailbox_open(this.name));
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

/** Sends copies of `fds` to the mailbox `name`; the receiver must know the 16-byte `nonce`. Throws `NativeError`. */
export function sendDescriptors(name: Uint8Array, nonce: Uint8Array, fds: readonly number[]): void {
  if (name.length !== 5 || nonce.length !== 16)
    throw new RangeError("a mailbox name has 5 bytes, a nonce 16");
  check(
    "sending descriptors",
    native().rfaas_mailbox_send(name, nonce, Int32Array.from(fds), fds.length),
  );
}

/** A connected pair of sockets: bytes written to the second wake the event loop that watches the first. */
export function notifyPair(): [watch: number, notify: number] {
  const fds = new Int32Array(new ArrayBuffer(8));
  check("opening a notify socket", native().rfaas_notify_pair(fds));
  return [fds[0]!, fds[1]!];
}

/** Another descriptor of the same thing. */
export function duplicateDescriptor(fd: number): number {
  return check("duplicating a descriptor", native().rfaas_duplicate(fd));
}

export function closeDescriptor(fd: number): void {
  native().rfaas_close(fd);
}
