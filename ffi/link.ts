/** The connections of one lease over a network, of any fabric. */
import type { Pointer } from "bun:ffi";
import { check } from "./errors.ts";
import { native } from "./library.ts";
import type { Region } from "./region.ts";

export interface LinkState {
  /** Listening, or connected with every worker. */
  ready: boolean;
  /** One of `LINK_FAILURE`. */
  failure: number;
  /** A completion's status, an errno, or a reason. */
  detail: number;
  /** What failed: a kind of work, or one of `LINK_STAGE`. */
  of: number;
  /** Bytes that travel inside a work request; of a worker's end only. */
  inlineBytes: number;
}

/** Where a link listens, or the node that it connects to. */
export interface LinkEnd {
  /** A number and no name. */
  address: string;
  /** The lease's secret, 16 bytes. */
  nonce: Uint8Array;
  /** What travels is encrypted, by both sides; not every fabric can. Default false. */
  encrypt?: boolean | undefined;
  /** Which device, in the words of a fabric that has some. Default: none. */
  device?: string | undefined;
}

export interface LinkTarget extends LinkEnd {
  port: number;
  /** Chooses this side's device by its address; `""` leaves it to the routing table. */
  source: string;
}

/** The connections between a client and the workers of one lease. A thread of the shim sets them up and watches them. */
export class Link {
  /** For endpoints. */
  readonly handle: number;
  #open = true;

  private constructor(handle: number) {
    this.handle = handle;
  }

  /**
   * Begins to connect over a fabric of the shim's to a node. `notifyFd` gets a byte whenever {@link state} changes. Throws `NativeError`,
   * with the code `ENOSYS` where this machine lacks the fabric, or the fabric cannot encrypt.
   */
  static connect(
    fabric: string,
    region: Region,
    to: LinkTarget,
    notifyFd: number,
    inlineBytes: number,
  ): Link {
    const handle = native().rfaas_link_connect(
      text(fabric),
      region.handle as Pointer,
      text(to.source),
      text(to.address),
      to.port,
      to.nonce,
      notifyFd,
      inlineBytes,
      to.encrypt ? 1 : 0,
      text(to.device ?? ""),
    );
    return new Link(check(`connecting over ${fabric}`, handle));
  }

  /** Begins to listen on the device that has `address`, for the one client that knows the nonce. */
  static listen(
    fabric: string,
    region: Region,
    at: LinkEnd,
    notifyFd: number,
    inlineBytes: number,
  ): Link {
    const handle = native().rfaas_link_listen(
      text(fabric),
      region.handle as Pointer,
      text(at.address),
      at.nonce,
      notifyFd,
      inlineBytes,
      at.encrypt ? 1 : 0,
      text(at.device ?? ""),
    );
    return new Link(check(`listening over ${fabric}`, handle));
  }

  /**
   * Takes over a connection that a client has made to another port, with what it `said` first. The descriptor is the link's from now on.
   * Throws `NativeError`, with the code `ENOSYS` where the fabric has no such connections.
   */
  adopt(fd: number, said: Uint8Array): void {
    const result = native().rfaas_link_adopt(this.handle as Pointer, fd, said, said.length);
    check("taking a connection over", result);
  }

  /** Where it listens; 0 where clients come another way, and for a client's. */
  get port(): number {
    return native().rfaas_link_port(this.handle as Pointer);
  }

  /** Of the whole link, or of one worker's end. */
  state(worker = -1): LinkState {
    const out = new Int32Array(new ArrayBuffer(20));
    native().rfaas_link_state(this.handle as Pointer, worker, out);
    // As long as the shim fills it, which the type of an array cannot say.
    const [ready, failure, detail, of, inlineBytes] = out as unknown as [
      number,
      number,
      number,
      number,
      number,
    ];
    return { ready: ready !== 0, failure, detail, of, inlineBytes };
  }

  /**
   * Lets the link's device read memory of the program, which cannot move, as what lies at `offset` of the region's arena. Throws
   * `NativeError`.
   */
  register(region: Region, offset: number, memory: ArrayBufferView): void {
    check(
      "registering memory",
      native().rfaas_register(
        region.handle as Pointer,
        this.handle as Pointer,
        offset,
        memory.byteLength,
        memory as NodeJS.TypedArray,
      ),
    );
  }

  /** Lets the peer write it, too. Throws `NativeError`. */
  registerOutput(region: Region, offset: number): void {
    check(
      "registering memory",
      native().rfaas_register_output(region.handle as Pointer, this.handle as Pointer, offset),
    );
  }

  /** From now on no peer can read or write it over the link. */
  unregister(region: Region, offset: number): void {
    native().rfaas_unregister(region.handle as Pointer, this.handle as Pointer, offset);
  }

  /** Disconnects and frees everything. Endpoints must be closed, the region must still be mapped. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native().rfaas_link_close(this.handle as Pointer);
  }
}

function text(value: string): Uint8Array {
  return Buffer.from(`${value}\0`);
}
