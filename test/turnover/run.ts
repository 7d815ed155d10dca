/**
 * `bun test/turnover/run.ts [--leases 10000] [--sandbox process] [--kind NAME].. [--json]`: takes so many leases in a row, and exits with 1
 * when node or client hold more of anything afterwards than after the first tenth of them, or 5 MiB more memory. `RFAAS_LIMITS` says what bounds
 * the hosts.
 */
import { parseArgs } from "node:util";
import { type TurnoverLook, turnover } from "./turnover.ts";
import { grown } from "./growth.ts";

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

const result = await turnover({
  leases: Number(values.leases),
  parts: Number(values.parts),
  sandbox: values.sandbox,
  ...(values.kind && { kinds: values.kind }),
  onPart: tell,
});
const more = grown(result.looks);
if (values.json) console.log(JSON.stringify({ ...result, grown: more }));
else console.log(more.length === 0 ? "nothing has grown" : `grown: ${more.join(", ")}`);
if (more.length > 0) process.exitCode = 1;
