/** The floor beside each scenario: what the fabric does with no rfaas in between, on fresh memory each time. */
import { closeDescriptor } from "../ffi/descriptors.ts";
import { type FloorOptions, measureFloor } from "../ffi/floor.ts";
import { Region, createRegion } from "../ffi/region.ts";
import { measureVerbsFloor } from "../ffi/verbs/floor.ts";
import { FabricLink } from "../src/fabric/verbs/link.ts";
import type { VerbsOptions } from "../src/fabric/verbs/options.ts";
import { verbsAddresses } from "../src/fabric/verbs/fabric.ts";
import type { FabricName } from "../src/fabric/registry.ts";

type Samples = Uint32Array<ArrayBuffer>;

export interface Floor {
  name(block: boolean): string;
  /** Round trips in ticks of the cycle counter. */
  measure(options: FloorOptions, out: Samples): Promise<Samples>;
}

const sharedMemory: Floor = {
  name: (block) => (block ? "raw C futex echo" : "raw C shared-memory ping-pong"),
  measure: async (options, out) => measureFloor(options, out),
};

/** Slots as a lease has by default: the queues of the floor are as deep as those of a call. */
const SLOTS = 64;

class VerbsFloor implements Floor {
  readonly #address: string;
  readonly #options: VerbsOptions;

  constructor(options: VerbsOptions) {
    this.#address = verbsAddresses(options)[0]!;
    this.#options = options;
  }

  name(block: boolean): string {
    return `raw C write-with-immediate ping-pong${block ? ", event driven" : ""}`;
  }

  async measure(options: FloorOptions, out: Samples): Promise<Samples> {
    const address = this.#address;
    const { inlineMax } = this.#options;
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    const here = map(options.bytes);
    const there = map(options.bytes);
    const server = await FabricLink.listen(there, { address, nonce }, { inlineMax });
    let client: FabricLink | undefined;
    try {
      await server.ready;
      const { port } = server.link;
      client = await FabricLink.connect(here, { address, port, nonce, source: "" }, { inlineMax });
      await client.ready;
      return measureVerbsFloor(
        { client: client.link, server: server.link, region: here },
        options,
        out,
      );
    } finally {
      client?.close();
      server.close();
      here.close();
      there.close();
    }
  }
}

function map(bytes: number): Region {
  const shape = { workers: 1, slots: SLOTS, polling: "hot", spinNs: 0 } as const;
  const fd = createRegion({ ...shape, arenaBytes: bytes + 4096 });
  try {
    return Region.map(fd, 1, SLOTS);
  } finally {
    closeDescriptor(fd);
  }
}

/** The floor of a fabric on this machine. Throws `FabricUnavailable`. */
export function floorOf(fabric: FabricName, options: VerbsOptions = {}): Floor {
  return fabric === "shm" ? sharedMemory : new VerbsFloor(options);
}
