/**
 * A host process: started by an agent, which is at the other end of descriptor 3, with the arguments `WORKERS PARENT SHIM waits|wanted FREEDOMS [FABRIC..]`.
 * It is no command of the tree, for it starts without all that reads command lines.
 */
import { EXIT } from "../../base/errors.ts";
import { runHost } from "../../executor/host/host.ts";
import { freedomsIn } from "../../executor/host/seal.ts";

export async function runHostProcess(words: readonly string[]): Promise<void> {
  const [workers, parent, shim, why, freedoms = "", ...fabrics] = words;
  const [prewarmedWorkers, parentPid] = [Number(workers), Number(parent)];
  if (shim === undefined || why === undefined || !(prewarmedWorkers >= 0) || !(parentPid >= 0)) {
    console.error("__host is started by a node, and by nothing else; see: rfaas help serve");
    process.exit(EXIT.usage);
  }
  const sealedTo = freedomsIn(freedoms);
  await runHost({ prewarmedWorkers, waits: why === "waits", parentPid, shim, sealedTo, fabrics });
}
