/**
 * A client and a node of an encrypted lease in a process of their own, for what is set before libssl is opened:
 * `bun encrypted-peers.ts memory LIBRARY` prints how many blocks of memory more libssl has after 2000 calls, and `keys` how often keys change
 * in 100.
 */
import { dlopen } from "bun:ffi";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import { connectTcp, listenTcp } from "../../src/fabric/tcp/link.ts";
import { until } from "../support/until.ts";
import { payloads } from "./conformance-payloads.ts";
import { mapOf } from "./linked.ts";
import { Relay, type Way } from "./tcp-relay.ts";

const [mode, library] = process.argv.slice(2);
const SHAPE = { polling: "hot", slots: 8, arenaBytes: 256 * 1024 } as const;
const OUTPUT = 128 * 1024;
/** One of each that differs on the wire: in a record, and in several. */
const SIZES = [8, 40, 1000, 50_000];

const counting =
  mode === "memory"
    ? dlopen(library!, {
        begin: { args: [], returns: "i32" },
        blocks: { args: [], returns: "f64" },
      })
    : undefined;
if (counting?.symbols.begin() === 0) throw new Error("libcrypto has begun to allocate before");

const address = "127.0.0.1";
const nonce = crypto.getRandomValues(new Uint8Array(16));
const [there, here] = [mapOf(SHAPE), mapOf(SHAPE)];
const node = await listenTcp(there, { address, nonce, encrypt: true });
await node.ready;
const relay = mode === "keys" ? await Relay.open(node.port) : undefined;
const port = relay?.port ?? node.port;
const link = await connectTcp(here, { address, port, nonce, source: "", encrypt: true });
await link.ready;
const client = new ClientEndpoint(here, 0, SHAPE.slots, link.link);
const worker = new WorkerEndpoint(new WorkerControl(there, 0, -1, node.link).handle, SHAPE.slots);
worker.setFunctionCount(1);

async function calls(count: number): Promise<void> {
  const arena = new Uint8Array(here.arena);
  for (let call = 0; call < count; call++) {
    const bytes = SIZES[call % SIZES.length]!;
    arena.fill(call, 0, bytes);
    const slot = client.post(0, 0, bytes, OUTPUT, bytes, 0);
    let found = -1;
    await until(() => (found = worker.turn(-1, 0, 1)) >= 0, "a request comes");
    const [input, output] = payloads(worker, there.arena, found);
    output.set(input);
    worker.turn(found, bytes, 1);
    await until(() => client.test(slot) === bytes, "it is answered");
    if (arena.subarray(OUTPUT, OUTPUT + bytes).some((byte) => byte !== call % 256))
      throw new Error(`call ${call} has another answer`);
  }
}

if (counting) {
  await calls(200);
  const before = counting.symbols.blocks();
  await calls(2000);
  console.log(counting.symbols.blocks() - before);
} else {
  // Records of one byte more than a key update are none of ours: a call has a head of 40 bytes.
  const updates: Record<Way, number> = { client: 0, node: 0 };
  const rest: Record<Way, Buffer> = { client: Buffer.alloc(0), node: Buffer.alloc(0) };
  relay!.treat = (bytes, to, { channel }) => {
    if (channel !== 0) return bytes;
    let left = Buffer.concat([rest[to], bytes]);
    while (left.length >= 5 && left.length >= 5 + left.readUInt16BE(3)) {
      const record = left.readUInt16BE(3);
      if (record < 40) updates[to]++;
      left = left.subarray(5 + record);
    }
    rest[to] = left;
    return bytes;
  };
  await calls(100);
  console.log(updates.client, updates.node);
}
process.exit(0);
