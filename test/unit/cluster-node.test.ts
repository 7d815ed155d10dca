import { expect, test } from "bun:test";
import { NodeUnreachable } from "../../src/base/errors.ts";
import { ClusterNode, type ConnectedNode } from "../../src/client/cluster/node.ts";
import type { PartLease } from "../../src/client/lease/part.ts";

test("a node whose address is not known any more cannot be reached, until it is known again", async () => {
  const connections: string[] = [];
  const taken = {} as PartLease;
  const node = new ClusterNode(
    { name: "n1", address: "", state: "expected" },
    async (address) => {
      connections.push(address);
      // What a lease needs of it.
      return { take: async () => taken } as unknown as ConnectedNode;
    },
    () => {},
  );
  const allocated = () => node.allocate("./f.ts", { loadTimeoutMs: 1000 });
  expect(node.open).toBe(false);
  // It was planned while a former manager still told the address.
  const error = await allocated().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(NodeUnreachable);
  expect((error as Error).message).toContain("does not know yet where the node n1 is");
  expect(connections).toEqual([]);
  node.learn({ name: "n1", address: "here:1", state: "up" }, true);
  expect(await allocated()).toBe(taken);
  expect(connections).toEqual(["here:1"]);
});
