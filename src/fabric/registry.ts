/** Which fabrics a process can use, and which one a client and a node take: shared memory on one machine, else verbs. */
import { verbsProblem } from "../../ffi/verbs/verbs.ts";
import { FabricUnavailable } from "../base/errors.ts";
import type { FabricName } from "../protocol/messages.ts";
import { type DeviceChoice, addressesOf, rdmaDevices } from "./verbs/devices.ts";

/** What somebody wants of the verbs fabric; whatever is left out is found out. */
export interface VerbsOptions extends DeviceChoice {
  /** Payloads up to so many bytes travel inside the work request. Default 256, or what the device can. */
  inlineMax?: number | undefined;
}

/** What a node offers. */
export interface FabricOffer {
  shm: boolean;
  /** Addresses of its RDMA devices, best first. */
  verbs: { addresses: string[]; inlineMax: number | undefined } | undefined;
}

/**
 * The fabrics of this machine, or the one that is asked for. Verbs count as asked for when a device, port or GID is named.
 *
 * @throws {FabricUnavailable} verbs are asked for and cannot be had
 */
export function offerFabrics(wanted: FabricName | undefined, options: VerbsOptions): FabricOffer {
  const shm = wanted !== "verbs";
  if (wanted === "shm") return { shm, verbs: undefined };
  const named = [options.device, options.ibPort, options.gidIndex].some((v) => v !== undefined);
  try {
    return { shm, verbs: { addresses: verbsAddresses(options), inlineMax: options.inlineMax } };
  } catch (error) {
    if (wanted === "verbs" || named || !(error instanceof FabricUnavailable)) throw error;
    return { shm, verbs: undefined };
  }
}

/** Addresses of this machine's RDMA devices under the choice, best first. Throws {@link FabricUnavailable}. */
export function verbsAddresses(choice: DeviceChoice): string[] {
  // Devices first: a machine with none needs no libraries.
  const addresses = addressesOf(rdmaDevices(), choice);
  const problem = verbsProblem();
  if (problem) throw new FabricUnavailable(problem);
  return addresses;
}

/** The fabric of a lease: the first that both sides can use, shared memory before verbs. */
export function chooseFabric(
  offered: readonly string[],
  wanted: FabricName | undefined,
): FabricName | undefined {
  const order: readonly FabricName[] = wanted ? [wanted] : ["shm", "verbs"];
  return order.find((fabric) => offered.includes(fabric));
}

/** Of what a node offers, what a client can use. */
export function sharedFabrics(
  { shm, verbs }: FabricOffer,
  theirs: readonly string[],
  sameMachine: boolean,
): string[] {
  const ours = [...(shm && sameMachine ? ["shm"] : []), ...(verbs ? ["verbs"] : [])];
  return ours.filter((fabric) => theirs.includes(fabric));
}

/** Why {@link sharedFabrics} are none, in words that end with what to do. */
export function explainNoFabric(
  { shm, verbs }: FabricOffer,
  theirs: readonly string[],
  sameMachine: boolean,
): string {
  if (sameMachine)
    return `the node serves ${shm ? "shm" : "verbs"} and the client wants ${theirs.join(" or ")}; start the node with --fabric, or use another fabric`;
  return verbs
    ? "the client is on another machine and has no RDMA device; see: rfaas doctor"
    : "the client is on another machine and the node has no RDMA device; see rfaas doctor there, and serve with --fabric verbs";
}
