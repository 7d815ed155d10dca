/** What a failed connection over verbs says: verb, status, and what to do about it. */
import { getSystemErrorName } from "node:util";
import type { LinkState } from "../../../ffi/link.ts";
import { LINK_FAILURE, LINK_STAGE } from "../../../ffi/verbs/verbs.ts";
import { ConnectionFailed, ConnectionLost } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";

/** `enum ibv_wc_status`: its words, and what it means here. */
const STATUSES: Record<number, [words: string, advice: string]> = {
  1: ["local length error", "this is a defect of rfaas, please report it"],
  2: ["local queue pair operation error", "this is a defect of rfaas, please report it"],
  4: ["local protection error", "this is a defect of rfaas, please report it"],
  5: ["flushed", "the connection was closed; take a new lease"],
  6: ["memory window bind error", "this is a defect of rfaas, please report it"],
  7: ["bad response", "check the network for a device that changes packets"],
  8: ["local access error", "this is a defect of rfaas, please report it"],
  9: ["remote invalid request", "client and node differ; update the older one"],
  10: ["remote access error", "a write left the lease's memory; take a new lease"],
  11: ["remote operation error", "see the node's log; take a new lease"],
  12: [
    "transport retries exceeded",
    "the node or the network to it is gone; check with: rdma link, ping; then take a new lease",
  ],
  13: [
    "receiver-not-ready retries exceeded",
    "the other side posted no receive; take a new lease, and report it",
  ],
  21: ["fatal error", "the device failed; check with: dmesg"],
};

const WORK: Record<number, string> = {
  [-1]: "receive",
  0: "RDMA write with immediate",
  1: "RDMA write of a probe",
  2: "one-sided operation",
};

const STAGES: Record<number, string> = {
  [LINK_STAGE.resources]: "opening the device",
  [LINK_STAGE.address]: "resolving the address",
  [LINK_STAGE.route]: "resolving the route",
  [LINK_STAGE.register]: "registering the lease's memory",
  [LINK_STAGE.queues]: "creating queue pairs",
  [LINK_STAGE.connect]: "connecting",
  [LINK_STAGE.listen]: "listening",
};

const REJECTIONS: Record<number, string> = {
  0: "the lease's host no longer listens there; take a new lease",
  1: "the node's fabric speaks another version; update the older side",
  2: "the node does not know this lease; take a new lease",
  3: "the worker already has a client; take a new lease",
  4: "client and node differ in the size of the lease's memory; update the older side",
  5: "the node has no queue pair left; release other leases or raise the device's limits",
};

/** Why a worker's connection ended, as an error for its calls. */
export function connectionLost(worker: number, state: LinkState): ConnectionLost {
  const { failure, detail, of } = state;
  const why = (): [string, string, string] => {
    switch (failure) {
      case LINK_FAILURE.completion: {
        const verb = WORK[of] ?? "work request";
        const [words, advice] = STATUSES[detail] ?? ["unknown status", "see the kernel's log"];
        return [verb, `${verb} ended with status ${detail} (${words})`, advice];
      }
      case LINK_FAILURE.deviceRemoved:
        return ["", "the RDMA device was removed", "check with: rdma link; then take a new lease"];
      case LINK_FAILURE.protocol:
        return ["", "the other side wrote what no peer may", "take a new lease"];
      case LINK_FAILURE.post: {
        const verb = WORK[of] ?? "work request";
        return [verb, `${verb} was refused (${errorName(detail)})`, "take a new lease"];
      }
      default:
        return ["", "the other side disconnected", "see the node's log; take a new lease"];
    }
  };
  const [verb, what, advice] = why();
  return new ConnectionLost(
    worker,
    { verb, status: failure === LINK_FAILURE.completion ? detail : 0 },
    `the connection to worker ${worker} is lost: ${what}; ${advice}`,
  );
}

/** Why a link could not be set up. `bytes` is the memory to register. */
export function connectionFailed(
  where: string,
  { failure, detail, of }: LinkState,
  bytes: number,
  memlockBytes: number,
): ConnectionFailed {
  const stage = STAGES[of] ?? "connecting";
  if (failure === LINK_FAILURE.rejected)
    return new ConnectionFailed(
      `${where} refused the RDMA connection: ${REJECTIONS[detail] ?? REJECTIONS[0]}`,
    );
  if (failure === LINK_FAILURE.timedOut)
    return new ConnectionFailed(
      `${where} did not complete the RDMA connection within 10 s; check that the node runs and that UDP port 4791 (RoCE) is open`,
    );
  if (failure === LINK_FAILURE.deviceRemoved)
    return new ConnectionFailed(
      `the RDMA device was removed while ${stage}; check with: rdma link`,
    );
  const name = errorName(detail);
  const lockedTooLittle = of === LINK_STAGE.register && (name === "ENOMEM" || name === "EPERM");
  if (lockedTooLittle && memlockBytes < bytes)
    return new ConnectionFailed(
      `registering the lease's memory needs ${bytes} bytes (${formatBytes(bytes)}) of locked memory and the limit is ${formatBytes(memlockBytes)}; raise it with: ulimit -l ${Math.ceil(bytes / 1024)} (or "memlock" in /etc/security/limits.conf), or lease less memory`,
    );
  return new ConnectionFailed(`${stage} for ${where} failed: ${name}; ${adviceFor(of, name)}`);
}

/** Why a connection that belongs to no lease failed, in a few words. */
export function linkProblem({ failure, detail, of }: LinkState): string {
  switch (failure) {
    case LINK_FAILURE.completion:
      return `${WORK[of] ?? "work request"} ended with status ${detail} (${STATUSES[detail]?.[0] ?? "unknown status"})`;
    case LINK_FAILURE.deviceRemoved:
      return "the RDMA device was removed";
    case LINK_FAILURE.post:
      return `${WORK[of] ?? "work request"} was refused (${errorName(detail)})`;
    case LINK_FAILURE.setup:
      return `${STAGES[of] ?? "connecting"} failed: ${errorName(detail)}`;
    case LINK_FAILURE.rejected:
      return `the RDMA connection was refused (reason ${detail})`;
    case LINK_FAILURE.timedOut:
      return "the RDMA connection was not completed within 10 s";
    default:
      return "the other side disconnected";
  }
}

function adviceFor(stage: number, name: string): string {
  if (stage === LINK_STAGE.address || stage === LINK_STAGE.route)
    return name === "ENODEV"
      ? "no RDMA device has a way to that address; see: rfaas doctor"
      : "check the address and that it answers: ping, rdma link";
  if (stage === LINK_STAGE.listen)
    return "the address must belong to an active RDMA device; see: rfaas doctor";
  if (stage === LINK_STAGE.connect) return "is the node still there? see its log";
  if (stage === LINK_STAGE.queues)
    return "lease fewer workers or slots, or release other leases; see: rdma resource";
  return "see: rfaas doctor";
}

function errorName(errno: number): string {
  try {
    return getSystemErrorName(-Math.abs(errno));
  } catch {
    return `errno ${errno}`;
  }
}
