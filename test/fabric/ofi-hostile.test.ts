/** What a peer that is not ours can do over libfabric's TCP connection: lose its own connection, and nothing else. */
import { afterEach, describe, expect, test } from "bun:test";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import type { Region } from "../../ffi/region.ts";
import type { FabricLink } from "../../src/fabric/link.ts";
import { connectOfi, listenOfi } from "../../src/fabric/ofi/link.ts";
import { until } from "../support/until.ts";
import type { Shape } from "./conformance.ts";
import { mapOf } from "./linked.ts";
import { lacksProvider } from "./ofi-providers.ts";
import { RawSocket } from "./tcp-wire.ts";

const ADDRESS = "127.0.0.1";
const SHAPE: Shape = { polling: "hot", slots: 8, arenaBytes: 64 * 1024 };
const DEVICE = { provider: "tcp" };
const MAGIC = "OFfr";
/** `enum rfaas_ofi_rejection`; 0 is a welcome. */
const REJECTION = { none: 0, version: 1, secret: 2, memory: 4 };

const reason = lacksProvider(DEVICE.provider);
if (reason !== undefined) console.error(`SKIPPED: hostile peers over libfabric: ${reason}`);

const opened: Disposable[] = [];
afterEach(() => {
  for (const one of opened.splice(0).toReversed()) one[Symbol.dispose]();
});

interface Node {
  region: Region;
  link: FabricLink;
  nonce: Uint8Array;
}

async function listening(): Promise<Node> {
  const region = mapOf(SHAPE);
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const link = await listenOfi(region, { address: ADDRESS, nonce }, DEVICE);
  opened.push({
    [Symbol.dispose]() {
      link.close();
      region.close();
    },
  });
  await link.ready;
  const worker = new WorkerEndpoint(
    new WorkerControl(region, 0, -1, link.link).handle,
    SHAPE.slots,
  );
  worker.setFunctionCount(1);
  return { region, link, nonce };
}

async function connects({ region, link, nonce }: Node): Promise<void> {
  const here = mapOf(SHAPE);
  const to = { address: ADDRESS, port: link.port, nonce, source: "" };
  const client = await connectOfi(here, to, DEVICE);
  opened.push({
    [Symbol.dispose]() {
      client.close();
      here.close();
    },
  });
  await client.ready;
  expect(here.bytes).toBe(region.bytes);
}

function greeting(
  { region, nonce }: Node,
  over: { version?: number; channels?: number; nonce?: Uint8Array; slots?: number; bytes?: number },
): Buffer {
  const out = Buffer.alloc(64);
  out.write(MAGIC, 0, "latin1");
  out.writeUInt16LE(over.version ?? 1, 4);
  out.writeUInt16LE(over.channels ?? 1, 6);
  out.set(over.nonce ?? nonce, 8);
  out.writeBigUInt64LE(BigInt(over.bytes ?? region.bytes), 24);
  out.writeUInt32LE(over.slots ?? SHAPE.slots, 40);
  return out;
}

async function stranger({ link }: Node): Promise<RawSocket> {
  const raw = await RawSocket.connect(link.port);
  opened.push(raw);
  return raw;
}

describe.skipIf(reason !== undefined)("a node over libfabric lets in", () => {
  test.each([
    ["another secret", { nonce: new Uint8Array(16) }, REJECTION.secret],
    ["another version", { version: 77 }, REJECTION.version],
    ["more channels", { channels: 9 }, REJECTION.memory],
    ["memory of another size", { bytes: 4096 }, REJECTION.memory],
    ["other slots", { slots: 16 }, REJECTION.memory],
  ])("no client with %s, says why, and then its own", async (_, over, rejection) => {
    const node = await listening();
    const raw = await stranger(node);
    raw.send(greeting(node, over));
    expect((await raw.take(8)).readUInt16LE(6)).toBe(rejection);
    await raw.end();
    await connects(node);
  });

  test("its client beside many who are silent, speak otherwise, or leave in the middle of a word", async () => {
    const node = await listening();
    for (let i = 0; i < 40; i++) {
      const raw = await stranger(node);
      if (i % 3 === 1) raw.send(Buffer.from("GET / HTTP/1.1\r\n"));
      if (i % 3 === 2) {
        raw.send(greeting(node, {}).subarray(0, 20));
        raw.socket.resetAndDestroy();
      }
    }
    await connects(node);
  });

  test("a client that says one byte at a time", async () => {
    const node = await listening();
    const raw = await stranger(node);
    for (const byte of greeting(node, {})) {
      raw.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    expect((await raw.take(8)).readUInt16LE(6)).toBe(REJECTION.none);
  });

  test("a client that leaves once it is known, and says that the channel is lost", async () => {
    const node = await listening();
    const raw = await stranger(node);
    raw.send(greeting(node, {}));
    expect((await raw.take(8)).readUInt16LE(6)).toBe(REJECTION.none);
    expect(node.link.lost(0)).toBeUndefined();
    raw.socket.resetAndDestroy();
    await until(() => node.link.lost(0) !== undefined, "the node notices");
    expect(node.link.lost(0)!.message).toContain("the other side disconnected");
  });

  test("a client that tells addresses which are none, and says that the channel is lost", async () => {
    const node = await listening();
    const raw = await stranger(node);
    raw.send(greeting(node, {}));
    expect((await raw.take(8)).readUInt16LE(6)).toBe(REJECTION.none);
    raw.send(Buffer.alloc(256, 0xff));
    await until(() => node.link.lost(0) !== undefined, "the node notices");
    await raw.end();
  });
});

// A provider may take seconds to open, the first time that a process asks it; a node waits for a greeting for three.
test.skipIf(reason !== undefined)("a client greets before it opens its provider", async () => {
  const heard = Promise.withResolvers<string>();
  using node = Bun.listen({
    ...{ hostname: ADDRESS, port: 0 },
    socket: {
      data: (_, bytes) => heard.resolve(bytes.toString("latin1", 0, MAGIC.length)),
      close: () => heard.resolve("nothing"),
    },
  });
  const here = mapOf(SHAPE);
  const to = { address: ADDRESS, port: node.port, nonce: new Uint8Array(16), source: "" };
  const client = await connectOfi(here, to, { provider: "nonesuch" });
  try {
    expect(await client.ready.catch((error: Error) => error.message)).toContain(
      "asking libfabric for the provider",
    );
    expect(await heard.promise).toBe(MAGIC);
  } finally {
    client.close();
    here.close();
  }
});
