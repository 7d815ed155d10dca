/**
 * `bun test/turnover/run.ts [--leases 10000] [--sandbox process] [--kind NAME].. [--json]`: takes so many leases in a row, and exits with 1
 * when node or client hold more of anything in all of the second half than ever in the first, or grow by more than 5 MiB. `RFAAS_LIMITS` says what
 * bounds the hosts. With `--json` it tells what it has counted, and leaves memory out of it, for which few leases are too few.
 */
import { parseArgs } from "node:util";
import { whyNoPodman, withPodman } from "../support/podman.ts";
import { type TurnoverLook, turnover } from "./turnover.ts";
import { grown, grownMemory } from "./growth.ts";

const { values } = parseArgs({
  options: {
    leases: { type: "string", default: "10000" },
    parts: { type: "string", default: "20" },
    sandbox: { type: "string", default: "process" },
    kind: { type: "string", multiple: true },
    json: { type: "boolean", default: false },
  },
});

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
const tell = ({ leases, node, client, nodeBytes, clientBytes }: TurnoverLook): void => {
  const all = (held: object): string =>
    Object.entries(held)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ");
  console.error(
    `${leases} leases: node ${mib(nodeBytes)} MiB, ${all(node)}; client ${mib(clientBytes)} MiB, ${all(client)}`,
  );
};

if (values.sandbox === "podman") {
  const lack = whyNoPodman();
  if (lack !== undefined) {
    console.error(`SKIPPED: rooms by podman: ${lack}`);
    process.exit(0);
  }
}
const result = await turnover({
  leases: Number(values.leases),
  parts: Number(values.parts),
  sandbox: values.sandbox,
  within: values.sandbox === "podman" ? withPodman : [],
  ...(values.kind && { kinds: values.kind }),
  onPart: tell,
});
const more = [...grown(result.looks), ...(values.json ? [] : grownMemory(result.looks))];
if (values.json) console.log(JSON.stringify({ ...result, grown: more }));
else console.log(more.length === 0 ? "nothing has grown" : `grown: ${more.join(", ")}`);
if (more.length > 0) process.exitCode = 1;
