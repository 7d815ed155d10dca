/** The connections of a lease over tcp. */
import type { Region } from "../../../ffi/region.ts";
import { FabricLink, type LinkKind } from "../link.ts";
import { connectionFailed, connectionLost } from "./connection-errors.ts";

const TCP: LinkKind = { fabric: "tcp", failed: connectionFailed, lost: connectionLost };

/** As {@link FabricLink.connect}. */
export const connectTcp = (
  region: Region,
  to: { address: string; port: number; nonce: Uint8Array; source: string },
): Promise<FabricLink> => FabricLink.connect(TCP, region, to);

/** As {@link FabricLink.listen}. */
export const listenTcp = (
  region: Region,
  at: { address: string; nonce: Uint8Array },
): Promise<FabricLink> => FabricLink.listen(TCP, region, at);
