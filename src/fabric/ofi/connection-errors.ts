/** What failed connections over libfabric say. */
import { constants } from "node:os";
import type { LinkState } from "../../../ffi/link.ts";
import { OFI_FAILURE, OFI_STAGE, ofiError } from "../../../ffi/ofi/ofi.ts";
import type { Region } from "../../../ffi/region.ts";
import { memlockLimitBytes } from "../../../ffi/system.ts";
import { ConnectionFailed, ConnectionLost } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";

const WORK: Record<number, string> = {
  0: "receive",
  1: "send",
  2: "write",
  3: "one-sided operation",
};

const STAGES: Record<number, string> = {
  [OFI_STAGE.resources]: "opening libfabric",
  [OFI_STAGE.address]: "reading the address",
  [OFI_STAGE.listen]: "listening",
  [OFI_STAGE.connect]: "connecting",
  [OFI_STAGE.provider]: "asking libfabric for the provider",
  [OFI_STAGE.register]: "registering the lease's memory",
  [OFI_STAGE.endpoint]: "opening an endpoint",
  [OFI_STAGE.reach]: "reaching the other side's endpoints",
};

const ADVICE: Record<number, string> = {
  [OFI_STAGE.connect]: "check the address, and that a firewall lets the node's port through",
  [OFI_STAGE.provider]: "look for it with: rfaas doctor, fi_info",
  [OFI_STAGE.endpoint]: "lease fewer workers or slots, and see: fi_info -v",
  [OFI_STAGE.reach]:
    "ofi:shm reaches no other machine: take another fabric; of others, the provider's own connections use other ports: open them, and check with: fi_pingpong",
};

const REJECTIONS: Record<number, string> = {
  1: "the node speaks another version of it; update the older side",
  2: "the node does not know this lease; take a new lease",
  4: "client and node differ in the size of the lease's memory; update the older side",
  5: "the node could not open its endpoints; see its log, and rfaas doctor there",
};

/** Why a worker's connection ended, as an error for its calls. */
export function connectionLost(worker: number, { failure, detail, of }: LinkState): ConnectionLost {
  const verb = failure === OFI_FAILURE.broken ? (WORK[of] ?? "operation") : "";
  const [what, advice] =
    failure === OFI_FAILURE.broken && detail === constants.errno.ETIMEDOUT
      ? ["the other side does not answer", "check the network with: ping; then take a new lease"]
      : failure === OFI_FAILURE.broken
        ? [`a ${verb} of libfabric failed (${ofiError(detail)})`, "take a new lease"]
        : failure === OFI_FAILURE.protocol
          ? ["the other side sent what no side may", "take a new lease"]
          : ["the other side disconnected", "see the node's log; take a new lease"];
  return new ConnectionLost(
    worker,
    { verb, status: failure === OFI_FAILURE.broken ? detail : 0 },
    `the connection to worker ${worker} is lost: ${what}; ${advice}`,
  );
}

/** Why a link could not be set up. */
export function connectionFailed(
  where: string,
  { failure, detail, of }: LinkState,
  { bytes }: Pick<Region, "bytes">,
): ConnectionFailed {
  if (failure === OFI_FAILURE.rejected)
    return new ConnectionFailed(
      `${where} refused the connection over libfabric: ${REJECTIONS[detail] ?? REJECTIONS[2]}`,
    );
  const stage = STAGES[of] ?? "connecting";
  if (failure === OFI_FAILURE.timedOut)
    return new ConnectionFailed(
      `${stage} for ${where} took more than 10 s; ${ADVICE[of] ?? "see the node's log"}`,
    );
  const limit = memlockLimitBytes();
  const advice =
    of === OFI_STAGE.register && limit < bytes
      ? `the limit of locked memory is ${formatBytes(limit)}: raise it with: ulimit -l unlimited`
      : (ADVICE[of] ?? "see: rfaas doctor");
  return new ConnectionFailed(`${stage} for ${where} failed: ${ofiError(detail)}; ${advice}`);
}
