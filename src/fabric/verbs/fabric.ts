/** RDMA through libibverbs: client and workers each have memory of the lease, and write into the other's through their devices. */
import { LAYOUT, MAX_ARENA_BYTES } from "../../../ffi/layout.ts";
import type { Region } from "../../../ffi/region.ts";
import { verbsProblem } from "../../../ffi/verbs/verbs.ts";
import { ProtocolError } from "../../base/errors.ts";
import type { Fabric, FabricOffer } from "../fabric.ts";
import { attachLinked } from "../linked-attachment.ts";
import { verbsAddresses } from "./addresses.ts";
import { verbsCounters } from "./counters.ts";
import { connectVerbs, listenVerbs } from "./link.ts";
import { VerbsOptions, verbsFlags, withDatabase } from "./options.ts";

const NAME = "verbs";

/** Added to a lease's memory, so that a thousand buffers have their headroom without a word to the user. */
const HEADROOM_SLACK_BYTES = 1024 * LAYOUT.requestBytes;

export const verbs: Fabric<typeof NAME, VerbsOptions> = {
  name: NAME,
  title: "RDMA",
  sharesMemory: false,
  needs: "an RDMA device",

  options: VerbsOptions,
  flags: {
    fields: verbsFlags,
    apply: (options, { devices }) =>
      typeof devices === "string" ? withDatabase(options, devices) : options,
  },

  askedBy({ device, ibPort, gidIndex }) {
    if (device !== undefined) return "device";
    if (ibPort !== undefined) return "ibPort";
    return gidIndex === undefined ? undefined : "gidIndex";
  },

  offer(options) {
    return offerAt(verbsAddresses(options), options);
  },

  prepare: () => void verbsProblem(),

  listen: (region, { address, options: { inlineMax } }, nonce) =>
    listenVerbs(region, { address, nonce }, { inlineMax }),

  counters: verbsCounters,

  async floor(options) {
    const [address] = verbsAddresses(options);
    return (await import("./floor.ts")).verbsFloor(address!, options.inlineMax);
  },

  yardstick: {
    latency: "ib_write_lat",
    bandwidth: "ib_write_bw",
    open: async (options) => new (await import("./perftest.ts")).Perftest(options),
  },

  doctor: async () => await (await import("./doctor.ts")).examineVerbs(),
};

function offerAt(addresses: readonly string[], options: VerbsOptions): FabricOffer {
  const { inlineMax } = options;
  // Without a choice, the routing table picks the device.
  const source = verbs.askedBy(options) === undefined ? "" : addresses[0]!;
  return {
    fabric: verbs,
    description: `${NAME} (${addresses.join(", ")})`,
    // The device at the address that the client connected to comes first.
    listenFor: (reachedAt) => ({
      address: addresses.find((address) => address === reachedAt) ?? addresses[0]!,
      options: inlineMax === undefined ? {} : { inlineMax },
    }),
    memoryFor: (bytes) => Math.min(bytes + HEADROOM_SLACK_BYTES, MAX_ARENA_BYTES),
    async attach({ shape, listening, nonce }) {
      if (!listening)
        throw new ProtocolError(
          "the node granted a lease over verbs and does not say where its host listens; update the older side",
        );
      const to = { ...listening, nonce, source };
      const connect = (region: Region) => connectVerbs(region, to, { inlineMax });
      return await attachLinked(shape, connect, LAYOUT.requestBytes);
    },
  };
}
