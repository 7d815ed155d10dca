/** Leases in rooms of the kernel's own making, over each fabric that this machine has: what their functions can do, and what they cannot. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { tryRoom } from "../../ffi/sandbox.ts";
import { type FabricName, type Invoker, type Lease, invoker } from "../../src/index.ts";
import { lacksProvider } from "../fabric/ofi-providers.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { alive } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Reaches = typeof import("../functions/reaches.ts");
type Good = typeof import("../functions/good.ts");
const REACHES = join(FUNCTIONS, "reaches.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;
const { layers } = tryRoom({ network: false, processes: false, folder: "/", rules: [] });
const SANDBOX = ["--sandbox", "process", "--cores", "16"];

process.env["RFAAS_EXECUTABLE"] = RFAAS;

/** One with its folder of state. */
async function serve(args: readonly string[]): Promise<{ node: ServedNode; state: string }> {
  const state = scratch.join(`state-${states++}`);
  const node = await ServedNode.start("127.0.0.1:0", [...SANDBOX, "--state", state, ...args]);
  return { node, state };
}
const scratch = new Scratch();
let states = 0;
/** What other programs of this machine can connect to. */
const service = scratch.join("service.sock");
const listening = Bun.listen({ unix: service, socket: { data() {} } });
afterAll(() => {
  listening.stop(true);
  scratch[Symbol.dispose]();
});

const FABRICS: FabricName[] = ["shm", "tcp"];

describe.each(FABRICS)("a room whose lease is over %s", (fabric) => {
  let node: ServedNode;
  let state: string;
  let rf: Invoker;
  let lease: Lease<Reaches>;
  beforeAll(async () => {
    ({ node, state } = await serve(["--fabric", fabric]));
    rf = await invoker({ node: `127.0.0.1:${node.port}`, fabric });
    lease = await rf.allocate<Reaches>(REACHES, { memory: "1MiB" });
  });
  afterAll(async () => {
    await lease.release();
    await rf.close();
    await node[Symbol.asyncDispose]();
  });

  test(
    "runs calls of several workers, on memory and on values, in and out of the event loop",
    async () => {
      for (const polling of ["hot", "warm", "adaptive"] as const) {
        await using held = await rf.allocate<Good>(GOOD, {
          ...{ memory: "1MiB", workers: 2, polling },
        });
        expect(held.fabric).toBe(fabric);
        const input = held.input(Uint8Array, 100_000).fill(7);
        const output = held.output(Uint8Array, 100_000);
        for (const worker of [0, 1]) {
          expect(held.invoke("echo", input, output, { worker })).toBe(input.length);
          expect(await held.submit("soon", input, output, { worker })).toBe(input.length);
          expect(output).toEqual(input);
        }
      }
    },
    LIMIT_MS,
  );

  test("has a scratch folder that its functions write, and that goes with it", async () => {
    const held = await rf.allocate<Reaches>(REACHES, { memory: "1MiB" });
    const path = await held.function("keeps")("a file");
    expect(readFileSync(`/proc/${held.hostPid}/root${path}`, "utf8")).toBe("kept");
    expect(path.startsWith(join(state, "rooms"))).toBe(true);
    // With mounts of its own, a room has it in memory, and the node's disk nothing.
    expect(existsSync(path)).toBe(!layers.has("processes"));
    expect(existsSync(dirname(path))).toBe(true);
    await held.release();
    await until(() => !existsSync(dirname(path)), "the folder is gone", LIMIT_MS);
  });

  test("starts threads, and sees its own environment and processes", async () => {
    expect(await lease.function("starts")("")).toBe("started");
    const named = await lease.function("environment")("");
    const other = named
      .split(" ")
      .filter((name) => !/^(?:PATH|HOME|TMPDIR|LANG|TZ|NODE_ENV|OMP_NUM_THREADS)$/.test(name));
    expect(other).toEqual([]);
    if (layers.has("processes")) expect(await lease.function("sees")("")).toBe("1");
  });

  const notAllowed = (message: string) =>
    expect.objectContaining({
      code: "RFAAS_NOT_ALLOWED",
      message: expect.stringContaining(message),
    });

  test("has no files but its own, and says what would let it read more", async () => {
    const secret = scratch.file(`secret-${fabric}`, "of the node's user");
    for (const path of [secret, "/etc/shadow", "/root", join(state, "rooms")])
      await expect(lease.function("reads")(path)).rejects.toEqual(notAllowed("--allow-read PATH"));
    await expect(lease.function("writes")(secret)).rejects.toEqual(notAllowed("$TMPDIR"));
    expect(readFileSync(secret, "utf8")).toBe("of the node's user");
    await expect(lease.function("reads")(scratch.join("nowhere"))).rejects.toMatchObject({
      code: "ENOENT",
    });
  });

  test("has no program, no socket, and no other process", async () => {
    const programs = notAllowed("take the lease with processes: true");
    await expect(lease.function("runs")("/bin/true")).rejects.toEqual(programs);
    const network = notAllowed("take the lease with network: true");
    await expect(lease.function("connects")(String(node.port))).rejects.toEqual(network);
    await expect(lease.function("connectsTo")(service)).rejects.toEqual(network);
    await expect(lease.function("signals")(String(node.pid))).rejects.toThrow(/ESRCH|EPERM/);
    await expect(lease.function("reads")(`/proc/${node.pid}/environ`)).rejects.toThrow(
      /ENOENT|EACCES/,
    );
  });

  test("tells its node's log of each rule that it has met, once, with its user", async () => {
    const lines = (): string[] => node.stderr.match(/lease \d+ of \S+: its room has .*$/gm) ?? [];
    const before = lines().length;
    await using held = await rf.allocate<Reaches>(REACHES, { memory: "1MiB", workers: 2 });
    for (const name of ["runs", "runs", "connectsTo", "runs"] as const)
      await expect(held.function(name)("/bin/true")).rejects.toThrow();
    await until(() => lines().length >= before + 2, "the node has logged it", LIMIT_MS);
    expect(
      lines()
        .slice(before)
        .map((line) => line.split(" ").at(-1)),
    ).toEqual([...["programs", "network"]]);
  });

  test(
    "ends when its function kills it",
    async () => {
      const held = await rf.allocate<Reaches>(REACHES, { memory: "1MiB" });
      await expect(held.function("dies")("")).rejects.toThrow(/SIGKILL|is lost/);
      await held.release();
    },
    LIMIT_MS,
  );
});

