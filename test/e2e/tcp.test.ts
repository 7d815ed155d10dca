/** Leases over TCP through the node's one port, as between two machines that share nothing but a network. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { type Invoker, type Lease, WorkerLost, invoker } from "../../src/index.ts";
import { greeting, REJECTION, RawSocket } from "../fabric/tcp-wire.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;

let node: ServedNode;
let rf: Invoker;
const opened: Disposable[] = [];
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  node = await ServedNode.start("127.0.0.1:0", ["--fabric", "tcp", "--cores", "48"]);
  rf = await invoker({ node: `127.0.0.1:${node.port}` });
});
afterEach(() => {
  for (const one of opened.splice(0)) one[Symbol.dispose]();
});
afterAll(async () => {
  await rf.close();
  await node[Symbol.asyncDispose]();
});

const take = (options: object = {}): Promise<Lease<Good>> =>
  rf.allocate<Good>(GOOD, { memory: "1MiB", ...options });

async function stranger(): Promise<RawSocket> {
  const raw = await RawSocket.connect(node.port);
  opened.push(raw);
  return raw;
}

/** The ports at which processes of the node listen. */
function listeningPorts(): number[] {
  const { stdout } = Bun.spawnSync(["ss", "-Htlnp"]);
  return stdout
    .toString()
    .split("\n")
    .filter((line) => line.includes('"rfaas"'))
    .map((line) => Number(/:(\d+)\s+\S+:\*/.exec(line)?.[1]));
}

describe("a node's port", () => {
  test("is all that a lease needs: its host listens nowhere", async () => {
    const before = listeningPorts();
    await using held = await take({ workers: 2 });
    expect(held.fabric).toBe("tcp");
    expect(listeningPorts().toSorted()).toEqual(before.toSorted());
    const input = held.input(Uint8Array, 1000);
    for (const i of input.keys()) input[i] = i;
    const output = held.output(Uint8Array, 1000);
    for (const worker of [0, 1]) {
      output.fill(0);
      expect(await held.submit("echo", input, output, { worker })).toBe(1000);
      expect(output).toEqual(input);
    }
  });

  test(
    "lets many workers' connections in at once",
    async () => {
      await using held = await take({ workers: 40, memory: "4MiB" });
      const answers = await Promise.all(
        Array.from({ length: 40 }, async (_, worker) => {
          const input = held.input(Uint32Array, 16).fill(worker);
          const output = held.output(Uint32Array, 16);
          await held.submit("echo", input, output, { worker });
          return output.every((word) => word === worker);
        }),
      );
      expect(answers).toEqual(Array.from({ length: 40 }, () => true));
    },
    LIMIT_MS,
  );

  test("tells a connection for a lease that it does not know so, and serves on", async () => {
    const raw = await stranger();
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    expect(await raw.greet({ channel: 0, nonce, regionBytes: 4096, slots: 8 })).toBe(
      REJECTION.secret,
    );
    await raw.end();
    await using held = await take();
    expect(held.fabric).toBe("tcp");
  });

  test("turns away what begins as data and is none", async () => {
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    const whole = greeting({ channel: 0, nonce, regionBytes: 4096, slots: 8 });
    const tooMuch = await stranger();
    tooMuch.send(Buffer.concat([whole, Buffer.alloc(1)]));
    await tooMuch.end();
    const bytes = await stranger();
    for (const byte of whole.subarray(0, 10)) {
      bytes.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    bytes.socket.end();
    await bytes.end();
    expect([tooMuch.received.length, bytes.received.length]).toEqual([0, 0]);
  });

  test("takes control connections whose bytes come one by one", async () => {
    const raw = await stranger();
    for (const byte of Buffer.from([3, 0, 0, 0, 0x81, 0xa1, 0x74])) {
      raw.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    // A frame that is no message is answered as one on a control connection.
    await raw.end();
    expect(raw.received.toString("latin1")).toContain("RFAAS_PROTOCOL");
  });
});

const linkLocal = Object.entries(networkInterfaces()).flatMap(([device, addresses]) =>
  (addresses ?? [])
    .filter(({ address }) => address.startsWith("fe80:"))
    .map(({ address }) => `${address.split("%")[0]}%${device}`),
);
if (linkLocal.length === 0)
  console.warn("skipped, no device here has an address of its link's: leases by such an address");

describe("a lease over tcp", () => {
  test.skipIf(linkLocal.length === 0)(
    "is taken by an address that is known on one link alone",
    async () => {
      using scratch = new Scratch();
      const args = ["--fabric", "tcp", "--cores", "1", "--allow-remote", "--state", scratch.path];
      const before = process.env["XDG_CONFIG_HOME"];
      // The node's key is met there, and another test's node may have the port later.
      process.env["XDG_CONFIG_HOME"] = scratch.join("config");
      using _ = {
        [Symbol.dispose]() {
          if (before === undefined) delete process.env["XDG_CONFIG_HOME"];
          else process.env["XDG_CONFIG_HOME"] = before;
        },
      };
      await using other = await ServedNode.start(`[${linkLocal[0]!}]:0`, args);
      await using client = await invoker({ node: `[${linkLocal[0]!}]:${other.port}` });
      await using held = await client.allocate<Good>(GOOD, { memory: "1MiB" });
      const call = held.submit("echo", held.input(Uint8Array, 8), held.output(Uint8Array, 8));
      expect(await call).toBe(8);
    },
  );

  test(
    "calls on large payloads, many at a time",
    async () => {
      await using held = await take({ memory: "64MiB" });
      const words = 256 * 1024;
      const calls = Array.from({ length: 16 }, async (_, i) => {
        const input = held.input(Uint32Array, words);
        for (let at = 0; at < words; at++) input[at] = Math.imul(at, 2654435761 + i);
        const output = held.output(Uint32Array, words);
        expect(await held.submit("echo", input, output)).toBe(4 * words);
        return Buffer.compare(
          Buffer.from(input.buffer as ArrayBuffer, input.byteOffset, input.byteLength),
          Buffer.from(output.buffer as ArrayBuffer, output.byteOffset, output.byteLength),
        );
      });
      expect(await Promise.all(calls)).toEqual(calls.map(() => 0));
    },
    LIMIT_MS,
  );

  test("ends, with its calls, when its host is killed", async () => {
    await using held = await take();
    const lost = new Promise((resolve) => held.on("lost", resolve));
    const never = held.submit("pending", held.input(Uint8Array, 8), held.output(Uint8Array, 8));
    const outcome = never.catch((error: unknown) => error);
    process.kill(held.hostPid, "SIGKILL");
    await lost;
    expect(await outcome).toBeInstanceOf(WorkerLost);
  });

  test("ends when its node is killed, and says what became of calls in flight", async () => {
    const other = await ServedNode.start("127.0.0.1:0", ["--fabric", "tcp", "--cores", "1"]);
    await using client = await invoker({ node: `127.0.0.1:${other.port}` });
    const held = await client.allocate<Good>(GOOD, { memory: "1MiB" });
    const never = held.submit("pending", held.input(Uint8Array, 8), held.output(Uint8Array, 8));
    const outcome = never.catch((error: unknown) => error);
    other.kill("SIGKILL");
    await other.exited;
    expect(await outcome).toBeInstanceOf(WorkerLost);
  });
});
