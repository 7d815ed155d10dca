/** What a host finds in its environment, and what a lease may add. */
import { ENGINE_SETTINGS } from "../../base/machine/engine.ts";
import { hostedEnvironment } from "../../base/process.ts";

/** Of the node's own, in a room. */
const PASSED_ON = ["PATH", "LANG", "TZ", "NODE_ENV", "OMP_NUM_THREADS"];

/**
 * What says how a process, its loader, its C library, its engine or the shell that starts it begin is the node's to say: a shell that is bash
 * runs commands that two of these let it find, and that shell is not in a room.
 */
const RESERVED =
  /^(?:BUN_|JSC_|RFAAS_|LD_|GLIBC_TUNABLES$|GCONV_PATH$|SHELLOPTS$|BASHOPTS$|BASH_ENV$)/;

/** How many threads native code starts, and where, follows from the cores of a lease, not from who started the node. */
const THREADING_VARIABLES = [
  "OMP_NUM_THREADS",
  "OMP_THREAD_LIMIT",
  "OMP_PLACES",
  "OMP_PROC_BIND",
  "GOMP_CPU_AFFINITY",
  "KMP_AFFINITY",
  "OPENBLAS_NUM_THREADS",
  "GOTO_NUM_THREADS",
  "MKL_NUM_THREADS",
  "BLIS_NUM_THREADS",
];

/** Why a lease cannot have this variable; undefined when it can. */
export function whyReserved(name: string): string | undefined {
  return RESERVED.test(name)
    ? `${name} says how a process starts, which is for the node to say; choose another name`
    : undefined;
}

/** All of a host's environment: in a room with this scratch folder, else the node's own. What the lease says comes on top. */
export function hostEnvironment(
  own: Readonly<Record<string, string>>,
  scratch: string | undefined,
): Record<string, string | undefined> {
  const nodes = hostedEnvironment();
  for (const name of THREADING_VARIABLES) delete nodes[name];
  if (scratch === undefined) return { ...nodes, ...own, ...ENGINE_SETTINGS };
  const passed = PASSED_ON.filter((name) => nodes[name] !== undefined);
  return {
    ...Object.fromEntries(passed.map((name) => [name, nodes[name]])),
    ...{ HOME: scratch, TMPDIR: scratch },
    ...own,
    ...ENGINE_SETTINGS,
  };
}
