/** What a peer that is not ours, or not well, can do over tcp: lose its own connection, and nothing else. */
import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Socket } from "bun";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { duplicateDescriptor } from "../../ffi/descriptors.ts";
import { INPUT_OWN, OUTPUT_OWN, REMOTE, STATUS } from "../../ffi/layout.ts";
import type { Region } from "../../ffi/region.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import type { FabricLink } from "../../src/fabric/link.ts";
import { connectTcp, listenTcp } from "../../src/fabric/tcp/link.ts";
import { until } from "../support/until.ts";
import type { Shape } from "./conformance.ts";
import { payloads } from "./conformance-payloads.ts";
import { mapOf } from "./linked.ts";
import {
  HEAD_BYTES,
  KIND,
  REJECTION,
  RawSocket,
  frame,
  greeting,
  rawNode,
  request,
  welcome,
} from "./tcp-wire.ts";

const ADDRESS = "127.0.0.1";
const SHAPE: Shape = { polling: "hot", slots: 8, arenaBytes: 64 * 1024 };
/** Behind the one channel. */
const SIDE = 1;
const newNonce = (): Uint8Array => crypto.getRandomValues(new Uint8Array(16));

const opened: Disposable[] = [];
afterEach(() => {
  for (const one of opened.splice(0).toReversed()) one[Symbol.dispose]();
});

/** The node's side, which answers when it is told to look. */
class Node implements Disposable {
  readonly region: Region;
  readonly link: FabricLink;
  readonly nonce: Uint8Array;
  readonly worker: WorkerEndpoint;
  readonly control: WorkerControl;

  private constructor(region: Region, link: FabricLink, nonce: Uint8Array) {
    this.region = region;
    this.link = link;
    this.nonce = nonce;
    this.control = new WorkerControl(region, 0, -1, link.link);
    this.worker = new WorkerEndpoint(this.control.handle, SHAPE.slots);
    this.worker.setFunctionCount(1);
  }

  static async open(): Promise<Node> {
    const region = mapOf(SHAPE);
    const nonce = newNonce();
    const link = await listenTcp(region, { address: ADDRESS, nonce });
    await link.ready;
    const node = new Node(region, link, nonce);
    opened.push(node);
    return node;
  }

  greeting(channel: number, over: object = {}) {
    return {
      channel,
      nonce: this.nonce,
      regionBytes: this.region.bytes,
      slots: SHAPE.slots,
      ...over,
    };
  }

  /** A client by hand, let in. */
  async raw(channel: number): Promise<RawSocket> {
    const raw = await RawSocket.connect(this.link.port);
    opened.push(raw);
    expect(await raw.greet(this.greeting(channel))).toBe(REJECTION.none);
    return raw;
  }

  get lost(): string | undefined {
    this.worker.turn(-1, 0, 1);
    return this.link.lost(0)?.message;
  }

  /** Echoes the next request. */
  async echo(): Promise<Uint8Array> {
    let slot = -1;
    await until(() => (slot = this.worker.turn(-1, 0, 1)) >= 0, "a request comes");
    const [input, output] = payloads(this.worker, this.region.arena, slot);
    const seen = input.slice();
    output.set(input);
    this.worker.turn(slot, input.length, 1);
    return seen;
  }

  [Symbol.dispose](): void {
    this.link.close();
    this.region.close();
  }
}

