/**
 * A node that tells clients where it is: the manager, in another network, looks for it there, and the node's log says what stands against
 * it. Needs root, for networks of its own.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
const NODES = `rfaas-nodes-${process.pid}`;
const MANAGER = `rfaas-manager-${process.pid}`;
const NODE_AT = "10.78.0.2";
const MANAGER_AT = "10.78.0.1";
const scratch = new Scratch();

const ip = (...args: string[]): boolean =>
  Bun.spawnSync(["ip", ...args], { stderr: "ignore" }).success;
const inside = (network: string): string[] => ["ip", "netns", "exec", network];

const canMakeNetworks =
  process.getuid?.() === 0 && Bun.which("ip") !== null && ip("netns", "add", NODES);
if (!canMakeNetworks) console.warn("skipped, needs root and ip: networks of their own");
const canDrop = canMakeNetworks && Bun.which("nft") !== null;
if (!canDrop) console.warn("skipped, needs root and nft: a firewall that drops");

/** Whether a node is found does not depend on TLS, for which nodes would need certificates. */
const CLEAR = { ...process.env, RFAAS_INSECURE: "1" };
const clearFor = (command: string): string[] =>
  Bun.spawnSync([RFAAS, "help", command]).stdout.includes("--insecure") ? ["--insecure"] : [];