describe("a room with more freedom", () => {
  let node: ServedNode;
  let rf: Invoker;
  beforeAll(async () => {
    const readable = scratch.file("readable", "for all");
    ({ node } = await serve([
      ...["--fabric", "shm", "--allow-network", "--allow-processes", "--allow-read", readable],
    ]));
    rf = await invoker({ node: `127.0.0.1:${node.port}` });
  });
  afterAll(async () => {
    await rf.close();
    await node[Symbol.asyncDispose]();
  });
  const take = (options: object): Promise<Lease<Reaches>> =>
    rf.allocate<Reaches>(REACHES, { memory: "1MiB", ...options });

  test("reads what the operator lets it", async () => {
    await using held = await take({});
    expect(await held.function("reads")(scratch.join("readable"))).toBe("for all");
    await expect(held.function("writes")(scratch.join("readable"))).rejects.toThrow(/EROFS|EACCES/);
  });

  test("connects with network, and starts no program", async () => {
    const listener = Bun.listen({
      ...{ hostname: "127.0.0.1", port: 0 },
      socket: { open: (socket) => void socket.end("welcome"), data() {} },
    });
    await using held = await take({ network: true });
    expect(await held.function("connects")(String(listener.port))).toBe("welcome");
    await expect(held.function("connectsTo")(service)).rejects.toThrow();
    await expect(held.function("runs")("/bin/true")).rejects.toMatchObject({
      code: "RFAAS_NOT_ALLOWED",
      message: expect.stringMatching(/EPERM.*--allow-processes$/),
    });
    listener.stop(true);
  });

  test(
    "starts programs with processes, which end with it, and opens no socket",
    async () => {
      const held = await take({ processes: true });
      const mark = `${30_000_000 + process.pid}`;
      expect(await held.function("runs")("/bin/pwd")).toContain("scratch");
      await held.function("leaves")(mark);
      const marked = (): number[] => descendantsWith(mark);
      await until(() => marked().length > 0, "it has started", LIMIT_MS);
      await expect(held.function("connects")(String(node.port))).rejects.toThrow();
      await held.release();
      await until(() => marked().length === 0, "what it has started is gone", LIMIT_MS);
    },
    LIMIT_MS,
  );
});

/** The processes with this word on their command line. */
const descendantsWith = (word: string): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").includes(word);
      } catch {
        return false;
      }
    });

