/** A function writes what looks like the node's own log. */
import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Forges = typeof import("../functions/forges-log.ts");

beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});

test("a line of a function is one line of the node's log, and no terminal obeys it", async () => {
  using scratch = new Scratch();
  await using node = await ServedNode.start(scratch.join("node.sock"), ["--cores", "1"]);
  await using rf = await invoker({ node: node.address });
  await using lease = await rf.allocate<Forges>(join(FUNCTIONS, "forges-log.ts"));
  expect(await lease.function("forge")(null)).toBe(1);
  await until(() => node.stderr.includes("lease 999"), "the node has logged it");
  const forged = node.stderr.split("\n").filter((line) => line.includes("lease 999"));
  expect(forged).toHaveLength(1);
  expect(forged[0]).toContain("hello\\nℹ lease 999 granted: 64 workers for forged.ts\\u001b[2J");
  expect(node.stderr).not.toContain("\x1b[2J");
});
