/** What `rfaas doctor` says of libfabric: a finding for the library, with its providers, and one for each of the fast ones that is here. */
import { ofiProblem, probeOfi } from "../../../ffi/ofi/ofi.ts";
import type { Finding } from "../../base/finding.ts";
import { HARDWARE, OTHERS, type Provider } from "./providers.ts";

/** With the first provider comes the finding for all. */
export async function examineOfi(provider: Provider): Promise<Finding[]> {
  const first = provider.name === HARDWARE[0].name;
  const problem = ofiProblem();
  const findings: Finding[] = first ? [library(problem)] : [];
  if (provider.isHere?.() && problem === null) findings.push(device(provider));
  return findings;
}

function library(problem: string | null): Finding {
  const name = "fabric ofi";
  if (problem !== null) {
    const [found, fix] = problem.split("; ") as [string, string];
    return {
      name,
      state: "off",
      found,
      fix: fix.replace(/^install (lib\S+)$/, "apt-get install $1"),
    };
  }
  const here = [...HARDWARE, ...OTHERS].flatMap((provider: Provider) => {
    const found = provider.isHere?.() === false ? undefined : foundOf(provider);
    return found === undefined ? [] : [`${provider.name} (${found})`];
  });
  return here.length > 0
    ? { name, state: "ok", found: `libfabric has ${here.join(", ")}` }
    : { name, state: "off", found: "libfabric has no provider that leases can use" };
}

function device(provider: Provider): Finding {
  const name = `fabric ofi:${provider.name}`;
  const found = foundOf(provider);
  return found === undefined
    ? {
        name,
        state: "off",
        found: `the machine has ${provider.needs}, and libfabric does not find it`,
        fix: `fi_info -p ${provider.name}`,
      }
    : { name, state: "ok", found };
}

function foundOf({ name }: Provider): string | undefined {
  try {
    return probeOfi({ provider: name });
  } catch {
    return undefined;
  }
}