const lacking = lacksProvider("tcp");
if (lacking !== undefined) console.error(`SKIPPED: rooms with leases over ofi:tcp: ${lacking}`);
describe.skipIf(lacking !== undefined)("over libfabric, whose sockets are opened late", () => {
  test("a node does not serve without --allow-network, and says why", async () => {
    const { exitCode, stderr } = await rfaas(["serve", ...SANDBOX, "--fabric", "ofi:tcp"]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain(
      "over ofi:tcp a host opens libfabric's endpoints when its client connects, which the sandbox process does not let it; serve with --allow-network",
    );
  });

  test.skipIf(lacksProvider("shm") !== undefined)(
    "a provider that no room lets work is refused, whatever the room allows",
    async () => {
      const asked = ["--fabric", "ofi:shm", "--allow-network"];
      const { exitCode, stderr } = await rfaas(["serve", ...SANDBOX, ...asked]);
      expect(exitCode).not.toBe(0);
      expect(stderr).toContain("makes files in /dev/shm");
      expect(stderr).toContain("--sandbox none");
      await using rf = await invoker({ fabric: "ofi:shm", sandbox: "process" });
      await expect(
        rf.allocate<Reaches>(REACHES, { memory: "1MiB", network: true }),
      ).rejects.toMatchObject({ code: "RFAAS_NOT_ALLOWED" });
    },
  );

  test("a lease with network runs calls, and one without is refused", async () => {
    const { node } = await serve(["--fabric", "ofi:tcp", "--allow-network"]);
    const rf = await invoker({ node: `127.0.0.1:${node.port}`, fabric: "ofi:tcp" });
    await expect(rf.allocate<Reaches>(REACHES, { memory: "1MiB" })).rejects.toMatchObject({
      code: "RFAAS_NOT_ALLOWED",
      message: expect.stringContaining("network: over ofi:tcp"),
    });
    const held = await rf.allocate<Reaches>(REACHES, { memory: "1MiB", network: true });
    expect(await held.function("starts")("")).toBe("started");
    await expect(held.function("runs")("/bin/true")).rejects.toThrow("EPERM");
    await held.release();
    await rf.close();
    await node[Symbol.asyncDispose]();
  });
});

test(
  "hosts end with their node, however it dies, and leave their rooms to the next one",
  async () => {
    const { node, state } = await serve(["--fabric", "shm"]);
    await using rf = await invoker({ node: `127.0.0.1:${node.port}` });
    const held = await rf.allocate<Reaches>(REACHES, { memory: "1MiB" });
    const path = await held.function("keeps")("a file");
    const hosts = childrenOf(node.pid);
    expect(hosts.length).toBeGreaterThan(0);
    node.kill("SIGKILL");
    await until(() => hosts.every((pid) => !alive(pid)), "the hosts are gone", LIMIT_MS);
    expect(existsSync(dirname(path))).toBe(true);
    const next = await ServedNode.start("127.0.0.1:0", [...SANDBOX, "--state", state]);
    await until(() => !existsSync(dirname(path)), "the next one has removed the room", LIMIT_MS);
    await next[Symbol.asyncDispose]();
  },
  LIMIT_MS,
);

const childrenOf = (pid: number): number[] =>
  readdirSync(`/proc/${pid}/task`)
    .flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").split(" ").filter(Boolean),
    )
    .map(Number);

test("a node says which layer holds each guard", async () => {
  const { node } = await serve([]);
  await node[Symbol.asyncDispose]();
  const said = /sandbox process: (.*)$/m.exec(node.stderr)?.[1];
  for (const guard of ["files", "processes", "sockets", "programs", "memory", "descriptors"])
    expect(said).toMatch(new RegExp(`\\b${guard} by \\S`));
});

test.each(["--require-isolation", "--allow-remote"])(
  "a node without guards does not serve with %s",
  async (flag) => {
    const { exitCode, stderr } = await rfaas([
      ...["serve", "--listen", "127.0.0.1:0", "--sandbox", "none", flag],
    ]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("needs every guard: the sandbox none guards nothing");
    for (const remedy of ["leave --sandbox none", "--no-require-isolation"])
      expect(stderr).toContain(remedy);
  },
);

test("a node without guards serves others when its operator says so, and warns", async () => {
  await using node = await ServedNode.start("127.0.0.1:0", [
    ...["--sandbox", "none", "--allow-remote", "--no-require-isolation", "--cores", "1"],
  ]);
  expect(node.stderr).toContain("there is no sandbox (none is asked for)");
});

test("what excludes each other is said", async () => {
  const flags = ["--require-isolation", "--no-require-isolation"];
  const { exitCode, stderr } = await rfaas(["serve", ...flags]);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining("exclude each other")]);
});

test("a private node is one, too, where it is told nothing", async () => {
  await using rf = await invoker();
  await using held = await rf.allocate<Reaches>(REACHES, { memory: "1MiB" });
  await expect(held.function("reads")("/etc/shadow")).rejects.toThrow("EACCES");
});
