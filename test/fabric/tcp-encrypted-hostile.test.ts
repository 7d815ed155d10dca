/** Who lies between client and node, or is neither, reads nothing, changes nothing, and stops no one but who it cuts off. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { STATUS } from "../../ffi/layout.ts";
import type { Region } from "../../ffi/region.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import type { FabricLink } from "../../src/fabric/link.ts";
import { publicNameOf } from "../../src/fabric/public-name.ts";
import { connectTcp, listenTcp } from "../../src/fabric/tcp/link.ts";
import { until } from "../support/until.ts";
import type { Shape } from "./conformance.ts";
import { payloads } from "./conformance-payloads.ts";
import { mapOf } from "./linked.ts";
import { OpenSslClient, hasOpenSsl } from "./openssl-client.ts";
import { Relay, type Treatment, type Way, drip, flip } from "./tcp-relay.ts";
import { HEAD_BYTES, REJECTION, RawSocket, request } from "./tcp-wire.ts";

const ADDRESS = "127.0.0.1";
const SHAPE: Shape = { polling: "hot", slots: 8, arenaBytes: 64 * 1024 };
/** Behind the one channel. */
const SIDE = 1;
const GREETING_BYTES = 64;
const WELCOME_BYTES = 8;

const opened = new Set<Disposable>();
afterEach(() => {
  for (const one of [...opened].toReversed()) one[Symbol.dispose]();
  opened.clear();
});
function keep<T extends Disposable>(one: T): T {
  opened.add(one);
  return one;
}

class Node implements Disposable {
  readonly region = mapOf(SHAPE);
  readonly nonce = crypto.getRandomValues(new Uint8Array(16));
  link!: FabricLink;
  worker!: WorkerEndpoint;

  static async open(encrypt = true): Promise<Node> {
    const node = new Node();
    node.link = await listenTcp(node.region, { address: ADDRESS, nonce: node.nonce, encrypt });
    await node.link.ready;
    const control = new WorkerControl(node.region, 0, -1, node.link.link);
    node.worker = new WorkerEndpoint(control.handle, SHAPE.slots);
    node.worker.setFunctionCount(1);
    return keep(node);
  }

  /** As a client says it that encrypts. */
  greeting(channel: number, over: object = {}) {
    const nonce = publicNameOf(this.nonce);
    return {
      ...{ channel, nonce, regionBytes: this.region.bytes, slots: SHAPE.slots, encrypted: true },
      ...over,
    };
  }

  /** Why the channel is lost, if it is; looks. */
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

class Client implements Disposable {
  readonly region: Region = mapOf(SHAPE);
  link!: FabricLink;
  endpoint: ClientEndpoint | undefined;

  /** Begins to connect. */
  static async begin(port: number, nonce: Uint8Array, encrypt = true): Promise<Client> {
    const client = new Client();
    client.link = await connectTcp(client.region, {
      address: ADDRESS,
      port,
      nonce,
      source: "",
      encrypt,
    });
    return keep(client);
  }

  static async open(port: number, nonce: Uint8Array, encrypt = true): Promise<Client> {
    const client = await Client.begin(port, nonce, encrypt);
    await client.link.ready;
    client.endpoint = new ClientEndpoint(client.region, 0, SHAPE.slots, client.link.link);
    return client;
  }

  /** Why it could not connect. */
  async refusal(): Promise<string> {
    const error = await this.link.ready.then(
      () => undefined,
      (error: Error) => error,
    );
    return error?.message ?? "it is connected";
  }

  post(input: Uint8Array): number {
    new Uint8Array(this.region.arena).set(input, 0);
    return this.endpoint!.post(0, 0, input.length, 32 * 1024, 32 * 1024, 0);
  }

  async answer(slot: number, bytes: number): Promise<Uint8Array> {
    await until(() => this.endpoint!.test(slot) === bytes, "it is answered");
    return new Uint8Array(this.region.arena).slice(32 * 1024, 32 * 1024 + bytes);
  }

