/** What cannot work is refused with a sentence that says what to do, and leaves nothing. */
import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConnectionFailed, FabricUnavailable, UsageError, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import {
  type Device,
  expectResources,
  listeningAt,
  portIsActive,
  resources,
  withDevice,
} from "../support/rdma.ts";
import { until } from "../support/until.ts";
import { Connected, Listener, SHAPE, newNonce } from "./verbs-pair.ts";

const GOOD = join(FUNCTIONS, "good.ts");

/** What a connection fails with. */
function failure(opened: Promise<Connected>): Promise<string> {
  return opened.then(
    (connected) => {
      connected[Symbol.dispose]();
      return "it was opened";
    },
    (error: unknown) => {
      expect(error).toBeInstanceOf(ConnectionFailed);
      return (error as Error).message;
    },
  );
}

/** A process that has begun to listen and does nothing more. */
class StoppedPeer {
  readonly port: number;
  readonly nonce: Uint8Array;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;

  private constructor(
    child: Bun.Subprocess<"ignore", "pipe", "inherit">,
    port: number,
    nonce: Uint8Array,
  ) {
    this.#child = child;
    this.port = port;
    this.nonce = nonce;
  }

  static async start({ address }: Device): Promise<StoppedPeer> {
    const nonce = newNonce();
    const child = Bun.spawn(
      [
        ...[process.execPath, join(import.meta.dir, "../fabric/echo-linked-peer.ts"), "verbs"],
        ...[address, Buffer.from(nonce).toString("hex"), JSON.stringify(SHAPE)],
        String(process.pid),
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
    );
    const { value } = await child.stdout.getReader().read();
    child.kill("SIGSTOP");
    return new StoppedPeer(child, Number(new TextDecoder().decode(value)), nonce);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

withDevice("refused over verbs", (device) => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  const before = resources();
  afterAll(() => expectResources(before));

  /** Every command that uses a device says the same. */
  async function refused(flags: readonly string[], exitCode: number, says: string | RegExp) {
    const commands = [
      ["serve", "--listen", "127.0.0.1:0", ...flags],
      ["invoke", `${GOOD}#echo`, "--json", "7", ...flags],
    ];
    for (const ended of await Promise.all(commands.map((command) => rfaas(command)))) {
      expect(ended.stderr).toMatch(says);
      expect(ended.stderr).not.toMatch(/^\s+at /m);
      expect(ended).toMatchObject({ exitCode, stdout: "" });
    }
  }

  test("a device that there is not, with the names of those that there are", async () => {
    await refused(
      ["--device", "mlx5_9"],
      1,
      `there is no RDMA device mlx5_9; choose ${device.name}`,
    );
    await expect(invoker({ fabric: "verbs", verbs: { device: "mlx5_9" } })).rejects.toThrow(
      FabricUnavailable,
    );
  });

  test("a GID and a port that there are not, with those that there are", async () => {
    await refused(["--gid-index", "99"], 1, /there is no GID 99 of \S+ port 1; choose GID .*10\./);
    await refused(["--ib-port", "7"], 1, /there is no port 7 of \S+; choose \S+ port 1/);
  });

  test("a device for shared memory, which uses none", async () => {
    await refused(["--fabric", "shm", "--device", device.name], 2, "leave one out");
    await expect(invoker({ fabric: "pigeon" as "verbs" })).rejects.toThrow(UsageError);
  });

  test("a port that is down, with how to bring it up; shared memory goes on", async () => {
    const ip = (...words: string[]) => Bun.spawnSync(["ip", ...words]);
    writeFileSync(`/proc/sys/net/ipv6/conf/${device.netdev}/keep_addr_on_down`, "1");
    ip("link", "set", device.netdev, "down");
    try {
      const says = `${device.name} port 1 is DOWN`;
      await refused(["--fabric", "verbs"], 1, says);
      await refused(["--device", device.name], 1, `ip link set ${device.netdev} up`);
      const { stdout } = await rfaas(["invoke", `${GOOD}#echo`, "--json", "7"]);
      expect(stdout).toBe("7\n");
    } finally {
      ip("link", "set", device.netdev, "up");
      await until(() => portIsActive(device), "the port is active");
    }
  });

  let stopped: StoppedPeer;
  let ofStopped: Promise<string>;
  test("a connection to a process that is stopped is tried meanwhile", async () => {
    stopped = await StoppedPeer.start(device);
    ofStopped = failure(Connected.open(device.address, stopped));
  });

  const asRoot = process.getuid?.() === 0;
  describe.skipIf(!asRoot)("with too little locked memory", () => {
    const asNobody = (kib: number): string[] => [
      ...["prlimit", `--memlock=${kib * 1024}:${kib * 1024}`],
      ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/tmp", RFAAS],
    ];
    const run = async (words: readonly string[]) => {
      const child = Bun.spawn([...words], {
        cwd: "/tmp",
        stdio: ["ignore", "pipe", "pipe"],
      });
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      return { exitCode: await child.exited, stdout, stderr };
    };
    const says = /needs (\d+) bytes \(.*\) of locked memory and the limit is .*ulimit -l (\d+)/;

    test("a private node: it says how much is needed, and that much suffices", async () => {
      const invoke = ["invoke", `${GOOD}#echo`, "--json", "7", "--fabric", "verbs"];
      const { exitCode, stderr } = await run([...asNobody(64), ...invoke]);
      const [, bytes, kib] = says.exec(stderr) ?? [];
      expect(stderr).toMatch(says);
      expect(exitCode).toBe(3);
      expect(Number(kib)).toBe(Math.ceil(Number(bytes) / 1024));
      const enough = await run([...asNobody(Number(kib)), ...invoke]);
      expect(enough).toMatchObject({ exitCode: 0, stdout: "7\n" });
    });

    test("a client of a node that has enough", async () => {
      const flags = ["--fabric", "verbs", "--allow-remote"];
      await using node = await ServedNode.start("127.0.0.1:0", flags);
      const { exitCode, stderr } = await run([
        ...asNobody(64),
        ...["invoke", `${GOOD}#echo`, "--json", "7", "--fabric", "verbs"],
        ...["--node", listeningAt(node)],
      ]);
      expect(stderr).toMatch(says);
      expect(exitCode).toBe(3);
      await using rf = await invoker({ node: listeningAt(node), fabric: "verbs" });
      await until(async () => (await rf.status()).leases === 0, "the node has its lease back");
    });
  });

  describe("a connection", () => {
    test("of a client that does not know the lease; the one who does is let in, once", async () => {
      using there = await Listener.open(device.address);
      const { port, nonce } = there;
      const stranger = Connected.open(device.address, { port, nonce: newNonce() });
      expect(await failure(stranger)).toContain("does not know this lease");
      const larger = { ...SHAPE, arenaBytes: 2 * SHAPE.arenaBytes };
      const misfit = Connected.open(device.address, there, larger);
      expect(await failure(misfit)).toContain("differ in the size of the lease's memory");
      using connected = await Connected.open(device.address, { port, nonce });
      const second = Connected.open(device.address, there);
      expect(await failure(second)).toContain("already has a client");
      expect(connected.link.lost(0)).toBeUndefined();
    });

    test("to where nobody listens, and to where nobody is", async () => {
      const nonce = newNonce();
      const closed = Connected.open(device.address, { port: 9, nonce });
      expect(await failure(closed)).toContain("no longer listens there");
      const absent = device.address.replace(/\d+$/, "99");
      expect(await failure(Connected.open(absent, { port: 9, nonce }))).toContain("ping");
    });

    test("to a process that dies half-way through the set-up", async () => {
      const dying = await StoppedPeer.start(device);
      const ofDying = failure(Connected.open(device.address, dying));
      await Bun.sleep(500);
      await dying.kill();
      // Whoever had waited for the limit would say so.
      expect(await ofDying).toContain("refused the RDMA connection");
    });

    test("to a process that is stopped", async () => {
      expect(await ofStopped).toContain("did not complete the RDMA connection within 10 s");
      await stopped.kill();
    });
  });
});
