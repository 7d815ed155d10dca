/** Which providers of libfabric this machine has. */
import { ofiProblem, probeOfi } from "../../ffi/ofi/ofi.ts";

/** Why this machine lacks the provider; undefined when it has it. */
export function lacksProvider(provider: string): string | undefined {
  try {
    const problem = ofiProblem();
    if (problem === null) probeOfi({ provider });
    return problem ?? undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
