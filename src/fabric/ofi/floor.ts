/** The floor of calls over the fabric: a ping-pong of messages, over endpoints of this process. */
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import type { FloorOptions } from "../../../ffi/floor.ts";
import { measureOfiFloor } from "../../../ffi/ofi/floor.ts";
import type { OfiDevice } from "../../../ffi/ofi/ofi.ts";
import { Region, createRegion } from "../../../ffi/region.ts";
import type { Floor } from "../floor.ts";
import type { FabricLink } from "../link.ts";
import { connectOfi, listenOfi } from "./link.ts";

const ADDRESS = "127.0.0.1";
/** Slots as a lease has by default: as many messages are in hand as for calls. */
const SLOTS = 64;

export function ofiFloor(device: OfiDevice): Floor {
  return {
    name: (block) => `raw C libfabric ${device.provider} ping-pong${block ? ", blocking" : ""}`,
    warmUpMs: () => 500,
    delaysNs: [],
    windowCalls: (bytes) => Math.max(50, Math.min(5_000, Math.floor(5e8 / (bytes + 20_000)))),
    measure: (options, out) => measure(device, options, out),
  };
}

async function measure(
  device: OfiDevice,
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Promise<Uint32Array<ArrayBuffer>> {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const here = map(options.bytes);
  const there = map(options.bytes);
  const server = await listenOfi(there, { address: ADDRESS, nonce }, device);
  let client: FabricLink | undefined;
  try {
    await server.ready;
    const { port } = server;
    client = await connectOfi(here, { address: ADDRESS, port, nonce, source: "" }, device);
    await client.ready;
    return measureOfiFloor({ client: client.link, server: server.link }, options, out);
  } finally {
    client?.close();
    server.close();
    here.close();
    there.close();
  }
}

function map(bytes: number): Region {
  const shape = { workers: 1, slots: SLOTS, polling: "hot", spinNs: 0 } as const;
  const fd = createRegion({ ...shape, arenaBytes: bytes + 4096 });
  try {
    return Region.map(fd, 1, SLOTS);
  } finally {
    closeDescriptor(fd);
  }
}
