/** A control connection: messages of one vocabulary out, of another in, over a stream socket of any kind. */
import type { SocketHandler } from "bun";
import { ProtocolError } from "../base/errors.ts";
import { FrameCutter, MAX_FRAME_BYTES, frameOf } from "../protocol/frames/framing.ts";
import type { Vocabulary } from "../protocol/vocabulary.ts";

/** The most bytes buffered for a peer that does not read; beyond it the connection takes the peer for dead. */
const MAX_UNSENT_BYTES = 16 * 1024 * 1024;
/** While more are buffered, the connection drops messages that may be lost. Room for a burst of long lines to a peer that reads. */
const MAX_UNSENT_NEWS_BYTES = 2 * 1024 * 1024;
const NOTHING = new Uint8Array(0);
/** How long a closing connection waits for its peer to read the last messages. */
const LINGER_MS = 2000;

export interface ConnectionEvents<In> {
  message(message: In): void;
  /** The connection is over: the peer closed it, died, or broke the protocol (then `error` says how). Called once. */
  closed(error?: Error): void;
}

/** What a connection needs of its socket, of any kind. */
export interface Wire {
  /** Returns how many bytes were taken. */
  write(bytes: Uint8Array): number;
  /** Ends it after the bytes that it has taken. */
  end(): void;
  terminate(): void;
  ref(): void;
  unref(): void;
}

/** What a socket tells its connection. */
export interface WireEvents {
  opened(wire: Wire): void;
  received(bytes: Uint8Array): void;
  drained(): void;
  close(error?: Error): void;
}

/** What makes messages of what comes, and how both sides write them. Throws {@link ProtocolError}. */
export type Hearing<In extends { t: string }> = Pick<Vocabulary<In>, "parse" | "packing">;

export class Connection<In extends { t: string }, Out extends { t: string }> implements WireEvents {
  readonly #vocabulary: Hearing<In>;
  readonly #events: ConnectionEvents<In>;
  readonly #reader: FrameCutter;
  #socket: Wire | undefined;
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #onRoom = new Set<() => void>();
  #held = false;
  #ending = false;
  #closed = false;

  /** A frame of the peer may have `frameLimitBytes`, until it is {@link trust}ed with more. */
  constructor(
    vocabulary: Hearing<In>,
    events: ConnectionEvents<In>,
    frameLimitBytes = MAX_FRAME_BYTES,
  ) {
    this.#vocabulary = vocabulary;
    this.#events = events;
    this.#reader = new FrameCutter(vocabulary.packing, frameLimitBytes);
  }

  /** The peer may send frames of any length that is allowed at all. */
  trust(): void {
    this.#reader.allow(MAX_FRAME_BYTES);
  }

  /** Holds back later messages until {@link resume}: the answer to the present one decides which may follow. */
  hold(): void {
    this.#held = true;
  }

  resume(): void {
    this.#held = false;
    this.received(NOTHING);
  }

  /** The handler for `Bun.connect` and for one socket of `Bun.listen`. */
  handler(): SocketHandler<undefined> {
    return {
      binaryType: "uint8array",
      open: (socket) => this.opened(socket),
      data: (_, bytes) => this.received(bytes),
      drain: () => this.#flush(),
      end: () => this.close(),
      close: () => this.#over(),
      error: (_, error) => this.#over(error),
    };
  }

  opened(socket: Wire): void {
    this.#socket = socket;
    this.#flush();
  }

  received(bytes: Uint8Array): void {
    if (this.#closed) return;
    try {
      if (this.#held) return this.#reader.hold(bytes);
      for (const message of this.#reader.read(bytes)) {
        if (this.#closed) return;
        this.#events.message(this.#vocabulary.parse(message));
        if (this.#held) return;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(error);
    }
  }

  drained(): void {
    this.#flush();
  }

  /** Sends in order; buffers when the peer is slow. Does nothing on a closed connection. */
  send(message: Out): void {
    if (this.#closed) return;
    const frame = frameOf(message, this.#vocabulary.packing);
    this.#unsent.push(frame);
    this.#unsentBytes += frame.length;
    this.#flush();
    if (this.#unsentBytes > MAX_UNSENT_BYTES)
      this.close(new ProtocolError("the peer does not read its messages"));
  }

  /** Sends a message that may be lost, unless the peer is slow. Returns whether it was sent. */
  offer(message: Out): boolean {
    if (this.#closed || this.#unsentBytes > MAX_UNSENT_NEWS_BYTES) return false;
    this.send(message);
    return true;
  }

  /** Calls `listener` once, when the peer has taken all that waited for it. */
  whenRoom(listener: () => void): void {
    this.#onRoom.add(listener);
  }

  /** Ends the connection after the messages that were sent. */
  close(error?: Error): void {
    this.#over(error);
    if (this.#unsent.length === 0) return this.#socket?.end();
    const overdue = setTimeout(() => this.#socket?.terminate(), LINGER_MS);
    overdue.unref();
  }

  /** Ends the connection at once, and drops unsent messages. */
  terminate(): void {
    this.#over();
    this.#socket?.terminate();
  }

  /** Ends the connection, and leaves its socket to others. */
  abandon(): void {
    this.#socket = undefined;
    this.#over();
  }

  /** Whether an open connection keeps the process alive; it does until {@link unref}. */
  ref(): void {
    this.#socket?.ref();
  }

  unref(): void {
    this.#socket?.unref();
  }

  #flush(): void {
    if (!this.#socket) return;
    while (this.#unsent.length > 0) {
      const first = this.#unsent[0]!;
      const written = this.#socket.write(first);
      if (written <= 0) return;
      this.#unsentBytes -= written;
      if (written < first.length) {
        this.#unsent[0] = first.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#closed) return this.#socket.end();
    const waiting = [...this.#onRoom];
    this.#onRoom.clear();
    for (const listener of waiting) listener();
  }

  #over(error?: Error): void {
    if (this.#ending) return;
    this.#ending = true;
    // A last message may still be sent.
    this.#events.closed(error);
    this.#closed = true;
    this.#onRoom.clear();
  }
}
