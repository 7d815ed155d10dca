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

  local(shape): LocalPair {
    const fd = regionOf(shape);
    const here = Region.map(fd);
    const there = Region.map(fd);
    closeDescriptor(fd);
    const pidfd = openPidfd(process.pid);
    const client = new ClientEndpoint(here, 0, shape.slots, pidfd, -1);
    const control = new WorkerControl(there, 0, -1, -1);
    const worker = new WorkerEndpoint(control.handle, shape.slots);
    worker.setFunctionCount(1);
    return {
      client,
      clientArena: here.arena,
      worker,
      workerArena: there.arena,
      stop: () => control.stop(),
      [Symbol.dispose]() {
        client.close();
        here.close();
        there.close();
        closeDescriptor(pidfd);
      },
    };
  },

  async remoteEcho(shape): Promise<RemotePair> {
    const fd = regionOf(shape);
    const region = Region.map(fd);
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
    const client = new ClientEndpoint(region, 0, shape.slots, pidfd, -1);
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
