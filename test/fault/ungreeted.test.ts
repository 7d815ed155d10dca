/** Peers that connect to a node or a manager and do not greet: what they cost, and that they keep nobody out. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { invoker } from "../../src/index.ts";
import { MAX_FRAME_BYTES } from "../../src/protocol/frame.ts";
import { ServedNode } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { residentBytes } from "../support/processes.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const PEERS = 200;
/** What a process's memory may rise by without a reason: far less than one long frame of each peer. */
const NOISE_BYTES = 64 * 1024 ** 2;

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

function longFrame(bytes: number): Uint8Array {
  const frame = new Uint8Array(bytes);
  new DataView(frame.buffer).setUint32(0, MAX_FRAME_BYTES, true);
  return frame;
}

/** So many connections, each of which has said `bytes`. */
async function connect(address: string, bytes: Uint8Array): Promise<RawPeer[]> {
  const peers = await Promise.all(Array.from({ length: PEERS }, () => RawPeer.connect(address)));
  for (const peer of peers) peer.write(bytes);
  return peers;
}

/** The most memory that a process has until it has closed all connections that said `bytes`, and no more. */
async function bytesWith(pid: number, address: string, bytes: Uint8Array): Promise<number> {
  const before = descriptors(pid);
  const peers = await connect(address, bytes);
  let most = 0;
  await until(
    () => {
      most = Math.max(most, residentBytes(pid));
      return peers.every(({ closed }) => closed);
    },
    "all are closed",
    20_000,
  );
  for (const peer of peers) peer.die();
  await until(() => descriptors(pid) <= before, "nothing is left of them");
  return most;
}

async function expectCheap(pid: number, address: string): Promise<void> {
  // The control: connections that say next to nothing.
  const control = await bytesWith(pid, address, new Uint8Array(1));
  for (const said of [longFrame(MAX_FRAME_BYTES), longFrame(64 * 1024), longFrame(4)])
    expect((await bytesWith(pid, address, said)) - control).toBeLessThan(NOISE_BYTES);
}

describe("a node", () => {
  test("gives whoever has not greeted no memory for long messages", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    await expectCheap(node.pid, `127.0.0.1:${node.port}`);
  }, 60_000);

  test("closes the oldest of too many that say nothing, and serves those who greet", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const address = `127.0.0.1:${node.port}`;
    const before = descriptors(node.pid);
    const first = await connect(address, new Uint8Array(0));
    await until(() => descriptors(node.pid) >= before + PEERS, "the first are taken");
    const later: RawPeer[] = [];
    while (later.length < 4 * PEERS) {
      later.push(...(await connect(address, new Uint8Array(0))));
      await using rf = await invoker({ node: address });
      expect((await rf.status()).leases).toBe(0);
    }
    const open = later.at(-1)!;
    await until(() => open.closed || first.every(({ closed }) => closed), "the first are closed");
    expect(open.closed).toBe(false);
    await until(() => later.every(({ closed }) => closed), "all are closed in the end", 20_000);
    await until(() => descriptors(node.pid) <= before, "nothing is left of them");
  }, 60_000);
});

describe("a manager", () => {
  test("gives whoever has not greeted no memory for long messages", async () => {
    using scratch = new Scratch();
    await using manager = await RunningManager.start(scratch.path);
    await expectCheap(manager.pid, manager.address);
    (await ManagerSubscription.connect(manager.address)).close();
  }, 60_000);
});
