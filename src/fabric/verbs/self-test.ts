/** One call over a device, to this process and back: whether the device, its address and the libraries work. */
import { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { STATUS } from "../../../ffi/layout.ts";
import { Region, createRegion } from "../../../ffi/region.ts";
import { WorkerControl, WorkerEndpoint } from "../../../ffi/worker-endpoint.ts";
import type { FabricLink } from "../link.ts";
import { connectVerbs, listenVerbs } from "./link.ts";

const SLOTS = 1;
const CALLS = 100;
const CALL_LIMIT_NS = 2e9;
const INPUT_BYTES = 1024;

/**
 * Connects the device at `address` to itself and makes calls of 1 KiB with checked results. Returns the shortest, in nanoseconds.
 *
 * @throws {ConnectionFailed} the connection cannot be set up
 * @throws {Error} a call did not come back, or not whole
 */
export async function selfTest(address: string): Promise<number> {
  using here = region();
  using there = region();
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const server = await listenVerbs(there, { address, nonce });
  let link: FabricLink | undefined;
  let client: ClientEndpoint | undefined;
  try {
    await server.ready;
    link = await connectVerbs(here, { address, port: server.link.port, nonce, source: "" });
    await link.ready;
    client = new ClientEndpoint(here, 0, SLOTS, link.link);
    const control = new WorkerControl(there, 0, -1, server.link);
    const worker = new WorkerEndpoint(control.handle, SLOTS);
    worker.setFunctionCount(1);
    let shortestNs = Infinity;
    for (let i = 0; i < CALLS; i++) shortestNs = Math.min(shortestNs, echo(client, worker, i));
    return shortestNs;
  } finally {
    client?.close();
    link?.close();
    server.close();
  }

  function echo(client: ClientEndpoint, worker: WorkerEndpoint, mark: number): number {
    const input = new Uint8Array(here.arena, 0, INPUT_BYTES).fill(mark);
    const seen = new Uint8Array(there.arena, 0, INPUT_BYTES);
    const startedNs = Bun.nanoseconds();
    const slot = client.post(0, 0, INPUT_BYTES, INPUT_BYTES, 1, 0);
    let result: number = STATUS.pending;
    while (result === STATUS.pending) {
      if (Bun.nanoseconds() - startedNs > CALL_LIMIT_NS)
        throw new Error("a call to itself did not come back within 2 s");
      const found = worker.turn(-1, 0, 1);
      if (found >= 0) {
        new Uint8Array(there.arena, INPUT_BYTES, 1)[0] = seen[INPUT_BYTES - 1]!;
        worker.answer(found, STATUS.ok, 1);
      }
      result = client.test(slot);
    }
    const tookNs = Bun.nanoseconds() - startedNs;
    if (result !== 1 || new Uint8Array(here.arena, INPUT_BYTES, 1)[0] !== input[0])
      throw new Error(`a call to itself came to ${result}: its bytes did not arrive`);
    return tookNs;
  }
}

function region(): Region & Disposable {
  const shape = { workers: 1, slots: SLOTS, polling: "hot", spinNs: 0 } as const;
  const fd = createRegion({ ...shape, arenaBytes: 2 * INPUT_BYTES });
  try {
    const mapped = Region.map(fd, 1, SLOTS);
    return Object.assign(mapped, { [Symbol.dispose]: () => mapped.close() });
  } finally {
    closeDescriptor(fd);
  }
}
