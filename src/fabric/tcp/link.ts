/** The connections of a lease over tcp. */
import type { LinkEnd, LinkTarget } from "../../../ffi/link.ts";
import type { Region } from "../../../ffi/region.ts";
import { FabricLink, type LinkKind } from "../link.ts";
import { connectionFailed, connectionLost } from "./connection-errors.ts";

const TCP: LinkKind = { fabric: "tcp", failed: connectionFailed, lost: connectionLost };

/** As {@link FabricLink.connect}. */
export const connectTcp = (region: Region, to: LinkTarget): Promise<FabricLink> =>
  FabricLink.connect(TCP, region, to);

/** As {@link FabricLink.listen}. */
export const listenTcp = (region: Region, at: LinkEnd): Promise<FabricLink> =>
  FabricLink.listen(TCP, region, at);
