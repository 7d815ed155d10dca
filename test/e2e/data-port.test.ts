/** Data of leases at a port of its own: who comes where, through a NAT too, and what is said at the wrong port. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type AddressInfo, type Server, connect, createServer } from "node:net";
import { invoker } from "../../src/index.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const scratch = new Scratch();
const servers: Server[] = [];
let node: ServedNode;
let address: string;
let dataPort: number;

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

beforeAll(async () => {
  dataPort = freePort();
  node = await ServedNode.start("127.0.0.1:0", ["--data-port", String(dataPort), "--cores", "2"]);
  address = `127.0.0.1:${node.port}`;
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  for (const server of servers) server.close();
  scratch[Symbol.dispose]();
});

/** Connections of this process to a port of a host of loopback, that stand. */
function connectionsTo(host: string, port: number): number {
  const hex = (n: number, digits: number) => n.toString(16).toUpperCase().padStart(digits, "0");
  const words = host.split(".").map((part) => hex(Number(part), 2));
  const there = `${words.toReversed().join("")}:${hex(port, 4)}`;
  const rows = readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1);
  return rows.filter((row) => {
    const [, , remote, state] = row.trim().split(/\s+/);
    return remote === there && state === "01";
  }).length;
}

/** What comes to a port of 127.0.0.2 goes on to the same, or another, of 127.0.0.1, as through a NAT. Returns the port. */
async function forwarded(to: number, at = 0): Promise<{ port: number; came(): number }> {
  let came = 0;
  const server = createServer((inner) => {
    came++;
    const outer = connect({ host: "127.0.0.1", port: to });
    inner.pipe(outer).pipe(inner);
    for (const socket of [inner, outer]) socket.on("error", () => {});
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(at, "127.0.0.2", resolve));
  return { port: (server.address() as AddressInfo).port, came: () => came };
}

/** Calls echo on two workers. Returns what `look` says meanwhile. */
async function called<Seen>(at: string, look: () => Seen): Promise<Seen> {
  await using rf = await invoker({ node: at, fabric: "tcp" });
  await using lease = await rf.allocate("rfaas:echo", { memory: "1MiB", workers: 2 });
  const input = lease.input(Uint8Array, 64).fill(7);
  const output = lease.output(Uint8Array, 64);
  for (const worker of [0, 1]) {
    output.fill(0);
    expect(await lease.submit("echo", input, output, { worker })).toBe(64);
    expect(output).toEqual(input);
  }
  return look();
}

test(
  "control stays at the port of --listen, and each worker's data comes to the other",
  async () => {
    const seen = await called(address, () => [
      connectionsTo("127.0.0.1", dataPort),
      connectionsTo("127.0.0.1", node.port),
    ]);
    expect(seen[0]).toBeGreaterThanOrEqual(2);
    expect(seen[1]).toBe(1);
  },
  LIMIT_MS,
);

test(
  "through a NAT, data goes to the host where the client has reached the node",
  async () => {
    const control = await forwarded(node.port);
    const data = await forwarded(dataPort, dataPort);
    const came = await called(`127.0.0.2:${control.port}`, () => [control.came(), data.came()]);
    expect(came[0]).toBe(1);
    expect(came[1]).toBeGreaterThanOrEqual(2);
  },
  LIMIT_MS,
);

describe("at the port for data", () => {
  test("control is refused in words", async () => {
    using peer = await RawPeer.connect(`127.0.0.1:${dataPort}`);
    peer.send({
      ...{ t: "hello", protocol: PROTOCOL_VERSION, version: "0", pid: 1 },
      ...{ fabrics: [], machine: "m", token: null },
    });
    await until(() => peer.closed, "it is refused");
    expect(peer.heard).toEqual([
      {
        ...{ t: "refused", code: "RFAAS_PROTOCOL" },
        message: `this port takes the data of leases alone; name port ${node.port} of the node`,
      },
    ]);
    const ps = await rfaas(["ps", "--node", `127.0.0.1:${dataPort}`]);
    expect(ps.exitCode).toBe(3);
    expect(ps.stderr).toContain(`name port ${node.port} of the node`);
  });

  test("control by TLS is refused in words, too", async () => {
    const port = freePort();
    const args = ["--data-port", String(port), "--allow-remote", "--state", scratch.join("state")];
    await using secure = await ServedNode.start("0.0.0.0:0", [...args, "--cores", "1"]);
    await until(() => secure.stderr.includes("reach it with"), "it tells its key");
    const [key] = /key=sha256:[0-9a-f]+/.exec(secure.stderr)!;
    const env = { XDG_CONFIG_HOME: scratch.join("config") };
    const ps = await rfaas(["ps", "--node", `rfaas://127.0.0.1:${port}?${key}`], { env });
    expect(ps.exitCode).toBe(3);
    expect(ps.stderr).toContain(`name port ${secure.port} of the node`);
  });

  test("nothing else is heard, and a lease that the node does not know is refused", async () => {
    const say = async (port: number, text: Uint8Array): Promise<string> => {
      const socket = connect({ host: "127.0.0.1", port });
      const parts: Buffer[] = [];
      socket.on("data", (part: Buffer) => void parts.push(part));
      socket.on("error", () => {});
      const over = new Promise((resolve) => socket.once("close", resolve));
      socket.write(text);
      await over;
      return Buffer.concat(parts).toString("latin1");
    };
    const unknown = Buffer.alloc(64, 7);
    unknown.write("CTfr");
    expect(await say(dataPort, unknown)).toStartWith("CTfr");
    // The node's own port takes data, too: an older client knows of no other.
    expect(await say(node.port, unknown)).toStartWith("CTfr");
    expect(await say(dataPort, Buffer.concat([unknown, unknown]))).toBe("");
    expect(await say(dataPort, Buffer.from("GET / HTTP/1.1\r\n\r\n"))).toContain("RFAAS_PROTOCOL");
    expect(await called(address, () => "and it goes on")).toBe("and it goes on");
  });
});

describe("a port for data that cannot be", () => {
  const refused = async (listen: string, ...options: string[]) => {
    const { exitCode, stderr } = await rfaas(["serve", "--listen", listen, ...options]);
    expect(stderr).not.toMatch(/\n +at /);
    return [exitCode, stderr] as const;
  };

  test("is 0, or none", async () => {
    for (const port of ["0", "65536", "x"]) {
      const [exitCode, said] = await refused("127.0.0.1:0", "--data-port", port);
      expect(exitCode).toBe(2);
      expect(said).toContain("--data-port");
    }
  });

  test("is that of --listen", async () => {
    const port = String(freePort());
    const [exitCode, said] = await refused(`127.0.0.1:${port}`, "--data-port", port);
    expect(exitCode).toBe(2);
    expect(said).toContain(`--data-port ${port} is the port of --listen`);
  });

  test("belongs to a node at a socket's path, or to one whose data comes to no port", async () => {
    const [, path] = await refused(scratch.join("node.sock"), "--data-port", "7701");
    expect(path).toContain("--data-port is for a node that listens at HOST:PORT");
    const shared = ["--data-port", "7701", "--fabric", "shm"];
    const [exitCode, said] = await refused("127.0.0.1:0", ...shared);
    expect(exitCode).toBe(2);
    expect(said).toContain("over shm no data comes to a port of the node's");
  });

  test("is in use, and the message names by whom", async () => {
    const [exitCode, said] = await refused("127.0.0.1:0", "--data-port", String(dataPort));
    expect(exitCode).toBe(1);
    expect(said).toContain(`127.0.0.1:${dataPort} is in use by process `);
    expect(said).toContain("choose another --data-port");
  });

  const STRANGER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
  const first = Number(
    readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8").trim(),
  );
  const canBeStranger =
    process.getuid?.() === 0 &&
    first > 81 &&
    Bun.spawnSync([...STRANGER, RFAAS, "--version"], { cwd: "/", stderr: "ignore" }).success;
  if (!canBeStranger) console.warn("skipped, needs root and setpriv: a port of the system's");

  test.skipIf(!canBeStranger)("is one that only the system's own programs may have", async () => {
    const home = scratch.join("home");
    Bun.spawnSync(["install", "-d", "-o", "65534", home]);
    Bun.spawnSync(["chmod", "711", scratch.path]);
    const args = ["serve", "--listen", "127.0.0.1:0", "--data-port", "81", "--cores", "1"];
    const child = Bun.spawn([...STRANGER, RFAAS, ...args], {
      cwd: "/",
      env: { ...process.env, HOME: home, XDG_CACHE_HOME: home, XDG_STATE_HOME: home },
      ...{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    });
    expect(await child.exited).toBe(1);
    const said = await child.stderr.text();
    expect(said).toContain("cannot listen on 127.0.0.1:81: permission is denied (EACCES)");
    expect(said).toContain("choose another --data-port");
  });
});
