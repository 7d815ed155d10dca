import { Type } from "@sinclair/typebox";
import { LAYOUT } from "../../../ffi/layout.ts";
import { runHost } from "../../executor/host/host.ts";
import { truth, whole } from "../../options/fields.ts";
import { defineCommand } from "../shared/command.ts";

/** A host process: started by an agent, which is at the other end of descriptor 3. */
export const host = defineCommand({
  usage: "__host",
  summary: "run one lease's workers (started by a node)",
  description: "",
  options: Type.Object({
    workers: whole(0, LAYOUT.maxWorkers, { description: "threads to have ready" }),
    parent: whole(1, 2 ** 31, { description: "the agent to die with", placeholder: "pid" }),
    verbs: Type.Optional(truth({ description: "open the RDMA libraries ahead of a lease" })),
  }),
  examples: [],
  hidden: true,
  async run(_args, { workers, parent, verbs = false }) {
    await runHost({ prewarmedWorkers: workers, parentPid: parent, verbs });
  },
});
