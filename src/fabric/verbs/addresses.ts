/** Where this process can be reached over RDMA, if it has what that needs. */
import { verbsProblem } from "../../../ffi/verbs/verbs.ts";
import { FabricUnavailable } from "../../base/errors.ts";
import { type DeviceChoice, addressesOf, rdmaDevices } from "./devices.ts";

/** Addresses of this machine's RDMA devices under the choice, best first. Throws {@link FabricUnavailable}. */
export function verbsAddresses(choice: DeviceChoice): string[] {
  // Devices first: a machine with none needs no libraries.
  const addresses = addressesOf(rdmaDevices(), choice);
  const problem = verbsProblem();
  if (problem) throw new FabricUnavailable(problem);
  return addresses;
}
