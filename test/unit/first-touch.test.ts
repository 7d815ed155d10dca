/** Which pages of a lease's memory are mapped before calls reach them: client and host are two mappings of this process. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Pointer, dlopen } from "bun:ffi";
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { native } from "../../ffi/library.ts";
import { Region, createRegion } from "../../ffi/region.ts";
import { IDLE, WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { FirstTouch } from "../../src/fabric/shm/first-touch.ts";
import { PAGE, hasHugePages, mappedPagesAt } from "../support/pages.ts";
import { until } from "../support/until.ts";

const SLOTS = 16;
const ARENA_PAGES = 4096;
/** `RFAAS_PIECE_PAGES`, and what the kernel maps around a page that is read. */
const PIECE_PAGES = 128;
const AROUND_PAGES = 32;
/** Where `rfaas_lease_page` says how much has been handed out. */
const HANDED_OUT_AT = 72;
/** More than any of these tests hands out. */
const AT_ONCE = 2 ** 40;
const GIB = 2 ** 30;

let fd: number;
let client: Region;
let host: Region;
/** Of control pages, on each side. */
let before: number;
let reserved: number;

function open(polling: "hot" | "warm" = "hot"): void {
  const arenaBytes = ARENA_PAGES * PAGE;
  const memory = createRegion({ workers: 1, slots: SLOTS, arenaBytes, polling, spinNs: 0 });
  fd = openSync(`/proc/self/fd/${memory}`, "r+");
  client = Region.map(memory, 1, SLOTS);
  host = Region.map(memory, 1, SLOTS);
  closeDescriptor(memory);
  before = mappedBy(host);
  reserved = blocksOf();
}

function close(): void {
  client.close();
  host.close();
  closeSync(fd);
}

const arenaOf = (region: Region): number => native().rfaas_region_arena(region.handle as Pointer);
const mappedBy = (region: Region): number => mappedPagesAt(arenaOf(region));
const touchPiece = (): boolean => native().rfaas_touch_piece(host.handle as Pointer) !== 0;
const blocksOf = (): number => (512 * fstatSync(fd).blocks) / PAGE;
/** Pages of the file that have memory, beside the control pages: of those, records of errors have some and are not mapped. */
const pagesOfMemory = (): number => blocksOf() - reserved;

/** Maps all that there is to map, and returns in how many pieces. */
function touchAll(): number {
  let pieces = 0;
  while (touchPiece()) pieces++;
  return pieces;
}

/** Writes what a client says that it has handed out. */
const claim = (bytes: bigint): void =>
  void writeSync(fd, new BigUint64Array([bytes]), 0, 8, HANDED_OUT_AT);
function said(): number {
  const bytes = new BigUint64Array(1);
  readSync(fd, bytes, 0, 8, HANDED_OUT_AT);
  return Number(bytes[0]);
}

const COUNTS = !hasHugePages();

beforeEach(() => open());
afterEach(() => {
  native().rfaas_touch_by_hand(0);
  close();
});

