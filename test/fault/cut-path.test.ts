/** A network that carries nothing any more: calls in flight end, and new leases are there when it is back. Needs root, for networks of its own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { lacksProvider } from "../fabric/ofi-providers.ts";
import { FUNCTIONS, RFAAS, ROOT, ServedNode } from "../support/executable.ts";
import { NODE_HOST, TwoNetworks, lackingForNetworks } from "../support/networks.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
/** Calls have two seconds; without a limit of our own the kernel would try for a quarter of an hour. */
const ENDS_WITHIN_MS = 10_000;
const NODE = `${NODE_HOST}:7700`;
const OFI_NODE = `${NODE_HOST}:7702`;
const scratch = new Scratch();
// Neither side keeps anything in the user's own folders.
const ENV = { ...process.env, HOME: scratch.path, RFAAS_EXECUTABLE: RFAAS };

const lacking = lackingForNetworks();
if (lacking) console.warn(`skipped, needs ${lacking}: networks that are cut`);
const lacksOfi = lacksProvider("tcp");
if (lacksOfi) console.warn(`skipped, ${lacksOfi}: cuts of libfabric`);

const PROGRAM = `
import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
const say = (text) => process.stdout.write(text + "\\n");
const [polling, fabric, node] = process.argv.slice(2);
const rf = await invoker({ node, fabric });
const network = fabric !== "tcp";
const lease = await rf.allocate(${JSON.stringify(join(FUNCTIONS, "good.ts"))}, { memory: "1MiB", workers: 3, polling, network });
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
let answeredAt = 0;
let blocked = "";
try {
  for (let calls = 0;; calls++) {
    lease.invoke("echo", input, output, { worker: 2 });
    answeredAt = performance.now();
    if (calls % 100 === 0) await new Promise(setImmediate);
  }
} catch (error) {
  blocked = error.code + " " + error.message;
}
const all = [blocked, ...(await Promise.all(ends))];
say(JSON.stringify({ ends: all, tookMs: performance.now() - answeredAt }));
await lease.release().catch(() => {});
await rf.close();
for await (const _ of console) break;
const again = await invoker({ node, fabric });
const fresh = await again.allocate(${JSON.stringify(join(FUNCTIONS, "good.ts"))}, { memory: "1MiB", network });
say(String(await fresh.submit("echo", fresh.input(Uint8Array, 8), fresh.output(Uint8Array, 8))));
await fresh.release();
await again.close();
`;

let networks: TwoNetworks;
let node: ServedNode;
let ofiNode: ServedNode | undefined;
let program: string;
beforeAll(async () => {
  if (lacking) return;
  networks = new TwoNetworks();
  program = scratch.file("client.ts", PROGRAM);
  node = await serve(NODE, "--fabric", "tcp", "--cores", "4");
  if (!lacksOfi)
    ofiNode = await serve(OFI_NODE, "--fabric", "ofi:tcp", "--cores", "4", "--allow-network");
});
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await ofiNode?.[Symbol.asyncDispose]();
  networks?.[Symbol.dispose]();
  scratch[Symbol.dispose]();
});

const serve = (listen: string, ...options: string[]): Promise<ServedNode> =>
  ServedNode.start(listen, ["--allow-remote", ...options], networks.onNode);

test.skipIf(lacking !== undefined)(
  "a client in another network of the node's machine is served as one of another machine",
  async () => {
    // Shared memory is offered, and its descriptors would not reach this client.
    await using all = await serve(`${NODE_HOST}:7701`, "--cores", "1");
    expect(all.stderr).toContain("over shm and ");
    const call = [RFAAS, "invoke", `${join(FUNCTIONS, "good.ts")}#echo`, "--input", program];
    const ended = Bun.spawnSync([...networks.onClient, ...call, "--node", `${NODE_HOST}:7701`], {
      stdin: "ignore",
      env: ENV,
    });
    // It says that it meets the node for the first time, and nothing else.
    expect(ended.stderr.toString()).toMatch(/^\S* ?the node at \S+ is new to you: .*\n*$/);
    expect(ended.stdout.toString()).toBe(PROGRAM);
  },
  LIMIT_MS,
);

const FABRICS = ["tcp", ...(lacksOfi ? [] : ["ofi:tcp"])];
const nodeOf = (fabric: string): string => (fabric === "tcp" ? NODE : OFI_NODE);
const CUTS = FABRICS.flatMap((fabric) =>
  ["hot", "warm", "adaptive"].map((polling) => [polling, fabric] as const),
);

test.skipIf(lacking !== undefined).each(CUTS)(
  "a cut ends every call, and the network's return brings new leases (%s, %s)",
  async (polling, fabric) => {
    const args = [program, polling, fabric, nodeOf(fabric)];
    const child = Bun.spawn([...networks.onClient, process.execPath, ...args], {
      ...{ stdin: "pipe", stdout: "pipe", stderr: "inherit" },
      env: ENV,
    });
    let said = "";
    void (async () => {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) said += part;
    })();
    await until(() => said.includes("calling\n"), "it calls", LIMIT_MS);
    // Nothing passes, and neither side is told.
    networks.cut();
    try {
      await until(() => said.includes("}\n"), "all calls have ended", LIMIT_MS);
      const { ends, tookMs } = JSON.parse(said.split("\n")[1]!) as {
        ends: string[];
        tookMs: number;
      };
      for (const end of ends) expect(end).toMatch(/^RFAAS_(CONNECTION|WORKER|LEASE|NODE)_LOST /);
      expect(ends.join("\n")).toContain("the other side does not answer");
      expect(tookMs).toBeLessThan(ENDS_WITHIN_MS);
    } finally {
      networks.mend();
    }
    await child.stdin.write("go on\n");
    await child.stdin.end();
    expect(await child.exited).toBe(0);
    expect(said.trim().split("\n").at(-1)).toBe("8");
  },
  2 * LIMIT_MS,
);

