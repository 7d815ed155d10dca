/** What a node makes of requests for leases over fabrics that it cannot serve the client with. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { machineId } from "../../src/control/machine.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { ServedNode } from "../support/executable.ts";
import { FABRIC, onOneMachine } from "../support/fabric.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const scratch = new Scratch();
let node: ServedNode;
beforeAll(async () => {
  node = await ServedNode.start(scratch.join("node.sock"));
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

async function answerTo(request: { fabric: string }): Promise<Record<string, unknown>> {
  using peer = await RawPeer.connect(node.address);
  const hello = { t: "hello", protocol: PROTOCOL_VERSION, version: "0", pid: 1 };
  peer.send({ ...hello, fabrics: [FABRIC, "pigeon"], machine: machineId() });
  peer.send({
    ...{ t: "allocate", id: 1, module: "rfaas:echo", workers: 1, memoryBytes: 4096, slots: 1 },
    ...{ polling: null, spinNs: null, loadTimeoutMs: 1000, ttlMs: 1000, budget: {} },
    ...{ mailbox: null, ...request },
  });
  await until(() => peer.find("failed") !== undefined, "the node answers");
  return peer.find("failed")!;
}

test("a node denies a lease over a fabric that there is none of, although the client has it", async () => {
  expect(await answerTo({ fabric: "pigeon" })).toMatchObject({
    code: "RFAAS_NO_SHARED_FABRIC",
    message: "the node does not serve pigeon to this client",
  });
});

onOneMachine("memory is shared").test(
  "a node denies a lease of shared memory to a client that has no mailbox for it",
  async () => {
    expect(await answerTo({ fabric: "shm" })).toMatchObject({
      code: "RFAAS_PROTOCOL",
      message: "a lease over shared memory needs a mailbox",
    });
  },
);
