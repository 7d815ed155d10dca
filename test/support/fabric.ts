/**
 * The fabric of tests that name none: `RFAAS_TEST_FABRIC=tcp` runs a suite as between two machines, which share no memory and no
 * RDMA. Nodes then listen at ports of their own, also those that a test gives the path of a socket.
 */
import { describe, test } from "bun:test";
import { type FabricName, fabricNamed, LOCAL_FABRIC } from "../../src/fabric/registry.ts";

const asked = process.env["RFAAS_TEST_FABRIC"] || undefined;
const found = asked === undefined ? undefined : fabricNamed(asked);
if (asked !== undefined && !found)
  throw new Error(`RFAAS_TEST_FABRIC names the fabric ${asked}, and there is none of this name`);

/** What leases of tests are over. */
export const FABRIC: FabricName = found?.name ?? LOCAL_FABRIC;

/** Whether tests run as between two machines. */
export const APART = found !== undefined && !found.sharesMemory;

/** The name of the error that calls end with whose worker's process was killed: from afar its end looks like the network's, until the node has told of it. */
export const KILLED = APART ? /ConnectionLost|WorkerLost/ : /WorkerLost/;

/** A command line of rfaas; one that calls functions does so over the fabric of the tests, if it names none. */
export function withFabric(args: readonly string[]): string[] {
  const [command, ...rest] = args;
  if (!APART || command !== "invoke" || rest.includes("--fabric")) return [...args];
  return [command, "--fabric", FABRIC, ...rest];
}

const ports = new Map<string, string>();

/** Where a node listens that would have the socket `path` on one machine: the same place each time. */
export function nodeAddress(path: string): string {
  if (!APART || !path.startsWith("/")) return path;
  let address = ports.get(path);
  if (address === undefined) {
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    address = `127.0.0.1:${probe.port}`;
    probe.stop(true);
    ports.set(path, address);
  }
  return address;
}

type Declare = (name: string, body: () => void | Promise<void>, limitMs?: number) => void;

/**
 * To declare tests of what only processes of one machine have. Between two there are none of them, which is no skip: they have no
 * meaning there. The reason is printed.
 */
export function onOneMachine(reason: string): { describe: Declare; test: Declare } {
  if (!APART) return { describe: (name, body) => describe(name, body as () => void), test };
  console.warn(`no tests over ${FABRIC} where ${reason}`);
  return { describe() {}, test() {} };
}