describe.if(COUNTS).each([
  ["with the kernel's help", 0],
  ["by hand, as before Linux 5.14", 1],
])("%s", (_, byHand) => {
  beforeEach(() => native().rfaas_touch_by_hand(byHand));

  test("memory that is handed out has its pages, on both sides, and no other has", () => {
    expect([mappedBy(client), pagesOfMemory()]).toEqual([before, 0]);
    expect(client.handOut(75 * PAGE, AT_ONCE)).toBe(true);
    expect(mappedBy(client)).toBe(before + 75);
    expect(mappedBy(host)).toBe(before);
    touchAll();
    expect(mappedBy(host)).toBe(before + 75);
    // A buffer that begins in the last page, and ends within another.
    expect(client.handOut(80 * PAGE + 64, AT_ONCE)).toBe(true);
    touchAll();
    expect([mappedBy(client), mappedBy(host)]).toEqual([before + 81, before + 81]);
    expect(pagesOfMemory()).toBe(81);
  });

  test("all of the memory can be handed out, and then nothing is left to map", () => {
    expect(client.handOut(client.arenaBytes, AT_ONCE)).toBe(true);
    touchAll();
    expect(mappedBy(host)).toBeGreaterThanOrEqual(before + ARENA_PAGES);
    expect(touchPiece()).toBe(false);
    expect(client.handOut(client.arenaBytes, AT_ONCE)).toBe(true);
  });

  test("what is in the memory stays there", () => {
    const written = new Uint32Array(host.lend(0, 64 * PAGE)).map((_, i) => i + 1);
    new Uint32Array(host.lend(0, 64 * PAGE)).set(written);
    client.handOut(128 * PAGE, AT_ONCE);
    touchAll();
    expect(new Uint32Array(client.lend(0, 64 * PAGE))).toEqual(written);
  });

  test("a host maps in pieces of a bounded length", () => {
    client.handOut(1024 * PAGE, AT_ONCE);
    let pieces = 0;
    for (let last = before, now; touchPiece(); last = now, pieces++) {
      now = mappedBy(host);
      expect(now - last).toBeLessThanOrEqual(PIECE_PAGES + AROUND_PAGES);
    }
    expect(pieces).toBeGreaterThanOrEqual(1024 / PIECE_PAGES);
    expect(mappedBy(host)).toBe(before + 1024);
  });

  test("a client that says more than it has handed out gets nothing mapped for it, and no memory", () => {
    client.handOut(16 * PAGE, AT_ONCE);
    for (const bytes of [17 * PAGE, ARENA_PAGES * PAGE + 1, 2 ** 63]) {
      claim(BigInt(bytes));
      expect(touchAll()).toBeLessThanOrEqual(ARENA_PAGES);
      expect(mappedBy(host)).toBe(before + 16);
      expect(pagesOfMemory()).toBe(16);
    }
    // All has been looked at: such a client costs no more time, whatever it says.
    for (const bytes of [0n, 2n ** 64n - 1n]) {
      claim(bytes);
      expect(touchPiece()).toBe(false);
    }
  });
});

test.if(COUNTS)(
  "a client that hands out more between calls gives pages to a piece at a time",
  () => {
    expect(client.handOut(1024 * PAGE, 0)).toBe(false);
    const first = mappedBy(client) - before;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThanOrEqual(PIECE_PAGES);
    expect(said()).toBe(first * PAGE);
    while (!client.handOut(1024 * PAGE, 0));
    expect(mappedBy(client)).toBe(before + 1024);
  },
);

test.if(COUNTS)(
  "memory that cannot be had is handed out without its pages, and workers do not hear of it",
  () => {
    const libc = dlopen("libc.so.6", { mprotect: { args: ["ptr", "u64", "i32"], returns: "i32" } });
    const at = arenaOf(client) + PIECE_PAGES * PAGE;
    expect(libc.symbols.mprotect(at as Pointer, BigInt(PAGE), 0)).toBe(0);
    expect(client.handOut(512 * PAGE, AT_ONCE)).toBe(true);
    expect(said()).toBe(PIECE_PAGES * PAGE);
    libc.symbols.mprotect(at as Pointer, BigInt(PAGE), 3);
    libc.close();
    expect(client.handOut(1024 * PAGE, AT_ONCE)).toBe(true);
    expect(said()).toBe(PIECE_PAGES * PAGE);
    const late = new Uint8Array(client.lend(600 * PAGE, PAGE)).fill(7);
    expect(late[PAGE - 1]).toBe(7);
  },
);