describe("a node lets in", () => {
  test("a client that says one byte at a time", async () => {
    const node = await Node.open();
    const raw = await RawSocket.connect(node.link.port);
    opened.push(raw);
    for (const byte of greeting(node.greeting(0))) {
      raw.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    expect((await raw.take(8)).readUInt16LE(6)).toBe(REJECTION.none);
    const input = Uint8Array.from({ length: 100 }, (_, i) => i);
    for (const byte of request(0, input, { capacity: 200 })) {
      raw.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
      node.worker.turn(-1, 0, 1);
      if (raw.socket.bytesWritten === HEAD_BYTES) expect(node.lost).toBeUndefined();
    }
  });

  test.each([
    ["another secret", { nonce: new Uint8Array(16) }, REJECTION.secret],
    ["another version", { version: 77 }, REJECTION.version],
    ["a channel that there is none of", { channel: 9 }, REJECTION.channel],
    ["memory of another size", { regionBytes: 4096 }, REJECTION.memory],
    ["other slots", { slots: 16 }, REJECTION.memory],
  ])("no client with %s, and says why", async (_, over, rejection) => {
    const node = await Node.open();
    using raw = await RawSocket.connect(node.link.port);
    expect(await raw.greet(node.greeting(0, over))).toBe(rejection);
    await raw.end();
    await node.raw(0);
  });

  test("no second client, and the first goes on", async () => {
    const node = await Node.open();
    const first = await node.raw(0);
    using second = await RawSocket.connect(node.link.port);
    expect(await second.greet(node.greeting(0))).toBe(REJECTION.channel);
    first.send(request(0, new Uint8Array(40).fill(7)));
    expect(await node.echo()).toEqual(new Uint8Array(40).fill(7));
    expect((await first.take(HEAD_BYTES + 40)).subarray(HEAD_BYTES)).toEqual(Buffer.alloc(40, 7));
  });

  test("nothing that speaks another protocol, and tells it nothing", async () => {
    const node = await Node.open();
    for (const text of [
      "GET / HTTP/1.1\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      "x",
    ]) {
      using raw = await RawSocket.connect(node.link.port);
      raw.send(Buffer.from(text, "latin1"));
      if (text === "x") raw.socket.end();
      await raw.end();
      expect(raw.received).toHaveLength(0);
    }
    await node.raw(0);
  });

  test("a client that came elsewhere, and tells it all though who accepted it leaves later", async () => {
    const node = await Node.open();
    const came = Promise.withResolvers<Socket<undefined>>();
    const door = Bun.listen({
      hostname: ADDRESS,
      port: 0,
      socket: {
        binaryType: "uint8array",
        data(peer, said) {
          const { fd } = peer as Socket<undefined> & { fd: number };
          node.link.adopt(duplicateDescriptor(fd), said);
          came.resolve(peer);
        },
      },
    });
    opened.push({ [Symbol.dispose]: () => door.stop(true) });
    const raw = await RawSocket.connect(door.port);
    opened.push(raw);
    let reset = false;
    raw.socket.on("error", () => (reset = true));
    expect(await raw.greet(node.greeting(0))).toBe(REJECTION.none);
    (await came.promise).terminate();
    const bytes = 48 * 1024;
    raw.socket.pause();
    for (let slot = 0; slot < SHAPE.slots; slot++)
      raw.send(request(0, new Uint8Array(40), { slot, sequence: slot + 1, capacity: bytes }));
    for (let slot = 0; slot < SHAPE.slots; slot++) {
      await until(() => node.worker.turn(-1, 0, 1) === slot, "a request comes");
      node.worker.answer(slot, 0, bytes);
    }
    node.link.close();
    raw.socket.resume();
    expect(await raw.take(SHAPE.slots * (HEAD_BYTES + bytes))).toHaveLength(
      SHAPE.slots * (HEAD_BYTES + bytes),
    );
    await raw.end();
    expect(reset).toBe(false);
  });

  test("its client while strangers hold connections open, and those that are reset at once", async () => {
    const node = await Node.open();
    const strangers = await Promise.all(
      Array.from({ length: 60 }, () => RawSocket.connect(node.link.port)),
    );
    opened.push(...strangers);
    for (const stranger of strangers.slice(0, 20)) stranger.socket.resetAndDestroy();
    // Those beyond the bound are turned away at once, the others when they have said nothing for long.
    await until(() => strangers.slice(20).every(({ closed }) => closed), "all are turned away");
    const raw = await node.raw(0);
    raw.send(request(0, new Uint8Array(40)));
    await node.echo();
  });
});

describe("a client that is let in", () => {
  test.each([
    ["an unknown kind", frame(99, {})],
    ["the end of a worker", frame(KIND.ended, {})],
    ["a slot that there is none of", request(0, new Uint8Array(8), { slot: 8 })],
    ["a call that is not next", request(0, new Uint8Array(8), { sequence: 2 })],
    ["an input beyond the memory", request(64 * 1024 - 8, new Uint8Array(64))],
    ["an input longer than memory", request(64, new Uint8Array(0), { bytes: 0xffffffff })],
    ["an input too long for its line", request(0, new Uint8Array(64), { fn: 0x40000000 })],
    ["a one-sided operation where calls belong", frame(KIND.read, {})],
  ])("and sends %s is cut off, and nothing is written", async (_, bytes) => {
    const node = await Node.open();
    const before = new Uint8Array(node.region.arena).slice();
    const raw = await node.raw(0);
    raw.send(bytes);
    await until(() => node.lost !== undefined, "the node notices");
    expect(node.lost).toContain("sent what no side may");
    await raw.end();
    expect(new Uint8Array(node.region.arena)).toEqual(before);
  });

  test("and asks for an output beyond the memory, or a function that there is none of, is answered so", async () => {
    const node = await Node.open();
    const raw = await node.raw(0);
    raw.send(request(0, new Uint8Array(40), { outputOffset: 64 * 1024, capacity: 64 }));
    raw.send(request(0, new Uint8Array(40), { sequence: 2, fn: 5 }));
    for (let i = 0; i < 2; i++) {
      await until(
        () => (node.worker.turn(-1, 0, 1), raw.received.length >= HEAD_BYTES),
        "it is answered",
      );
      const answer = await raw.take(HEAD_BYTES);
      expect(answer.readInt32LE(16)).toBe(STATUS.badRequest);
    }
    expect(node.lost).toBeUndefined();
  });

  test.each([
    ["a read beyond the memory", frame(KIND.read, {}, [64 * 1024 - 8, 64])],
    ["a write beyond the memory", frame(KIND.write, { bytes: 64 }, [64 * 1024 - 8])],
    ["an addition between two words", frame(KIND.add, {}, [4])],
    ["a swap beyond the memory", frame(KIND.swap, {}, [64 * 1024])],
    ["a call", request(0, new Uint8Array(40))],
    ["a beat with a payload", frame(KIND.beat, { bytes: 8 })],
  ])("and asks on the side way for %s loses that way alone", async (_, bytes) => {
    const node = await Node.open();
    const raw = await node.raw(0);
    const side = await node.raw(SIDE);
    side.send(bytes);
    await side.end();
    expect(side.received).toHaveLength(0);
    raw.send(request(0, new Uint8Array(40)));
    await node.echo();
    expect(node.lost).toBeUndefined();
  });

  test("and asks for much without reading it stops nobody, and gets all of it when it reads", async () => {
    const node = await Node.open();
    const raw = await node.raw(0);
    const side = await node.raw(SIDE);
    side.socket.pause();
    new Uint8Array(node.region.arena).fill(3);
    const READS = 400;
    const bytes = 60 * 1024;
    for (let i = 0; i < READS; i++) side.send(frame(KIND.read, {}, [0, bytes]));
    raw.send(request(0, new Uint8Array(40)));
    await node.echo();
    let total = 0;
    side.socket.removeAllListeners("data");
    side.socket.on("data", (data) => (total += data.length));
    side.socket.resume();
    await until(() => total === READS * (HEAD_BYTES + bytes), "all of it comes");
  });

  test("and never stops asking keeps the node from closing its link no longer than it takes", async () => {
    const nonce = newNonce();
    const peer = join(import.meta.dir, "closing-peer.ts");
    await using child = Bun.spawn(
      [process.execPath, peer, JSON.stringify(SHAPE), Buffer.from(nonce).toString("hex")],
      { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
    );
    let said = "";
    void (async () => {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) said += part;
    })();
    await until(() => said.includes("\n"), "it listens");
    const [port, regionBytes] = said.split(" ").map(Number) as [number, number];
    const side = await RawSocket.connect(port);
    opened.push(side);
    expect(await side.greet({ channel: SIDE, nonce, regionBytes, slots: SHAPE.slots })).toBe(0);
    let answers = 0;
    side.socket.removeAllListeners("data");
    side.socket.on("data", (data) => (answers += data.length / HEAD_BYTES));
    const questions = Buffer.concat(Array.from({ length: 4096 }, () => frame(KIND.add, {}, [0])));
    const ask = (): void => {
      while (!side.closed && side.socket.write(questions));
    };
    side.socket.on("drain", ask);
    ask();
    await until(() => answers > 10_000, "it answers");
    await child.stdin.write("\n");
    await child.stdin.end();
    // It takes milliseconds, or as long as the questions happen to come without a gap.
    await until(() => said.includes("closed"), "it has closed its link", 5000);
  });

  test("and reads no answers keeps no worker waiting", async () => {
    const node = await Node.open();
    const raw = await node.raw(0);
    raw.socket.pause();
    // More than the kernel holds, in answers of 48 KiB.
    for (let i = 1; i <= 400; i++) {
      const slot = i % SHAPE.slots;
      raw.send(
        request(0, new Uint8Array(40), {
          slot,
          sequence: i,
          outputOffset: 8192,
          capacity: 48 * 1024,
        }),
      );
    }
    let answered = 0;
    await until(() => {
      let slot = node.worker.turn(-1, 0, 1);
      while (slot >= 0) {
        answered++;
        slot = node.worker.turn(slot, 48 * 1024, 1);
      }
      return answered === 400 || node.lost !== undefined;
    }, "the worker has answered all, or cut it off");
    // A slot is not free before its answer has been read.
    expect(answered).toBeGreaterThan(8);
  });

  test.each([
    "before it greets",
    "in its greeting",
    "after it",
    "in a head",
    "in an input",
    "with an answer under way",
  ])("and resets the connection %s leaves a node that says so", async (when) => {
    const node = await Node.open();
    const raw = await RawSocket.connect(node.link.port);
    opened.push(raw);
    const whole = greeting(node.greeting(0));
    const call = request(0, new Uint8Array(1000), { capacity: 64 });
    if (when === "in its greeting") raw.send(whole.subarray(0, 30));
    else if (when !== "before it greets") {
      expect(await raw.greet(node.greeting(0))).toBe(REJECTION.none);
      if (when === "in a head") raw.send(call.subarray(0, 20));
      if (when === "in an input") raw.send(call.subarray(0, 500));
      if (when === "with an answer under way") raw.send(call);
    }
    if (when === "with an answer under way")
      await until(() => node.worker.turn(-1, 0, 1) >= 0, "the request has come");
    raw.socket.resetAndDestroy();
    if (when === "before it greets" || when === "in its greeting") {
      await node.raw(0);
      return;
    }
    await until(() => node.link.lost(0) !== undefined, "the node knows");
    expect(node.link.lost(0)!.message).toMatch(
      /the other side disconnected|it broke \(ECONNRESET\)/,
    );
  });
});

describe("a node by hand", () => {
  async function connected(shape = SHAPE): Promise<{
    client: ClientEndpoint;
    region: Region;
    data: RawSocket;
    side: RawSocket;
    link: FabricLink;
  }> {
    const node = await rawNode();
    opened.push({ [Symbol.dispose]: () => node.close() });
    const region = mapOf(shape);
    opened.push({ [Symbol.dispose]: () => region.close() });
    const link = await connectTcp(region, {
      address: ADDRESS,
      port: node.port,
      nonce: newNonce(),
      source: "",
    });
    opened.push({ [Symbol.dispose]: () => link.close() });
    const both = [await node.next(), await node.next()];
    opened.push(...both);
    const byChannel = new Map<number, RawSocket>();
    for (const one of both) {
      byChannel.set((await one.take(64)).readUInt16LE(6), one);
      one.send(welcome());
    }
    await link.ready;
    const client = new ClientEndpoint(region, 0, shape.slots, link.link);
    opened.push({ [Symbol.dispose]: () => client.close() });
    return { client, region, link, data: byChannel.get(0)!, side: byChannel.get(SIDE)! };
  }

  test.each([
    ["for no call", frame(KIND.response, { slot: 3, sequence: 1 })],
    ["for a call that was", frame(KIND.response, { slot: 0, sequence: 0 })],
    ["in a slot that there is none of", frame(KIND.response, { slot: 900, sequence: 1 })],
    ["longer than there is room", frame(KIND.response, { bytes: 65 }, [0, 65])],
    ["with an error longer than its record", frame(KIND.response, { bytes: 4097 }, [-2, 4097])],
    ["of an unknown kind", frame(77, {})],
    ["that is a request", request(0, new Uint8Array(8))],
    ["with time stamps of another size", frame(KIND.timing, { bytes: 8 })],
  ])("whose answer is %s loses its client, which says so", async (_, bytes) => {
    const { client, data, link } = await connected();
    const slot = client.post(0, 0, 40, 1024, 64, 0);
    await data.take(HEAD_BYTES + 40);
    data.send(bytes);
    await until(() => client.test(slot) === STATUS.workerLost, "the client notices");
    expect(link.lost(0)!.message).toContain("sent what no side may");
  });

  test("that answers before it has the whole input is cut off when the program takes that memory back", async () => {
    // More than the kernel of a machine lets a connection hold.
    const large = 48 * 1024 * 1024;
    const { client, region, data, link } = await connected({ ...SHAPE, arenaBytes: 2 * large });
    data.socket.pause();
    link.link.register(region, large, new Uint8Array(new SharedArrayBuffer(large)));
    const slot = client.post(INPUT_OWN, large, large, 0, 64, 0);
    data.send(frame(KIND.response, { slot, sequence: 1 }));
    await until(() => client.test(slot) === 0, "the client believes it");
    expect(link.lost(0)).toBeUndefined();
    link.link.unregister(region, large);
    expect(link.lost(0)!.message).toContain("sent what no side may");
    let read = 0;
    data.socket.removeAllListeners("data");
    data.socket.on("data", (bytes) => (read += bytes.length));
    data.socket.resume();
    await data.end();
    expect(read).toBeLessThan(large);
  });

  test("that has answered in part is cut off when the program takes the memory of the output back", async () => {
    const bytes = 16 * 1024;
    const { client, region, data, link } = await connected();
    const own = new Uint8Array(new SharedArrayBuffer(bytes));
    link.link.register(region, bytes, own);
    link.link.registerOutput(region, bytes);
    const slot = client.post(OUTPUT_OWN, 0, 40, bytes, bytes, 0);
    data.send(frame(KIND.response, { slot, sequence: 1, bytes }, [0, bytes]));
    data.send(new Uint8Array(100).fill(7));
    await until(() => (client.test(slot), own[99] === 7), "a part has come");
    link.link.unregister(region, bytes);
    data.send(new Uint8Array(bytes - 100).fill(9));
    await until(() => client.test(slot) === STATUS.workerLost, "the client has looked again");
    expect(own[100]).toBe(0);
    expect(link.lost(0)!.message).toContain("sent what no side may");
  });

  test("that closes the connection after an answer gives the answer first", async () => {
    const { client, data, link } = await connected();
    const [first, second] = [
      client.post(0, 0, 40, 1024, 64, 0),
      client.post(0, 64, 40, 2048, 64, 0),
    ];
    await data.take(2 * (HEAD_BYTES + 40));
    data.send(
      Buffer.concat([
        frame(KIND.response, { slot: first, sequence: 1, bytes: 5 }, [0, 5]),
        Buffer.from("hello"),
      ]),
    );
    data.socket.end();
    await until(() => link.lost(0) !== undefined, "the link notices");
    expect(client.test(first)).toBe(5);
    expect(client.test(second)).toBe(STATUS.workerLost);
  });

  test("that answers a one-sided operation with too much is not believed", async () => {
    const { client, side } = await connected();
    // Ahead of the question: it blocks this thread.
    side.send(frame(KIND.done, { bytes: 4096 }));
    await until(() => side.socket.bytesWritten === 8 + HEAD_BYTES, "it is sent");
    const words = new BigUint64Array(new ArrayBuffer(24));
    expect(client.remote(REMOTE.read, 0, 0, 64, words)).toBe(STATUS.workerLost);
  });

  test("that answers what was not asked, or in pieces, is understood where it can be", async () => {
    const { client, data } = await connected();
    const slot = client.post(0, 0, 40, 1024, 64, 0);
    await data.take(HEAD_BYTES + 40);
    const answer = Buffer.concat([
      frame(KIND.response, { slot, sequence: 1, bytes: 60 }, [0, 60]),
      Buffer.alloc(60, 9),
    ]);
    for (const byte of answer) {
      expect(client.test(slot)).toBe(STATUS.pending);
      data.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    await until(() => client.test(slot) === 60, "the answer is whole");
  });
});
