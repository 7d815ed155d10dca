import { Type } from "@sinclair/typebox";
import { LAYOUT } from "../../../ffi/layout.ts";
import { runHost } from "../../executor/host/host.ts";
import type { Command } from "../shared/command.ts";
import { flag, readOptions, whole } from "../shared/options.ts";

const Options = Type.Object({
  workers: whole(0, LAYOUT.maxWorkers),
  parent: whole(1, 2 ** 31),
  verbs: Type.Optional(flag),
});

/** A host process: started by an agent, which is at the other end of descriptor 3. */
export const host: Command = {
  usage: "__host",
  summary: "run one lease's workers (started by a node)",
  description: "",
  options: [
    { flag: "--workers <n>", description: "threads to have ready" },
    { flag: "--parent <pid>", description: "the agent to die with" },
    { flag: "--verbs", description: "open the RDMA libraries ahead of a lease" },
  ],
  examples: [],
  hidden: true,
  async run(_args, raw) {
    const { workers, parent, verbs } = readOptions(Options, raw);
    await runHost({ prewarmedWorkers: workers, parentPid: parent, verbs: verbs ?? false });
  },
};
