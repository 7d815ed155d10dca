/** Networks that lose packets, are slow or long: every call has its answer, and none comes to a worker twice. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { NODE_HOST, TwoNetworks, lackingForNetworks } from "../support/networks.ts";
import { Relay } from "../support/relay.ts";
import { Scratch } from "../support/scratch.ts";
import type { Counted } from "./counted-client.ts";

const LIMIT_MS = 120_000;
const CLIENT_LIMIT_MS = 90_000;
const CLIENT = join(import.meta.dir, "counted-client.ts");

const lacking = lackingForNetworks("nft", "tc");
if (lacking) console.warn(`skipped, needs ${lacking}: networks that lose packets or are slow`);

const scratch = new Scratch();
// Neither side keeps anything in the user's own folders.
const ENV = { ...process.env, HOME: scratch.path, RFAAS_EXECUTABLE: RFAAS };
afterAll(() => scratch[Symbol.dispose]());

/** What `counted-client.ts` says of the node at `address`; `within` is what comes before the command. */
async function countAt(address: string, counts: number[], within: string[] = []): Promise<Counted> {
  const command = [...within, process.execPath, CLIENT, address, ...counts.map(String)];
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"], env: ENV });
  const overdue = setTimeout(() => child.kill("SIGKILL"), CLIENT_LIMIT_MS);
  try {
    const said = await child.stdout.text();
    expect([await child.exited, child.signalCode]).toEqual([0, null]);
    return JSON.parse(said) as Counted;
  } finally {
    clearTimeout(overdue);
  }
}

describe.skipIf(lacking !== undefined)("between two networks", () => {
  async function countOver(networks: TwoNetworks, ...counts: number[]): Promise<Counted> {
    const args = ["--allow-remote", "--fabric", "tcp", "--cores", "4"];
    await using node = await ServedNode.start(`${NODE_HOST}:0`, args, networks.onNode);
    return await countAt(`${NODE_HOST}:${node.port}`, counts, networks.onClient);
  }

  test(
    "with one packet of a hundred lost, 100,000 calls are right, and none is lost or doubled",
    async () => {
      using networks = new TwoNetworks();
      networks.lose();
      const calls = 100_000;
      expect(await countOver(networks, calls, 4, 4)).toEqual({
        ...{ fabric: "tcp", right: calls, came: calls, doubled: 0 },
      });
      for (const packets of networks.lost()) expect(packets).toBeGreaterThan(100);
    },
    LIMIT_MS,
  );

  test(
    "a call whose bytes need longer than a dead path is given is no lost one",
    async () => {
      using networks = new TwoNetworks();
      // 128 calls of 16 KiB are 2 MiB each way, for which this path needs four seconds.
      networks.slow("4mbit");
      expect(await countOver(networks, 12_800, 2, 64)).toEqual({
        ...{ fabric: "tcp", right: 12_800, came: 12_800, doubled: 0 },
      });
    },
    LIMIT_MS,
  );
});

describe("over a relay", () => {
  let node: ServedNode;
  beforeAll(async () => {
    node = await ServedNode.start("127.0.0.1:0", ["--fabric", "tcp", "--cores", "2"]);
  });
  afterAll(() => node[Symbol.asyncDispose]());

  test(
    "by which each byte takes 40 ms, many calls are on their way at a time",
    async () => {
      using relay = await Relay.open(node.port, 40);
      const counted = await countAt(`127.0.0.1:${relay.port}`, [2_000, 2, 64]);
      expect(counted).toEqual({ fabric: "tcp", right: 2_000, came: 2_000, doubled: 0 });
      // Control, a connection for each worker, and the side way.
      expect(relay.connections).toBe(4);
    },
    LIMIT_MS,
  );
});