let manager: Bun.Subprocess<"ignore", "ignore", "pipe"> | undefined;
beforeAll(async () => {
  if (!canMakeNetworks) return;
  const steps = [
    ["netns", "add", MANAGER],
    ["-n", MANAGER, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", NODES],
    ["-n", MANAGER, "addr", "add", `${MANAGER_AT}/24`, "dev", "eth0"],
    ["-n", NODES, "addr", "add", `${NODE_AT}/24`, "dev", "eth0"],
    ...[MANAGER, NODES].flatMap((network) => [
      ["-n", network, "link", "set", "lo", "up"],
      ["-n", network, "link", "set", "eth0", "up"],
    ]),
  ];
  for (const step of steps) expect([step, ip(...step)]).toEqual([step, true]);
  manager = Bun.spawn(
    [
      ...inside(MANAGER),
      ...[RFAAS, "manager", "--listen", `${MANAGER_AT}:7800`, "--state", scratch.join("state")],
      ...["--http", `${MANAGER_AT}:7801`, ...clearFor("manager")],
    ],
    { env: CLEAR, stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  );
  const { value } = await manager.stderr.getReader().read();
  expect(new TextDecoder().decode(value)).toContain("managing at");
});
afterAll(async () => {
  manager?.kill("SIGKILL");
  await manager?.exited;
  for (const network of [MANAGER, NODES]) if (canMakeNetworks) ip("netns", "del", network);
  scratch[Symbol.dispose]();
});

/** A node in the other network, which joins the manager. */
const join = (listen: string, ...options: string[]): Promise<ServedNode> =>
  ServedNode.start(
    listen,
    [
      ...["--manager", `${MANAGER_AT}:7800`, "--cores", "1", "--prewarm", "0"],
      ...clearFor("serve"),
      ...options,
    ],
    ["env", "RFAAS_INSECURE=1", ...inside(NODES)],
  );

async function reachableOf(name: string): Promise<string | undefined> {
  const child = Bun.spawn(
    [...inside(MANAGER), RFAAS, "node", "ls", "--http", `http://${MANAGER_AT}:7801`, "--json"],
    { env: CLEAR, stdin: "ignore", stderr: "ignore" },
  );
  const { nodes } = JSON.parse(await child.stdout.text()) as {
    nodes: { name: string; reachable?: string }[];
  };
  return nodes.find((one) => one.name === name)?.reachable;
}

/** What stands against a node with such an address, as its log and the manager's list say. */
async function problemWith(name: string, listen: string, ...options: string[]) {
  await using node = await join(listen, "--name", name, ...options);
  await until(() => node.stderr.includes("clients may not find"), "it warns", LIMIT_MS);
  return {
    said: node.stderr.split("\n").find((line) => line.includes("clients may not find"))!,
    listed: await reachableOf(name),
  };
}

test.skipIf(!canMakeNetworks)(
  "a node that is where it says is reached, and says nothing",
  async () => {
    await using node = await join(`${NODE_AT}:7700`, "--name", "right");
    await until(async () => (await reachableOf("right")) === "yes", "it is reached", LIMIT_MS);
    expect(node.stderr).not.toContain("clients may not find");
  },
  LIMIT_MS,
);

test.skipIf(!canMakeNetworks)(
  "an address where nothing listens, or another node does, is told with the cause and the way out",
  async () => {
    const refused = await problemWith(
      "refused",
      `${NODE_AT}:7700`,
      ...["--advertise", `${NODE_AT}:7709`],
    );
    expect(refused.said).toContain(
      `clients may not find this node at ${NODE_AT}:7709: nothing listens there, as the manager at ${MANAGER_AT}:7800 sees it`,
    );
    expect(refused.said).toContain("--advertise HOST:PORT");
    expect(refused.listed).toBe("refused");

    await using _other = await join(`${NODE_AT}:7708`, "--name", "other");
    const another = await problemWith(
      "another",
      `${NODE_AT}:7700`,
      ...["--advertise", `${NODE_AT}:7708`],
    );
    expect(another.said).toContain("something else answers there");
    expect(another.listed).toBe("another");
  },
  LIMIT_MS,
);

test.skipIf(!canMakeNetworks)(
  "a name that the manager cannot resolve, loopback and a socket's path lead no client to the node",
  async () => {
    const name = await problemWith(
      "name",
      `${NODE_AT}:7700`,
      ...["--advertise", "nowhere.invalid:7700"],
    );
    expect(name.said).toContain("cannot resolve that name; put it into DNS");
    expect(name.listed).toBe("unknown-name");

    const loopback = await problemWith("loopback", "127.0.0.1:7700");
    expect(loopback.said).toContain("at 127.0.0.1:7700: it leads each machine to itself");
    expect(loopback.listed).toBe("loopback");

    const socket = await problemWith("socket", scratch.join("node.sock"));
    expect(socket.said).toContain("a socket's path leads to no other machine");
    expect(socket.listed).toBe("socket");
  },
  LIMIT_MS,
);

test.skipIf(!canMakeNetworks)(
  "of an address that is not the node's own, the manager says to a stranger only that the node is not there",
  async () => {
    const other = await problemWith(
      "stranger",
      `${NODE_AT}:7700`,
      ...["--advertise", `${MANAGER_AT}:7801`],
    );
    expect(other.said).toContain(`the manager at ${MANAGER_AT}:7800 does not find it there`);
    expect(other.listed).toBe("unproven");
  },
  LIMIT_MS,
);

test.skipIf(!canDrop)(
  "a firewall that drops what is sent to the port is taken for one",
  async () => {
    const nft = (rules: string): void => {
      const ran = Bun.spawnSync([...inside(NODES), "nft", rules]);
      expect([rules, ran.exitCode, ran.stderr.toString()]).toEqual([rules, 0, ""]);
    };
    nft("add table inet cut");
    nft("add chain inet cut in { type filter hook input priority 0; }");
    nft("add rule inet cut in tcp dport 7700 drop");
    try {
      const dropped = await problemWith("dropped", `${NODE_AT}:7700`);
      expect(dropped.said).toContain("gets no answer from there, as where a firewall drops");
      expect(dropped.listed).toBe("timeout");
    } finally {
      nft("delete table inet cut");
    }
  },
  LIMIT_MS,
);

const NAMED = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', "nowhere.invalid"];
const canName =
  process.getuid?.() === 0 && Bun.spawnSync([...NAMED, "true"], { stderr: "ignore" }).success;
if (!canName) console.warn("skipped, needs root and unshare: a host's name that leads nowhere");

test.skipIf(!canName)(
  "without a manager, a node whose machine has a name that leads nowhere says so",
  async () => {
    await using node = await ServedNode.start("0.0.0.0:0", ["--allow-remote"], NAMED);
    await until(() => node.stderr.includes("clients may not find"), "it warns", LIMIT_MS);
    expect(node.stderr).toContain(
      `at nowhere.invalid:${node.port}: no name server tells where that name is; put the name into DNS, or tell them an address of this machine`,
    );
    // It serves all the same.
    const { exitCode } = await rfaas(["ps", "--node", `127.0.0.1:${node.port}`]);
    expect(exitCode).toBe(0);
  },
  LIMIT_MS,
);
