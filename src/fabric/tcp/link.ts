/** The connections of a lease over tcp. */
import type { LinkEnd, LinkTarget } from "../../../ffi/link.ts";
import type { Region } from "../../../ffi/region.ts";
import { FabricLink, type LinkKind } from "../link.ts";
import { connectionFailed, connectionLost } from "./connection-errors.ts";

const kindOf = (who: string): LinkKind => ({
  fabric: "tcp",
  failed: (where, state) => connectionFailed(where, state, who),
  lost: connectionLost,
});
const CLIENT = kindOf("this program");
const HOST = kindOf("the lease's host");

/** As {@link FabricLink.connect}. */
export const connectTcp = (region: Region, to: LinkTarget): Promise<FabricLink> =>
  FabricLink.connect(CLIENT, region, to);

/** As {@link FabricLink.listen}. */
export const listenTcp = (region: Region, at: LinkEnd): Promise<FabricLink> =>
  FabricLink.listen(HOST, region, at);
