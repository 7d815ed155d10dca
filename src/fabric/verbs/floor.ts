/** The floor of calls over the fabric: a ping-pong of writes with immediate, over a connection of a device to itself. */
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import type { FloorOptions } from "../../../ffi/floor.ts";
import { Region, createRegion } from "../../../ffi/region.ts";
import { measureVerbsFloor } from "../../../ffi/verbs/floor.ts";
import type { Floor } from "../floor.ts";
import type { FabricLink } from "../link.ts";
import { connectVerbs, listenVerbs } from "./link.ts";

/** Slots as a lease has by default: the queues of the floor are as deep as those of a call. */
const SLOTS = 64;

/** Calls of more take most of their time in the device. */
const SHORT_BYTES = 4096;

/** On the device that has the address. */
export function verbsFloor(address: string, inlineMax: number | undefined): Floor {
  return {
    name: (block) => `raw C write-with-immediate ping-pong${block ? ", event driven" : ""}`,
    // Until its last compilation, after some ten thousand calls, JavaScript takes more than twice as long, which counts for short ones.
    warmUpMs: (bytes) => (bytes <= SHORT_BYTES ? 10_000 : 1_500),
    delaysNs: [],
    // A software device moves 20 MiB/s, where the slowest network card moves a hundred times as much.
    windowCalls: (bytes) => Math.max(50, Math.min(2_500, Math.floor(5e7 / (bytes + 20_000)))),
    measure: (options, out) => measure(address, inlineMax, options, out),
  };
}

async function measure(
  address: string,
  inlineMax: number | undefined,
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Promise<Uint32Array<ArrayBuffer>> {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const here = map(options.bytes);
  const there = map(options.bytes);
  const server = await listenVerbs(there, { address, nonce }, { inlineMax });
  let client: FabricLink | undefined;
  try {
    await server.ready;
    const { port } = server;
    client = await connectVerbs(here, { address, port, nonce, source: "" }, { inlineMax });
    await client.ready;
    return measureVerbsFloor(
      { client: client.link, server: server.link, region: here },
      options,
      out,
    );
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
