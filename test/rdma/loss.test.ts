/** Processes that die in the middle of calls, on either side: every call ends, and everything comes back. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { WorkerLost, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { EndlessClient } from "../support/endless-client.ts";
import { expectResources, listeningAt, resources, withDevice } from "../support/rdma.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");

/** What a peer that has vanished looks like. When a process dies, the kernel closes its connections, and no retry is waited for. */
const VANISHED = "retries exceeded";
const LOST = ["RFAAS_WORKER_LOST", "RFAAS_CONNECTION_LOST"];

withDevice("verbs, when a process is killed", (device) => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  const serve = () =>
    ServedNode.start("127.0.0.1:0", ["--fabric", "verbs", "--device", device.name, "--cores", "4"]);

  test("the host's: calls in flight end at once, synchronous and awaited ones", async () => {
    const before = resources();
    await using node = await serve();
    const clients = ["sync", "awaited"].map((mode) => EndlessClient.start(listeningAt(node), mode));
    for (const client of clients) {
      const hostPid = await client.calling;
      process.kill(hostPid, "SIGKILL");
      const killedMs = Date.now();
      const end = await client.ended;
      expect(end.wrongPayloads).toBe(0);
      console.error(`calls ended ${end.endedMs - killedMs} ms after the kill`);
      expect(end.messages.filter((message) => message.includes(VANISHED))).toEqual([]);
      for (const code of end.codes) expect(LOST).toContain(code);
      expect(end.messages.every((message) => message.includes("take a new lease"))).toBe(true);
      expect(await client.exited).toBe(0);
    }
    await expectResources(before);
    await using rf = await invoker({ node: listeningAt(node), fabric: "verbs" });
    expect((await rf.status()).leases).toBe(0);
  });

  test("the client's: the node gives its cores and its queue pairs back, and serves others", async () => {
    const before = resources();
    await using node = await serve();
    await using rf = await invoker({ node: listeningAt(node), fabric: "verbs" });
    const { freeCores, freeMemoryBytes } = await rf.status();
    await using held = await rf.allocate<Good>(GOOD, { memory: "1MiB", polling: "warm" });
    const ours = resources();
    const clients = ["sync", "awaited"].map((mode) => EndlessClient.start(listeningAt(node), mode));
    for (const client of clients) await client.calling;
    expect((await rf.status()).freeCores).toBe(freeCores - 3);
    for (const client of clients) client.kill("SIGKILL");
    await until(async () => (await rf.status()).freeCores === freeCores - 1, "cores are free");
    await expectResources(ours);
    const view = held.input(Uint32Array, 100).fill(3);
    expect(held.invoke("echo", view, held.output(Uint32Array, 100))).toBe(400);
    await held.release();
    expect(await rf.status()).toMatchObject({ freeCores, freeMemoryBytes, leases: 0 });
    await rf.close();
    await expectResources(before);
  });

  test("the node's: calls end, and later ones too; no host is left", async () => {
    const before = resources();
    const node = await serve();
    await using rf = await invoker({ node: listeningAt(node), fabric: "verbs" });
    await using held = await rf.allocate<Good>(GOOD, { memory: "1MiB", polling: "warm" });
    const view = held.input(Uint8Array, 100);
    const flying = held.submit("pending", view, view).then(
      () => undefined,
      (error: unknown) => error,
    );
    await node[Symbol.asyncDispose]();
    const error = await flying;
    expect(error).toBeInstanceOf(WorkerLost);
    expect((error as WorkerLost).message).not.toContain(VANISHED);
    expect(() => held.invoke("echo", view, view)).toThrow(WorkerLost);
    await held.release();
    await rf.close();
    await expectResources(before);
  });
});
