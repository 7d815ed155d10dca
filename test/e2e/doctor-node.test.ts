/** `rfaas doctor --node`: the way to a node, what calls cost on it, and the mistakes of its users. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { invoker } from "../../src/index.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { lacksProvider } from "../fabric/ofi-providers.ts";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
const lacksTcp = lacksProvider("tcp");
if (lacksTcp !== undefined) console.error(`SKIPPED: the way over ofi:tcp: ${lacksTcp}`);
const scratch = new Scratch();
let node: ServedNode;
let address: string;
beforeAll(async () => {
  node = await ServedNode.start("127.0.0.1:0", ["--cores", "1", "--memory", "64MiB"]);
  address = `127.0.0.1:${node.port}`;
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

const doctor = (at: string, ...options: string[]) =>
  rfaas(["doctor", "--node", at, ...options], { limitMs: LIMIT_MS });

interface Seen {
  node: { address: string; cores: number; leases: number };
  fabric: string | null;
  fabrics: { name: string; state: string; obstacles: { reason: string; fix?: string }[] }[];
  measured?: {
    fabric: string;
    hot_p50_ns?: number;
    warm_p50_ns?: number;
    bytes_per_s?: number | null;
    error?: { code: string; message: string };
  }[];
}
async function seen(at: string, ...options: string[]): Promise<Seen & { exitCode: number | null }> {
  const { stdout, exitCode } = await doctor(at, "--json", ...options);
  return { ...(JSON.parse(stdout) as Seen), exitCode };
}

async function leasesAt(at: string): Promise<number> {
  const { stdout } = await rfaas(["ps", "--node", at, "--json"]);
  return (JSON.parse(stdout) as { node: { leases: number } }).node.leases;
}

test(
  "it says which fabric a lease takes, and measures each that both sides have",
  async () => {
    const found = await seen(address, "--measure");
    expect([found.exitCode, found.fabric, found.node.address]).toEqual([0, "shm", address]);
    const possible = found.fabrics.filter(({ state }) => state !== "impossible");
    expect(possible.map(({ name }) => name)).toContain("tcp");
    expect(found.measured!.map(({ fabric }) => fabric)).toEqual(possible.map(({ name }) => name));
    for (const { hot_p50_ns, warm_p50_ns, fabric, bytes_per_s } of found.measured!) {
      expect(hot_p50_ns).toBeGreaterThan(0);
      expect(warm_p50_ns).toBeGreaterThan(0);
      if (fabric === "shm") expect(bytes_per_s).toBeNull();
      else expect(bytes_per_s).toBeGreaterThan(0);
    }
    expect(await leasesAt(address)).toBe(0);
  },
  LIMIT_MS,
);

test(
  "people get a line for each fabric with what to do, and a table",
  async () => {
    const { stdout, stderr, exitCode } = await doctor(address, "--fabric", "tcp", "--measure");
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toStartWith(`${address}: rfaas `);
    expect(stdout).toContain("\nA lease takes tcp (TCP).\n");
    expect(stdout).toMatch(
      /^no {4}shm +--fabric tcp asks for tcp\n +fix: leave out --fabric tcp$/m,
    );
    expect(stdout).toMatch(/^take {2}tcp +TCP$/m);
    expect(stdout).toMatch(/^fabric +8 B hot\[usec\] +8 B warm\[usec\] +1 MiB in\[MiB\/s\]$/m);
    expect(stdout).toMatch(/^tcp +[\d.]+ +[\d.]+ +\d+$/m);
  },
  LIMIT_MS,
);

test("what stands against a fabric here and on the node alike is said once", async () => {
  const { stdout } = await doctor(address);
  expect(stdout).toMatch(
    /^no {4}ofi:tcp +on both sides: .+\n +fix: on both sides: .+\n(?:no|also|take) /m,
  );
});

test(
  "a node that serves one fabric says so, and one that it lacks makes no lease",
  async () => {
    const socket = scratch.join("tcp.sock");
    await using _tcp = await ServedNode.start(socket, ["--fabric", "tcp", "--cores", "1"]);
    const found = await seen(socket);
    expect([found.exitCode, found.fabric]).toEqual([3, null]);
    const against = (name: string) => found.fabrics.find((one) => one.name === name)!.obstacles;
    expect(against("shm")).toEqual([
      { reason: "the node serves tcp alone", fix: "start the node without --fabric" },
    ]);
    expect(against("tcp")[0]!.fix).toBe("--fabric tcp");
    // Doing so helps.
    expect((await seen(socket, "--fabric", "tcp")).fabric).toBe("tcp");
  },
  LIMIT_MS,
);

test.skipIf(lacksTcp !== undefined)(
  "a fabric that is used only on request is taken where it is asked for",
  async () => {
    await using ofi = await ServedNode.start("127.0.0.1:0", [
      ...["--fabric", "ofi:tcp", "--cores", "1", "--allow-network"],
    ]);
    const at = `127.0.0.1:${ofi.port}`;
    for (const asked of [
      ["--fabric", "ofi:tcp"],
      ["--fabric", "ofi"],
      ["--provider", "tcp"],
    ]) {
      const { exitCode, fabric } = await seen(at, ...asked);
      expect([asked, exitCode, fabric]).toEqual([asked, 0, "ofi:tcp"]);
    }
    const { fabric, fabrics } = await seen(at);
    expect(fabric).toBeNull();
    const { obstacles } = fabrics.find(({ name }) => name === "ofi:tcp")!;
    expect(obstacles).toEqual([
      { reason: "here: ofi:tcp is used only when it is asked for", fix: "use --fabric ofi:tcp" },
    ]);
  },
  LIMIT_MS,
);

test(
  "a full node gives the choice, and says why nothing was measured",
  async () => {
    {
      await using rf = await invoker({ node: address });
      await using _lease = await rf.allocate("rfaas:echo");
      const { exitCode, fabric, measured } = await seen(address, "--measure");
      expect([exitCode, fabric]).toEqual([3, "shm"]);
      for (const { error } of measured!) expect(error!.code).toBe("RFAAS_NODE_FULL");
      const { stdout } = await doctor(address, "--measure");
      expect(stdout).toContain("shm was not measured: the node refused the lease: ");
    }
    await until(async () => (await leasesAt(address)) === 0, "the core is back", LIMIT_MS);
  },
  LIMIT_MS,
);

test(
  "Ctrl-C while it measures leaves nothing leased",
  async () => {
    for (let signal: unknown = null; signal === null;) {
      const child = Bun.spawn([RFAAS, "doctor", "--node", address, "--measure"], {
        stdout: "ignore",
        stderr: "pipe",
      });
      const leased = async () => child.exitCode !== null || (await leasesAt(address)) === 1;
      await until(leased, "it measures", LIMIT_MS);
      child.kill("SIGINT");
      await child.exited;
      expect(await child.stderr.text()).toBe("");
      // On a busy machine it may be done before the signal comes.
      signal = child.signalCode;
      expect(signal ?? "SIGINT").toBe("SIGINT");
    }
    await until(async () => (await leasesAt(address)) === 0, "nothing is leased", LIMIT_MS);
  },
  LIMIT_MS,
);

describe("a mistake is told, with its exit code:", () => {
  test("no address", async () => {
    const { exitCode, stderr } = await doctor("nonsense");
    expect(exitCode).toBe(2);
    expect(stderr).toContain('"nonsense" is no address');
  });

  test("an option of the way without a node", async () => {
    for (const args of [["--measure"], ["--fabric", "tcp"], ["--device", "mlx5_0"]]) {
      const { exitCode, stderr } = await rfaas(["doctor", ...args]);
      expect(exitCode).toBe(2);
      expect(stderr).toContain(`${args[0]} is about the way to a node; give --node, too`);
    }
  });

  test("no node there", async () => {
    const free = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    free.stop(true);
    const { exitCode, stderr } = await doctor(`127.0.0.1:${free.port}`);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`no node answers at 127.0.0.1:${free.port}`);
  });

  test("a port of something else", async () => {
    const http = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("hi") });
    const { exitCode, stderr } = await doctor(`127.0.0.1:${http.port}`);
    await http.stop(true);
    expect([exitCode, stderr]).toEqual([expect.any(Number), expect.stringContaining("rfaas node")]);
    expect(exitCode).toBe(3);
    expect(stderr).not.toMatch(/\n +at /);
  });

  test("a manager's address", async () => {
    await using manager = await RunningManager.start(scratch.path);
    const { exitCode, stderr } = await doctor(manager.address, "--measure");
    expect(exitCode).toBe(3);
    expect(stderr).toContain("is the address a node's where a node is meant");
  });

  /** Plays a node that answers each message of the client so. */
  async function played(answers: Record<string, (id: number) => unknown>) {
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        binaryType: "uint8array",
        data(socket, bytes) {
          for (const message of new FrameReader().push(bytes)) {
            const { t, id = 0 } = message as { t: string; id?: number };
            socket.write(encodeFrame(answers[t]!(id)));
          }
        },
      },
    });
    const ended = await doctor(`127.0.0.1:${listener.port}`);
    listener.stop(true);
    return ended;
  }

  test("a node of another version of the protocol", async () => {
    const why = "the node speaks protocol 999 (rfaas 9.9.9), the client 1; update the client";
    const { exitCode, stderr } = await played({
      hello: () => ({ t: "refused", code: "RFAAS_PROTOCOL", message: why }),
    });
    expect(exitCode).toBe(3);
    expect(stderr).toContain(why);
  });

  test("a node that does not know of the question", async () => {
    const { exitCode, stderr } = await played({
      hello: () => ({
        ...{ t: "welcome", protocol: PROTOCOL_VERSION, version: "0.0.9", pid: 1 },
        ...{ cores: 1, memoryBytes: 1e6, fabrics: [] },
      }),
      "get-status": (id) => ({
        ...{ t: "get-status-reply", id, freeCores: 1, freeMemoryBytes: 1e6 },
        ...{ leases: 0, prewarmedHosts: 0 },
      }),
    });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("(rfaas 0.0.9) does not say which fabrics it has; update the node");
  });

  test(
    "no token, where the node asks for one",
    async () => {
      const key = scratch.join("keys");
      await using manager = await RunningManager.start(key);
      const created = await rfaas(["token", "create", "--user", "ada", "--state", manager.state]);
      expect(created.exitCode).toBe(0);
      const file = `${manager.state}/token-key.pub`;
      await using strict = await ServedNode.start("127.0.0.1:0", [
        ...["--cores", "1", "--token-key", file],
      ]);
      // The same user comes in over loopback without one; a wrong one is wrong.
      const wrong = await rfaas(["doctor", "--node", `127.0.0.1:${strict.port}`], {
        env: { RFAAS_TOKEN: "nonsense" },
      });
      expect(wrong.exitCode).toBe(3);
      expect(wrong.stderr).toContain("refused this client");
      const right = await rfaas(["doctor", "--node", `127.0.0.1:${strict.port}`], {
        env: { RFAAS_TOKEN: created.stdout.trim() },
      });
      expect(right.exitCode).toBe(0);
    },
    LIMIT_MS,
  );
});
