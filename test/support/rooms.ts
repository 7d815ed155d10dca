/** What holds of every sandbox that has rooms: calls, what functions see, how a room ends. Each driver's own test runs these. */
import { expect, test } from "bun:test";
import { lstatSync, readFileSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Lease, LeaseRefused, OutOfMemory, WorkerLost, invoker } from "../../src/index.ts";
import { FUNCTIONS, ServedNode } from "./executable.ts";
import { Scratch } from "./scratch.ts";
import { until } from "./until.ts";

type Room = typeof import("../functions/room.ts");
const MODULE = join(FUNCTIONS, "room.ts");
const LIMIT_MS = 120_000;

export interface RoomedNode extends AsyncDisposable {
  node: ServedNode;
  scratch: Scratch;
  /** Folders of hosts. */
  rooms(): string[];
}

/** A node with a sandbox; `within` is what comes before its command. */
export async function roomedNode(
  args: readonly string[],
  within: readonly string[] = [],
): Promise<RoomedNode> {
  const scratch = new Scratch();
  const state = ["--state", scratch.join("state"), "--cores", "3", "--prewarm", "0"];
  const [first, listen, ...rest] = args;
  const named = first === "--listen" && listen !== undefined;
  const node = await ServedNode.start(
    named ? listen : scratch.join("node.sock"),
    [...state, ...(named ? rest : args)],
    within,
  );
  return {
    ...{ node, scratch },
    rooms: () => readdirSync(scratch.join("state/rooms")),
    async [Symbol.asyncDispose]() {
      await node[Symbol.asyncDispose]();
      scratch[Symbol.dispose]();
    },
  };
}

const connected = (node: ServedNode) => invoker({ node: node.address, fabric: "shm" });

/** Calls a function on JSON. */
export async function ask(
  lease: Lease<Room>,
  name: "look" | "variables" | "reach" | "leave" | "fill",
  value: object,
): Promise<Record<string, unknown>> {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const input = lease.input(Uint8Array, bytes.length);
  input.set(bytes);
  const output = lease.output(Uint8Array, 65_536);
  const written = await lease.submit(name, input, output);
  return JSON.parse(new TextDecoder().decode(output.subarray(0, written)));
}

/** Of the files in a folder; links to a package in the cache are of that. */
const bytesBelow = (folder: string): number =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).reduce((sum, name) => {
    const stat = lstatSync(join(folder, name), { throwIfNoEntry: false });
    return sum + (stat?.isFile() && stat.nlink === 1 ? stat.size : 0);
  }, 0);

const runsWith = (word: string): boolean =>
  readdirSync("/proc").some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").includes(word);
    } catch {
      return false;
    }
  });

