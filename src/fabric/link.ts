/** The connections of a lease with an event loop: waits for their set-up, and tells of wake-ups and of their end. */
import type { Socket } from "bun";
import { closeDescriptor, notifyPair } from "../../ffi/descriptors.ts";
import { Link, type LinkEnd, type LinkState, type LinkTarget } from "../../ffi/link.ts";
import type { Region } from "../../ffi/region.ts";
import type { ConnectionFailed, EnvironmentError, RfaasError } from "../base/errors.ts";
import { watchDescriptor } from "../control/watch-descriptor.ts";

/** How a fabric names itself to the shim, and what it says of failures. */
export interface LinkKind {
  readonly fabric: string;
  /** Why a link to or at `where` could not be set up. */
  failed(where: string, state: LinkState, region: Region): ConnectionFailed | EnvironmentError;
  /** Why the connection of a channel has ended. */
  lost(channel: number, state: LinkState): RfaasError;
}

/** Of all fabrics: nothing has failed. */
const SOUND = 0;

export class FabricLink {
  /** Called, once {@link ready}, when a parked endpoint may have something and when the link's state may have changed. */
  onWake: () => void = () => {};
  readonly link: Link;
  /** Resolves when the link listens, or is connected with every worker; rejects with `ConnectionFailed`. */
  readonly ready: Promise<void>;
  readonly #kind: LinkKind;
  readonly #socket: Socket<undefined>;
  readonly #notifyFd: number;

  private constructor(
    kind: LinkKind,
    link: Link,
    socket: Socket<undefined>,
    notifyFd: number,
    ready: Promise<void>,
  ) {
    this.#kind = kind;
    this.link = link;
    this.#socket = socket;
    this.#notifyFd = notifyFd;
    this.ready = ready;
    ready.catch(() => {});
  }

  /** Begins to connect every worker of the lease. `inlineBytes` may travel inside a work request. */
  static connect(
    kind: LinkKind,
    region: Region,
    to: LinkTarget,
    inlineBytes = 0,
  ): Promise<FabricLink> {
    return FabricLink.#begin(kind, region, `${to.address}:${to.port}`, (notifyFd) =>
      Link.connect(kind.fabric, region, to, notifyFd, inlineBytes),
    );
  }

  /** Begins to listen for the lease's client, at a port of the link's own. Workers may be opened at once. */
  static listen(kind: LinkKind, region: Region, at: LinkEnd, inlineBytes = 0): Promise<FabricLink> {
    return FabricLink.#begin(kind, region, at.address, (notifyFd) =>
      Link.listen(kind.fabric, region, at, notifyFd, inlineBytes),
    );
  }

  static async #begin(
    kind: LinkKind,
    region: Region,
    where: string,
    open: (notifyFd: number) => Link,
  ): Promise<FabricLink> {
    const [watchFd, notifyFd] = notifyPair();
    const opened = Promise.withResolvers<void>();
    let settled = false;
    let begun: FabricLink | undefined;
    const look = (): void => {
      if (settled) return begun?.onWake();
      const state = link!.state();
      const failed = state.failure !== SOUND;
      settled = failed || state.ready;
      if (failed) opened.reject(kind.failed(where, state, region));
      else if (state.ready) opened.resolve();
    };
    let link: Link | undefined;
    try {
      // First: its thread connects while the event loop takes the socket.
      link = open(notifyFd);
      const socket = await watchDescriptor(watchFd, { data: look });
      begun = new FabricLink(kind, link, socket, notifyFd, opened.promise);
    } catch (error) {
      link?.close();
      closeDescriptor(watchFd);
      closeDescriptor(notifyFd);
      throw error;
    }
    look();
    return begun;
  }

  /** As `Link.adopt`; a fabric that has no such connections closes it. */
  adopt(descriptor: number, greeting: Uint8Array): void {
    try {
      this.link.adopt(descriptor, greeting);
    } catch (error) {
      closeDescriptor(descriptor);
      throw error;
    }
  }

  /** Where it listens; 0 where clients come another way, and for a client's. */
  get port(): number {
    return this.link.port;
  }

  /** Why the connection of a channel ended; undefined while it stands. */
  lost(channel: number): RfaasError | undefined {
    const state = this.link.state(channel);
    return state.failure === SOUND ? undefined : this.#kind.lost(channel, state);
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
