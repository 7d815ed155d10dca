/** A node's side over tcp that closes its link when it is told to: `bun closing-peer.ts SHAPE NONCE`. Prints its port and the bytes of its memory. */
import { listenTcp } from "../../src/fabric/tcp/link.ts";
import type { Shape } from "./conformance.ts";
import { mapOf } from "./linked.ts";

const [shaped, nonce] = process.argv.slice(2) as [string, string];
const region = mapOf(JSON.parse(shaped) as Shape);
const link = await listenTcp(region, { address: "127.0.0.1", nonce: Uint8Array.fromHex(nonce) });
await link.ready;
process.stdout.write(`${link.port} ${region.bytes}\n`);
for await (const _ of process.stdin) break;
link.close();
process.stdout.write("closed\n");
process.exit(0);
