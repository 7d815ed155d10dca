/** Hot calls of rfaas, and C with sockets alone, measured as the peers are. */
import { ticksPerNs } from "../../ffi/system.ts";
import { type FabricName, fabricNamed } from "../../src/fabric/registry.ts";
import { type Invoker, invoker } from "../../src/index.ts";
import { EchoClient } from "../clients/echo-client.ts";
import { floorOf } from "../floor.ts";
import { type Placement, placeClient } from "../placement.ts";
import { NO_DELAYS } from "../sweep.ts";
import type { Peer } from "./peer.ts";

const WARM_UP_MS = 300;
const FLOOR_WARMUP = 500;

/** Each window is on a lease of its own: a hot worker that waits would take its core from the others. */
export async function openRfaas(fabric: FabricName, usable: readonly number[]): Promise<Peer> {
  const node: Invoker = await invoker({ fabric });
  return {
    name: `rfaas, hot, ${fabricNamed(fabric)!.title}`,
    async window(bytes, tookNs) {
      const memory = 2 * bytes + 4096;
      await using lease = await node.allocate("rfaas:echo", { polling: "hot", memory });
      const client = new EchoClient(lease, {
        ...{ bytes, name: "echo", copies: true, ratePerS: 0 },
        ...{ delays: NO_DELAYS, warmUpMs: WARM_UP_MS },
      });
      client.warmUp();
      placeClient(lease.cpus, usable);
      inNs(tookNs, (ticks) => client.window(ticks));
    },
    [Symbol.asyncDispose]: () => node.close(),
  };
}

export async function openFloor({ clientCpu, workerCpu }: Placement): Promise<Peer> {
  const floor = await floorOf("tcp", {});
  return {
    name: floor.name(false),
    async window(bytes, tookNs) {
      const ticks = new Uint32Array(tookNs.length);
      await floor.measure(
        {
          ...{ bytes, warmup: FLOOR_WARMUP, samples: ticks.length, clientCpu, echoCpu: workerCpu },
          ...{ block: false, gapNs: 0, delays: NO_DELAYS.floor.asked },
        },
        ticks,
      );
      inNs(tookNs, (into) => into.set(ticks));
    },
    async [Symbol.asyncDispose]() {},
  };
}

function inNs(tookNs: Float64Array, fill: (ticks: Uint32Array<ArrayBuffer>) => void): void {
  const ticks = new Uint32Array(tookNs.length);
  fill(ticks);
  const rate = ticksPerNs();
  for (let i = 0; i < ticks.length; i++) tookNs[i] = ticks[i]! / rate;
}
