/** `rfaas manager` as its users start and stop it. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { EXIT } from "../../src/base/errors.ts";
import { invoker } from "../support/library.ts";
import type { NodeInfo, UsageReport } from "../../src/protocol/manager-messages.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { APART } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

let scratch: Scratch;
let state: string;
beforeEach(() => {
  scratch = new Scratch();
  state = scratch.join("state");
});
afterEach(() => scratch[Symbol.dispose]());

test("a manager shows the nodes of its file, serves HTTP when asked, and ends at SIGTERM", async () => {
  const executor = { node: "old", address: "10.0.0.7", port: 10005, cores: 4, memory: 1024 };
  const nodes = scratch.file("executors.json", JSON.stringify({ executors: [executor] }));
  await using manager = await RunningManager.start(scratch.path, [
    "--http",
    "127.0.0.1:0",
    "--nodes",
    nodes,
  ]);
  using client = await ManagerSubscription.connect(manager.address);
  expect([...client.nodes.values()]).toMatchObject([
    { name: "old", address: "10.0.0.7:10005", cores: 4, memoryBytes: 2 ** 30, state: "expected" },
  ]);
  expect((await fetch(`${manager.url}/healthz`)).status).toBe(200);
  expect(await manager.end("SIGTERM")).toBe(EXIT.ok);
  await until(() => !client.connected, "the client notices");
});

test("what a stranger says reaches the terminal of a manager's log without what the terminal would obey", async () => {
  await using manager = await RunningManager.start(scratch.path);
  using stranger = await RawPeer.connect(manager.address);
  stranger.send({
    t: "subscribe",
    protocol: 99,
    version: "1\x1b]0;title\x07\nnode x left",
    token: null,
  });
  await until(() => stranger.find("refused") !== undefined, "it is refused");
  await until(() => manager.stderr.includes("protocol"), "it is logged");
  expect(manager.stderr).toContain("1?]0;title??node x left");
});

test("a port that is taken is named in one line", async () => {
  await using manager = await RunningManager.start(scratch.path);
  const args = ["manager", "--listen", manager.address, "--state", scratch.join("other")];
  const { exitCode, stderr } = await rfaas(args);
  expect(exitCode).toBe(EXIT.failed);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain(`${manager.address} is in use by process`);
});

test("one state directory has one manager: a second one is told which process it is, and starts once that is killed", async () => {
  await using manager = await RunningManager.start(scratch.path);
  const args = ["manager", "--listen", "127.0.0.1:0", "--state", manager.state];
  const { exitCode, stderr } = await rfaas(args);
  expect(exitCode).toBe(EXIT.failed);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain(
    `another manager keeps its state in ${manager.state}: process ${manager.pid} on `,
  );
  await manager.kill();
  await manager.restart();
});

test.each<[string, string[], number, string]>([
  ["a state directory that cannot be", ["--state", "/proc/none"], EXIT.failed, "--state DIR"],
  ["an address that is none", ["--listen", "nowhere"], EXIT.usage, '"nowhere" is no address'],
  ["a socket's path", ["--listen", "/run/x.sock"], EXIT.usage, "--listen must be HOST:PORT"],
  ["a list that is not there", ["--nodes", "/nonexistent"], EXIT.failed, "/nonexistent"],
  ["an argument", ["now"], EXIT.usage, 'no argument "now"'],
])("%s is refused with what to do", async (_, args, exit, reason) => {
  const env = { XDG_STATE_HOME: state };
  const { exitCode, stderr } = await rfaas(["manager", ...args], { env });
  expect(stderr).toContain(reason);
  expect(exitCode).toBe(exit);
});

test("a wrong field of the list of nodes is named with its path", async () => {
  const nodes = scratch.file("nodes.json", '{"nodes":[{"name":"a","address":"h:1","cores":-1}]}');
  const { exitCode, stderr } = await rfaas(["manager", "--nodes", nodes, "--state", state]);
  expect(exitCode).toBe(EXIT.usage);
  expect(stderr).toContain("nodes[0].cores must be a whole number");
});

test("the name of a listed node is one that a node can have", async () => {
  const nodes = scratch.file("nodes.json", '["/run/rfaas.sock"]');
  const { exitCode, stderr } = await rfaas(["manager", "--nodes", nodes, "--state", state]);
  expect(exitCode).toBe(EXIT.usage);
  expect(stderr).toContain("a node's name is 1 to 128 letters");
});

test("ps shows the nodes and the leases that there are, and goes on showing them", async () => {
  using scratch = new Scratch();
  await using manager = await RunningManager.start(scratch.path);
  await using node = await ServedNode.start(scratch.join("node.sock"), [
    ...["--manager", manager.address, "--name", "rack1-07", "--cores", "3"],
  ]);
  const env = { RFAAS_MANAGER: manager.address };
  const shown = async (): Promise<{ nodes: NodeInfo[]; leases: UsageReport[] }> =>
    JSON.parse((await rfaas(["ps", "--json"], { env })).stdout);
  await until(async () => (await shown()).nodes.length === 1, "the node has joined");
  const watching = Bun.spawn([RFAAS, "ps", "--watch", "--json"], {
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let watched = "";
  void (async () => {
    for await (const text of watching.stdout.pipeThrough(new TextDecoderStream())) watched += text;
  })();

  await using rf = await invoker({ node: node.address });
  await (
    await rf.allocate(join(FUNCTIONS, "keeps.ts"), { keepWarmMs: 600_000, memory: "1MiB" })
  ).release();
  // Those of clients of other machines are never kept.
  const kept = APART ? 0 : 1;
  await until(async () => (await shown()).nodes[0]?.keptHosts === kept, "the host is kept");
  expect((await rfaas(["ps"], { env })).stdout).toMatch(
    new RegExp(`^rack1-07 .* 0 +${kept} +0$`, "m"),
  );
  await using _ = await rf.allocate(join(FUNCTIONS, "good.ts"), { workers: 2, memory: "1MiB" });
  await until(async () => (await shown()).leases.length === 1, "the lease is there");
  const { nodes, leases } = await shown();
  expect(nodes).toMatchObject([
    { name: "rack1-07", state: "up", cores: 3, freeCores: 1, leases: 1 },
  ]);
  expect(leases).toMatchObject([{ node: "rack1-07", workers: 2, endedAtMs: null }]);
  const { stdout } = await rfaas(["ps"], { env });
  expect(stdout).toMatch(/^rack1-07 +up +\S+(?:node\.sock|:\d+) +1\/3 /m);
  expect(stdout).toMatch(/^rack1-07\/\d+ +\S+ +2 /m);

  await until(
    () =>
      watched
        .trimEnd()
        .split("\n")
        .some((line) => JSON.parse(line).leases.length === 1),
    "whoever watches sees the lease",
  );
  watching.kill("SIGINT");
  expect(await watching.exited).toBe(0);
  expect(await watching.stderr.text()).toBe("");
});

test("what was wished of nodes is still known to a manager that starts again", async () => {
  await using manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  const ask = (path: string, method: string, body?: object): Promise<Response> =>
    fetch(`${manager.url}${path}`, {
      method,
      headers: { "content-type": "application/json" },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  for (const name of ["stays", "drains", "goes"])
    expect((await ask(`/v1/nodes/${name}`, "POST", { address: "10.0.0.7:1", cores: 4 })).ok).toBe(
      true,
    );
  expect((await ask("/v1/nodes/drains/drain", "POST", { deadlineMs: 3_600_000 })).ok).toBe(true);
  expect((await ask("/v1/nodes/goes", "DELETE")).ok).toBe(true);
  await manager.kill();
  await manager.restart();

  const { nodes } = (await (await ask("/v1/nodes", "GET")).json()) as { nodes: NodeInfo[] };
  expect(nodes.map(({ name, state, cores }) => [name, state, cores])).toEqual([
    ["stays", "expected", 4],
    ["drains", "expected", 4],
  ]);
  await using node = await ServedNode.start(scratch.join("node.sock"), [
    ...["--manager", manager.address, "--name", "drains", "--cores", "2"],
  ]);
  await until(() => node.stderr.includes("the manager drains this node"), "the node is drained");
  await using rf = await invoker({ node: node.address });
  expect(rf.allocate(join(FUNCTIONS, "good.ts"))).rejects.toThrow("draining");
});

test("a damaged memory of nodes is named, and what to do", async () => {
  mkdirSync(state);
  writeFileSync(join(state, "nodes.json"), '{"version":1,"nodes":[{"name":3}]}');
  const { exitCode, stderr } = await rfaas(["manager", "--state", state]);
  expect(exitCode).toBe(EXIT.failed);
  expect(stderr).toContain("nodes.json cannot be read");
  expect(stderr).toContain("or remove it");
});

test("a key that is made while the manager runs counts at once", async () => {
  await using manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  const nodes = (token?: string): Promise<Response> =>
    fetch(`${manager.url}/v1/nodes`, {
      headers: token ? { authorization: `Bearer ${token}` } : {},
    });
  expect((await nodes()).status).toBe(200);
  using client = await ManagerSubscription.connect(manager.address);
  const create = ["token", "create", "--user", "ada", "--state", manager.state];
  const token = (await rfaas(create)).stdout.trim();
  const bearer = (await rfaas([...create, "--bearer"])).stdout.trim();
  await until(() => manager.stderr.includes("there is a new key"), "the manager has the key");
  expect((await nodes()).status).toBe(401);
  expect((await nodes(token)).status).toBe(401);
  expect((await nodes(bearer)).status).toBe(200);
  await until(() => !client.connected, "who has no token is out");
  expect(ManagerSubscription.connect(manager.address)).rejects.toThrow("token is needed");
  using admitted = await ManagerSubscription.connect(manager.address, token);
  expect(admitted.connected).toBe(true);
});
