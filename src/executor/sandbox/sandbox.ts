/** How a node's hosts are kept apart: by which driver, and what leases may ask for. */
import type { Allocate } from "../../protocol/lease-messages.ts";
import type { RoomFolders, RoomTerms, SandboxDriver } from "./driver.ts";
import { whyReserved } from "./environment.ts";
import { imageNamed } from "./images.ts";
import { type Room, Rooms } from "./room.ts";
import type { Users } from "./users/range.ts";

export interface SandboxOptions {
  driver: SandboxDriver;
  /** Where rooms are made: in the first of these that can be had. */
  folders: readonly string[];
  /** Leases may have the network. */
  network?: boolean | undefined;
  /** Leases may start programs. */
  processes?: boolean | undefined;
  readPaths?: readonly string[] | undefined;
  /** A folder whose entries leases may name as images. */
  images?: string | undefined;
  /** Hosts become users of the machine of which each user of the node has one. Left out, they are the node's user. */
  users?: Users | undefined;
  /** Hears what to do of folders that cannot be removed. */
  warn?: (message: string) => void;
}

/** What a lease may ask of its room. */
export type RoomWishes = Pick<Allocate, "network" | "processes" | "env" | "heapBytes" | "image">;

export class Sandbox {
  readonly driver: SandboxDriver;
  /** What leases that ask for nothing get. */
  readonly closed: RoomTerms;
  readonly users: Users | undefined;
  readonly #options: SandboxOptions;
  readonly #rooms: Rooms;

  constructor(options: SandboxOptions) {
    this.driver = options.driver;
    this.#options = options;
    const { readPaths = [], users, warn } = options;
    this.users = users;
    this.#rooms = new Rooms(options.folders, users !== undefined, warn);
    const closed = { network: false, processes: false, readPaths, env: {} };
    this.closed = users ? { ...closed, becomesUser: true } : closed;
  }

  /** The folders of a host; undefined where the driver has none. Throws {@link EnvironmentError}. */
  makeRoom(): Room | undefined {
    return this.driver.rooms ? this.#rooms.make() : undefined;
  }

  /** Where a host has files of its own: with these folders, as it sees them. */
  filePlaces(
    folders: RoomFolders | undefined,
    inside: RoomFolders | undefined,
  ): { inMemory: readonly string[]; onDisk: string | undefined } {
    const inMemory = (inside && this.driver.inMemory?.(inside)) ?? [];
    const scratchInMemory = inside !== undefined && inMemory.includes(inside.scratch);
    return { inMemory, onDisk: scratchInMemory ? undefined : folders?.scratch };
  }

  /** The node ends: resolves when the folders of hosts that are gone are removed, or that takes too long. */
  finish(): Promise<void> {
    return this.#rooms.finish();
  }

  /** Why a lease cannot have the room that it asks for, and what would let it; undefined when it can. */
  refusal({ network, processes, env = {}, image }: RoomWishes): string | undefined {
    const { name, rooms, images } = this.driver;
    for (const [variable, value] of Object.entries(env)) {
      const why = whyReserved(variable) ?? this.driver.whyNotPassed?.(variable, value);
      if (why !== undefined) return `env: ${why}`;
    }
    if (image !== undefined && images === "none")
      return `image: the node's sandbox, ${name}, has no images; leave image out, or let the node serve with one that has them (rfaas serve --sandbox podman)`;
    if (image !== undefined && imageNamed(image, images, this.#options.images) === undefined)
      return images !== "folders"
        ? `image: ${JSON.stringify(image)} is no name of an image, such as debian:12${images === "named" ? ", nor an entry of the node's folder of images; correct it, or let the node serve with --images" : "; correct it"}`
        : `image: the node has no image ${JSON.stringify(image)}; name an entry of its folder of images (rfaas serve --images)`;
    // Without a room, functions have all this.
    if (!rooms) return undefined;
    if (network && !this.#options.network)
      return "network: the node lets no function open connections; leave it out, or let the node serve with --allow-network";
    if (processes && !this.#options.processes)
      return "processes: the node lets no function start programs; leave it out, or let the node serve with --allow-processes";
    return undefined;
  }

  /**
   * Why a host cannot be reached that listens for its client at `address` itself, in place of the node; undefined when it can, or need not.
   */
  whyUnreached({ network, fabric }: Allocate, address: string | undefined): string | undefined {
    if (!this.driver.ownNetwork || network || !address) return undefined;
    return `over ${fabric} the client would connect to the lease's own process, which has no network in a room of ${this.driver.name}; lease with network: true, or through a port of the node (rfaas serve --listen HOST:PORT)`;
  }

  /**
   * The terms of a lease's room; undefined where they are those of a host that waits, which then is its host.
   */
  termsFor({
    network = false,
    processes = false,
    env = {},
    image,
    heapBytes,
  }: RoomWishes): RoomTerms | undefined {
    const { rooms, images } = this.driver;
    const own = rooms && (network || processes || image !== undefined);
    if (!own && Object.keys(env).length === 0) return undefined;
    return {
      ...this.closed,
      ...{ network, processes, env },
      ...(image === undefined ? {} : { image: imageNamed(image, images, this.#options.images)! }),
      ...(heapBytes === undefined ? {} : { heapBytes }),
    };
  }
}
