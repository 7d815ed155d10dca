/** A link with an event loop: waits for its set-up, and tells of its wake-ups and of its end. */
import type { Socket } from "bun";
import { closeDescriptor, notifyPair } from "../../../ffi/descriptors.ts";
import { Link } from "../../../ffi/link.ts";
import type { Region } from "../../../ffi/region.ts";
import { memlockLimitBytes } from "../../../ffi/system.ts";
import { DEFAULT_INLINE_BYTES, LINK_FAILURE } from "../../../ffi/verbs/verbs.ts";
import type { RfaasError } from "../../base/errors.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { connectionFailed, connectionLost } from "./connection-errors.ts";

export interface LinkOptions {
  /** Bytes that may travel inside a work request; default 256, or what the device can. */
  inlineMax?: number | undefined;
}

export class FabricLink {
  /** Called, once {@link ready}, when a parked endpoint may have something and when the link's state may have changed. */
  onWake: () => void = () => {};
  readonly link: Link;
  /** Resolves when the link listens, or is connected with every worker; rejects with `ConnectionFailed`. */
  readonly ready: Promise<void>;
  readonly #socket: Socket<undefined>;
  readonly #notifyFd: number;

  private constructor(
    link: Link,
    socket: Socket<undefined>,
    notifyFd: number,
    ready: Promise<void>,
  ) {
    this.link = link;
    this.#socket = socket;
    this.#notifyFd = notifyFd;
    this.ready = ready;
    ready.catch(() => {});
  }

  /** Begins to connect every worker of the lease. */
  static connect(
    region: Region,
    to: { address: string; port: number; nonce: Uint8Array; source: string },
    options: LinkOptions = {},
  ): Promise<FabricLink> {
    return FabricLink.#begin(region, `${to.address}:${to.port}`, (notifyFd) =>
      Link.connect("verbs", region, to, notifyFd, options.inlineMax ?? DEFAULT_INLINE_BYTES),
    );
  }

  /** Begins to listen for the lease's client, at a port of the link's own. Workers may be opened at once. */
  static listen(
    region: Region,
    at: { address: string; nonce: Uint8Array },
    options: LinkOptions = {},
  ): Promise<FabricLink> {
    return FabricLink.#begin(region, at.address, (notifyFd) =>
      Link.listen("verbs", region, at, notifyFd, options.inlineMax ?? DEFAULT_INLINE_BYTES),
    );
  }

  static async #begin(
    region: Region,
    where: string,
    open: (notifyFd: number) => Link,
  ): Promise<FabricLink> {
    const [watchFd, notifyFd] = notifyPair();
    const opened = Promise.withResolvers<void>();
    let settled = false;
    const look = (): void => {
      if (settled) return begun.onWake();
      const state = link.state();
      const failed = state.failure !== LINK_FAILURE.sound;
      settled = failed || state.ready;
      if (failed) opened.reject(connectionFailed(where, state, region.bytes, memlockLimitBytes()));
      else if (state.ready) opened.resolve();
    };
    let socket: Socket<undefined> | undefined;
    let link: Link;
    try {
      socket = await watchDescriptor(watchFd, { data: look });
      link = open(notifyFd);
    } catch (error) {
      if (socket) socket.end();
      else closeDescriptor(watchFd);
      closeDescriptor(notifyFd);
      throw error;
    }
    const begun = new FabricLink(link, socket, notifyFd, opened.promise);
    look();
    return begun;
  }

  /** Where it listens; 0 for a client's. */
  get port(): number {
    return this.link.port;
  }

  /** Why the connection of a channel ended; undefined while it stands. */
  lost(channel: number): RfaasError | undefined {
    const state = this.link.state(channel);
    return state.failure === LINK_FAILURE.sound ? undefined : connectionLost(channel, state);
  }

  /** An idle link does not keep the program alive. */
  unref(): void {
    this.#socket.unref();
  }

  /** No endpoint may be in use any more. */
  close(): void {
    // First: its thread writes to the descriptor.
    this.link.close();
    this.#socket.end();
    closeDescriptor(this.#notifyFd);
  }
}
