import { UsageError } from "../../../src/base/errors.ts";
import { nodesFromAddresses, parseNodeList } from "../../../src/client/cluster/node-list.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same, textOf } from "./outcome.ts";

const lists: unknown[] = [
  {
    nodes: [
      { name: "a", address: "h:1", cores: 4, memory: "16GiB" },
      { address: "/run/x.sock", memory: 0 },
    ],
  },
  { nodes: [{ address: "h:1", memory: "much" }, { address: "h" }] },
  {
    executors: [
      { node: "n", address: "10.0.0.1", port: 1, cores: 2, memory: 5 },
      { address: "::1", port: 2 },
    ],
  },
  { executors: [{ node: "", address: "h", port: 99999 }] },
  ["h:1", "[::1]:2", "h:1"],
  ["h:1", "unix:/a"],
  "text",
  {},
  null,
  { nodes: [{ name: "a" }, 5] },
];

export const subject: Subject = {
  seeds: [...lists.map((list) => bytesOf(JSON.stringify(list))), bytesOf("{")],
  tokens: [
    '{"nodes":[',
    '{"executors":[',
    '"address":"h:1"',
    '"memory":',
    '"name":"a"',
    "[]",
    "null",
  ],
  maxBytes: 512,
  run(input) {
    const nodes = outcome(() => parseNodeList(textOf(input), "nodes.json"), UsageError);
    if (!nodes) return;
    must(new Set(nodes.map(({ name }) => name)).size === nodes.length, "has a name twice");
    const addresses = nodes.map(({ address }) => address);
    const again = nodesFromAddresses(addresses).map(({ address }) => address);
    same(again, addresses, "has other addresses");
  },
};
