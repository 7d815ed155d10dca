/** TCP: what every machine has. Client and workers each have memory of the lease, and send what belongs into the other's. */
import type { Region } from "../../../ffi/region.ts";
import { measureTcpFloor, measureTcpStream } from "../../../ffi/tcp/floor.ts";
import { encryptionProblem } from "../../../ffi/tcp/tcp.ts";
import { FabricUnavailable, ProtocolError } from "../../base/errors.ts";
import type { Fabric, FabricOffer } from "../fabric.ts";
import type { Floor } from "../floor.ts";
import { attachLinked } from "../linked-attachment.ts";
import { connectTcp, listenTcp } from "./link.ts";

const NAME = "tcp";
/** For clients that came over no network. */
const LOOPBACK = "127.0.0.1";
/** Others come through the node's own port, which a firewall lets through. */
const BROUGHT = "";

export const tcp: Fabric<typeof NAME> = {
  name: NAME,
  title: "TCP",
  sharesMemory: false,
  needs: undefined,
  options: undefined,
  askedBy: () => undefined,
  offer: () => offered,
  encryption: { problem: encryptionProblem },
  greeting: {
    begins: Buffer.from("CTfr"),
    bytes: 64,
    nameOf: (greeting) => greeting.subarray(8, 24),
    // The wire's version, and the rejection of a wrong secret.
    refusal: Buffer.concat([Buffer.from("CTfr"), Uint8Array.of(1, 0, 2, 0)]),
  },
  listen: (region, { address, encrypt }, nonce) => listenTcp(region, { address, nonce, encrypt }),
  floor: async () => floor,
  doctor: async () => [{ name: `fabric ${NAME}`, state: "ok", found: examine() }],
};

function examine(): string {
  const problem = encryptionProblem();
  const encrypts = problem === null ? "OpenSSL encrypts where it is asked" : `in clear: ${problem}`;
  return `sockets of the kernel; ${encrypts}`;
}

const offered: FabricOffer = {
  fabric: tcp,
  description: NAME,
  listenFor: (reachedAt) => ({
    address: reachedAt === undefined ? LOOPBACK : BROUGHT,
    options: {},
  }),
  memoryFor: (bytes) => bytes,
  async attach({ shape, listening, reached, nonce, encrypted: encrypt }) {
    const at = listening ?? reached;
    if (!at)
      throw new ProtocolError(
        "the node granted a lease over tcp and does not say where its host listens; update the older side",
      );
    if (encrypt) {
      const problem = encryptionProblem();
      if (problem !== null)
        throw new FabricUnavailable(`the node asks for encrypted data, and ${problem}`);
    }
    const to = { ...at, nonce, source: "", encrypt };
    return await attachLinked(shape, (region: Region) => connectTcp(region, to), 0);
  },
};

const floor: Floor = {
  name: (block) => `raw C TCP ping-pong${block ? ", blocking" : ""}`,
  warmUpMs: () => 500,
  delaysNs: [],
  windowCalls: (bytes) => Math.max(50, Math.min(5_000, Math.floor(5e8 / (bytes + 20_000)))),
  measure: async (options, out) => measureTcpFloor(options, out),
  stream: {
    name: (block) => `raw C TCP stream${block ? ", blocking" : ""}`,
    measure: async (options) => measureTcpStream(options),
    windowBytes: 256 * 1024 * 1024,
  },
};
