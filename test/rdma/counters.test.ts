/** Counters that are raised by remote atomics: who may, what arrives, and what is left when either side goes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Adder, COUNTERS_PER_ROW, CounterPort, type Counters } from "../../ffi/verbs/counters.ts";
import { LINK_FAILURE } from "../../ffi/verbs/verbs.ts";
import { ROOT } from "../support/executable.ts";
import { expectResources, resources, withDevice } from "../support/rdma.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { newNonce } from "./verbs-pair.ts";

const ROWS = 64;
const WRONG_NONCE = 2;
const REMOTE_ACCESS_ERROR = 10;

const numbers = (...values: number[]): Float64Array<ArrayBuffer> => new Float64Array(values);

withDevice("remote counters", ({ address }) => {
  const before = resources();
  let port: CounterPort;
  beforeAll(() => void (port = new CounterPort(address)));
  afterAll(async () => {
    port.close();
    await expectResources(before);
  });

  /** A node's counters, and its connection to them. */
  async function connected(): Promise<{ counters: Counters; adder: Adder }> {
    const nonce = newNonce();
    const counters = port.open(nonce, ROWS);
    const adder = new Adder({ address, port: port.port, nonce });
    await until(() => adder.state.ready && counters.state === "connected", "it is connected");
    return { counters, adder };
  }

  const failureOf = async (adder: Adder) => {
    await until(() => {
      adder.completed();
      return adder.state.failure !== LINK_FAILURE.sound;
    }, "it has failed");
    const { failure, detail } = adder.state;
    return { failure, detail };
  };

  const read = (counters: Counters, row: number): number[] => {
    const out = numbers(...new Array<number>(COUNTERS_PER_ROW).fill(-1));
    counters.read(row, out);
    return [...out];
  };

  test("rise by what was added, each row by itself, and hold more than 32 bits", async () => {
    const { counters, adder } = await connected();
    expect(adder.state.rows).toBe(ROWS);
    let posted = 0;
    for (let i = 0; i < 200; i++) {
      const count = adder.add(3, numbers(1, 0, 2 ** 40, i % 2, 5));
      expect(count).toBe(i % 2 === 0 ? 3 : 4);
      posted += count!;
    }
    posted += adder.add(ROWS - 1, numbers(0, Number.MAX_SAFE_INTEGER, 0, 0, 0))!;
    expect(adder.add(5, numbers(0, 0, 0, 0, 0))).toBe(0);
    await until(() => adder.completed() === posted, "all are done");
    expect(read(counters, 3)).toEqual([200, 0, 200 * 2 ** 40, 100, 1000]);
    expect(read(counters, ROWS - 1)).toEqual([0, Number.MAX_SAFE_INTEGER, 0, 0, 0]);
    expect(read(counters, 5)).toEqual([0, 0, 0, 0, 0]);
    counters.clear(3);
    expect(read(counters, 3)).toEqual([0, 0, 0, 0, 0]);
    expect(() => counters.read(ROWS, numbers(0, 0, 0, 0, 0))).toThrow("EINVAL");
    expect(() => adder.add(0, numbers(-1, 0, 0, 0, 0))).toThrow("EINVAL");
    expect(() => adder.add(0, numbers(Number.NaN, 0, 0, 0, 0))).toThrow("EINVAL");
    adder.close();
    await until(() => counters.state === "lost", "the manager notices");
    counters.close();
  });

  test("take no more than there is room for, and go on when some are done", async () => {
    const { counters, adder } = await connected();
    let posted = 0;
    let refused = 0;
    for (let i = 0; i < 600; i++) {
      let count: number | null;
      while ((count = adder.add(0, numbers(1, 1, 1, 1, 1))) === null) {
        refused++;
        adder.completed();
      }
      posted += count;
    }
    await until(() => adder.completed() === posted, "all are done");
    expect(refused).toBeGreaterThan(0);
    expect(read(counters, 0)).toEqual([600, 600, 600, 600, 600]);
    adder.close();
    counters.close();
  });

  test("are for who knows the nonce, once", async () => {
    const nonce = newNonce();
    const counters = port.open(nonce, ROWS);
    const stranger = new Adder({ address, port: port.port, nonce: newNonce() });
    expect(await failureOf(stranger)).toEqual({
      failure: LINK_FAILURE.rejected,
      detail: WRONG_NONCE,
    });
    expect(stranger.add(0, numbers(1, 0, 0, 0, 0))).toBeNull();
    stranger.close();
    const first = new Adder({ address, port: port.port, nonce });
    await until(() => first.state.ready, "it is connected");
    const second = new Adder({ address, port: port.port, nonce });
    expect((await failureOf(second)).detail).toBe(WRONG_NONCE);
    second.close();
    first.close();
    counters.close();
    const late = new Adder({ address, port: port.port, nonce });
    expect((await failureOf(late)).detail).toBe(WRONG_NONCE);
    late.close();
  });

  test("are only added to, and only by their own node, whatever a node does", async () => {
    using scratch = new Scratch();
    const hostile = scratch.join("hostile-adder");
    const compile = Bun.spawnSync([
      ...["gcc", "-Wall", "-Wextra", "-Werror", "-O1", `-I${join(ROOT, "ffi", "shim")}`],
      ...[join(import.meta.dir, "hostile-adder.c"), "-o", hostile, "-libverbs", "-lrdmacm"],
    ]);
    expect(compile.stderr.toString()).toBe("");
    for (const operation of ["cross", "write", "read"]) {
      const nonces = [newNonce(), newNonce()] as const;
      const both = nonces.map((nonce) => port.open(nonce, ROWS));
      const child = Bun.spawn(
        [
          ...[hostile, address, String(port.port)],
          ...nonces.map((nonce) => Buffer.from(nonce).toString("hex")),
          operation,
        ],
        { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
      );
      expect([operation, Number(await child.stdout.text())]).toEqual([
        operation,
        REMOTE_ACCESS_ERROR,
      ]);
      // It ends without a goodbye, and the kernel says it.
      for (const counters of both) {
        await until(() => counters.state === "lost", "the manager notices");
        expect(read(counters, 0)).toEqual([0, 0, 0, 0, 0]);
        counters.close();
      }
    }
  });

  test("beyond the last row are out of reach: the node's connection ends, and another's goes on", async () => {
    const [mine, other] = [await connected(), await connected()];
    other.adder.add(0, numbers(7, 7, 7, 7, 7));
    mine.adder.add(ROWS, numbers(1, 0, 0, 0, 0));
    expect(await failureOf(mine.adder)).toEqual({
      failure: LINK_FAILURE.completion,
      detail: REMOTE_ACCESS_ERROR,
    });
    expect(mine.adder.add(0, numbers(1, 0, 0, 0, 0))).toBeNull();
    expect(read(mine.counters, 0)).toEqual([0, 0, 0, 0, 0]);
    expect(other.adder.add(0, numbers(1, 1, 1, 1, 1))).toBe(5);
    await until(() => other.adder.completed() === 10, "the other's are done");
    expect(read(other.counters, 0)).toEqual([8, 8, 8, 8, 8]);
    for (const { adder, counters } of [mine, other]) {
      adder.close();
      counters.close();
    }
  });

  test("end with the manager's side: the node hears of it, and closing waits for nobody", async () => {
    const { counters, adder } = await connected();
    counters.close();
    expect(await failureOf(adder)).toMatchObject({ failure: LINK_FAILURE.disconnected });
    adder.close();
    const another = new CounterPort(address);
    const nonce = newNonce();
    another.open(nonce, ROWS);
    const cut = new Adder({ address, port: another.port, nonce });
    await until(() => cut.state.ready, "it is connected");
    another.close();
    expect(await failureOf(cut)).toMatchObject({ failure: LINK_FAILURE.disconnected });
    cut.close();
    // Nobody listens any more.
    const late = new Adder({ address, port: port.port === 1 ? 2 : 1, nonce });
    expect((await failureOf(late)).failure).toBe(LINK_FAILURE.rejected);
    late.close();
  });

  describe("closed in the middle of things", () => {
    test("leave nothing", async () => {
      for (let i = 0; i < 5; i++) {
        const nonce = newNonce();
        const counters = port.open(nonce, ROWS);
        const adder = new Adder({ address, port: port.port, nonce });
        if (i % 2) await until(() => adder.state.ready, "it is connected");
        if (i % 2) adder.add(0, numbers(1, 1, 1, 1, 1));
        if (i < 3) counters.close();
        adder.close();
        if (i >= 3) counters.close();
      }
      // Only the port is left: a listener, its completion queue, and what librdmacm has for itself.
      const { pd, cq, cm_id } = before;
      await expectResources({ ...before, pd: pd + 1, cq: cq + 1, cm_id: cm_id + 1 });
    });
  });
});
