import { describe, expect, test } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { Region, createRegion } from "../../ffi/region.ts";
import { openPidfd } from "../../ffi/system.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import {
  type Fabric,
  type LocalPair,
  type RemotePair,
  type Shape,
  conformance,
} from "./conformance.ts";

const regionOf = ({ polling, slots, arenaBytes, spinNs = 0 }: Shape): number =>
  createRegion({ workers: 1, slots, arenaBytes, polling, spinNs });

const shm: Fabric = {
  name: "shm",

  async local(shape): Promise<LocalPair> {
    const fd = regionOf(shape);
    const here = Region.map(fd, 1, shape.slots);
    const there = Region.map(fd, 1, shape.slots);
    closeDescriptor(fd);
    const pidfd = openPidfd(process.pid);
    const client = new ClientEndpoint(here, 0, shape.slots, { hostPidfd: pidfd, notifyFd: -1 });
    const control = new WorkerControl(there, 0, -1, { clientFd: -1 });
    const worker = new WorkerEndpoint(control.handle, shape.slots);
    worker.setFunctionCount(1);
    return {
      client,
      clientArena: here.arena,
      worker,
      workerArena: there.arena,
      stop: () => control.stop(),
      async [Symbol.asyncDispose]() {
        client.close();
        here.close();
        there.close();
        closeDescriptor(pidfd);
      },
    };
  },

  async remoteEcho(shape): Promise<RemotePair> {
    const fd = regionOf(shape);
    const region = Region.map(fd, 1, shape.slots);
    const child = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "echo-peer.ts"),
        `/proc/${process.pid}/fd/${fd}`,
        String(shape.slots),
        String(process.pid),
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
    );
    await child.stdout.getReader().read();
    closeDescriptor(fd);
    const pidfd = openPidfd(child.pid);
    const client = new ClientEndpoint(region, 0, shape.slots, { hostPidfd: pidfd, notifyFd: -1 });
    return {
      client,
      clientArena: region.arena,
      kill: () => child.kill("SIGKILL"),
      async [Symbol.asyncDispose]() {
        child.kill("SIGKILL");
        await child.exited;
        client.close();
        region.close();
        closeDescriptor(pidfd);
      },
    };
  },
};

conformance(shm);

describe("a region's header", () => {
  const shape: Shape = { polling: "hot", slots: 8, arenaBytes: 64 * 1024 };

  test("must say what the node said", () => {
    const fd = regionOf(shape);
    for (const [workers, slots] of [
      [2, 8],
      [1, 16],
      [1, 4],
      [0, 8],
      [1, 0],
      [121, 8],
      [1, 4096],
    ] as const)
      expect(() => Region.map(fd, workers, slots)).toThrow();
    Region.map(fd, 1, 8).close();
    closeDescriptor(fd);
  });

  test("is not trusted again after it was mapped: rewriting it moves nothing", () => {
    const fd = regionOf(shape);
    const region = Region.map(fd, 1, 8);
    const raw = openSync(`/proc/self/fd/${fd}`, "r+");
    // Workers, slots and the sizes: everything behind magic and version.
    writeSync(raw, new Uint8Array(56).fill(0xff), 0, 56, 8);
    closeSync(raw);
    const pidfd = openPidfd(process.pid);
    const way = { hostPidfd: pidfd, notifyFd: -1 };
    const client = new ClientEndpoint(region, 0, 8, way);
    const control = new WorkerControl(region, 0, -1, { clientFd: -1 });
    const worker = new WorkerEndpoint(control.handle, 8);
    worker.setFunctionCount(1);
    for (let i = 0; i < 20; i++) {
      const slot = client.post(0, 0, 64, 1024, 64, 0);
      expect(worker.turn(-1, 0, 1)).toBe(slot);
      worker.turn(slot, 64, 1);
      expect(client.test(slot)).toBe(64);
    }
    expect(() => new ClientEndpoint(region, 1, 8, way)).toThrow(RangeError);
    client.close();
    region.close();
    expect(() => Region.map(fd, 1, 8)).toThrow();
    closeDescriptor(pidfd);
    closeDescriptor(fd);
  });
});
