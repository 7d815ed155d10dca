/** What every fabric must do, over the one of this folder. `third-fabric.test.ts` runs it with a shim that has that fabric. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { END, STATUS } from "../../../ffi/layout.ts";
import { Link } from "../../../ffi/link.ts";
import { Region } from "../../../ffi/region.ts";
import { WorkerControl, WorkerEndpoint } from "../../../ffi/worker-endpoint.ts";
import {
  type Fabric,
  type LocalPair,
  type RemotePair,
  type Shape,
  conformance,
} from "../conformance.ts";
import { regionOf } from "../region-of.ts";

const NOTHING_SECRET = new Uint8Array(16);

function connect(region: Region, pid: number): Link {
  const to = { address: String(pid), port: 0, nonce: NOTHING_SECRET, source: "" };
  return Link.connect("overtaking", region, to, -1, 0);
}

interface Pair extends LocalPair {
  control: WorkerControl;
}

async function local(shape: Shape): Promise<Pair> {
  const fd = regionOf(shape);
  const here = Region.map(fd, 1, shape.slots);
  const there = Region.map(fd, 1, shape.slots);
  closeDescriptor(fd);
  const ours = connect(here, process.pid);
  const theirs = connect(there, process.pid);
  const client = new ClientEndpoint(here, 0, shape.slots, ours);
  const control = new WorkerControl(there, 0, -1, theirs);
  const worker = new WorkerEndpoint(control.handle, shape.slots);
  worker.setFunctionCount(1);
  return {
    client,
    clientArena: here.arena,
    control,
    worker,
    workerArena: there.arena,
    beginAt(sequence) {
      client.beginAt(sequence);
      control.beginAt(sequence);
    },
    stop: () => control.stop(),
    async [Symbol.asyncDispose]() {
      client.close();
      for (const link of [ours, theirs]) link.close();
      for (const region of [here, there]) region.close();
    },
  };
}

async function remoteEcho(shape: Shape): Promise<RemotePair> {
  const fd = regionOf(shape);
  const region = Region.map(fd, 1, shape.slots);
  const path = `/proc/${process.pid}/fd/${fd}`;
  const child = Bun.spawn(
    [
      process.execPath,
      join(import.meta.dir, "peer.ts"),
      path,
      String(shape.slots),
      String(process.pid),
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  await child.stdout.getReader().read();
  closeDescriptor(fd);
  const link = connect(region, child.pid);
  const client = new ClientEndpoint(region, 0, shape.slots, link);
  return {
    client,
    clientArena: region.arena,
    kill: () => child.kill("SIGKILL"),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      client.close();
      link.close();
      region.close();
    },
  };
}

const overtaking: Fabric = { name: "overtaking", share: 0.005, local, remoteEcho };
conformance(overtaking);

describe("where messages overtake each other", () => {
  test("a worker's last answers are not lost, though the word that it has ended comes first", async () => {
    await using pair = await local({ polling: "hot", slots: 8, arenaBytes: 64 * 1024 });
    const { client, control, worker } = pair;
    const posted = Array.from({ length: 8 }, () => client.post(0, 0, 4, 1024, 4, 0));
    for (const slot of posted) {
      let found = -1;
      while (found < 0) found = worker.turn(-1, 0, 1);
      expect(found).toBe(slot);
      worker.answer(found, STATUS.ok, 4);
    }
    control.lose(END.workerFailed, 0);
    expect(posted.map((slot) => client.wait(slot, 10_000))).toEqual(posted.map(() => 4));
    // A call that it never got is lost all the same.
    expect(client.call(0, 0, 4, 1024, 4, 0)).toBe(STATUS.workerLost);
  });

  test("memory of the program's own is refused by a fabric that copies it", async () => {
    const fd = regionOf({ polling: "hot", slots: 8, arenaBytes: 64 * 1024 });
    const region = Region.map(fd, 1, 8);
    closeDescriptor(fd);
    const link = connect(region, process.pid);
    expect(() => link.register(region, 0, new Uint8Array(64))).toThrow("ENOTSUP");
    link.close();
    region.close();
  });

  test("a fabric that the shim does not have, and one without links, are refused by name", () => {
    const fd = regionOf({ polling: "hot", slots: 8, arenaBytes: 64 * 1024 });
    const region = Region.map(fd, 1, 8);
    closeDescriptor(fd);
    const at = { address: "127.0.0.1", nonce: NOTHING_SECRET };
    for (const name of ["shm", "pigeons"])
      expect(() => Link.listen(name, region, at, -1, 0)).toThrow(`listening over ${name}`);
    region.close();
  });
});
