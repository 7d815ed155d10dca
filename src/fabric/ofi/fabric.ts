/**
 * libfabric: a fabric for each of its providers. Client and workers each have memory of the lease; small payloads travel in messages, and
 * large ones are written into the other side's memory.
 */
import { type OfiDevice, ofiProblem, probeOfi } from "../../../ffi/ofi/ofi.ts";
import type { Region } from "../../../ffi/region.ts";
import { NativeError } from "../../../ffi/errors.ts";
import { FabricUnavailable, ProtocolError } from "../../base/errors.ts";
import type { Fabric, FabricOffer, Greeting } from "../fabric.ts";
import { attachLinked } from "../linked-attachment.ts";
import { connectOfi, listenOfi } from "./link.ts";
import { OfiOptions } from "./options.ts";
import { HARDWARE, OTHERS, type Provider } from "./providers.ts";

const NAME = "ofi";
/** For clients that came over no network. */
const LOOPBACK = "127.0.0.1";
/** Others come through the node's own port, which a firewall lets through. */
const BROUGHT = "";

type Names<Of extends readonly Provider[]> = `${typeof NAME}:${Of[number]["name"]}`;
type Ofi<Of extends readonly Provider[]> = readonly Fabric<Names<Of>, OfiOptions>[];

/** The same for all providers: which lease a client means, its secret tells. */
const greeting: Greeting = {
  begins: Buffer.from("OFfr"),
  bytes: 64,
  nameOf: (said) => said.subarray(8, 24),
  // The wire's version, and the rejection of a wrong secret.
  refusal: Buffer.concat([Buffer.from("OFfr"), Uint8Array.of(1, 0, 2, 0)]),
};

export const ofiHardware = HARDWARE.map((provider) => fabricOf(provider, false)) as unknown as Ofi<
  typeof HARDWARE
>;
export const ofiOthers = OTHERS.map((provider) => fabricOf(provider, true)) as unknown as Ofi<
  typeof OTHERS
>;

function fabricOf(provider: Provider, onRequest: boolean): Fabric<string, OfiOptions> {
  const name = `${NAME}:${provider.name}`;
  const { needs, outsideRooms } = provider;
  const fabric: Fabric<string, OfiOptions> = {
    name,
    family: NAME,
    onRequest,
    connectsLate: "opens libfabric's endpoints",
    ...(outsideRooms === undefined ? {} : { outsideRooms }),
    title: `libfabric's ${provider.name}`,
    sharesMemory: false,
    needs,
    options: OfiOptions,
    askedBy: (options) => (options.provider === provider.name ? "provider" : undefined),
    offer(options) {
      if (provider.isHere?.() === false)
        throw new FabricUnavailable(
          `${name} needs ${needs}, and this machine has none; use another fabric`,
        );
      const device = deviceOf(provider, options);
      const what = found(name, device);
      return offerOf(fabric, device, `${name} (${what})`);
    },
    prepare: () => void ofiProblem(),
    listen: (region, { address, options }, nonce) =>
      listenOfi(region, { address, nonce }, deviceOf(provider, options)),
    greeting,
    floor: async (options) => (await import("./floor.ts")).ofiFloor(deviceOf(provider, options)),
    doctor: async () => await (await import("./doctor.ts")).examineOfi(provider),
  };
  return fabric;
}

const deviceOf = ({ name, oneSided }: Provider, { domain, authKey }: OfiOptions): OfiDevice => ({
  provider: name,
  domain,
  authKey,
  oneSided,
});

/** What libfabric has of it. Throws {@link FabricUnavailable}. */
function found(name: string, device: OfiDevice): string {
  const problem = ofiProblem();
  if (problem !== null) throw new FabricUnavailable(`${name}: ${problem}`);
  try {
    return probeOfi(device);
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    throw new FabricUnavailable(
      `libfabric has no ${device.provider} here${device.domain === undefined ? "" : ` with a domain ${device.domain}`}; look for it with: rfaas doctor, fi_info`,
      {},
      { cause: error },
    );
  }
}

function offerOf(
  fabric: Fabric<string, OfiOptions>,
  device: OfiDevice,
  description: string,
): FabricOffer {
  const { domain, authKey } = device;
  return {
    fabric,
    description,
    listenFor: (reachedAt) => ({
      address: reachedAt === undefined ? LOOPBACK : BROUGHT,
      options: {
        ...(domain === undefined ? {} : { domain }),
        ...(authKey === undefined ? {} : { authKey }),
      },
    }),
    memoryFor: (bytes) => bytes,
    async attach({ shape, listening, reached, nonce }) {
      const at = listening ?? reached;
      if (!at)
        throw new ProtocolError(
          `the node granted a lease over ${fabric.name} and does not say where its host listens; update the older side`,
        );
      const to = { ...at, nonce, source: "" };
      return await attachLinked(shape, (region: Region) => connectOfi(region, to, device), 0);
    },
  };
}
