/** A host as its agent handles it, when the host, or the machine, is not well. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { closeDescriptor, notifyPair } from "../../ffi/descriptors.ts";
import { LAYOUT } from "../../ffi/layout.ts";
import { HostProcess } from "../../src/executor/agent/host-process.ts";
import { WatchLimiter } from "../../src/executor/limits/watch.ts";
import { readerOf } from "../../src/executor/output/bounded-log.ts";
import { none } from "../../src/executor/sandbox/none/driver.ts";
import { Sandbox } from "../../src/executor/sandbox/sandbox.ts";
import { RFAAS } from "../support/executable.ts";

const NONCE = new Uint8Array(16);
const GREETING = new Uint8Array(64);
/** More than any system lets a mailbox hold, and a host's lease has connections. */
const MANY = 1000;

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;

const sandbox = new Sandbox({ driver: none, folders: [] });
const WANTED = {
  threads: 1,
  fabrics: [],
  sandbox,
  terms: sandbox.closed,
  limiter: new WatchLimiter(),
  reader: readerOf(() => {}),
};

let host: HostProcess;
beforeEach(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  host = HostProcess.spawn({ ...WANTED, waits: false });
  await host.ready;
});
afterEach(async () => {
  host.kill();
  await host.exited;
});

test("an agent that cannot keep a connection brings its host none, and goes on", async () => {
  await host.bring(NONCE, -1, GREETING);
});

test("a host that takes no connections makes its agent hold no more of them than a lease has", async () => {
  process.kill(host.pid, "SIGSTOP");
  const pair = notifyPair();
  const before = openDescriptors();
  const brought = Array.from({ length: MANY }, () => host.bring(NONCE, pair[0], GREETING));
  expect(openDescriptors() - before).toBeGreaterThan(0);
  expect(openDescriptors() - before).toBeLessThanOrEqual(LAYOUT.maxWorkers + 1);
  host.kill();
  await Promise.all(brought);
  expect(openDescriptors()).toBeLessThanOrEqual(before);
  for (const fd of pair) closeDescriptor(fd);
});

test("a host that has tried to wait for a client over a network keeps nothing of that", async () => {
  const held = async (fabrics: readonly string[]): Promise<object> => {
    const waiting = HostProcess.spawn({ ...WANTED, waits: true, fabrics });
    await waiting.ready;
    const folder = `/proc/${waiting.pid}/fd`;
    const all = readdirSync(folder);
    const sockets = all.filter((fd) => isSocket(join(folder, fd)));
    const kept = { descriptors: all.length, sockets: sockets.length };
    waiting.kill();
    await waiting.exited;
    return kept;
  };
  const without = await held([]);
  expect(await held(["tcp"])).toEqual(without);
  // A node of another version may name one that this host does not have.
  expect(await held(["none such"])).toEqual(without);
});

const isSocket = (path: string): boolean => readlinkSync(path).startsWith("socket:");
