/** The providers of libfabric that need no device. */
import { describe, test } from "bun:test";
import { conformance } from "./conformance.ts";
import { linked } from "./linked.ts";
import { lacksProvider } from "./ofi-providers.ts";

for (const name of ["ofi:tcp", "ofi:shm", "ofi:tcp+messages", "ofi:udp"]) {
  const reason = lacksProvider(/^ofi:(\w+)/.exec(name)![1]!);
  if (reason === undefined) conformance(linked(name, "127.0.0.1", 0.1));
  else
    describe(name, () => {
      test.skip(`conformance, because ${reason}`, () => {});
    });
}
