/** How the folders of hosts that are gone are removed: beside all else, and whatever comes of it. */
import { expect, test } from "bun:test";
import { closeDescriptor, notifyPair } from "../../ffi/descriptors.ts";
import { HostProcess } from "../../src/executor/agent/host-process.ts";
import { WatchLimiter } from "../../src/executor/limits/watch.ts";
import { readerOf } from "../../src/executor/output/bounded-log.ts";
import type { HostStart } from "../../src/executor/sandbox/driver.ts";
import { none } from "../../src/executor/sandbox/none/driver.ts";
import { Removals } from "../../src/executor/sandbox/removals.ts";
import { Rooms } from "../../src/executor/sandbox/room.ts";
import { Sandbox } from "../../src/executor/sandbox/sandbox.ts";
import { Scratch } from "../support/scratch.ts";

/** Removals of which each ends when the test says so. */
function played() {
  const [warned, begun] = [[] as string[], [] as string[]];
  const ends: PromiseWithResolvers<void>[] = [];
  const removals = new Removals(
    (message) => warned.push(message),
    (folder) => {
      begun.push(folder);
      const end = Promise.withResolvers<void>();
      ends.push(end);
      return end.promise;
    },
  );
  return { removals, warned, begun, ends };
}

test("folders go one after the other, and one that cannot go is told once and keeps no other", async () => {
  const { removals, warned, begun, ends } = played();
  const [first, second, third] = ["/a", "/b", "/c"].map((folder) => removals.remove(folder));
  await Bun.sleep(0);
  expect(begun).toEqual(["/a"]);
  ends[0]!.reject(new Error("it is busy"));
  await first;
  expect(begun).toEqual(["/a", "/b"]);
  ends[1]!.reject(new Error("it is busy, too"));
  await second;
  ends[2]!.resolve();
  await third;
  expect(warned).toEqual([expect.stringMatching(/\/a cannot be removed \(it is busy\)/)]);
});

test("a node that ends waits for them, but not without end", async () => {
  const { removals, ends } = played();
  const removed = removals.remove("/a");
  let finished = false;
  const finish = removals.finish().then(() => (finished = true));
  await removals.finish(1);
  expect(finished).toBe(false);
  ends[0]!.resolve();
  await removed;
  await finish;
});

test("the end of a host is known before its folder is removed", async () => {
  using scratch = new Scratch();
  const room = new Rooms([scratch.path]).make();
  const told: string[] = [];
  const removing = Promise.withResolvers<void>();
  room.remove = () => {
    told.push("removing");
    removing.resolve();
    return new Promise(() => {});
  };
  const [control, its] = notifyPair();
  let started: HostStart | undefined;
  const sandbox = new Sandbox({
    driver: {
      ...none,
      start(host) {
        started = host;
        return { pid: process.pid, control, kill() {} };
      },
    },
    folders: [],
  });
  sandbox.makeRoom = () => room;
  const host = HostProcess.spawn({
    ...{ threads: 1, waits: true, fabrics: [], sandbox, terms: sandbox.closed },
    ...{ limiter: new WatchLimiter(), reader: readerOf(() => {}) },
  });
  void host.exited.then(() => told.push("ended"));
  started!.onExit({ exitCode: 0, signal: null, cpuNs: undefined });
  await removing.promise;
  expect(await host.exited).toMatchObject({ exitCode: 0 });
  expect(told).toEqual(["ended", "removing"]);
  closeDescriptor(its);
});
