/** The connections of a lease over libfabric. */
import type { LinkEnd, LinkTarget } from "../../../ffi/link.ts";
import { type OfiDevice, deviceText } from "../../../ffi/ofi/ofi.ts";
import type { Region } from "../../../ffi/region.ts";
import { FabricLink, type LinkKind } from "../link.ts";
import { connectionFailed, connectionLost } from "./connection-errors.ts";

const OFI: LinkKind = { fabric: "ofi", failed: connectionFailed, lost: connectionLost };

/** As {@link FabricLink.connect}. */
export const connectOfi = (
  region: Region,
  to: LinkTarget,
  device: OfiDevice,
): Promise<FabricLink> => FabricLink.connect(OFI, region, { ...to, device: deviceText(device) });

/** As {@link FabricLink.listen}. */
export const listenOfi = (region: Region, at: LinkEnd, device: OfiDevice): Promise<FabricLink> =>
  FabricLink.listen(OFI, region, { ...at, device: deviceText(device) });
