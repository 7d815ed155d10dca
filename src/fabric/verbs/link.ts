/** The connections of a lease over RDMA. */
import type { Region } from "../../../ffi/region.ts";
import { memlockLimitBytes } from "../../../ffi/system.ts";
import { DEFAULT_INLINE_BYTES } from "../../../ffi/verbs/verbs.ts";
import { FabricLink, type LinkKind } from "../link.ts";
import { connectionFailed, connectionLost } from "./connection-errors.ts";

export interface LinkOptions {
  /** Bytes that may travel inside a work request; default 256, or what the device can. */
  inlineMax?: number | undefined;
}

const VERBS: LinkKind = {
  fabric: "verbs",
  failed: (where, state, region) =>
    connectionFailed(where, state, region.bytes, memlockLimitBytes()),
  lost: connectionLost,
};

/** As {@link FabricLink.connect}. */
export const connectVerbs = (
  region: Region,
  to: { address: string; port: number; nonce: Uint8Array; source: string },
  { inlineMax = DEFAULT_INLINE_BYTES }: LinkOptions = {},
): Promise<FabricLink> => FabricLink.connect(VERBS, region, to, inlineMax);

/** As {@link FabricLink.listen}. */
export const listenVerbs = (
  region: Region,
  at: { address: string; nonce: Uint8Array },
  { inlineMax = DEFAULT_INLINE_BYTES }: LinkOptions = {},
): Promise<FabricLink> => FabricLink.listen(VERBS, region, at, inlineMax);
