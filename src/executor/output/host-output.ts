/**
 * What a host and all that it starts write to their descriptors 1 and 2: a pipe that the agent reads, and never the node's own descriptors. The
 * event loop waits for it, so a host that prints nothing costs nothing. Whose functions print much waits for the pipe to be read, which it
 * is every few milliseconds, whatever becomes of the lines.
 */
import { closeDescriptor, outputPipe } from "../../../ffi/descriptors.ts";
import { LineCutter, type OutputReader } from "./line-cutter.ts";

/** Between two looks at a pipe that has little, so that a line at a time wakes the agent less often; */
const PAUSE_MS = 5;
/** at one whose lines are dropped; and while what reads the lines has no room. */
const FLOODED_PAUSE_MS = 20;
/** More than this at once is no line at a time. */
const MUCH_BYTES = 16 * 1024;
/** How long the pipe of a host that is gone is read at most, in case that a process has kept it. */
const LAST_LOOK_MS = 1000;

export class HostOutput {
  /** What hears it; another one from when the host's next lease begins. */
  reader: OutputReader;
  readonly #cutter = new LineCutter();
  readonly #gone = Promise.withResolvers<void>();
  #isGone = false;
  #readFd: number;
  #writeFd: number;
  #read: Promise<void> | undefined;

  /** Throws `NativeError` where the machine has no descriptors for it. */
  constructor(reader: OutputReader) {
    this.reader = reader;
    [this.#readFd, this.#writeFd] = outputPipe();
  }

  /** What the host is to have as its descriptors 1 and 2. It stays this object's. */
  get descriptor(): number {
    return this.#writeFd;
  }

  /** The host has its own copies. */
  begin(): void {
    this.#closeWriteEnd();
    this.#read = this.#readAll();
  }

  /** The host was not started. */
  abandon(): void {
    this.#closeWriteEnd();
    closeDescriptor(this.#readFd);
  }

  /** The host is gone, and all that it has started. Resolves when all that they have printed was heard. */
  async end(): Promise<void> {
    this.#isGone = true;
    this.#gone.resolve();
    await this.#read;
  }

  async #readAll(): Promise<void> {
    const reader = Bun.file(this.#readFd).stream().getReader();
    let next = reader.read();
    // The runtime has its own copy from the first read on.
    closeDescriptor(this.#readFd);
    void this.#gone.promise.then(() => this.#giveUpLater(() => void reader.cancel()));
    try {
      for (;;) {
        const { done, value } = await next;
        if (done) break;
        const taken = this.#cutter.take(value, this.reader);
        await this.#pause(taken, value.length);
        next = reader.read();
      }
    } catch {
      // What cannot be read is lost, as it would be with the node.
    }
    this.#cutter.finish(this.reader);
  }

  async #pause(taken: boolean, bytes: number): Promise<void> {
    if (!taken) await this.#sleep(FLOODED_PAUSE_MS);
    else if (bytes < MUCH_BYTES) await this.#sleep(PAUSE_MS);
    while (!this.#isGone && this.reader.hasRoom?.() === false) await this.#sleep(FLOODED_PAUSE_MS);
  }

  async #sleep(ms: number): Promise<void> {
    if (!this.#isGone) await Promise.race([Bun.sleep(ms), this.#gone.promise]);
  }

  #giveUpLater(giveUp: () => void): void {
    const overdue = setTimeout(giveUp, LAST_LOOK_MS);
    void this.#read?.then(() => clearTimeout(overdue));
  }

  #closeWriteEnd(): void {
    if (this.#writeFd >= 0) closeDescriptor(this.#writeFd);
    this.#writeFd = -1;
  }
}
