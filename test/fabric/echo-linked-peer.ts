/** A worker's process over a network: `bun echo-linked-peer.ts FABRIC ADDRESS NONCE SHAPE PARENT`. Prints the port that it listens at. */
import { endWithParent } from "../../ffi/children.ts";
import { WorkerControl } from "../../ffi/worker-endpoint.ts";
import type { Shape } from "./conformance.ts";
import { echo } from "./echo-worker.ts";
import { listenBy, mapOf } from "./linked.ts";

const [fabric, address, nonce, shaped, parent] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
endWithParent(Number(parent));
const shape = JSON.parse(shaped) as Shape;
const region = mapOf(shape);
const link = await listenBy(fabric)(region, {
  address,
  nonce: Uint8Array.from(Buffer.from(nonce, "hex")),
});
await link.ready;
const control = new WorkerControl(region, 0, -1, link.link);
echo(control, shape.slots, region.arena, () => process.stdout.write(`${link.port}\n`));
