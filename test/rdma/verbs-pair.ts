/** Both ends of a connection in this process, below the library. */
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { Region, type RegionShape, createRegion } from "../../ffi/region.ts";
import { WorkerControl, WorkerEndpoint } from "../../ffi/worker-endpoint.ts";
import type { FabricLink } from "../../src/fabric/link.ts";
import { connectVerbs, listenVerbs } from "../../src/fabric/verbs/link.ts";

export const SHAPE: RegionShape = {
  workers: 1,
  slots: 8,
  arenaBytes: 64 * 1024,
  polling: "hot",
  spinNs: 0,
};

export function newRegion(shape: RegionShape = SHAPE): Region {
  const fd = createRegion(shape);
  try {
    return Region.map(fd, shape.workers, shape.slots);
  } finally {
    closeDescriptor(fd);
  }
}

export const newNonce = (): Uint8Array => crypto.getRandomValues(new Uint8Array(16));

/** The node's side: listens for one client, and echoes when it is told to look. */
export class Listener implements Disposable {
  readonly region: Region;
  readonly worker: WorkerEndpoint;
  readonly nonce: Uint8Array;
  readonly link: FabricLink;

  private constructor(region: Region, link: FabricLink, nonce: Uint8Array) {
    this.region = region;
    this.link = link;
    this.nonce = nonce;
    const control = new WorkerControl(region, 0, -1, link.link);
    this.worker = new WorkerEndpoint(control.handle, SHAPE.slots);
    this.worker.setFunctionCount(1);
  }

  static async open(address: string): Promise<Listener> {
    const region = newRegion();
    const nonce = newNonce();
    const link = await listenVerbs(region, { address, nonce });
    await link.ready;
    return new Listener(region, link, nonce);
  }

  get port(): number {
    return this.link.link.port;
  }

  [Symbol.dispose](): void {
    this.link.close();
    this.region.close();
  }
}

/** The client's side, connected to `port`. */
export class Connected implements Disposable {
  readonly region: Region;
  readonly client: ClientEndpoint;
  readonly link: FabricLink;

  private constructor(region: Region, link: FabricLink) {
    this.region = region;
    this.link = link;
    this.client = new ClientEndpoint(region, 0, SHAPE.slots, link.link);
  }

  /** Rejects with `ConnectionFailed`, and leaves nothing. */
  static async open(
    address: string,
    { port, nonce }: { port: number; nonce: Uint8Array },
    shape: RegionShape = SHAPE,
  ): Promise<Connected> {
    const region = newRegion(shape);
    const link = await connectVerbs(region, { address, port, nonce, source: "" });
    try {
      await link.ready;
    } catch (error) {
      link.close();
      region.close();
      throw error;
    }
    return new Connected(region, link);
  }

  [Symbol.dispose](): void {
    this.client.close();
    this.link.close();
    this.region.close();
  }
}
