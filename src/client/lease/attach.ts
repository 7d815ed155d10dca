/** From a grant to memory and endpoints, over the fabric that client and node share. */
import { LeaseRefused } from "../../base/errors.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";
import {
  type FabricName,
  type FabricOptions,
  askedFor,
  chooseFabric,
  fabrics,
  namesBetweenMachines,
  namesOf,
  offerFabrics,
} from "../../fabric/registry.ts";
import type { Allocate } from "../../protocol/lease-messages.ts";
import type { GrantedLease } from "../node/connection.ts";

/** What a client wants of the fabrics, and what it has. */
export class ClientFabrics {
  /** For the greeting, best first. */
  readonly names: readonly string[];
  /** The one that is asked for, by its name or by an option of its own, such as that of a device. */
  readonly wanted: FabricName | undefined;
  readonly #offers: readonly FabricOffer[];

  /**
   * Looks for what reaches other machines only where it may be needed: when it is asked for, or the node may be on one.
   *
   * @throws {FabricUnavailable} a fabric is asked for and cannot be had
   */
  constructor(options: FabricOptions, remote: boolean) {
    const { fabric: wanted } = options;
    const asked = askedFor(options);
    const among = fabrics.filter(
      (fabric) => fabric.sharesMemory || remote || fabric.name === wanted || fabric === asked,
    );
    this.#offers = offerFabrics(options, among);
    this.names = namesOf(this.#offers);
    this.wanted = wanted ?? asked?.name;
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
      `the node at ${node} offers ${offered.join(" and ") || "no fabric"} to this client, which wants ${this.wanted ?? this.names.join(" or ")}; run rfaas doctor on both machines, and serve with --fabric ${namesBetweenMachines}`,
    );
  }

  /** The memory to ask for, so that `bytes` of it are the user's. */
  memoryFor(fabric: FabricName, bytes: number): number {
    return this.#offer(fabric).memoryFor(bytes);
  }

  /** Opens what was granted. Throws `NativeError` or `ConnectionFailed`; the lease is then still to be released. */
  async attach(
    request: Pick<Allocate, "workers" | "memoryBytes" | "fabric">,
    { granted, descriptors }: GrantedLease,
  ): Promise<Attachment> {
    const { slots, polling, spinNs, nonce, listening } = granted;
    const { workers, memoryBytes: arenaBytes } = request;
    const shape = { workers, slots, arenaBytes, polling, spinNs };
    return await this.#offer(request.fabric).attach({ shape, descriptors, listening, nonce });
  }

  /** One that was chosen is one that there is. */
  #offer(name: string): FabricOffer {
    return this.#offers.find(({ fabric }) => fabric.name === name)!;
  }
}
