/** The providers of libfabric that need no device. */
import { describe, test } from "bun:test";
import { ofiProblem, probeOfi } from "../../ffi/ofi/ofi.ts";
import { conformance } from "./conformance.ts";
import { linked } from "./linked.ts";

/** Why this machine lacks the provider. */
function lacks(provider: string): string | undefined {
  try {
    const problem = ofiProblem();
    if (problem === null) probeOfi({ provider });
    return problem ?? undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

for (const name of ["ofi:tcp", "ofi:shm", "ofi:tcp+messages", "ofi:udp"]) {
  const reason = lacks(/\w+$/.exec(name.split("+")[0]!)![0]);
  if (reason === undefined) conformance(linked(name, "127.0.0.1", 0.1));
  else
    describe(name, () => {
      test.skip(`conformance, because ${reason}`, () => {});
    });
}
