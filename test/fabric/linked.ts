/** Endpoints over a fabric whose clients connect, for the tests that every fabric must pass. */
import { join } from "node:path";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import type { OfiDevice } from "../../ffi/ofi/ofi.ts";
import { Region } from "../../ffi/region.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import type { FabricLink } from "../../src/fabric/link.ts";
import { connectOfi, listenOfi } from "../../src/fabric/ofi/link.ts";
import { connectTcp, listenTcp } from "../../src/fabric/tcp/link.ts";
import { connectVerbs, listenVerbs } from "../../src/fabric/verbs/link.ts";
import type { Fabric, LocalPair, RemotePair, Shape } from "./conformance.ts";
import { regionOf } from "./region-of.ts";

interface Ways {
  listen(region: Region, at: { address: string; nonce: Uint8Array }): Promise<FabricLink>;
  connect(
    region: Region,
    to: { address: string; port: number; nonce: Uint8Array; source: string },
  ): Promise<FabricLink>;
}

const WAYS: Record<string, Ways> = {
  verbs: { listen: listenVerbs, connect: connectVerbs },
  tcp: { listen: listenTcp, connect: connectTcp },
  "encrypted tcp": {
    listen: (region, at) => listenTcp(region, { ...at, encrypt: true }),
    connect: (region, to) => connectTcp(region, { ...to, encrypt: true }),
  },
};

/**
 * `ofi:PROVIDER` is that of libfabric; with `+messages` all payloads travel in messages, with `+native` one-sided operations are the
 * provider's.
 */
function waysOf(name: string): Ways {
  const [, provider, how] = /^ofi:(\w+)(\+messages|\+native)?$/.exec(name) ?? [];
  if (provider === undefined) return WAYS[name]!;
  const device: OfiDevice = {
    provider,
    messages: how === "+messages",
    oneSided: how === "+native" ? "all" : undefined,
  };
  return {
    listen: (region, at) => listenOfi(region, at, device),
    connect: (region, to) => connectOfi(region, to, device),
  };
}

export const listenBy = (fabric: string): Ways["listen"] => waysOf(fabric).listen;

export function mapOf(shape: Shape): Region {
  const fd = regionOf(shape);
  const region = Region.map(fd, 1, shape.slots);
  closeDescriptor(fd);
  return region;
}

/** `share` of the long tests is run, over the device that has the address. */
export function linked(name: string, address: string, share: number): Fabric {
  const { listen, connect } = waysOf(name);
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  return {
    name,
    share,

    async local(shape): Promise<LocalPair> {
      const here = mapOf(shape);
      const there = mapOf(shape);
      const listening = await listen(there, { address, nonce });
      await listening.ready;
      const { port } = listening;
      const connected = await connect(here, { address, port, nonce, source: "" });
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
        control,
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
      const region = mapOf(shape);
      const child = Bun.spawn(
        [
          ...[process.execPath, join(import.meta.dir, "echo-linked-peer.ts"), name, address],
          ...[Buffer.from(nonce).toString("hex"), JSON.stringify(shape), String(process.pid)],
        ],
        { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
      );
      const { value } = await child.stdout.getReader().read();
      const port = Number(new TextDecoder().decode(value));
      const link = await connect(region, { address, port, nonce, source: "" });
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
