/** Leases over libfabric through the node's one port, by the providers that need no device. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { readdirSync } from "node:fs";
import { ofiProblem } from "../../ffi/ofi/ofi.ts";
import {
  type FabricName,
  type Invoker,
  type Lease,
  LeaseRefused,
  WorkerLost,
  invoker,
} from "../../src/index.ts";
import { lacksProvider } from "../fabric/ofi-providers.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;

process.env["RFAAS_EXECUTABLE"] = RFAAS;

const here = (["ofi:tcp", "ofi:shm", "ofi:sockets"] as const).filter((name) => {
  const reason = lacksProvider(name.slice("ofi:".length));
  if (reason !== undefined) console.error(`SKIPPED: leases over ${name}: ${reason}`);
  return reason === undefined;
});

describe.each(here)("a lease over %s", (fabric: FabricName) => {
  let node: ServedNode;
  let rf: Invoker;
  beforeAll(async () => {
    node = await ServedNode.start("127.0.0.1:0", [
      ...["--fabric", fabric, "--cores", "8", "--allow-network"],
      // It has files in /dev/shm.
      ...(fabric === "ofi:shm" ? ["--sandbox", "none"] : []),
    ]);
    rf = await invoker({ node: `127.0.0.1:${node.port}`, fabric });
  });
  afterAll(async () => {
    await rf.close();
    await node[Symbol.asyncDispose]();
  });
  const take = (options: object = {}): Promise<Lease<Good>> =>
    rf.allocate<Good>(GOOD, { memory: "1MiB", network: true, ...options });

  for (const polling of ["hot", "warm", "adaptive"] as const)
    test(
      `calls several workers that are ${polling}, in and out of the event loop`,
      async () => {
        await using held = await take({ workers: 2, polling });
        expect(held.fabric).toBe(fabric);
        const input = held.input(Uint8Array, 5000);
        for (const i of input.keys()) input[i] = i;
        const output = held.output(Uint8Array, 5000);
        for (const worker of [0, 1, 0, 1]) {
          output.fill(0);
          expect(await held.submit("echo", input, output, { worker })).toBe(5000);
          expect(output).toEqual(input);
          output.fill(0);
          expect(held.invoke("echo", input, output, { worker })).toBe(5000);
          expect(output).toEqual(input);
        }
      },
      LIMIT_MS,
    );

  test(
    "calls on large payloads, many at a time",
    async () => {
      await using held = await take({ memory: "64MiB" });
      const words = 256 * 1024;
      const payloads = Array.from({ length: 16 }, (_, i) => {
        const input = held.input(Uint32Array, words);
        for (let at = 0; at < words; at++) input[at] = Math.imul(at, 2654435761 + i);
        return { input, output: held.output(Uint32Array, words) };
      });
      const bytesOf = (words: Uint32Array<ArrayBuffer>) =>
        Buffer.from(words.buffer, words.byteOffset, words.byteLength);
      // Often: a client may sleep just as the last part of its inputs goes.
      for (let round = 0; round < 20; round++) {
        for (const { output } of payloads) output.fill(0);
        const calls = payloads.map(({ input, output }) => held.submit("echo", input, output));
        expect(await Promise.all(calls)).toEqual(calls.map(() => 4 * words));
        for (const { input, output } of payloads)
          expect(Buffer.compare(bytesOf(input), bytesOf(output))).toBe(0);
      }
    },
    LIMIT_MS,
  );

  test(
    "ends, with its calls, when its host is killed, and leaves no shared memory",
    async () => {
      const before = readdirSync("/dev/shm");
      await using held = await take();
      const lost = new Promise((resolve) => held.on("lost", resolve));
      const never = held.submit("pending", held.input(Uint8Array, 8), held.output(Uint8Array, 8));
      const outcome = never.catch((error: unknown) => error);
      const pid = held.hostPid;
      process.kill(pid, "SIGKILL");
      await lost;
      expect(await outcome).toBeInstanceOf(WorkerLost);
      const fresh = readdirSync("/dev/shm").filter((name) => !before.includes(name));
      expect(fresh.filter((name) => name.startsWith(`${pid}:`))).toEqual([]);
      await using next = await take();
      expect(next.fabric).toBe(fabric);
    },
    LIMIT_MS,
  );

  test("is taken by the name of the family, and by no client that did not ask for it", async () => {
    const address = `127.0.0.1:${node.port}`;
    await using family = await invoker({ node: address, fabric: "ofi" });
    await using held = await family.allocate<Good>(GOOD, { memory: "1MiB", network: true });
    expect(held.fabric).toBe(fabric);
    const refused = await invoker({ node: address }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LeaseRefused);
  });
});

test.skipIf(ofiProblem() !== null)(
  "a provider that this machine lacks is refused, with the reason",
  async () => {
    const refused = await invoker({ fabric: "ofi:cxi" }).catch((error: unknown) => error);
    expect((refused as Error).message).toBe(
      "ofi:cxi needs a Slingshot network card, and this machine has none; use another fabric",
    );
  },
);