describe.if(COUNTS)("a worker", () => {
  test.each(["hot", "warm"] as const)(
    "that is %s maps what is handed out before it waits for a request",
    (polling) => {
      close();
      open(polling);
      const control = new WorkerControl(host, 0, -1, { clientFd: -1 });
      const worker = new WorkerEndpoint(control.handle, SLOTS);
      client.handOut(1000 * PAGE, AT_ONCE);
      // After some milliseconds away, the first turn is for the event loop.
      for (let turns = 0; mappedBy(host) < before + 1000 && turns < 100; turns++)
        expect([worker.turn(-1, 0, 0), worker.turn(-1, 0, 0)]).toEqual([IDLE, IDLE]);
      expect(mappedBy(host)).toBe(before + 1000);
    },
  );

  test("does not park before all that is handed out is mapped: no request may come to wake it", () => {
    close();
    open("warm");
    const control = new WorkerControl(host, 0, -1, { clientFd: -1 });
    const worker = new WorkerEndpoint(control.handle, SLOTS);
    client.handOut(1000 * PAGE, AT_ONCE);
    expect(worker.park()).toBe(true);
    touchAll();
    expect(worker.park()).toBe(false);
    worker.unpark();
  });

  test("takes a request that is there before it maps anything", () => {
    const control = new WorkerControl(host, 0, -1, { clientFd: -1 });
    const worker = new WorkerEndpoint(control.handle, SLOTS);
    worker.setFunctionCount(1);
    const endpoint = new ClientEndpoint(client, 0, SLOTS, { hostPidfd: -1, notifyFd: -1 });
    client.handOut(1000 * PAGE, AT_ONCE);
    for (let call = 0; call < 50; call++) {
      const posted = endpoint.post(0, 0, 8, 64, 8, 0);
      let slot = worker.turn(-1, 0, 0);
      // Every few milliseconds a turn is for the event loop.
      if (slot === IDLE) slot = worker.turn(-1, 0, 0);
      expect(slot).toBe(posted);
      worker.answer(slot, 0, 0);
      expect(endpoint.test(posted)).toBe(0);
    }
    expect(mappedBy(host)).toBe(before);
    endpoint.close();
  });
});

describe.if(COUNTS)("a client", () => {
  const bounds = { atOnceBytes: 256 * PAGE, memoryLeft: () => GIB };

  test("gives large buffers a part of their pages at once and the rest between turns of its event loop", async () => {
    const touch = new FirstTouch(client, [], bounds);
    touch.handOut(2048 * PAGE);
    expect(mappedBy(client)).toBe(before + 256);
    // Smaller ones that follow wait for their turn.
    touch.handOut(2049 * PAGE);
    expect(mappedBy(client)).toBe(before + 256);
    await until(() => mappedBy(client) === before + 2049, "the rest has its pages");
    touch.handOut(2050 * PAGE);
    expect(mappedBy(client)).toBe(before + 2050);
    expect(pagesOfMemory()).toBe(2050);
    touch.stop();
  });

  test("goes no further once its lease is over", async () => {
    const touch = new FirstTouch(client, [], bounds);
    touch.handOut(2048 * PAGE);
    touch.stop();
    for (let turns = 0; turns < 10; turns++) await new Promise((done) => setImmediate(done));
    touch.handOut(4096 * PAGE);
    expect(mappedBy(client)).toBe(before + 256);
  });

  test("takes no memory ahead of its use where little is left", () => {
    const touch = new FirstTouch(client, [], { ...bounds, memoryLeft: () => 9 * 1024 * PAGE });
    const looked = new FirstTouch(client, [], { ...bounds, memoryLeft: () => 7 * 1024 * PAGE });
    looked.handOut(ARENA_PAGES * PAGE + PAGE);
    expect(mappedBy(client)).toBe(before);
    touch.handOut(ARENA_PAGES * PAGE);
    expect(mappedBy(client)).toBe(before + 256);
    touch.stop();
  });

  test("wakes one worker that sleeps, for memory that is worth it", () => {
    const roused: number[] = [];
    const endpoint = (worker: number, sleeps: boolean): ClientEndpoint =>
      ({ rouse: () => (roused.push(worker), sleeps) }) as unknown as ClientEndpoint;
    const endpoints = [endpoint(0, false), endpoint(1, true), endpoint(2, true)];
    const touch = new FirstTouch(client, endpoints, bounds);
    touch.handOut(16 * PAGE);
    expect(roused).toEqual([]);
    touch.handOut(100 * PAGE);
    expect(roused).toEqual([0, 1]);
    touch.handOut(100 * PAGE);
    touch.handOut(110 * PAGE);
    expect(roused).toEqual([0, 1]);
  });
});
