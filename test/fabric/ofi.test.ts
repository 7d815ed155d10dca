/** The providers of libfabric that need no device. */
import { describe, expect, test } from "bun:test";
import { REMOTE, STATUS } from "../../ffi/layout.ts";
import { conformance } from "./conformance.ts";
import { linked } from "./linked.ts";
import { lacksProvider } from "./ofi-providers.ts";

for (const name of ["ofi:tcp", "ofi:shm", "ofi:shm+messages", "ofi:udp", "ofi:sockets"]) {
  const reason = lacksProvider(/^ofi:(\w+)/.exec(name)![1]!);
  if (reason === undefined) conformance(linked(name, "127.0.0.1", 0.1));
  else
    describe(name, () => {
      test.skip(`conformance, because ${reason}`, () => {});
    });
}

// The worker looks meanwhile, as this provider needs it.
test.skipIf(lacksProvider("shm") !== undefined)(
  "one-sided operations of the provider's own read, write, add and swap in the node's memory",
  async () => {
    const { remoteEcho } = linked("ofi:shm+native", "127.0.0.1", 1);
    await using pair = await remoteEcho({ polling: "hot", slots: 8, arenaBytes: 64 * 1024 });
    const { client, clientArena } = pair;
    const here = new Uint8Array(clientArena);
    const words = (first = 0n, second = 0n): BigUint64Array<ArrayBuffer> =>
      new BigUint64Array(new ArrayBuffer(24)).fill(first, 0, 1).fill(second, 1, 2);
    const pattern = Uint8Array.from({ length: 5000 }, (_, i) => (11 * i + 5) & 0xff);
    here.set(pattern, 64);
    expect(client.remote(REMOTE.write, 64, 40_000, 5000, words())).toBe(STATUS.ok);
    expect(client.remote(REMOTE.read, 20_000, 40_000, 5000, words())).toBe(STATUS.ok);
    expect(here.slice(20_000, 25_000)).toEqual(pattern);
    here.fill(0, 0, 8);
    expect(client.remote(REMOTE.write, 0, 48_000, 8, words())).toBe(STATUS.ok);
    const before = (operation: number, first: bigint, second = 0n): bigint => {
      const all = words(first, second);
      expect(client.remote(operation, 0, 48_000, 8, all)).toBe(STATUS.ok);
      return all[2]!;
    };
    expect(before(REMOTE.fetchAdd, 40n)).toBe(0n);
    expect(before(REMOTE.fetchAdd, 2n)).toBe(40n);
    expect(before(REMOTE.compareSwap, 1n, 7n)).toBe(42n);
    expect(before(REMOTE.compareSwap, 42n, 7n)).toBe(42n);
    expect(before(REMOTE.fetchAdd, 0n)).toBe(7n);
  },
);
