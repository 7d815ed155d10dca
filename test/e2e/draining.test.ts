/** A node that is told to stop: what it has granted before, it still serves. */
import { expect, test } from "bun:test";
import type { Attachment } from "../../src/fabric/attachment.ts";
import { ClientFabrics } from "../../src/client/lease/attach.ts";
import { type AllocateRequest, NodeConnection } from "../../src/client/node/connection.ts";
import { parseAddress } from "../../src/control/address.ts";
import { ServedNode } from "../support/executable.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const REQUEST: AllocateRequest = {
  ...{ module: "rfaas:echo", workers: 2, slots: 4, memoryBytes: 65_536, fabric: "tcp" },
  ...{ polling: "warm", spinNs: null, loadTimeoutMs: 10_000, ttlMs: 60_000, budget: {} },
};

const accepts = async (port: number): Promise<boolean> => {
  try {
    (await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } })).terminate();
    return true;
  } catch {
    return false;
  }
};

/** A node that has granted a lease whose client has not connected its data, and that drains. */
async function drainingNode() {
  const node = await ServedNode.start("127.0.0.1:0", ["--fabric", "tcp", "--drain", "60"]);
  const address = parseAddress(`127.0.0.1:${node.port}`);
  const connection = await NodeConnection.connect(address, ["tcp"], null);
  const grant = await connection.allocate(REQUEST, "rfaas:echo", {
    ...{ lost() {}, disconnected() {}, workerLost() {}, renewed() {}, revoking() {}, goesOn() {} },
    ...{ logged() {}, progressed() {} },
  });
  node.kill("SIGTERM");
  await until(() => connection.draining, "the node drains");
  return { node, connection, grant };
}

test(
  "a lease granted just before its node drains can still be used, and the port is closed then",
  async () => {
    const { node, connection, grant } = await drainingNode();
    let attachment: Attachment | undefined;
    try {
      const fabrics = new ClientFabrics({ fabric: "tcp" }, true);
      attachment = await fabrics.attach(REQUEST, grant, connection.reached);
      expect(await accepts(node.port)).toBe(true);
      connection.redeem(grant.granted.lease);
      await until(async () => !(await accepts(node.port)), "the port is closed");
      // A lease is there until it is released.
      expect((await connection.status()).leases).toBe(1);
      await connection.release(grant.granted.lease);
      expect(await node.exited).toBe(0);
    } finally {
      attachment?.close();
      await connection.close();
      await node[Symbol.asyncDispose]();
    }
  },
  LIMIT_MS,
);

test(
  "a lease that is given back before its data has connected keeps no port open",
  async () => {
    const { node, connection, grant } = await drainingNode();
    try {
      expect(await accepts(node.port)).toBe(true);
      await connection.release(grant.granted.lease);
      expect(await node.exited).toBe(0);
    } finally {
      await connection.close();
      await node[Symbol.asyncDispose]();
    }
  },
  LIMIT_MS,
);