const IDLE_PROGRAM = `
import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
const say = (text) => process.stdout.write(text + "\\n");
const [fabric, node] = process.argv.slice(2);
const rf = await invoker({ node, fabric });
const network = fabric !== "tcp";
const lease = await rf.allocate(${JSON.stringify(join(FUNCTIONS, "good.ts"))}, { memory: "1MiB", network });
let lost = 0;
lease.on("lost", () => lost++);
const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
const told = console[Symbol.asyncIterator]();
const call = () => lease.submit("echo", input, output).then(String, (error) => error.code);
say(await call());
await told.next();
say(await call() + " " + lost);
// The network is cut again.
await told.next();
const calledAt = performance.now();
const end = await call();
say(JSON.stringify({ end, tookMs: performance.now() - calledAt }));
await told.next();
const fresh = await rf.allocate(${JSON.stringify(join(FUNCTIONS, "good.ts"))}, { memory: "1MiB", network });
say(String(await fresh.submit("echo", fresh.input(Uint8Array, 8), fresh.output(Uint8Array, 8))));
await fresh.release();
await lease.release().catch(() => {});
await rf.close();
`;
/** Four times as long as calls in flight have. */
const OUTAGE_MS = 8_000;

test.skipIf(lacking !== undefined).each(FABRICS)(
  "a lease without a call in flight outlives an outage, and a call that is made in one ends (%s)",
  async (fabric) => {
    const args = [scratch.file("idle.ts", IDLE_PROGRAM), fabric, nodeOf(fabric)];
    const child = Bun.spawn([...networks.onClient, process.execPath, ...args], {
      ...{ stdin: "pipe", stdout: "pipe", stderr: "inherit" },
      env: ENV,
    });
    const said: string[] = [];
    void (async () => {
      let text = "";
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
        text += part;
        said.splice(0, said.length, ...text.split("\n").slice(0, -1));
      }
    })();
    const tell = async (): Promise<void> => {
      await child.stdin.write("go on\n");
      await child.stdin.flush();
    };
    const says = (lines: number): Promise<void> =>
      until(() => {
        if (child.exitCode) throw new Error(`the client ended: ${said.join()}`);
        return said.length === lines;
      }, `it has said ${lines} lines`);
    await says(1);
    networks.cut();
    try {
      // The outage is the subject: this waits for a time to be over.
      const began = performance.now();
      await until(() => performance.now() - began > OUTAGE_MS, "the outage is long");
    } finally {
      networks.mend();
    }
    await tell();
    await says(2);
    networks.cut();
    try {
      await tell();
      await says(3);
    } finally {
      networks.mend();
    }
    await tell();
    await child.stdin.end();
    expect(await child.exited).toBe(0);
    const { end, tookMs } = JSON.parse(said[2]!) as { end: string; tookMs: number };
    expect(said.toSpliced(2, 1)).toEqual(["8", "8 0", "8"]);
    expect(end).toMatch(/^RFAAS_(CONNECTION|WORKER)_LOST$/);
    expect(tookMs).toBeLessThan(ENDS_WITHIN_MS);
  },
  2 * LIMIT_MS,
);

const REQUESTS = `
import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
const say = (text) => process.stdout.write(text + "\\n");
const module = ${JSON.stringify(join(FUNCTIONS, "good.ts"))};
const [node] = process.argv.slice(2);
const options = { memory: "1MiB", wait: true, timeoutMs: 1_000, loadTimeoutMs: 1_000 };
const all = [await invoker({ node, fabric: "tcp" }), await invoker({ nodes: [node], fabric: "tcp" })];
for (const rf of all) await (await rf.allocate(module, options)).release();
say("ready");
const told = console[Symbol.asyncIterator]();
await told.next();
const ends = all.map((rf) => rf.allocate(module, options).then(() => "granted", (error) => error.code + " " + error.message));
say(JSON.stringify(await Promise.all(ends)));
await told.next();
await using again = await invoker({ node, fabric: "tcp" });
await (await again.allocate(module, options)).release();
say("granted");
await Promise.all(all.map((rf) => rf.close()));
process.exit(0);
`;

test.skipIf(lacking !== undefined)(
  "a request for a lease ends in its time, though the network has gone as it was sent, at one node and of a list",
  async () => {
    const args = [scratch.file("requests.ts", REQUESTS), NODE];
    const child = Bun.spawn([...networks.onClient, process.execPath, ...args], {
      ...{ stdin: "pipe", stdout: "pipe", stderr: "inherit" },
      env: ENV,
    });
    let said = "";
    void (async () => {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) said += part;
    })();
    const tell = async (): Promise<void> => {
      await child.stdin.write("go on\n");
      await child.stdin.flush();
    };
    await until(() => said.includes("ready\n"), "it has had leases", LIMIT_MS);
    // What it sends is never acknowledged: the kernel would try for a quarter of an hour.
    networks.cut();
    try {
      await tell();
      await until(() => said.includes("]\n"), "both have ended", LIMIT_MS);
    } finally {
      networks.mend();
    }
    const [one, list] = JSON.parse(said.split("\n")[1]!) as string[];
    expect(one).toMatch(/^RFAAS_NODE_UNREACHABLE .* did not answer within 7000 ms/);
    expect(list).toMatch(/^RFAAS_CLUSTER_FULL .* did not answer within 6000 ms/);
    await tell();
    await until(() => said.endsWith("granted\n"), "it has another one", LIMIT_MS);
    expect(await child.exited).toBe(0);
  },
  2 * LIMIT_MS,
);
