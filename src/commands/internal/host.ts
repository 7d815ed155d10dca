import { Type } from "@sinclair/typebox";
import { LAYOUT } from "../../../ffi/layout.ts";
import { runHost } from "../../executor/host/host.ts";
import { texts, whole } from "../../options/fields.ts";
import { defineCommand } from "../shared/command.ts";

/** A host process: started by an agent, which is at the other end of descriptor 3. */
export const host = defineCommand({
  usage: "__host",
  summary: "run one lease's workers (started by a node)",
  description: "",
  options: Type.Object({
    workers: whole(0, LAYOUT.maxWorkers, { description: "threads to have ready" }),
    parent: whole(1, 2 ** 31, { description: "the agent to die with", placeholder: "pid" }),
    fabrics: texts("the name of a fabric", {
      description: "one that leases may use, to have it ready",
      placeholder: "name",
    }),
  }),
  examples: [],
  hidden: true,
  async run(_args, { workers, parent, fabrics }) {
    await runHost({ prewarmedWorkers: workers, parentPid: parent, fabrics });
  },
});
