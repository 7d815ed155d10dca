/** From a grant to memory and endpoints, over the fabric that client and node share. */
import { MAX_ARENA_BYTES } from "../../../ffi/layout.ts";
import { LeaseRefused } from "../../base/errors.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import { type VerbsOptions, chooseFabric, offerFabrics } from "../../fabric/registry.ts";
import { attachSharedMemory } from "../../fabric/shm/attachment.ts";
import { HEADROOM_SLACK_BYTES, attachVerbs } from "../../fabric/verbs/attachment.ts";
import type { Allocate, FabricName } from "../../protocol/messages.ts";
import type { GrantedLease } from "../node/connection.ts";

/** What a client wants of the fabrics, and what it has. */
export class ClientFabrics {
  /** For the greeting. */
  readonly names: readonly FabricName[];
  /** The one that is asked for; naming a device asks for verbs. */
  readonly wanted: FabricName | undefined;
  readonly #options: VerbsOptions;
  /** Address of the device to use, `""` for whatever the routing table says. */
  readonly #source: string;

  /**
   * Looks for RDMA only where it may be needed: when it is asked for, or the node may be on another machine.
   *
   * @throws {FabricUnavailable} verbs are asked for and cannot be had
   */
  constructor(wanted: FabricName | undefined, options: VerbsOptions, remote: boolean) {
    const { device, ibPort, gidIndex } = options;
    const named = [device, ibPort, gidIndex].some((choice) => choice !== undefined);
    const look = wanted === "verbs" || named || (remote && wanted !== "shm");
    const offer = look ? offerFabrics(wanted, options) : { shm: true, verbs: undefined };
    this.names = [
      ...(offer.shm ? ["shm" as const] : []),
      ...(offer.verbs ? ["verbs" as const] : []),
    ];
    this.wanted = named ? (wanted ?? "verbs") : wanted;
    this.#options = options;
    this.#source = named ? (offer.verbs?.addresses[0] ?? "") : "";
  }

  /** The fabric for a lease, of those that the node offers. Throws {@link LeaseRefused}. */
  choose(node: string, offered: readonly string[]): FabricName {
    const fabric = chooseFabric(
      offered.filter((name) => this.names.some((own) => own === name)),
      this.wanted,
    );
    if (fabric) return fabric;
    throw new LeaseRefused(
      "RFAAS_NO_SHARED_FABRIC",
      `the node at ${node} offers ${offered.join(" and ") || "no fabric"} to this client, which wants ${this.wanted ?? this.names.join(" or ")}; run rfaas doctor on both machines, and serve with --fabric verbs`,
    );
  }

  /** The memory to ask for, so that `bytes` of it are the user's. */
  memoryFor(fabric: FabricName, bytes: number): number {
    return fabric === "verbs" ? Math.min(bytes + HEADROOM_SLACK_BYTES, MAX_ARENA_BYTES) : bytes;
  }

  /** Opens what was granted. Throws `NativeError` or `ConnectionFailed`; the lease is then still to be released. */
  async attach(
    request: Pick<Allocate, "workers" | "memoryBytes">,
    { granted, descriptors }: GrantedLease,
  ): Promise<Attachment> {
    const { slots, polling, spinNs, nonce, listening } = granted;
    if (!listening) return attachSharedMemory(descriptors, slots);
    return await attachVerbs(
      { workers: request.workers, slots, arenaBytes: request.memoryBytes, polling, spinNs },
      { ...listening, nonce },
      this.#source,
      { inlineMax: this.#options.inlineMax },
    );
  }
}