  [Symbol.dispose](): void {
    this.endpoint?.close();
    this.link.close();
    this.region.close();
  }
}

/** Calls once, and compares. */
async function callWorks(client: Client, node: Node, input: Uint8Array): Promise<void> {
  const slot = client.post(input);
  expect(await node.echo()).toEqual(input);
  expect(await client.answer(slot, input.length)).toEqual(input);
}

/** A client and a node with a relay in between. */
async function through(
  treat: Treatment = (bytes) => bytes,
  encrypt = true,
): Promise<{ node: Node; relay: Relay; client: Client }> {
  const node = await Node.open(encrypt);
  const relay = keep(await Relay.open(node.link.port));
  relay.treat = treat;
  const client = await Client.begin(relay.port, node.nonce, encrypt);
  return { node, relay, client };
}

async function connected(encrypt = true, treat?: Treatment) {
  const all = await through(treat, encrypt);
  const { client } = all;
  await client.link.ready;
  client.endpoint = new ClientEndpoint(client.region, 0, SHAPE.slots, client.link.link);
  return all;
}

const WORDS = "what the client says to its function, and to nobody else. ";
const spoken = (bytes: number): Uint8Array =>
  Buffer.from(WORDS.repeat(Math.ceil(bytes / WORDS.length))).subarray(0, bytes);

describe("on the wire", () => {
  test.each([48, 20_000])(
    "%d bytes of a call and their answer are not seen, nor is the lease's secret",
    async (bytes) => {
      const { node, relay, client } = await connected();
      await callWorks(client, node, new Uint8Array(spoken(bytes)));
      expect(relay.seen.length).toBeGreaterThan(2 * bytes);
      expect(relay.seen.includes(WORDS.slice(0, 16))).toBe(false);
      expect(relay.seen.includes(Buffer.from(node.nonce))).toBe(false);
      expect(relay.seen.includes(Buffer.from(publicNameOf(node.nonce)))).toBe(true);
    },
  );

  test.each([48, 20_000])(
    "all of it is seen of a lease that is not encrypted (%d bytes)",
    async (bytes) => {
      const { node, relay, client } = await connected(false);
      await callWorks(client, node, new Uint8Array(spoken(bytes)));
      expect(relay.seen.toString("latin1").split(WORDS.slice(0, 16)).length).toBeGreaterThan(2);
      expect(relay.seen.includes(Buffer.from(node.nonce))).toBe(true);
    },
  );

  test("the same call never looks the same", async () => {
    const { node, relay, client } = await connected();
    let record = Buffer.alloc(0);
    relay.treat = (bytes, to, { channel }) => {
      if (to === "node" && channel === 0) record = Buffer.concat([record, bytes]);
      return bytes;
    };
    const looks = [];
    for (let i = 0; i < 2; i++) {
      record = Buffer.alloc(0);
      await callWorks(client, node, new Uint8Array(100).fill(7));
      looks.push(record);
    }
    // But for its head of five bytes.
    expect(looks[0]!.subarray(0, 5)).toEqual(looks[1]!.subarray(0, 5));
    expect(looks[0]!.subarray(5)).not.toEqual(looks[1]!.subarray(5));
  });
});

describe("who lies in between", () => {
  test("and passes one byte at a time on delays everything, and changes nothing", async () => {
    const { node, client } = await connected(true, drip);
    await callWorks(client, node, new Uint8Array(spoken(300)));
  });

  // The greeting is no secret, and each byte of it is of the key.
  test.each<[string, Way, number]>([
    ["how old the lease is", "node", 32],
    ["the greeting's last byte", "node", GREETING_BYTES - 1],
    ["the client's first record", "node", GREETING_BYTES + 60],
    ["the node's first record", "client", WELCOME_BYTES + 60],
    ["the end of the node's handshake", "client", WELCOME_BYTES + 180],
  ])("and changes %s comes to no connection", async (_, way, offset) => {
    const { node, client } = await through(flip(way, offset));
    expect(await client.refusal()).toContain("did not show that it knows the lease's secret");
    expect(node.link.lost(0)).toBeUndefined();
    await Client.open(node.link.port, node.nonce);
  });

  test("and leads a channel's connection to another channel comes to no connection", async () => {
    const { client } = await through((bytes, to, passage, at) => {
      const changed = Buffer.from(bytes);
      if (to === "node" && at === 0) changed.writeUInt16LE(1 - passage.channel, 6);
      return changed;
    });
    expect(await client.refusal()).toContain("did not show that it knows the lease's secret");
  });

  test("and asks the node not to encrypt in the client's name is refused, and so is the client", async () => {
    const { node, client } = await through(flip("node", 44));
    expect(await client.refusal()).toContain("refused the data connection");
    await Client.open(node.link.port, node.nonce);
  });

  test.each<[Way]>([["node"], ["client"]])(
    "and changes what goes to the %s of a call is noticed there, and nothing of it is used",
    async (way) => {
      const { node, relay, client } = await connected();
      const input = new Uint8Array(spoken(1000));
      relay.treat = (bytes, to, { channel }) => {
        const changed = Buffer.from(bytes);
        if (to === way && channel === 0) changed[100]! ^= 1;
        return changed;
      };
      const slot = client.post(input);
      if (way === "client") await node.echo();
      const lost = () => (way === "node" ? node.lost : client.link.lost(0)?.message);
      await until(() => (client.endpoint!.test(slot), lost() !== undefined), "it is noticed");
      expect(lost()).toContain("sent what no side may");
      await until(() => client.endpoint!.test(slot) === STATUS.workerLost, "the call ends");
      const there = way === "node" ? node.region : client.region;
      const at = way === "node" ? 0 : 32 * 1024;
      expect(new Uint8Array(there.arena).slice(at, at + 1000)).toEqual(new Uint8Array(1000));
    },
  );

  test("and says a record again is noticed", async () => {
    const { node, relay, client } = await connected();
    relay.treat = (bytes, to) => (to === "node" ? Buffer.concat([bytes, bytes]) : bytes);
    const slot = client.post(new Uint8Array(200));
    await node.echo();
    await until(() => node.lost !== undefined, "it is noticed");
    expect(node.lost).toContain("sent what no side may");
    await until(
      () => client.endpoint!.test(slot) === 200 || client.link.lost(0) !== undefined,
      "it ends",
    );
  });

  test("and keeps back the second half of a record holds this call up, and no other connection", async () => {
    const { node, relay, client } = await connected();
    let rest: Buffer | undefined;
    relay.treat = (bytes, to, { channel }) => {
      if (to !== "node" || channel !== 0) return bytes;
      rest = Buffer.concat([rest ?? Buffer.alloc(0), bytes.subarray(100)]);
      return bytes.subarray(0, 100);
    };
    const input = new Uint8Array(spoken(1000));
    const slot = client.post(input);
    await until(() => (node.worker.turn(-1, 0, 1), rest !== undefined), "the record is on its way");
    const side = relay.passages.find(({ channel }) => channel === SIDE)!;
    const before = side.come.node;
    // Who waits sends a beat on the side way.
    await until(() => !client.endpoint!.lost() && side.come.node > before, "a beat passes");
    expect(node.lost).toBeUndefined();
    expect(client.endpoint!.test(slot)).toBe(STATUS.pending);
    relay.treat = (bytes) => bytes;
    relay.passages.find(({ channel }) => channel === 0)!.ends.node.write(rest!);
    expect(await node.echo()).toEqual(input);
    expect(await client.answer(slot, 1000)).toEqual(input);
  });

  const STAGES: [string, Way, number][] = [
    ["in the greeting", "node", 30],
    ["after the greeting", "node", GREETING_BYTES],
    ["after the node's welcome", "client", WELCOME_BYTES],
    ["in the client's first record", "node", GREETING_BYTES + 100],
    ["in the node's handshake", "client", WELCOME_BYTES + 100],
  ];
  describe.each(["resets", "ends"])("and %s a connection", (how) => {
    test.each(STAGES)(
      "%s leaves a client that says so, and a node that serves on",
      async (_, way, offset) => {
        const { node, client } = await through((bytes, to, { ends }, at) => {
          if (to !== way || at + bytes.length < offset) return bytes;
          if (bytes.length > offset - at)
            ends[to].write(bytes.subarray(0, Math.max(0, offset - at)));
          for (const end of Object.values(ends))
            if (how === "resets") end.resetAndDestroy();
            else end.end();
          return undefined;
        });
        expect(await client.refusal()).toMatch(
          /did not show that it knows|failed: ECONNRESET|failed: EPIPE/,
        );
        expect(node.link.lost(0)).toBeUndefined();
        const second = await Client.open(node.link.port, node.nonce);
        await callWorks(second, node, new Uint8Array(100).fill(3));
      },
    );
  });

  test.each(["resets", "ends"])(
    "and %s a connection in the middle of a record ends its calls alone",
    async (how) => {
      const { node, relay, client } = await connected();
      relay.treat = (bytes, to, { channel, ends }) => {
        if (to !== "node" || channel !== 0) return bytes;
        ends.node.write(bytes.subarray(0, 50), () => {
          for (const end of Object.values(ends))
            if (how === "resets") end.resetAndDestroy();
            else end.end();
        });
        return undefined;
      };
      const slot = client.post(new Uint8Array(1000));
      await until(() => client.endpoint!.test(slot) === STATUS.workerLost, "the call ends");
      await until(() => node.lost !== undefined, "the node notices");
      expect(node.lost).toMatch(/the other side disconnected|it broke \(ECONNRESET\)/);
    },
  );
});

describe("a node whose lease is encrypted", () => {
  let node: Node;
  const raw = async (): Promise<RawSocket> => keep(await RawSocket.connect(node.link.port));
  beforeEach(async () => {
    node = await Node.open();
  });

  test("refuses a client that does not encrypt, which learns why", async () => {
    const one = await raw();
    const clear = node.greeting(0, { nonce: node.nonce, encrypted: false });
    expect(await one.greet(clear)).toBe(REJECTION.encryption);
    await one.end();
    const client = await Client.begin(node.link.port, node.nonce, false);
    expect(await client.refusal()).toContain(
      "one side encrypts the lease's data and the other does not",
    );
  });

  test("refuses who shows the secret where its public name belongs, or the other way round", async () => {
    for (const over of [{ nonce: node.nonce }, { encrypted: false }])
      expect(await (await raw()).greet(node.greeting(0, over))).toBe(REJECTION.secret);
  });

  test.each([
    ["a call", request(0, new Uint8Array(40))],
    ["no TLS", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["nothing but zeros", Buffer.alloc(20_000)],
    ["a record longer than one may be", Buffer.from([0x16, 3, 1, 0xff, 0xff, 1, 2, 3])],
    ["an alert", Buffer.from([0x15, 3, 3, 0, 2, 2, 40])],
    [
      "data before its handshake",
      Buffer.concat([Buffer.from([0x17, 3, 3, 0, 64]), Buffer.alloc(64)]),
    ],
  ])("turns away who knows its public name and then says %s", async (_, said) => {
    const one = await raw();
    expect(await one.greet(node.greeting(0))).toBe(REJECTION.none);
    one.send(said);
    await one.end();
    await callWorks(
      await Client.open(node.link.port, node.nonce),
      node,
      new Uint8Array(100).fill(1),
    );
  });

  test("lets its client in while others that know its public name say no more, and turns them away", async () => {
    const strangers = await Promise.all(Array.from({ length: 12 }, raw));
    for (const one of strangers) expect(await one.greet(node.greeting(0))).toBe(REJECTION.none);
    const client = await Client.open(node.link.port, node.nonce);
    await callWorks(client, node, new Uint8Array(100).fill(1));
    await until(() => strangers.every(({ closed }) => closed), "all are turned away");
  });

  test("lets its client in beside one whose handshake never ends", async () => {
    const relay = keep(await Relay.open(node.link.port));
    // The last record of the client's handshake stays away.
    relay.treat = (bytes, to, _, at) => (to === "node" && at > GREETING_BYTES ? undefined : bytes);
    await Client.begin(relay.port, node.nonce);
    await until(
      () => relay.passages.some(({ come }) => come.client > WELCOME_BYTES + 100),
      "it has begun",
    );
    await callWorks(
      await Client.open(node.link.port, node.nonce),
      node,
      new Uint8Array(100).fill(1),
    );
  });
});

test("a node whose lease is not encrypted refuses a client that encrypts", async () => {
  const node = await Node.open(false);
  const client = await Client.begin(node.link.port, node.nonce, true);
  expect(await client.refusal()).toContain(
    "one side encrypts the lease's data and the other does not",
  );
  await Client.open(node.link.port, node.nonce, false);
});

if (!hasOpenSsl())
  console.warn("skipped, there is no program openssl here: clients of another making");
describe.skipIf(!hasOpenSsl())("a client of another making", () => {
  let node: Node;
  beforeEach(async () => {
    node = await Node.open();
  });
  const client = async (channel: number, secret = node.nonce): Promise<OpenSslClient> =>
    keep(await OpenSslClient.open(node.link.port, node.greeting(channel), secret));

  test("is let in when it has the key, and is served", async () => {
    const one = await client(0);
    const input = new Uint8Array(spoken(48));
    one.send(request(0, input, { capacity: 64 }));
    expect(await node.echo()).toEqual(input);
    const answer = await one.take(HEAD_BYTES + 48);
    expect(new Uint8Array(answer.subarray(HEAD_BYTES))).toEqual(input);
  });

  test("is not let in with another key", async () => {
    const one = await client(0, new Uint8Array(16));
    await until(() => one.ended, "it is turned away");
    await Client.open(node.link.port, node.nonce);
  });

  test("may change its keys in the middle of the connection where libssl encrypts, and is cut off where the kernel does", async () => {
    const one = await client(0);
    one.send(request(0, new Uint8Array(40).fill(1), { capacity: 64 }));
    await node.echo();
    await one.take(HEAD_BYTES + 40);
    await one.updateKeys();
    one.send(request(0, new Uint8Array(40).fill(2), { capacity: 64, sequence: 2, slot: 1 }));
    let slot = -1;
    await until(
      () => (slot = node.worker.turn(-1, 0, 1)) >= 0 || node.lost !== undefined,
      "it comes",
    );
    if (slot < 0) return expect(node.lost).toContain("sent what no side may");
    node.worker.turn(slot, 40, 1);
    expect(await one.take(HEAD_BYTES + 40)).toHaveLength(HEAD_BYTES + 40);
  });

  test("that says good-bye by an alert is gone", async () => {
    const one = await client(0);
    one.sayGoodbye();
    await until(() => node.lost !== undefined, "the node notices");
    expect(node.lost).toMatch(/the other side disconnected|sent what no side may/);
  });

  test("that sends what no call is is cut off", async () => {
    const one = await client(SIDE);
    one.send(request(0, new Uint8Array(40)));
    await until(() => one.ended, "it is cut off");
  });
});
