import { describe, test } from "bun:test";
import { verbsProblem } from "../../ffi/verbs/verbs.ts";
import { addressesOf, rdmaDevices } from "../../src/fabric/verbs/devices.ts";
import { conformance } from "../fabric/conformance.ts";
import { linked } from "../fabric/linked.ts";

/** The address of an RDMA device of this machine, or why there is none. */
function findDevice(): { address: string } | { reason: string } {
  try {
    return { address: addressesOf(rdmaDevices(), {})[0]! };
  } catch (error) {
    return { reason: verbsProblem() ?? (error as Error).message };
  }
}

const device = findDevice();
if ("address" in device) conformance(linked("verbs", device.address, 0.1));
else
  describe("verbs", () => {
    test.skip(`conformance, because ${device.reason}`, () => {});
  });
