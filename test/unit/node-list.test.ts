import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  nodesFromAddresses,
  parseNodeList,
  readNodeList,
} from "../../src/client/cluster/node-list.ts";
import { EnvironmentError, UsageError } from "../../src/base/errors.ts";
import { Scratch } from "../support/scratch.ts";

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

const read = (content: unknown) =>
  readNodeList(scratch.file("nodes.json", JSON.stringify(content)));

function refusal(content: unknown): string {
  const path = scratch.file("nodes.json", JSON.stringify(content));
  try {
    readNodeList(path);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    const { message } = error as Error;
    expect(message).toContain(path);
    return message.slice(message.indexOf(path) + path.length);
  }
  throw new Error("nothing was thrown");
}

describe("a list of nodes", () => {
  test("in our own form has addresses, and may have names and sizes", () => {
    const nodes = [
      { name: "rack1-a", address: "10.0.0.5:7700", cores: 36, memory: "64GiB" },
      { address: "/run/rfaas/node.sock", comment: "the one in the corner" },
      { address: "[fd00::7]:7700", memory: 1024 },
    ];
    expect(read({ nodes })).toEqual([
      { name: "rack1-a", address: "10.0.0.5:7700", cores: 36, memoryBytes: 64 * 2 ** 30 },
      { name: "/run/rfaas/node.sock", address: "/run/rfaas/node.sock" },
      { name: "[fd00::7]:7700", address: "[fd00::7]:7700", memoryBytes: 1024 },
    ]);
  });

  test("may be an array of addresses", () => {
    expect(read(["10.0.0.5:7700", "/run/a.sock"]).map(({ address }) => address)).toEqual([
      "10.0.0.5:7700",
      "/run/a.sock",
    ]);
    expect(nodesFromAddresses(["a:1"])).toEqual([{ name: "a:1", address: "a:1" }]);
  });

  test("may be the executor list of the original rFaaS, with memory in MiB", () => {
    const executors = [
      { node: "exec-mgr-node", address: "172.31.82.200", port: 10000, cores: 1, memory: 512 },
      { node: "", address: "fd00::7", port: 10001, cores: 36, memory: 65_536, gpus: 0 },
    ];
    expect(read({ executors })).toEqual([
      { name: "exec-mgr-node", address: "172.31.82.200:10000", cores: 1, memoryBytes: 2 ** 29 },
      { name: "[fd00::7]:10001", address: "[fd00::7]:10001", cores: 36, memoryBytes: 2 ** 36 },
    ]);
  });
});

describe("a wrong list of nodes is refused by file and field:", () => {
  test.each<[string, unknown, string]>([
    ["no nodes", { nodes: [] }, "nodes must be a list of one node or more"],
    ["nodes that are none", {}, "nodes must be a list of one node or more and is missing; add it"],
    ["a node without address", { nodes: [{ name: "a" }] }, "nodes[0].address must be an address"],
    ["a node that is text", { nodes: ["a:1"] }, "nodes[0] must be an object"],
    [
      "a strange name",
      { nodes: [{ address: "a:1", name: "a b" }] },
      "nodes[0].name must be a name",
    ],
    ["half a core", { nodes: [{ address: "a:1", cores: 0.5 }] }, "nodes[0].cores must be a whole"],
    [
      "no size",
      { nodes: [{ address: "a:1", memory: "lots" }] },
      'size such as 16GiB and is "lots"',
    ],
    ["no address", { nodes: [{ address: "here" }] }, 'nodes[0].address "here" is no address'],
    ["an array of numbers", ["a:1", 7], "[1] must be an address"],
    ["an empty array", [], "it must be a list of one address or more"],
    ["an address twice", ["a:1", "a:1"], "two nodes with the name a:1"],
    [
      "one address under two names",
      {
        nodes: [
          { name: "x", address: "a:1" },
          { name: "y", address: "a:1" },
        ],
      },
      "two nodes with the address a:1; remove one",
    ],
    ["an executor without port", { executors: [{ address: "a" }] }, "executors[0].port must be"],
    [
      "an executor without address, as the original's example has it",
      { executors: [{ node: "n", address: "", port: 1 }] },
      "executors[0].address must be an IP address",
    ],
    ["text", "a:1", "it must be"],
    ["null", null, "it must be"],
  ])("%s", (_, content, message) => {
    expect(refusal(content)).toContain(message);
  });

  test("what is no JSON", () => {
    expect(() => parseNodeList("{nodes", "list.json")).toThrow("list.json is not JSON");
  });

  test("a file that cannot be read", () => {
    expect(() => readNodeList(scratch.join("missing.json"))).toThrow(EnvironmentError);
  });
});
