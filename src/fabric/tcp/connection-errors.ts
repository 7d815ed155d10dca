/** What failed connections over tcp say. */
import { getSystemErrorName } from "node:util";
import type { LinkState } from "../../../ffi/link.ts";
import { TCP_FAILURE, TCP_STAGE } from "../../../ffi/tcp/tcp.ts";
import { ConnectionFailed, ConnectionLost, EnvironmentError } from "../../base/errors.ts";
import { shortage } from "../../base/shortage.ts";

const STAGES: Record<number, string> = {
  [TCP_STAGE.resources]: "opening sockets",
  [TCP_STAGE.address]: "reading the address",
  [TCP_STAGE.listen]: "listening",
  [TCP_STAGE.connect]: "connecting",
};

const REJECTIONS: Record<number, string> = {
  1: "the node speaks another version of it; update the older side",
  2: "the node does not know this lease; take a new lease",
  3: "the worker already has a client; take a new lease",
  4: "client and node differ in the size of the lease's memory; update the older side",
  5: "one side encrypts the lease's data and the other does not; update the older side",
};

const ADVICE: Record<string, string> = {
  ECONNREFUSED: "the lease's host no longer listens there; take a new lease",
  ETIMEDOUT:
    "a firewall may keep the client from the node's other ports; open them, or check the address",
  EHOSTUNREACH: "no way leads to that address; check it with: ip route get",
  ENETUNREACH: "no way leads to that address; check it with: ip route get",
  EADDRNOTAVAIL: "the address is none of this machine; check it with: ip address",
  ENOSYS: "what is to be encrypted needs libssl.so.3; install OpenSSL 3",
};

/** What the kernel says where the other process has ended with something unread. */
const ENDED_THERE = ["ECONNRESET", "EPIPE"];

/** Why a worker's connection ended, as an error for its calls. */
export function connectionLost(worker: number, { failure, detail }: LinkState): ConnectionLost {
  const [what, advice] =
    failure === TCP_FAILURE.broken && !ENDED_THERE.includes(nameOf(detail))
      ? nameOf(detail) === "ETIMEDOUT"
        ? ["the other side does not answer", "check the network with: ping; then take a new lease"]
        : [`it broke (${nameOf(detail)})`, "see the node's log; take a new lease"]
      : failure === TCP_FAILURE.protocol
        ? ["the other side sent what no side may", "take a new lease"]
        : ["the other side disconnected", "see the node's log; take a new lease"];
  return new ConnectionLost(
    worker,
    { verb: "", status: 0 },
    `the connection to worker ${worker} is lost: ${what}; ${advice}`,
  );
}

/** Why a link could not be set up by `who`, which may lack something. */
export function connectionFailed(
  where: string,
  { failure, detail, of }: LinkState,
  who: string,
): ConnectionFailed | EnvironmentError {
  if (failure === TCP_FAILURE.rejected)
    return new ConnectionFailed(
      `${where} refused the data connection: ${REJECTIONS[detail] ?? REJECTIONS[2]}`,
    );
  if (failure === TCP_FAILURE.timedOut)
    return new ConnectionFailed(
      `${where} did not complete the data connection within 10 s; ${ADVICE["ETIMEDOUT"]}`,
    );
  if (failure === TCP_FAILURE.noKey)
    return new ConnectionFailed(
      `${where} did not show that it knows the lease's secret, so nothing is sent to it; take a new lease, and ask who answers at that address if that fails, too`,
    );
  const name = nameOf(detail);
  const what = `${STAGES[of] ?? "connecting"} for ${where} failed`;
  const lacks = shortage(Object.assign(new Error(name), { code: name }), who);
  if (lacks !== undefined) return new EnvironmentError(`${what}: ${lacks}`);
  return new ConnectionFailed(`${what}: ${name}; ${ADVICE[name] ?? "see: rfaas doctor"}`);
}

function nameOf(errno: number): string {
  try {
    return getSystemErrorName(-Math.abs(errno));
  } catch {
    return `errno ${errno}`;
  }
}
