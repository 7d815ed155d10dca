import { expect, test } from "bun:test";
import { Quota } from "../../src/executor/admission/quota.ts";

const MIB = 2 ** 20;
const ada = { user: "ada", maxCores: 4, maxMemoryBytes: 1024 * MIB, untilMs: null };
const held = (cores: number, mib = 0) => ({ cores, memoryBytes: mib * MIB });

test("a token is good for so many cores at a time, whichever leases have them", () => {
  const quota = new Quota();
  expect(quota.refusal(ada, held(4))).toBeNull();
  quota.take("ada", held(3));
  expect(quota.refusal(ada, held(1))).toBeNull();
  expect(quota.refusal(ada, held(2))?.why).toContain(
    "good for 4 cores at a time on this node, 3 are leased",
  );
  quota.giveBack("ada", held(3));
  expect(quota.refusal(ada, held(4))).toBeNull();
});

test("a token is good for so much memory at a time, whichever leases have it, and each user has a quota", () => {
  const quota = new Quota();
  quota.take("ada", held(1, 600));
  expect(quota.refusal(ada, held(1, 424))).toBeNull();
  expect(quota.refusal(ada, held(1, 425))?.why).toContain(
    "good for 1 GiB of memory at a time on this node, 600 MiB are leased and 425 MiB are asked for",
  );
  expect(quota.refusal({ ...ada, user: "bob" }, held(1, 1024))).toBeNull();
  quota.giveBack("ada", held(1, 600));
  expect(quota.refusal(ada, held(4, 1024))).toBeNull();
});

test("a token without limits is good for anything", () => {
  const free = { user: "eve", maxCores: null, untilMs: null };
  expect(new Quota().refusal(free, held(1e6, 1e9))).toBeNull();
});
