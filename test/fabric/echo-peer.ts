/** A worker's process over shared memory: `bun echo-peer.ts REGION SLOTS PARENT [PATIENCE]`. */
import { openSync } from "node:fs";
import { Region } from "../../ffi/region.ts";
import { endWithParent } from "../../ffi/children.ts";
import { WorkerControl } from "../../ffi/worker-endpoint.ts";
import { echo } from "./echo-worker.ts";

const [path, slotCount, parent, patience] = process.argv.slice(2) as [
  string,
  string,
  string,
  string?,
];
endWithParent(Number(parent));
const slots = Number(slotCount);
const region = Region.map(openSync(path, "r+"), 1, slots);
const control = new WorkerControl(region, 0, -1, { clientFd: -1 });
echo(
  control,
  slots,
  region.arena,
  () => process.stdout.write("ready\n"),
  patience === undefined ? undefined : Number(patience),
);
