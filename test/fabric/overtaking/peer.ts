/** A worker's process over the fabric of this folder: `bun peer.ts REGION SLOTS PARENT`. */
import { openSync } from "node:fs";
import { Link } from "../../../ffi/link.ts";
import { Region } from "../../../ffi/region.ts";
import { endWithParent } from "../../../ffi/children.ts";
import { WorkerControl } from "../../../ffi/worker-endpoint.ts";
import { echo } from "../echo-worker.ts";

const [path, slotCount, parent] = process.argv.slice(2) as [string, string, string];
endWithParent(Number(parent));
const slots = Number(slotCount);
const region = Region.map(openSync(path, "r+"), 1, slots);
const link = Link.listen(
  "overtaking",
  region,
  { address: parent, nonce: new Uint8Array(16) },
  -1,
  0,
);
const control = new WorkerControl(region, 0, -1, link);
echo(control, slots, region.arena, () => process.stdout.write("ready\n"));