/** `start` starts a node with the driver, and these arguments more. */
export function testRooms(start: (args: readonly string[]) => Promise<RoomedNode>): void {
  test(
    "calls go through the memory that client and workers share, and their answers are right",
    async () => {
      await using served = await start([]);
      await using rf = await connected(served.node);
      await using lease = await rf.allocate<Room>(MODULE, { workers: 2, polling: "adaptive" });
      expect(lease.fabric).toBe("shm");
      const input = lease.input(Uint32Array, 2);
      const output = lease.output(Uint32Array, 1);
      for (let i = 0; i < 2000; i++) {
        input[0] = i;
        input[1] = 7 * i;
        lease.invoke("add", input, output, { worker: i % 2 });
        expect(output[0]).toBe(8 * i);
      }
      expect(lease.phases.prewarmed).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "calls go over tcp through the node's port, though a room has no network",
    async () => {
      await using served = await start(["--listen", "127.0.0.1:0"]);
      const { port } = served.node;
      await using rf = await invoker({ node: `127.0.0.1:${port}`, fabric: "tcp" });
      await using lease = await rf.allocate<Room>(MODULE);
      expect(lease.fabric).toBe("tcp");
      const input = lease.input(Uint32Array, 2);
      const output = lease.output(Uint32Array, 1);
      input.set([3, 4]);
      lease.invoke("add", input, output);
      expect(output[0]).toBe(7);
      expect((await ask(lease, "reach", { port }))["code"]).toMatch(/^E/);
    },
    LIMIT_MS,
  );

  test(
    "functions see their package, the system and a scratch folder of their own, and change nothing else",
    async () => {
      await using served = await start([]);
      await using rf = await connected(served.node);
      await using lease = await rf.allocate<Room>(MODULE);
      const { scratch, node } = served;
      const secrets = [homedir(), scratch.path, node.address, "/etc/shadow", `/proc/${node.pid}`];
      const seen = await ask(lease, "look", { secrets });
      expect(seen).toMatchObject({ pid: 1, processes: 1, seen: [] });
      const denied = expect.stringMatching(/^E(?:ROFS|ACCES|PERM|BUSY)$/);
      const forbidden = ["package", "packages", "removes", "kernel", "system", "root"];
      for (const what of forbidden) expect([what, seen[what]]).toEqual([what, denied]);
      // What is undefined does not travel: these were no errors.
      expect([seen["scratch"], seen["temporary"]]).toEqual([undefined, undefined]);
      // Where it is not the same folder, /tmp is another one in memory.
      expect(seen["shared"]).toContain("planted");
      expect(seen).toMatchObject({ noNewPrivileges: "1", capabilities: "0000000000000000" });
      const own = ["HOME", "LANG", "NODE_ENV", "OMP_NUM_THREADS", "PATH", "TMPDIR", "TZ"];
      const engines = ["HOSTNAME", "PWD", "TERM", "container"];
      const names = seen["environment"] as string[];
      expect(names.filter((name) => ![...own, ...engines].includes(name))).toEqual([]);
      expect(seen["home"]).toBe("/.rfaas/scratch");
    },
    LIMIT_MS,
  );

  test(
    "functions find the variables of their lease as they are, and what makes their room heeds none of them",
    async () => {
      await using served = await start([]);
      await using rf = await connected(served.node);
      const env = {
        ...{ CONTAINERS_CONF: "/nowhere/conf", CONTAINERS_STORAGE_CONF: "/nowhere/storage" },
        ...{ DOCKER_HOST: "tcp://198.51.100.1:1", DOCKER_CONFIG: "/nowhere", PATH: "/nowhere" },
        ...{ XDG_RUNTIME_DIR: "/nowhere", LEVEL: ` "3" # 'é' $HOME\\n=`, EMPTY: "" },
      };
      await using lease = await rf.allocate<Room>(MODULE, { env });
      expect(await ask(lease, "variables", { names: Object.keys(env) })).toEqual(env);
    },
    LIMIT_MS,
  );

  testFullScratch(start, true);

  test(
    "functions have the network where node and lease say so, and else none",
    async () => {
      const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
      try {
        const { port } = listener;
        await using closed = await start([]);
        await using rf = await connected(closed.node);
        const refused = await rf.allocate(MODULE, { network: true }).catch((error) => error);
        expect(refused).toBeInstanceOf(LeaseRefused);
        expect(refused).toMatchObject({ code: "RFAAS_NOT_ALLOWED" });
        expect(refused.message).toContain("--allow-network");
        {
          await using lease = await rf.allocate<Room>(MODULE);
          const answer = await ask(lease, "reach", { port });
          expect(answer["code"]).toMatch(/^E/);
        }
        await using open = await start(["--allow-network"]);
        await using allowed = await connected(open.node);
        await using lease = await allowed.allocate<Room>(MODULE, { network: true });
        expect(await ask(lease, "reach", { port })).toEqual({ code: null });
      } finally {
        listener.stop(true);
      }
    },
    LIMIT_MS,
  );

  test(
    "functions start programs where node and lease say so, and else none",
    async () => {
      await using served = await start([]);
      await using rf = await connected(served.node);
      const refused = await rf.allocate(MODULE, { processes: true }).catch((error) => error);
      expect(refused).toMatchObject({ code: "RFAAS_NOT_ALLOWED" });
      expect(refused.message).toContain("--allow-processes");
      await using lease = await rf.allocate<Room>(MODULE);
      const seconds = 2 * 86_400 + process.pid;
      await expect(ask(lease, "leave", { seconds })).rejects.toThrow();
      expect(runsWith(String(seconds))).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "a room ends with its lease, and all that its functions have started, and leaves nothing behind",
    async () => {
      await using served = await start(["--allow-processes"]);
      await using rf = await connected(served.node);
      const seconds = 86_400 + process.pid;
      {
        await using lease = await rf.allocate<Room>(MODULE, { processes: true });
        await ask(lease, "leave", { seconds });
        await until(() => runsWith(String(seconds)), "the process that a function leaves runs");
        expect(served.rooms()).toHaveLength(1);
      }
      await until(() => !runsWith(String(seconds)), "what functions have left is ended");
      await until(() => served.rooms().length === 0, "the room is removed");
      expect((await rf.status()).leases).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "the client of a host that is killed hears by which signal",
    async () => {
      await using served = await start([]);
      await using rf = await connected(served.node);
      await using lease = await rf.allocate<Room>(MODULE);
      const call = lease.submit(
        "spin" as never,
        lease.input(Uint8Array, 1),
        lease.output(Uint8Array, 1),
      );
      process.kill(lease.hostPid, "SIGSEGV");
      const lost = await call.catch((error: unknown) => error);
      expect(lost).toBeInstanceOf(WorkerLost);
      await until(() => served.rooms().length === 0, "the room is removed");
    },
    LIMIT_MS,
  );

  test(
    "a node that is killed takes its rooms' hosts along",
    async () => {
      await using served = await start([]);
      const rf = await connected(served.node);
      const lease = await rf.allocate<Room>(MODULE);
      const { hostPid } = lease;
      expect(() => process.kill(hostPid, 0)).not.toThrow();
      process.kill(served.node.pid, "SIGKILL");
      await until(() => {
        try {
          return /^State:\t[ZX]/m.test(readFileSync(`/proc/${hostPid}/status`, "latin1"));
        } catch {
          return true;
        }
      }, "the host is gone");
      await rf.close().catch(() => {});
    },
    LIMIT_MS,
  );
}

/** `inMemory`: scratch folders are file systems in memory, and the node's disk has nothing of them. */
export function testFullScratch(
  start: (args: readonly string[]) => Promise<RoomedNode>,
  inMemory: boolean,
): void {
  test(
    "a lease that fills its scratch folder beyond its heap ends, and is told so",
    async () => {
      await using served = await start([]);
      await using rf = await connected(served.node);
      const bounds = { memory: "1MiB", heap: "64MiB" } as const;
      await using other = await rf.allocate<Room>(MODULE, bounds);
      for (const nameless of [false, true]) {
        await using lease = await rf.allocate<Room>(MODULE, bounds);
        await ask(lease, "fill", { mebibytes: 16, nameless });
        await ask(lease, "fill", { mebibytes: 16 });
        const onDisk = bytesBelow(served.scratch.join("state/rooms"));
        expect(onDisk >= 16 << 20).toBe(!inMemory);
        const said = served.node.stderr.length;
        const more = { mebibytes: 16_384, nameless };
        const ended = await ask(lease, "fill", more).catch((error) => error);
        expect(ended).toBeInstanceOf(OutOfMemory);
        expect(ended.message).toContain("its heap is 64 MiB");
        await until(
          () => /MiB of it files in its scratch folder/.test(served.node.stderr.slice(said)),
          "it is said",
        );
      }
      await ask(other, "fill", { mebibytes: 16 });
    },
    LIMIT_MS,
  );
}
