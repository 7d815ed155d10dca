import { describe, test } from "bun:test";
import { join } from "node:path";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { Region } from "../../ffi/region.ts";
import { verbsProblem } from "../../ffi/verbs/verbs.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import { addressesOf, rdmaDevices } from "../../src/fabric/verbs/devices.ts";
import { FabricLink } from "../../src/fabric/verbs/link.ts";
import {
  type Fabric,
  type LocalPair,
  type RemotePair,
  type Shape,
  conformance,
} from "../fabric/conformance.ts";
import { regionOf } from "../fabric/region-of.ts";

/** The address of an RDMA device of this machine, or why there is none. */
function findDevice(): { address: string } | { reason: string } {
  try {
    return { address: addressesOf(rdmaDevices(), {})[0]! };
  } catch (error) {
    return { reason: verbsProblem() ?? (error as Error).message };
  }
}

const device = findDevice();

function map(shape: Shape): Region {
  const fd = regionOf(shape);
  const region = Region.map(fd, 1, shape.slots);
  closeDescriptor(fd);
  return region;
}

function verbs(address: string): Fabric {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  return {
    name: "verbs",
    share: 0.1,

    async local(shape): Promise<LocalPair> {
      const here = map(shape);
      const there = map(shape);
      const listening = await FabricLink.listen(there, { address, nonce });
      await listening.ready;
      const { port } = listening.link;
      const connected = await FabricLink.connect(here, { address, port, nonce, source: "" });
      await connected.ready;
      const client = new ClientEndpoint(here, 0, shape.slots, connected.link);
      const control = new WorkerControl(there, 0, -1, listening.link);
      const worker = new WorkerEndpoint(control.handle, shape.slots);
      worker.setFunctionCount(1);
      return {
        client,
        clientArena: here.arena,
        worker,
        workerArena: there.arena,
        beginAt(sequence) {
          client.beginAt(sequence);
          control.beginAt(sequence);
        },
        stop: () => control.stop(),
        async [Symbol.asyncDispose]() {
          client.close();
          connected.close();
          listening.close();
          here.close();
          there.close();
        },
      };
    },

    async remoteEcho(shape): Promise<RemotePair> {
      const region = map(shape);
      const child = Bun.spawn(
        [
          process.execPath,
          join(import.meta.dir, "echo-verbs-peer.ts"),
          address,
          Buffer.from(nonce).toString("hex"),
          JSON.stringify(shape),
          String(process.pid),
        ],
        { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
      );
      const { value } = await child.stdout.getReader().read();
      const port = Number(new TextDecoder().decode(value));
      const link = await FabricLink.connect(region, { address, port, nonce, source: "" });
      await link.ready;
      const client = new ClientEndpoint(region, 0, shape.slots, link.link);
      return {
        client,
        clientArena: region.arena,
        kill: () => child.kill("SIGKILL"),
        async [Symbol.asyncDispose]() {
          child.kill("SIGKILL");
          await child.exited;
          client.close();
          link.close();
          region.close();
        },
      };
    },
  };
}

if ("address" in device) conformance(verbs(device.address));
else
  describe("verbs", () => {
    test.skip(`conformance, because ${device.reason}`, () => {});
  });
