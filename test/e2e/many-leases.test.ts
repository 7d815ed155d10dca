/** A thousand leases asked for at once, and two hundred held at once. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { type Lease, invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { APART } from "../support/fabric.ts";

type Keeps = typeof import("../functions/keeps.ts");

const MODULE = join(FUNCTIONS, "keeps.ts");
/** Between machines no host is kept, and each costs some 50 ms. */
const LEASES = APART ? 100 : 1000;

process.env["RFAAS_EXECUTABLE"] = RFAAS;

/** What one call on the lease returns: how often this host was called. */
async function call(lease: Lease<Keeps>): Promise<number> {
  const output = lease.output(Uint32Array, 4);
  await lease.submit("count", lease.input(Uint8Array, 0), output);
  return output[0]!;
}

test(`${LEASES} that wait for two cores are all granted, and few hosts serve them`, async () => {
  await using rf = await invoker({ cores: 2 });
  const hosts = new Set<number>();
  let calls = 0;
  const one = async (): Promise<void> => {
    await using lease = await rf.allocate<Keeps>(MODULE, {
      ...{ keepWarmMs: 60_000, memory: "256KiB", slots: 4, polling: "warm" },
      ...{ wait: true, timeoutMs: 200_000 },
    });
    hosts.add(lease.hostPid);
    await call(lease);
    calls++;
  };
  await Promise.all(Array.from({ length: LEASES }, one));
  expect(calls).toBe(LEASES);
  // A busy machine may end one that takes too long to come to rest.
  if (!APART) expect(hosts.size).toBeLessThan(100);
  expect((await rf.status()).leases).toBe(0);
}, 240_000);

test("one may wait for as long as a timer can", async () => {
  await using rf = await invoker({ cores: 1, prewarm: 0 });
  await using lease = await rf.allocate<Keeps>(MODULE, {
    ...{ memory: "256KiB", wait: true, timeoutMs: 2 ** 31 - 1 },
  });
  expect(await call(lease)).toBe(1);
});

test("those that wait are refused when their time is up, and told why, however many they are", async () => {
  await using rf = await invoker({ cores: 1, prewarm: 0 });
  await using _ = await rf.allocate(MODULE, { memory: "256KiB" });
  const late = Array.from({ length: 100 }, () =>
    rf.allocate(MODULE, { memory: "256KiB", wait: true, timeoutMs: 50 }).then(
      () => "granted",
      (error: unknown) => (error as Error).message,
    ),
  );
  for (const message of await Promise.all(late)) expect(message).toContain("no room within 50 ms;");
});

test("one that the node can never hold is refused at once, though it would wait", async () => {
  await using rf = await invoker({ cores: 1, memory: "64MiB", prewarm: 0 });
  const never = [{ workers: 5 }, { coresPerWorker: 2 }, { memory: "1GiB" }];
  for (const more of never) {
    const asked = rf.allocate(MODULE, {
      memory: "256KiB",
      ...more,
      wait: true,
      timeoutMs: 2 ** 31 - 1,
    });
    const error = await asked.then(
      () => "granted",
      (error: unknown) => error,
    );
    expect(error).toMatchObject({ code: "RFAAS_NODE_FULL" });
  }
});

test("two hundred are held at once, and each answers", async () => {
  await using rf = await invoker({ cores: 200, memory: "200MiB", prewarm: 0 });
  const leases: Lease<Keeps>[] = [];
  for (let batch = 0; batch < 50; batch++)
    leases.push(
      ...(await Promise.all(
        Array.from({ length: 4 }, () =>
          rf.allocate<Keeps>(MODULE, {
            ...{ memory: "256KiB", slots: 4, polling: "warm", loadTimeoutMs: 120_000 },
          }),
        ),
      )),
    );
  expect(await Promise.all(leases.map(call))).toEqual(Array(200).fill(1));
  expect(new Set(leases.map(({ hostPid }) => hostPid)).size).toBe(200);
  await Promise.all(leases.map((lease) => lease.release()));
}, 300_000);
