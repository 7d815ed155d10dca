import { Type } from "@sinclair/typebox";
import { endWithParent } from "../../../ffi/children.ts";
import { canBeWritten } from "../../../ffi/descriptors.ts";
import { hideProcess, outlastSignals } from "../../../ffi/system.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { Agent } from "../../executor/agent/agent.ts";
import { readerOf } from "../../executor/output/bounded-log.ts";
import { PackageStore } from "../../executor/packages/store.ts";
import { OWNER } from "../../executor/admission/identity.ts";
import { planCpus } from "../../executor/machine/cores.ts";
import { defaultOffer, machineLimits } from "../../executor/machine/limits.ts";
import { offerFabrics } from "../../fabric/registry.ts";
import { parseBytes } from "../../base/units.ts";
import { InvokerOptions } from "../../client/options/connect-options.ts";
import { whole } from "../../options/fields.ts";
import { openPrivateSandbox, sandboxField } from "../serving/sandbox.ts";
import { defineCommand } from "../shared/command.ts";
import { log } from "../shared/log.ts";
import { logLine } from "../shared/table.ts";
import { fabricFields, readFabric } from "../shared/fabric-options.ts";

/**
 * A node that is killed while it ends its leases leaves behind what their functions have started. So it is not killed with its client, but
 * has this long to end, from the end of their connection on.
 */
const GRACE_MS = 5000;

const STDERR_FD = 2;

/** A node for one client, which started it and is at the other end of descriptor 3. */
export const privateNode = defineCommand({
  usage: "__node",
  summary: "a node for the one client that started it",
  description: "",
  options: Type.Object({
    parent: whole(1, 2 ** 31, { description: "the client to die with", placeholder: "pid" }),
    cores: InvokerOptions.properties.cores,
    memory: InvokerOptions.properties.memory,
    prewarm: InvokerOptions.properties.prewarm,
    keptHosts: InvokerOptions.properties.keptHosts,
    ...sandboxField,
    ...fabricFields,
  }),
  examples: [],
  hidden: true,
  async run(_args, options) {
    const { parent, cores, memory, prewarm, keptHosts } = options;
    const asked = readFabric(options);
    if (!endWithParent(parent, GRACE_MS)) process.exit(0);
    hideProcess();
    // Ctrl-C, a batch system and a terminal that closes reach the whole group: the client decides what they mean, and we end with it.
    outlastSignals();
    const limits = machineLimits();
    const usual = defaultOffer(limits);
    const agent = new Agent({
      cpus: planCpus(cores ?? usual.cores, limits.cpus),
      memoryBytes: memory === undefined ? usual.memoryBytes : parseBytes(memory, "--memory"),
      polling: "adaptive",
      fabrics: offerFabrics(asked),
      encrypt: asked.encrypt,
      prewarm: prewarm ?? 1,
      keptHosts,
      packages: new PackageStore(),
      sandbox: openPrivateSandbox(options),
      identify: async () => OWNER,
      log: (level, message) =>
        level === "warn" ? log.debug(logLine(message)) : log.verbose(logLine(message)),
      // Its client's program is whose functions these are: they print where it does.
      output: readerOf(
        (text) => void process.stderr.write(`${logLine(text)}\n`),
        () => canBeWritten(STDERR_FD),
      ),
    });
    const client = agent.newClient(() => {
      agent.stop();
      void agent.drain(0).then(() => process.exit(0));
    });
    await watchDescriptor(3, client.handler());
  },
});
