/** A worker's process over verbs: `bun echo-verbs-peer.ts ADDRESS NONCE SHAPE PARENT`. Prints the port that it listens at. */
import { Region, createRegion } from "../../ffi/region.ts";
import { endWithParent } from "../../ffi/children.ts";
import { WorkerControl } from "../../ffi/worker-endpoint.ts";
import { FabricLink } from "../../src/fabric/verbs/link.ts";
import type { Shape } from "../fabric/conformance.ts";
import { echo } from "../fabric/echo-worker.ts";

const [address, nonce, shape, parent] = process.argv.slice(2) as [string, string, string, string];
endWithParent(Number(parent));
const { slots, spinNs = 0, ...rest } = JSON.parse(shape) as Shape;
const region = Region.map(createRegion({ workers: 1, slots, spinNs, ...rest }), 1, slots);
const link = await FabricLink.listen(region, {
  address,
  nonce: Uint8Array.from(Buffer.from(nonce, "hex")),
});
await link.ready;
const control = new WorkerControl(region, 0, -1, link.link);
echo(control, slots, region.arena, () => process.stdout.write(`${link.link.port}\n`));
