/**
 * TLS 1.3 at the accepting end of a connection. What comes is fed in and what goes out is written to the socket's own wire, so that the
 * owner of the socket can look at the first bytes before, and keeps the descriptor.
 */
import { Duplex } from "node:stream";
import { type SecureContext, TLSSocket, type TLSSocketOptions } from "node:tls";
import type { Wire, WireEvents } from "../connection.ts";

/** A client's part of the handshake has less, whatever it offers. */
const MAX_HANDSHAKE_BYTES = 64 * 1024;
/** While so much waits for the peer, the wire takes no more. */
const MAX_UNSENT_BYTES = 256 * 1024;
/** How long a peer may take to read what was said last. */
export const LINGER_MS = 2000;

/**
 * Once the handshake is over, `events` get the wire for what is in clear; what is written before is dropped. A connection whose
 * handshake fails, by garbage or an older version, ends without an error: the peer has been told by an alert, and a port is scanned often.
 */
export class SecureWire implements Wire {
  readonly #raw: Wire;
  readonly #events: WireEvents;
  readonly #cipher: Duplex;
  readonly #tls: TLSSocket;
  #open = false;
  #handshakeBytes = 0;
  #refused = false;
  #over = false;
  /** What the raw wire has not taken. */
  readonly #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #ending = false;

  constructor(raw: Wire, secureContext: SecureContext, events: WireEvents) {
    this.#raw = raw;
    this.#events = events;
    this.#cipher = new Duplex({
      read() {},
      // Counted here, and not by the stream, whose count lags behind.
      write: (bytes: Uint8Array, _, taken) => {
        this.#unsent.push(bytes);
        this.#unsentBytes += bytes.length;
        this.#flush();
        taken();
      },
      final: (done) => {
        this.#ending = true;
        this.#flush();
        this.#linger();
        done();
      },
    });
    this.#cipher.on("error", () => this.#end());
    const options: TLSSocketOptions = { isServer: true, secureContext, minVersion: "TLSv1.3" };
    // A stream is enough, as Node documents; the types ask for a socket.
    this.#tls = new TLSSocket(
      this.#cipher as unknown as ConstructorParameters<typeof TLSSocket>[0],
      options,
    );
    this.#tls.on("secure", () => {
      this.#open = true;
      this.#tell(() => events.opened(this));
    });
    this.#tls.on("data", (bytes: Buffer) => this.#tell(() => events.received(bytes)));
    this.#tls.on("drain", () => this.#tell(() => this.#drained()));
    this.#tls.on("end", () => this.#end());
    this.#tls.on("close", () => this.#end());
    this.#tls.on("error", () => this.terminate());
  }

  /** Bytes have come over the raw wire. */
  received(bytes: Uint8Array): void {
    if (this.#over) return;
    if (!this.#open && (this.#handshakeBytes += bytes.length) > MAX_HANDSHAKE_BYTES)
      return this.terminate();
    this.#cipher.push(bytes);
  }

  /** The raw wire has room. */
  drained(): void {
    this.#flush();
    this.#drained();
  }

  /** No more comes over the raw wire, or it has ended. */
  ended(): void {
    if (!this.#open) return this.terminate();
    this.#cipher.push(null);
  }

  write(bytes: Uint8Array): number {
    // It could only be why the connection ends now, which no peer could read.
    if (!this.#open) return bytes.length;
    this.#refused = !this.#hasRoom();
    if (this.#refused) return 0;
    this.#tls.write(bytes);
    return bytes.length;
  }

  end(): void {
    if (!this.#open) return this.terminate();
    this.#tls.end();
    this.#linger();
  }

  terminate(): void {
    this.#raw.terminate();
    this.#tls.destroy();
    this.#end();
  }

  ref(): void {
    this.#raw.ref();
  }

  unref(): void {
    this.#raw.unref();
  }

  /** What a peer does not read is not kept for it. */
  #linger(): void {
    if (this.#unsentBytes > 0) setTimeout(() => this.terminate(), LINGER_MS).unref();
  }

  /** An error of who hears is the end of this connection, as on a socket of the runtime, and not of the program. */
  #tell(what: () => void): void {
    try {
      what();
    } catch (error) {
      this.#events.close(error as Error);
    }
  }

  /** Streams queue without a bound, so they get no more than fits. */
  #hasRoom(): boolean {
    const waits = this.#tls.writableLength + this.#unsentBytes;
    return this.#open && !this.#over && waits < MAX_UNSENT_BYTES;
  }

  #flush(): void {
    while (this.#unsent.length > 0) {
      const first = this.#unsent[0]!;
      const written = Math.max(0, this.#raw.write(first));
      this.#unsentBytes -= written;
      if (written < first.length) {
        this.#unsent[0] = first.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#ending) this.#raw.end();
  }

  #drained(): void {
    if (!this.#refused || !this.#hasRoom()) return;
    this.#refused = false;
    this.#events.drained();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.close();
  }
}
