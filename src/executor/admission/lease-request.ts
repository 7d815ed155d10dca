/** Which requests for a lease a node refuses regardless of its free capacity. */
import { LAYOUT } from "../../../ffi/layout.ts";
import type { LimitReached } from "../../base/errors.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";
import { encryptionProblem } from "../../fabric/registry.ts";
import type { Allocate } from "../../protocol/lease-messages.ts";
import { defaultHeapBytes } from "../limits/bounds.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { type Identity, rightLeftMs } from "./identity.ts";
import type { ClusterQuota } from "./cluster-quota.ts";
import type { Held } from "./quota.ts";

export interface Refusal {
  code: string;
  message: string;
  limit?: LimitReached | undefined;
}

/** What a lease takes of the memory that the node leases: a heap that it does not ask for is a bound, and nothing is set aside for it. */
export function leasedBytes({ memoryBytes, heapBytes = 0 }: Allocate): number {
  return memoryBytes + heapBytes;
}

/** What a lease may have besides its registered memory. */
export function heapOf({ heapBytes, memoryBytes, workers }: Allocate): number {
  return heapBytes ?? defaultHeapBytes(memoryBytes, workers);
}

/** What it takes of its user's quota. */
export function heldBy(request: Allocate): Held {
  const { workers, coresPerWorker = 1, memoryBytes } = request;
  return { cores: workers * coresPerWorker, memoryBytes: memoryBytes + heapOf(request) };
}

/**
 * Why `identity` cannot have the lease; undefined when only the node's capacity decides. `offer` is of the fabric that the request
 * names, and undefined when the node does not serve it to this client.
 */
export function refusalOf(
  request: Allocate,
  offer: FabricOffer | undefined,
  identity: Identity,
  quota: Pick<ClusterQuota, "refusal">,
  sandbox: Sandbox,
): Refusal | undefined {
  const { workers, slots, fabric, mailbox } = request;
  if (workers > LAYOUT.maxWorkers)
    return {
      code: "RFAAS_NODE_FULL",
      message: `a lease has at most ${LAYOUT.maxWorkers} workers; take several leases`,
    };
  if (slots > LAYOUT.maxSlots || (slots & (slots - 1)) !== 0)
    return {
      code: "RFAAS_USAGE",
      message: `slots must be a power of two up to ${LAYOUT.maxSlots}; it is ${slots}`,
    };
  if (!offer)
    return {
      code: "RFAAS_NO_SHARED_FABRIC",
      message: `the node does not serve ${fabric} to this client`,
    };
  const clear = request.encrypt ? encryptionProblem(offer.fabric) : null;
  if (clear !== null) return { code: "RFAAS_NO_SHARED_FABRIC", message: `on the node, ${clear}` };
  if (offer.fabric.sharesMemory && !mailbox)
    return { code: "RFAAS_PROTOCOL", message: "a lease over shared memory needs a mailbox" };
  const { connectsLate, outsideRooms } = offer.fabric;
  if (outsideRooms !== undefined && sandbox.driver.seals)
    return {
      code: "RFAAS_NOT_ALLOWED",
      message: `over ${fabric} a host ${outsideRooms}, which no room lets it; take another fabric, or a node without rooms (rfaas serve --sandbox none)`,
    };
  if (connectsLate !== undefined && sandbox.driver.seals && !request.network)
    return {
      code: "RFAAS_NOT_ALLOWED",
      message: `network: over ${fabric} a host ${connectsLate} when its client connects, which a room without network does not let it; take another fabric, or let the lease have network: true`,
    };
  const closed = sandbox.refusal(request);
  if (closed !== undefined) return { code: "RFAAS_NOT_ALLOWED", message: closed };
  if (rightLeftMs(identity) <= 0)
    return {
      code: "RFAAS_FORBIDDEN",
      message: `the token of ${identity.user} has expired; connect again with a new one (rfaas token create --user ${identity.user})`,
    };
  const { project } = identity;
  if (project !== undefined && (request.project ?? project) !== project)
    return {
      code: "RFAAS_FORBIDDEN",
      message: `the token of ${identity.user} is for the project ${project} and not for ${request.project}; leave project out, or use a token for it (rfaas token create --user ${identity.user} --project ${request.project})`,
    };
  const over = quota.refusal(identity, heldBy(request));
  return over ? { code: "RFAAS_TOKEN_LIMIT", message: over.why, limit: over.limit } : undefined;
}
