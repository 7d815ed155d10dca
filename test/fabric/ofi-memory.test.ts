/** What becomes of calls over libfabric of which a part is on its way when the program takes memory back, or closes the lease. */
import { describe, expect, test } from "bun:test";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { INPUT_OWN, STATUS } from "../../ffi/layout.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import { connectOfi, listenOfi } from "../../src/fabric/ofi/link.ts";
import { until } from "../support/until.ts";
import type { Shape } from "./conformance.ts";
import { payloads } from "./conformance-payloads.ts";
import { mapOf } from "./linked.ts";
import { lacksProvider } from "./ofi-providers.ts";

const ADDRESS = "127.0.0.1";
const SMALL = 4096;
/** Of each provider more bytes than it takes while the other side does not look. */
const TOO_MUCH = { tcp: 48 * 1024 * 1024, udp: 1024 * 1024, sockets: 48 * 1024 * 1024 };

async function pair(provider: string, bytes: number) {
  const device = { provider };
  const shape: Shape = { polling: "warm", slots: 8, arenaBytes: 2 * bytes };
  const [here, there] = [mapOf(shape), mapOf(shape)];
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const listening = await listenOfi(there, { address: ADDRESS, nonce }, device);
  await listening.ready;
  const to = { address: ADDRESS, port: listening.port, nonce, source: "" };
  const connected = await connectOfi(here, to, device);
  await connected.ready;
  const client = new ClientEndpoint(here, 0, shape.slots, connected.link);
  const control = new WorkerControl(there, 0, -1, listening.link);
  const worker = new WorkerEndpoint(control.handle, shape.slots);
  worker.setFunctionCount(1);
  let open = true;
  const closeClient = () => {
    if (!open) return;
    open = false;
    client.close();
    connected.close();
  };
  return {
    ...{ here, there, client, worker, connected, listening, closeClient },
    [Symbol.dispose]() {
      closeClient();
      listening.close();
      here.close();
      there.close();
    },
  };
}

describe.each(Object.entries(TOO_MUCH))("over libfabric's %s", (provider, large) => {
  const reason = lacksProvider(provider);
  if (reason !== undefined) return test.skip(`a call on its way, because ${reason}`, () => {});
  test("a call whose input is on its way outlives memory that it does not use", async () => {
    using sides = await pair(provider, large);
    const { here, there, client, worker, connected } = sides;
    new Uint8Array(here.arena).fill(7, 0, large);
    connected.link.register(here, large, new Uint8Array(new SharedArrayBuffer(SMALL)));
    const slot = client.post(0, 0, large, large + SMALL, 64, 0);
    connected.link.unregister(here, large);
    expect(connected.lost(0)).toBeUndefined();
    let found = -1;
    await until(() => (client.test(slot), (found = worker.turn(-1, 0, 1)) >= 0), "it comes");
    const [input] = payloads(worker, there.arena, found);
    expect([input.length, input[0], input.at(-1)]).toEqual([large, 7, 7]);
    worker.turn(found, 8, 1);
    await until(() => client.test(slot) === 8, "it is answered");
  }, 60_000);

  test("a call that would go on to read memory that is taken back is lost, and so is what follows it", async () => {
    using sides = await pair(provider, large);
    const { here, client, connected } = sides;
    const own = new Uint8Array(new SharedArrayBuffer(large));
    connected.link.register(here, 0, own);
    const slot = client.post(INPUT_OWN, 0, large, large + SMALL, 64, 0);
    connected.link.unregister(here, 0);
    expect(connected.lost(0)!.message).toContain("is lost");
    expect(client.test(slot)).toBe(STATUS.workerLost);
  }, 60_000);

  test("a client closes while a part of its input has come, and its worker goes on until it hears so", async () => {
    using sides = await pair(provider, large);
    const { client, closeClient, listening, worker } = sides;
    expect(client.post(0, 0, large, large + SMALL, 64, 0)).toBe(0);
    for (let i = 0; i < 10; i++) expect(worker.turn(-1, 0, 1)).toBeLessThan(0);
    closeClient();
    await until(() => (worker.turn(-1, 0, 1), listening.lost(0) !== undefined), "it hears so");
  }, 60_000);

  test("a client closes while a part of its output has come", async () => {
    using sides = await pair(provider, large);
    const { client, worker } = sides;
    const slot = client.post(0, 0, 8, SMALL, large, 0);
    let found = -1;
    await until(() => (client.test(slot), (found = worker.turn(-1, 0, 1)) >= 0), "it comes");
    worker.turn(found, large, 1);
    for (let i = 0; i < 10; i++) expect(client.test(slot)).toBe(STATUS.pending);
  }, 60_000);
});
