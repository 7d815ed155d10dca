/** What someone is told who goes from one machine to two: where a node is found, why one cannot be used, what calls cost there. */
import { expect, test } from "bun:test";
import { hostname } from "node:os";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { invoker } from "../../src/index.ts";

const LIMIT_MS = 60_000;

async function startedAt(listen: string, ...options: string[]): Promise<[string, number]> {
  await using node = await ServedNode.start(listen, ["--prewarm", "0", ...options]);
  await until(() => node.stderr.includes("reach it with"), "it tells how it is reached");
  return [node.stderr, node.port];
}

test(
  "a node that listens at every address names one that leads to it",
  async () => {
    const [open, port] = await startedAt("0.0.0.0:0", "--allow-remote");
    expect(open).toMatch(
      new RegExp(`--node 'rfaas://${hostname()}:${port}\\?key=sha256:[0-9a-f]{64}' `),
    );
    expect(open).not.toContain("are refused");
    const [closed, closedPort] = await startedAt("0.0.0.0:0");
    expect(closed).toContain(`--node 127.0.0.1:${closedPort} `);
    expect(closed).toContain("clients of other machines are refused; serve them with");
  },
  LIMIT_MS,
);

test("a node that is told where clients find it says that they reach it there", async () => {
  using scratch = new Scratch();
  const args = ["--allow-remote", "--advertise", "192.0.2.7:7700", "--state", scratch.path];
  await using node = await ServedNode.start("0.0.0.0:0", args);
  await until(() => node.stderr.includes("reach it with"), "it tells how it is reached");
  expect(node.stderr).toMatch(/--node 'rfaas:\/\/192\.0\.2\.7:7700\?key=sha256:[0-9a-f]{64}'/);
  expect(node.stderr).not.toContain("clients may not find");
});

test("a node advertises no address that stands for every one", async () => {
  for (const address of ["0.0.0.0:7700", "[::]:7700"]) {
    const args = ["serve", "--listen", "127.0.0.1:0", "--manager", "127.0.0.1:1"];
    const { exitCode, stderr } = await rfaas([...args, "--advertise", address]);
    expect(stderr).toContain(`--advertise ${address} leads clients to no machine`);
    expect(exitCode).toBe(2);
  }
});

test(
  "a cluster without room says why a node of it cannot be used",
  async () => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    using scratch = new Scratch();
    await using manager = await RunningManager.start(scratch.path);
    const join = ["--manager", manager.address, "--name", "n1", "--advertise", "127.0.0.1:1"];
    await using _node = await ServedNode.start(scratch.join("n1.sock"), join);
    await using rf = await invoker({ manager: manager.address });
    await until(() => rf.nodes().some(({ state }) => state === "up"), "the node has joined");
    const refused = await rf.allocate("rfaas:echo", { timeoutMs: 1000 }).catch((error) => error);
    expect(refused.message).toContain(
      "(n1 cannot be used); n1: no node answers at 127.0.0.1:1 (no process listens there",
    );
  },
  LIMIT_MS,
);

test("the address of a manager is no node's, and is said to be one's", async () => {
  using scratch = new Scratch();
  await using manager = await RunningManager.start(scratch.path);
  const { exitCode, stderr } = await rfaas(["ps", "--node", manager.address]);
  expect(stderr).toContain("is the address a node's where a node is meant");
  expect(exitCode).toBe(3);
});

test(
  "a name that no host has is looked for in the name, not in the node",
  async () => {
    const { exitCode, stderr } = await rfaas(["ps", "--node", "nowhere.invalid:7700"]);
    expect(stderr).toContain("check the name, or give the address");
    expect(exitCode).toBe(3);
  },
  LIMIT_MS,
);

test(
  "bench compares bandwidth over TCP with a stream of C, and measures cold starts over the fabric that is asked for",
  async () => {
    const args = [
      "bench",
      "bandwidth",
      "--fabric",
      "tcp",
      "-s",
      "64KiB",
      "-n",
      "8",
      "--pairs",
      "2",
    ];
    const bandwidth = await rfaas([...args, "--csv"], { limitMs: LIMIT_MS });
    expect(bandwidth.exitCode).toBe(0);
    const [head, row] = bandwidth.stdout.split("\n").map((line) => line.split(","));
    expect(head!.join()).not.toContain("none");
    for (const column of ["MiB/s", "floor[MiB/s]", "floor[usec]", "ratio"])
      expect(Number(row![head!.indexOf(column)])).toBeGreaterThan(0);
    const cold = ["bench", "cold", "--fabric", "tcp", "-n", "1", "--json"];
    const { stdout, exitCode } = await rfaas(cold, { limitMs: LIMIT_MS });
    expect(exitCode).toBe(0);
    const fabrics = stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { fabric: string }).fabric);
    expect(fabrics.length).toBeGreaterThan(1);
    expect(new Set(fabrics)).toEqual(new Set(["tcp"]));
  },
  2 * LIMIT_MS,
);
