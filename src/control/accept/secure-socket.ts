/**
 * TLS 1.3 at the accepting end of a connection of which nothing has been read, by the runtime's own socket: the handshake is done
 * milliseconds earlier than through the streams of {@link SecureWire}, which is for connections whose first bytes have been read.
 */
import type { SecureContext } from "node:tls";
import type { Socket, SocketHandler, TLSUpgradeOptions } from "bun";
import type { Wire, WireEvents } from "../connection.ts";
import { LINGER_MS } from "./secure-wire.ts";

/** As the runtime takes it; its types know neither which end this is, nor a context that is made, nor the kind of bytes. */
interface Upgrade {
  isServer: true;
  tls: { secureContext: unknown };
  socket: SocketHandler<undefined, "uint8array">;
}

/**
 * `events` hear as those of a {@link SecureWire} do. How long a message of the handshake may be is bounded by the runtime's TLS, how long
 * it may take by who accepts connections.
 */
export class SecureSocket implements Wire {
  readonly #tls: Socket<undefined>;
  readonly #events: WireEvents;
  #open = false;
  #over = false;
  #overdue: ReturnType<typeof setTimeout> | undefined;

  /**
   * To be made when the socket opens, before it reads. From then on handlers of the socket hear of what is enciphered, of an object
   * that they have not seen before.
   */
  constructor(raw: Socket<undefined>, secureContext: SecureContext, events: WireEvents) {
    this.#events = events;
    const socket: Upgrade["socket"] = {
      binaryType: "uint8array",
      handshake: (_, isDone) => {
        if (!isDone) return this.terminate();
        this.#open = true;
        this.#tell(() => events.opened(this));
      },
      data: (_, bytes) => {
        if (this.#open) this.#tell(() => events.received(bytes));
      },
      drain: () => {
        if (this.#open) this.#tell(() => events.drained());
      },
      end: () => {
        if (!this.#open) return this.terminate();
        this.#end();
      },
      close: () => {
        clearTimeout(this.#overdue);
        this.#end();
      },
      error: () => this.terminate(),
    };
    const tls = { secureContext: secureContext.context as unknown };
    const upgrade: Upgrade = { isServer: true, tls, socket };
    [, this.#tls] = raw.upgradeTLS(upgrade as unknown as TLSUpgradeOptions<undefined>);
  }

  write(bytes: Uint8Array): number {
    // It could only be why the connection ends now, which no peer could read.
    if (!this.#open) return bytes.length;
    return this.#over ? 0 : Math.max(0, this.#tls.write(bytes));
  }

  end(): void {
    if (!this.#open) return this.terminate();
    this.#tls.end();
    // What a peer does not read is not kept for it.
    this.#overdue ??= setTimeout(() => this.terminate(), LINGER_MS);
    this.#overdue.unref();
  }

  terminate(): void {
    this.#tls.terminate();
    this.#end();
  }

  ref(): void {
    this.#tls.ref();
  }

  unref(): void {
    this.#tls.unref();
  }

  /** An error of who hears is the end of this connection, and not of the program. */
  #tell(what: () => void): void {
    try {
      what();
    } catch (error) {
      this.#events.close(error as Error);
    }
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.close();
  }
}
