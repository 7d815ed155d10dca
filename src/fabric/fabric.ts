/**
 * What a fabric is: how the bytes of calls, and wake-ups, travel between a client and the workers of its lease. Each fabric is a
 * folder beside this file and a line of `registry.ts`; its C side is a folder of `ffi/shim/`. Nothing else names one.
 *
 * The unit of a grant is a channel: the slots of one client and one worker, the words by which each says that it sleeps, and an
 * area for error records. A lease has a channel for each of its workers.
 */
import type { TObject, TProperties } from "@sinclair/typebox";
import type { Link } from "../../ffi/link.ts";
import type { Region, RegionShape } from "../../ffi/region.ts";
import type { RfaasError } from "../base/errors.ts";
import type { Finding } from "../base/finding.ts";
import type { Attachment } from "./attachment.ts";
import type { OneSidedCounters } from "./counters.ts";
import type { Floor, Yardstick } from "./floor.ts";

export interface Fabric<Name extends string = string, Options extends object = object> {
  /** Its name in options, grants, reports and, where it has no family, the shim. */
  readonly name: Name;
  /** What names the best of several fabrics, and the options that they share; undefined for one that has its own. */
  readonly family?: string;
  /** Taken only where it, its family or an option of its own is named: others reach the same. */
  readonly onRequest?: boolean;
  /** In prose, such as `shared memory`. */
  readonly title: string;
  /**
   * Client and workers map the same memory, so that nothing has to be moved. Only clients on the node's machine can use it; they
   * get the memory's descriptors. Where it is false each side has a region of its own, and the client connects.
   */
  readonly sharesMemory: boolean;
  /** What a machine must have, such as `an RDMA device`; undefined where every machine will do. */
  readonly needs: string | undefined;

  /** Its options object, which is an option of `invoker` by the fabric's name. Its fields are flags, too. Undefined where it has none. */
  readonly options: TObject | undefined;
  /** Flags that only a command line has. */
  readonly flags?: {
    readonly fields: TProperties;
    /** The options with what the flags ask. Throws {@link UsageError}, or {@link EnvironmentError} for a file that cannot be read. */
    apply(options: Options, flags: Readonly<Record<string, unknown>>): Options;
  };
  /** The option that asks for this fabric although none was named, such as that of a device; undefined when no option does. */
  askedBy(options: Options): (keyof Options & string) | undefined;
  /**
   * What this process can do over the fabric. A client makes one before it greets a node, a node when it starts.
   *
   * @throws {FabricUnavailable} this process cannot use it
   */
  offer(options: Options): FabricOffer;
  /** Undefined where it cannot encrypt what travels between client and workers. One that shares memory sends nothing. */
  readonly encryption?: {
    /** Why this process cannot, in words that end with what to do; null when it can. */
    problem(): string | null;
  };
  /** What a host does when its client connects, after its module has loaded, and a room without network forbids: a verb and its object. */
  readonly connectsLate?: string;
  /** What a host does then that no room lets it: a verb and its object. */
  readonly outsideRooms?: string;
  /** In a host: loads ahead of time what the first lease needs. Never throws. */
  prepare?(): void;
  /** In a host: begins to listen for the client of a lease. Only where the client connects. */
  listen?(region: Region, order: ListenOrder<Options>, nonce: Uint8Array): Promise<Listener>;
  /** How the node's own port tells a connection of a client's data from others; undefined where data never comes there. */
  readonly greeting?: Greeting;
  /** Counters that peers raise by themselves, where the fabric has them. */
  readonly counters?: OneSidedCounters;
  /** What a benchmark compares calls with. Rejects with {@link FabricUnavailable}. */
  floor(options: Options): Promise<Floor>;
  /** The field's own benchmark of the fabric, where there is one: its names, and a way to run it. */
  readonly yardstick?: {
    /** Of the program that measures latency. */
    readonly latency: string;
    readonly bandwidth: string;
    /** Rejects with {@link FabricUnavailable}. */
    open(options: Options): Promise<Yardstick>;
  };
  /** What `rfaas doctor` says of it: a finding whose name is `fabric` and the fabric's, then those of its devices. */
  doctor(): Promise<Finding[]>;
}

/** What a client says first on each connection of its data. */
export interface Greeting {
  /** How each begins, and nothing else that is spoken at the port. */
  readonly begins: Uint8Array;
  readonly bytes: number;
  /** The secret of the lease that the client says it has, or the name that is made from it (`publicNameOf`), 16 bytes. */
  nameOf(greeting: Uint8Array): Uint8Array;
  /** What a client is told whose lease the node does not know, before the connection is closed. */
  readonly refusal: Uint8Array;
}

/** A fabric in a process that can use it, with what was found and asked for. */
export interface FabricOffer {
  readonly fabric: Fabric;
  /** Its name and, where it has some, its addresses: for a log. */
  readonly description: string;
  /**
   * On a node: what the host of a lease is told. `reachedAt` is the node's address that the client connected to, where it has one.
   * Null where the client maps the lease's memory.
   */
  listenFor(reachedAt: string | undefined): ListenOrder | null;
  /** On a client: the memory to ask for so that buffers of `bytes` have room. */
  memoryFor(bytes: number): number;
  /**
   * On a client: opens the grant. Closes the grant's descriptors when that fails.
   *
   * @throws {ConnectionFailed} the workers cannot be reached
   * @throws {ProtocolError} the memory is none that can be trusted, or not what the node said
   * @throws {NativeError}
   */
  attach(grant: GrantedMemory): Promise<Attachment>;
}

/** Where a host listens, and with what options of the fabric. It travels from a node to its host. */
export interface ListenOrder<Options extends object = object> {
  /** A number and no name; empty where clients come through the node's own port. */
  address: string;
  options: Options;
  /** Only a client that encrypts what it sends is let in. */
  encrypt?: boolean;
}

/** What a node grants a client of a lease's memory: `shape.workers` channels. */
export interface GrantedMemory {
  shape: RegionShape;
  /** The memory, the host's pidfd, a socket for the client's event loop, and one for each worker's; where memory is shared. */
  descriptors: readonly number[];
  /** Where the host listens for the one client that shows the nonce, where it does. */
  listening: { address: string; port: number } | null;
  /** Where the client has reached the node, over a network. */
  reached: { address: string; port: number } | undefined;
  nonce: Uint8Array;
  /** The host lets only a client in that encrypts. */
  encrypted: boolean;
}

/** A host's way to the client of its lease. */
export interface Listener {
  /** Called, once {@link ready}, when the state of a channel may have changed. */
  onWake: () => void;
  /** For the endpoints of workers, which may be opened at once. */
  readonly link: Link;
  /** Resolves when the client may connect; rejects with {@link ConnectionFailed}. */
  readonly ready: Promise<void>;
  /** Where the client connects; 0 where its connections are brought here. */
  readonly port: number;
  /** Takes over a connection that has come through the node's own port. The descriptor is the listener's from now on. */
  adopt(descriptor: number, greeting: Uint8Array): void;
  /** Why the channel is lost; undefined while it stands, or before the client has connected. */
  lost(channel: number): RfaasError | undefined;
  /** Disconnects the client. No endpoint may be in use any more. */
  close(): void;
}
