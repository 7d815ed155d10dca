import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { LAYOUT, STATUS } from "../../ffi/layout.ts";
import { Region } from "../../ffi/region.ts";
import { openPidfd } from "../../ffi/system.ts";
import { SCRATCH_OUTPUT, WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import {
  type Fabric,
  type LocalPair,
  type RemotePair,
  type Shape,
  conformance,
} from "./conformance.ts";
import { regionOf } from "./region-of.ts";

const shm: Fabric = {
  name: "shm",
  // An emulator is slow, and QEMU's lets a load-acquire overtake a store-release.
  ...(process.env["RFAAS_TEST_EMULATED"] && { share: 0.02, losesWakeUps: true }),

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
      beginAt(sequence) {
        client.beginAt(sequence);
        control.beginAt(sequence);
      },
      stop: () => control.stop(),
      control,
      async [Symbol.asyncDispose]() {
        client.close();
        here.close();
        there.close();
        closeDescriptor(pidfd);
      },
    };
  },

  remoteEcho: (shape) => remoteEcho(shape),
};

async function remoteEcho(shape: Shape, patience?: number): Promise<RemotePair> {
  const fd = regionOf(shape);
  const region = Region.map(fd, 1, shape.slots);
  const child = Bun.spawn(
    [
      process.execPath,
      join(import.meta.dir, "echo-peer.ts"),
      `/proc/${process.pid}/fd/${fd}`,
      String(shape.slots),
      String(process.pid),
      ...(patience === undefined ? [] : [String(patience)]),
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  await child.stdout.getReader().read();
  closeDescriptor(fd);
  const pidfd = openPidfd(child.pid);
  const client = new ClientEndpoint(region, 0, shape.slots, { hostPidfd: pidfd, notifyFd: -1 });
  if (patience !== undefined) client.setPatience(patience);
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
}

conformance(shm);

describe("posts without a fence", () => {
  const OUTPUT_AT = 32 * 1024;
  const SLOTS = 8;

  for (const polling of ["warm", "adaptive"] as const)
    test(`lose no wake-up, while both sides give up their fences and take them back (${polling})`, async () => {
      const shape: Shape = { polling, slots: SLOTS, arenaBytes: 64 * 1024, spinNs: 2_000 };
      await using pair = await remoteEcho(shape, 3);
      const { client, clientArena } = pair;
      const words = new Uint32Array(clientArena);
      const placeOf = (i: number): number => (i % SLOTS) * 64;
      const ask = (fn: number, bytes: number): number[] => {
        expect(client.call(fn, 0, bytes, OUTPUT_AT, bytes, 10_000)).toBe(bytes);
        return [...new Uint32Array(clientArena, OUTPUT_AT, bytes / 4)];
      };
      let declared = 0;
      // On a busy machine a side seldom gets as far as falling asleep, or as posting often while the other is awake.
      for (let round = 0; round < 20 && (declared < 20 || client.declared() < 20); round++) {
        for (let call = 0; call < 20_000;) {
          const burst = 1 + ((Math.imul(call + 1, 0x9e3779b1) >>> 16) % SLOTS);
          const slots = Array.from({ length: burst }, (_, i) => {
            words[placeOf(i) / 4] = call + i;
            return client.post(0, placeOf(i), 4, OUTPUT_AT + placeOf(i), 4, 0);
          });
          for (const [i, slot] of slots.entries()) {
            const length = client.wait(slot, 10_000);
            const answered = words[(OUTPUT_AT + placeOf(i)) / 4];
            if (length !== 4 || answered !== call + i)
              throw new Error(`call ${call + i} came to ${length}, ${answered}`);
          }
          call += burst;
        }
        [declared] = ask(3, 4) as [number];
      }
      expect(declared).toBeGreaterThan(0);
      expect(client.declared()).toBeGreaterThan(0);
      const [sleeps, late] = ask(2, 8);
      expect(sleeps).toBeGreaterThan(0);
      if (!shm.losesWakeUps) expect([late, client.sleeps().late]).toEqual([0, 0]);
    }, 60_000);

  test("are made only towards a side that says that it makes barriers", () => {
    const fd = regionOf({ polling: "adaptive", slots: SLOTS, arenaBytes: 64 * 1024 });
    const region = Region.map(fd, 1, SLOTS);
    const client = new ClientEndpoint(region, 0, SLOTS, { hostPidfd: -1, notifyFd: -1 });
    const control = new WorkerControl(region, 0, -1, { clientFd: -1 });
    const worker = new WorkerEndpoint(control.handle, SLOTS);
    worker.setFunctionCount(1);
    client.setPatience(1);
    worker.setPatience(1);
    /** Where each side says so: the client in the lease's page, the worker in its channel's. */
    const raw = openSync(`/proc/self/fd/${fd}`, "r+");
    const says = (barriers: number): void => {
      for (const line of [128, LAYOUT.leasePageBytes])
        writeSync(raw, new Uint32Array([barriers]), 0, 4, line + 4);
    };
    const call = (): void => {
      const slot = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      // Now and then a turn only looks at the clock.
      let found = -1;
      while (found < 0) found = worker.turn(-1, 0, 1);
      worker.answer(found, STATUS.ok, 4);
      expect(client.test(slot)).toBe(4);
    };
    says(0);
    for (let i = 0; i < 10_000; i++) call();
    expect([client.declared(), worker.declared()]).toEqual([0, 0]);
    says(1);
    // The kernel is asked in another thread.
    for (let i = 0; i < 1e6 && client.declared() + worker.declared() < 2; i++) call();
    expect([client.declared(), worker.declared()]).toEqual([1, 1]);
    closeSync(raw);
    client.close();
    region.close();
    closeDescriptor(fd);
  });
});

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

describe("shared lines", () => {
  const SLOTS = 8;
  const slotAt = LAYOUT.leasePageBytes + LAYOUT.channelPageBytes;
  let fd = -1;
  let region: Region;
  let client: ClientEndpoint;
  let worker: WorkerEndpoint;
  const shared = (at: number, bytes: number): Uint8Array => {
    const seen = new Uint8Array(bytes);
    const raw = openSync(`/proc/self/fd/${fd}`, "r");
    readSync(raw, seen, 0, bytes, at);
    closeSync(raw);
    return seen;
  };

  beforeEach(() => {
    fd = regionOf({ polling: "hot", slots: SLOTS, arenaBytes: 64 * 1024 });
    region = Region.map(fd, 1, SLOTS);
    client = new ClientEndpoint(region, 0, SLOTS, { hostPidfd: -1, notifyFd: -1 });
    const control = new WorkerControl(region, 0, -1, { clientFd: -1 });
    worker = new WorkerEndpoint(control.handle, SLOTS);
    worker.setFunctionCount(1);
    new Uint8Array(region.arena).fill(0x5e);
  });
  afterEach(() => {
    client.close();
    region.close();
    closeDescriptor(fd);
  });

  test("hold nothing of the client but the payload: what a call does not use of its line is zero", () => {
    for (const bytes of [0, 1, 7, 8, 9, 31, 32, 33, 1024]) {
      const slot = client.post(0, 0, bytes, 4096, 1024, 0);
      const line = shared(slotAt + slot * LAYOUT.slotBytes, LAYOUT.inlineInputBytes);
      const own = bytes <= LAYOUT.inlineInputBytes ? bytes : 0;
      expect([...line]).toEqual([...line.keys()].map((i) => (i < own ? 0x5e : 0)));
      worker.turn(worker.turn(-1, 0, 1), 0, 1);
      expect(client.test(slot)).toBe(0);
    }
  });

  test("hold nothing of the worker but the result", () => {
    for (const bytes of [48, 0, 1, 8, 15, 47]) {
      const slot = client.post(0, 0, 8, 4096, 48, 0);
      expect(worker.turn(-1, 0, 1)).toBe(slot);
      const at = 4 * slot * worker.slotWords + SCRATCH_OUTPUT;
      new Uint8Array(worker.scratch, at, 48).fill(0x77);
      worker.turn(slot, bytes, 1);
      const line = shared(slotAt + slot * LAYOUT.slotBytes + LAYOUT.slotResponse, 48);
      expect([...line]).toEqual([...line.keys()].map((i) => (i < bytes ? 0x77 : 0)));
      expect(client.test(slot)).toBe(bytes);
    }
  });

  test("say that slots were skipped only while calls are in flight: a lone worker does not search its ring", () => {
    const skipped = () => shared(LAYOUT.leasePageBytes + 72, 4)[0];
    const post = () => client.post(0, 0, 8, 4096, 8, 0);
    for (let round = 0; round < 3; round++) {
      const [held, quick] = [post(), post()];
      for (const slot of [held, quick]) {
        expect(worker.turn(-1, 0, 1)).toBe(slot);
        worker.defer(slot);
      }
      // The ring comes around to the slot that is still held.
      for (let i = 0; i < SLOTS; i++) {
        const slot = i === 0 ? quick : post();
        if (i > 0) expect(worker.turn(-1, 0, 1)).toBe(slot);
        worker.answer(slot, STATUS.ok, 8);
        expect(client.test(slot)).toBe(8);
      }
      expect(skipped()).toBe(1);
      worker.answer(held, STATUS.ok, 8);
      expect(client.test(held)).toBe(8);
      const lone = post();
      expect(skipped()).toBe(0);
      worker.turn(worker.turn(-1, 0, 1), 8, 1);
      expect(client.test(lone)).toBe(8);
    }
  });
});
