/** Attaches the memory and the endpoints of a grant, over the fabric that client and node share. */
import { ConnectionFailed, LeaseRefused } from "../../base/errors.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";
import {
  type FabricChoice,
  type FabricName,
  type FabricOptions,
  askedFor,
  chooseFabric,
  considered,
  namesBetweenMachines,
  namesOf,
  offerFabrics,
} from "../../fabric/registry.ts";
import type { Allocate } from "../../protocol/lease-messages.ts";
import type { GrantedLease } from "../node/connection.ts";

/** The fabrics that a client asks for, and those that its machine has. */
export class ClientFabrics {
  /** Offered in the greeting, best first. */
  readonly names: readonly string[];
  /** The fabric that the user asks for, by its name or by one of its options, such as a device. */
  readonly wanted: FabricChoice | undefined;
  readonly #offers: readonly FabricOffer[];
  readonly #encrypt: boolean;

  /**
   * Probes network fabrics only where they may be needed: when the user asks for one, or the node may be on another machine.
   *
   * @throws {FabricUnavailable} this machine lacks the fabric that the user asks for, or cannot encrypt
   */
  constructor(options: FabricOptions, remote: boolean) {
    this.#offers = offerFabrics(options, considered(options, remote));
    this.names = namesOf(this.#offers);
    this.wanted = options.fabric ?? askedFor(options)?.name;
    this.#encrypt = options.encrypt ?? false;
  }

  /** Of a node that is this program's own: the fabric that is wanted, as this machine has it. */
  get own(): FabricName | undefined {
    return chooseFabric(this.names, this.wanted);
  }

  /** The fabric for a lease, of those that the node offers. Throws {@link LeaseRefused}. */
  choose(node: string, offered: readonly string[]): FabricName {
    const fabric = chooseFabric(
      offered.filter((name) => this.names.includes(name)),
      this.wanted,
    );
    if (fabric) return fabric;
    throw new LeaseRefused(
      "RFAAS_NO_SHARED_FABRIC",
      `the node at ${node} offers ${offered.join(" and ") || "no fabric"} to this client, which wants ${this.wanted ?? this.names.join(" or ")}; run rfaas doctor on both machines, and serve with --fabric ${this.wanted ?? namesBetweenMachines}`,
    );
  }

  /** The memory to ask for, so that `bytes` of it are the user's. */
  memoryFor(fabric: FabricName, bytes: number): number {
    return this.#offer(fabric).memoryFor(bytes);
  }

  /** Whether what travels over the fabric must be encrypted. */
  encrypts(fabric: FabricName): boolean {
    return this.#encrypt && !this.#offer(fabric).fabric.sharesMemory;
  }

  /** Opens a grant. Throws `NativeError` or `ConnectionFailed`; the caller must then still release the lease. */
  async attach(
    request: Pick<Allocate, "workers" | "memoryBytes" | "fabric" | "encrypt">,
    { granted, descriptors }: GrantedLease,
    reached: { address: string; port: number } | undefined,
  ): Promise<Attachment> {
    const { slots, polling, spinNs, nonce, listening, encrypted = false } = granted;
    if (request.encrypt && !encrypted)
      throw new ConnectionFailed(
        "the node encrypts no data, and the client wants that; update rfaas on the node, or leave encrypt (--encrypt) out",
      );
    const { workers, memoryBytes: arenaBytes } = request;
    const shape = { workers, slots, arenaBytes, polling, spinNs };
    return await this.#offer(request.fabric).attach({
      shape,
      descriptors,
      listening,
      reached: reached && { ...reached, port: granted.dataPort ?? reached.port },
      nonce,
      encrypted,
    });
  }

  /** The fabric of that name, which the choice has made sure exists. */
  #offer(name: string): FabricOffer {
    return this.#offers.find(({ fabric }) => fabric.name === name)!;
  }
}
