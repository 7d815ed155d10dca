/** A network that carries nothing any more: calls in flight end, and new leases are there when it is back. Needs root, for networks of its own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { ROOT, FUNCTIONS, RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
const NODE = `rfaas-node-${process.pid}`;
const CLIENT = `rfaas-client-${process.pid}`;
const scratch = new Scratch();

const ip = (...args: string[]): boolean =>
  Bun.spawnSync(["ip", ...args], { stderr: "ignore" }).success;
const inside = (network: string, ...command: string[]): string[] => [
  "ip",
  "netns",
  "exec",
  network,
  ...command,
];

const canMakeNetworks =
  process.getuid?.() === 0 && Bun.which("ip") !== null && ip("netns", "add", NODE);
if (!canMakeNetworks) console.warn("skipped, needs root and ip: networks that are cut");

function makeNetworks(): void {
  const steps = [
    ["netns", "add", CLIENT],
    ["-n", CLIENT, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", NODE],
    ["-n", CLIENT, "addr", "add", "10.77.0.1/24", "dev", "eth0"],
    ["-n", NODE, "addr", "add", "10.77.0.2/24", "dev", "eth0"],
    ...[CLIENT, NODE].flatMap((network) => [
      ["-n", network, "link", "set", "lo", "up"],
      ["-n", network, "link", "set", "eth0", "up"],
    ]),
  ];
  for (const step of steps) expect([step, ip(...step)]).toEqual([step, true]);
}

const PROGRAM = `
import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
const say = (text) => process.stdout.write(text + "\\n");
const rf = await invoker({ node: "10.77.0.2:7700", fabric: "tcp" });
const lease = await rf.allocate(${JSON.stringify(join(FUNCTIONS, "good.ts"))}, { memory: "1MiB", workers: 3, polling: process.argv[2] });
const input = lease.input(Uint8Array, 8);
const output = lease.output(Uint8Array, 8);
await lease.submit("echo", input, output);
const ends = [0, 1].map((worker) =>
  lease.submit("pending", lease.input(Uint8Array, 8), lease.output(Uint8Array, 8), { worker }).then(
    () => "answered",
    (error) => error.code + " " + error.message,
  ),
);
// The third worker calls on, without a pause, from where it blocks.
say("calling");
let calls = 0;
let blocked = "";
try {
  for (;; calls++) {
    lease.invoke("echo", input, output, { worker: 2 });
    if (calls % 100 === 0) await new Promise(setImmediate);
  }
} catch (error) {
  blocked = error.code + " " + error.message;
}
say(JSON.stringify({ blocked, ends: await Promise.all(ends) }));
await lease.release().catch(() => {});
await rf.close();
for await (const _ of console) break;
const again = await invoker({ node: "10.77.0.2:7700", fabric: "tcp" });
const fresh = await again.allocate(${JSON.stringify(join(FUNCTIONS, "good.ts"))}, { memory: "1MiB" });
say(String(await fresh.submit("echo", fresh.input(Uint8Array, 8), fresh.output(Uint8Array, 8))));
await fresh.release();
await again.close();
`;

const serveIn = (network: string, ...options: string[]) =>
  Bun.spawn(inside(network, RFAAS, "serve", "--allow-remote", ...options), {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });

let node: Bun.Subprocess<"ignore", "ignore", "pipe"> | undefined;
let program: string;
beforeAll(async () => {
  if (!canMakeNetworks) return;
  makeNetworks();
  program = scratch.file("client.ts", PROGRAM);
  node = serveIn(NODE, "--listen", "10.77.0.2:7700", "--fabric", "tcp", "--cores", "4");
  const { value } = await node.stderr.getReader().read();
  expect(new TextDecoder().decode(value)).toContain("serving");
});
afterAll(async () => {
  node?.kill("SIGKILL");
  await node?.exited;
  for (const network of [CLIENT, NODE]) if (canMakeNetworks) ip("netns", "del", network);
  scratch[Symbol.dispose]();
});

test.skipIf(!canMakeNetworks)(
  "a client in another network of the node's machine is served as one of another machine",
  async () => {
    const all = serveIn(NODE, "--listen", "10.77.0.2:7701", "--cores", "1");
    try {
      const { value } = await all.stderr.getReader().read();
      // Shared memory is offered, and its descriptors would not reach this client.
      expect(new TextDecoder().decode(value)).toContain("over shm and ");
      const call = ["invoke", `${join(FUNCTIONS, "good.ts")}#echo`, "--input", program];
      const ended = Bun.spawnSync(inside(CLIENT, RFAAS, ...call, "--node", "10.77.0.2:7701"), {
        stdin: "ignore",
      });
      expect(ended.stderr.toString()).toBe("");
      expect(ended.stdout.toString()).toBe(PROGRAM);
    } finally {
      all.kill("SIGKILL");
      await all.exited;
    }
  },
  LIMIT_MS,
);

test.skipIf(!canMakeNetworks).each(["hot", "warm", "adaptive"])(
  "a cut ends every call, and the network's return brings new leases (%s)",
  async (polling) => {
    const child = Bun.spawn(inside(CLIENT, process.execPath, program, polling), {
      ...{ stdin: "pipe", stdout: "pipe", stderr: "inherit" },
      env: { ...process.env, RFAAS_EXECUTABLE: RFAAS },
    });
    let said = "";
    void (async () => {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) said += part;
    })();
    await until(() => said.includes("calling\n"), "it calls", LIMIT_MS);
    // Nothing passes, and neither side is told.
    expect(ip("-n", NODE, "link", "set", "eth0", "down")).toBe(true);
    try {
      await until(() => said.includes("}\n"), "all calls have ended", LIMIT_MS);
      const { blocked, ends } = JSON.parse(said.split("\n")[1]!) as {
        blocked: string;
        ends: string[];
      };
      for (const end of [blocked, ...ends])
        expect(end).toMatch(/^RFAAS_(CONNECTION|WORKER|LEASE|NODE)_LOST /);
      expect([blocked, ...ends].join("\n")).toContain("the other side does not answer");
    } finally {
      expect(ip("-n", NODE, "link", "set", "eth0", "up")).toBe(true);
    }
    await child.stdin.write("go on\n");
    await child.stdin.end();
    expect(await child.exited).toBe(0);
    expect(said.trim().split("\n").at(-1)).toBe("8");
  },
  2 * LIMIT_MS,
);
