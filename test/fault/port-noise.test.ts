/** What comes to a port that the world can reach: scans, other protocols, and bytes that mean nothing. The node serves on. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { greeting } from "../fabric/tcp-wire.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { residentBytes } from "../support/processes.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");

const LIMIT_MS = 60_000;
/** At a time; a node lets some hundred wait. */
const AT_ONCE = 50;
/** Longer than a node waits for a greeting. */
const CLOSED_WITHIN_MS = 20_000;
/** What a process's memory may rise by without a reason. */
const NOISE_BYTES = 64 * 1024 ** 2;

let node: ServedNode;
let rf: Invoker;
let lease: Lease<Good>;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  // A host that is kept ready has descriptors of its own, which come and go.
  const args = ["--fabric", "tcp", "--cores", "2", "--prewarm", "0"];
  node = await ServedNode.start("127.0.0.1:0", args);
  rf = await invoker({ node: `127.0.0.1:${node.port}` });
  lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), { memory: "1MiB" });
});
afterAll(async () => {
  await lease.release();
  await rf.close();
  await node[Symbol.asyncDispose]();
});

async function opened(): Promise<Socket> {
  const socket = connect({ port: node.port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.resume();
  await once(socket, "connect");
  return socket;
}

const severalOpened = (): Promise<Socket[]> => Promise.all(Array.from({ length: AT_ONCE }, opened));

/** The lease that was there before answers, and another client gets one. */
async function expectServing(): Promise<void> {
  const call = (on: Lease<Good>) =>
    on.submit("echo", on.input(Uint8Array, 8), on.output(Uint8Array, 8));
  expect(await call(lease)).toBe(8);
  await using other = await invoker({ node: `127.0.0.1:${node.port}` });
  await using held = await other.allocate<Good>(join(FUNCTIONS, "good.ts"), { memory: "1MiB" });
  expect(await call(held)).toBe(8);
}

const descriptors = (): number => readdirSync(`/proc/${node.pid}/fd`).length;

/** Makes noise, and expects that the node serves meanwhile, and that nothing is left of it. */
async function bear(noise: () => Promise<void>): Promise<void> {
  await expectServing();
  const before = { descriptors: descriptors(), bytes: residentBytes(node.pid) };
  await noise();
  await until(() => descriptors() <= before.descriptors, "nothing is left", CLOSED_WITHIN_MS);
  await expectServing();
  expect(residentBytes(node.pid) - before.bytes).toBeLessThan(NOISE_BYTES);
}

/** Connections that say so and nothing more, and wait; the node closes them. */
async function said(bytes: Uint8Array): Promise<void> {
  const sockets = await severalOpened();
  for (const socket of sockets) socket.write(bytes);
  await expectServing();
  await until(() => sockets.every(({ closed }) => closed), "all are closed", CLOSED_WITHIN_MS);
}

/** A record of TLS: its kind, version and length, then what it is to have. */
const record = (kind: number, body: Uint8Array, length = body.length): Buffer =>
  Buffer.concat([Buffer.from([kind, 3, 1, length >> 8, length & 255]), body]);

/** The same at each run. */
function scrambled(bytes: number, seed: number): Buffer {
  let state = seed;
  return Buffer.from(
    Array.from({ length: bytes }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    }),
  );
}

const nonce = new Uint8Array(16);
const NOISE: [what: string, bytes: Uint8Array][] = [
  ["nothing", Buffer.alloc(0)],
  ["a request of HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: node\r\n\r\n")],
  ["the preface of HTTP/2", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ["the greeting of SSH", Buffer.from("SSH-2.0-OpenSSH_9.2\r\n")],
  ["the first byte of TLS", Buffer.from([0x16])],
  ["a record of TLS whose body never comes", record(0x16, new Uint8Array(0), 512)],
  ["a record of TLS that is no greeting", record(0x16, scrambled(512, 1))],
  ["a greeting of TLS with a wrong length", record(0x16, Buffer.from([1, 255, 255, 255, 3, 3]))],
  ["an alert of TLS", record(0x15, Buffer.from([2, 40]))],
  [
    "half a greeting of data",
    greeting({ channel: 0, nonce, regionBytes: 0, slots: 1 }).subarray(0, 9),
  ],
  ["bytes without a meaning", scrambled(4096, 2)],
  ["many bytes without a meaning", scrambled(1 << 20, 3)],
  ["zeros", Buffer.alloc(4096)],
];

test.each(NOISE)(
  "connections that say %s are closed, and the node serves meanwhile",
  async (_, bytes) => bear(() => said(bytes)),
  LIMIT_MS,
);

test(
  "a scan, whose connections are closed or reset at once, costs nothing that stays",
  () =>
    bear(async () => {
      for (let i = 0; i < 20; i++) {
        const sockets = await severalOpened();
        for (const [j, socket] of sockets.entries())
          if (j % 2 === 0) socket.resetAndDestroy();
          else socket.destroy();
      }
    }),
  LIMIT_MS,
);

test(
  "what is reset in the middle of a greeting is forgotten",
  () =>
    bear(async () => {
      for (const [, bytes] of NOISE) {
        const sockets = await severalOpened();
        for (const socket of sockets)
          socket.write(bytes.subarray(0, 5), () => socket.resetAndDestroy());
        await until(() => sockets.every(({ closed }) => closed), "all are over");
      }
    }),
  LIMIT_MS,
);
