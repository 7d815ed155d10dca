/** Channels over tcp whose connections are encrypted, by the kernel where it can, else by libssl. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { encryptionOf } from "../../ffi/tcp/tcp.ts";
import { connectTcp, listenTcp } from "../../src/fabric/tcp/link.ts";
import { until } from "../support/until.ts";
import { conformance } from "./conformance.ts";
import { linked, mapOf } from "./linked.ts";

const ADDRESS = "127.0.0.1";
const KERNEL_CAN = readFileSync("/proc/sys/net/ipv4/tcp_available_ulp", "utf8").includes("tls");
const BY = KERNEL_CAN ? "kernel" : "libssl";
console.warn(`connections are encrypted by: ${BY}`);

describe(`encrypted by ${BY}`, () => {
  const fabric = linked("encrypted tcp", ADDRESS, 0.1);
  // A guest is slow; and a thread of its kernel cuts what has come into records, which may have to wait for a processor.
  conformance(KERNEL_CAN ? { ...fabric, share: 0.01, losesWakeUps: true } : fabric);
});

test("the kernel encrypts each connection of a lease, the side way too, where it can, else libssl does", async () => {
  const shape = { polling: "hot", slots: 8, arenaBytes: 64 * 1024 } as const;
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  for (const encrypt of [true, false]) {
    using regions = new DisposableStack();
    const [there, here] = [mapOf(shape), mapOf(shape)];
    for (const region of [there, here]) regions.defer(() => region.close());
    const node = await listenTcp(there, { address: ADDRESS, nonce, encrypt });
    regions.defer(() => node.close());
    const to = { address: ADDRESS, port: node.port, nonce, source: "", encrypt };
    const client = await connectTcp(here, to);
    regions.defer(() => client.close());
    await client.ready;
    const by = () =>
      [0, 1].flatMap((one) => [encryptionOf(node.link, one), encryptionOf(client.link, one)]);
    const expected = encrypt ? BY : "none";
    // The node's side is ready a moment after the client's.
    if (encrypt) await until(() => by().every((one) => one === expected), `${expected} encrypts`);
    expect(by()).toEqual([expected, expected, expected, expected]);
  }
});
