/** libfabric's provider for RDMA devices. Over a software device its hot calls take milliseconds, so the long tests are short. */
import { describe, test } from "bun:test";
import { addressesOf, rdmaDevices } from "../../src/fabric/verbs/devices.ts";
import { conformance } from "../fabric/conformance.ts";
import { linked } from "../fabric/linked.ts";
import { lacksProvider } from "../fabric/ofi-providers.ts";

const PROVIDER = "verbs";
const reason = lacksProvider(PROVIDER);
if (reason === undefined)
  conformance(linked(`ofi:${PROVIDER}`, addressesOf(rdmaDevices(), {})[0]!, 0.01));
else
  describe(`ofi:${PROVIDER}`, () => {
    test.skip(`conformance, because ${reason}`, () => {});
  });
