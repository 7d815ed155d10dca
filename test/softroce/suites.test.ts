/** What needs an RDMA device runs in one guest that has one: the suite of test/rdma, and what changes the machine itself. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { EndlessEnd } from "../rdma/endless-client.ts";
import type { GuestProcess } from "./commands.ts";
import { Guest } from "./guest.ts";
import { runSuiteInGuest } from "./suite.ts";
import { guestTest, waitFor } from "./guest-test.ts";
import {
  FINDING,
  LOOK_FOR_LEAKS,
  NO_LEAKS,
  SHIM,
  WITHOUT_LONG_TESTS,
  compileSanitized,
  lacksSanitizers,
  sanitizedBy,
} from "../support/sanitizers.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(600_000);

/** A device that goes flushes its queues, and one side may close before the other has heard of the removal. */
const LOST_WITH_DEVICE = /device was removed|the other side disconnected/;
/** A guest sees this repository alone. */
const SANITIZED = join(SHIM, "..", "build", "sanitized", "librfaas.so");
const INVOKE = "dist/rfaas invoke test/functions/good.ts#echo --json 7";

describe("one guest", () => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await Guest.boot({ name: "single" });
  });
  afterAll(() => guest?.close());
  const inGuest = (name: string, body: () => Promise<void>): void =>
    guestTest(name, () => [guest], body);

  inGuest("runs the RDMA suite, and skips none of it", async () => {
    const { output, ...counts } = await runSuiteInGuest(guest, ["./test/rdma"]);
    if (counts.fail > 0 || counts.skip > 0) console.error(output);
    expect(counts).toEqual({ pass: counts.pass, fail: 0, skip: 0 });
    expect(counts.pass).toBeGreaterThan(0);
  });

  const SANITIZED_SUITES = "passes the suites of verbs with sanitizers, and nothing is found";
  if (lacksSanitizers !== undefined)
    test.skip(`${SANITIZED_SUITES}, because ${lacksSanitizers}`, () => {});
  else
    inGuest(SANITIZED_SUITES, async () => {
      mkdirSync(dirname(SANITIZED), { recursive: true });
      compileSanitized(SHIM, SANITIZED);
      const names = ["conformance", "hostile", "receives", "counters"];
      const words = [
        ...[...LOOK_FOR_LEAKS, ...WITHOUT_LONG_TESTS.map((word) => `'${word}'`)],
        ...names.map((name) => `./test/rdma/${name}.test.ts`),
      ];
      const { output, ...counts } = await runSuiteInGuest(guest, words, sanitizedBy(SANITIZED));
      if (counts.fail > 0 || counts.skip > 0 || FINDING.test(output)) console.error(output);
      expect(output).not.toMatch(FINDING);
      expect(counts).toEqual({ pass: counts.pass, fail: 0, skip: 0 });
      expect(counts.pass).toBeGreaterThan(90);
      expect(output).toContain(NO_LEAKS);
    });

  inGuest("encrypts by its kernel what tcp carries, whoever lies in between", async () => {
    const { output, ...counts } = await runSuiteInGuest(guest, [
      "./test/fabric/tcp-encrypted.test.ts",
      "./test/fabric/tcp-encrypted-hostile.test.ts",
    ]);
    if (counts.fail > 0 || counts.skip > 0) console.error(output);
    expect(output).toContain("connections are encrypted by: kernel");
    expect(counts).toEqual({ pass: counts.pass, fail: 0, skip: 0 });
    expect(counts.pass).toBeGreaterThan(100);
  });

  inGuest(
    "bounds hosts by control groups of version 2, root's and an ordinary user's",
    async () => {
      const mount = "mkdir -p /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";
      expect(await guest.run(mount)).toEqual({ exitCode: 0, output: "" });
      const some = "as (objects|children) |bounded by the kernel|leaves no group";
      const { output, ...counts } = await runSuiteInGuest(guest, [
        "./test/e2e/heap-cgroup.test.ts",
        ...["--test-name-pattern", `'${some}'`],
      ]);
      await guest.run("umount --lazy /sys/fs/cgroup");
      if (counts.fail > 0 || counts.skip > 0) console.error(output);
      expect(output).toContain("control groups of version 2");
      expect(output).not.toContain("SKIPPED");
      expect(counts).toEqual({ pass: 8, fail: 0, skip: 0 });
    },
  );

  inGuest(
    "does not let others' functions have sockets where the kernel does not tell what they hold",
    async () => {
      const serve = (...flags: string[]) =>
        guest.run(
          `timeout -s INT 20 dist/rfaas serve --listen /tmp/no-diag.sock --require-isolation ${flags.join(" ")} 2>&1`,
        );
      await guest.run("rmmod udp_diag");
      try {
        const refused = await serve("--allow-network");
        expect(refused.exitCode).not.toBe(0);
        expect(refused.output).toContain("guards memory");
        expect(refused.output).toContain("modprobe -a udp_diag");
        const { output } = await guest.run("dist/rfaas doctor 2>&1");
        expect(output).toContain("for want of udp_diag");
      } finally {
        await guest.run("insmod /.guest/modules/network/*udp_diag*");
      }
      expect((await guest.run("dist/rfaas doctor 2>&1")).output).toContain("which counts as heap");
    },
  );

  inGuest("runs the tests of a machine's clock and of its services, and skips none", async () => {
    const env = { RFAAS_TEST_MAY_SET_CLOCK: "1", RFAAS_TEST_MAY_START_SYSTEMD: "1" };
    const { output, ...counts } = await runSuiteInGuest(guest, ["./test/guest"], env);
    if (counts.fail > 0 || counts.skip > 0) console.error(output);
    expect(counts).toEqual({ pass: 5, fail: 0, skip: 0 });
  });

  inGuest("without libibverbs runs over shared memory, and says what to install", async () => {
    const without = (library: string, command: string) =>
      guest.run(
        `unshare --mount sh -c 'for file in /usr/lib/*/${library}.so.1.*; do mount --bind /dev/null $file; done; ${command}'`,
      );
    for (const [library, says] of [
      ["libibverbs", "install libibverbs1 and ibverbs-providers"],
      ["librdmacm", "install librdmacm1"],
    ] as const) {
      expect(await without(library, INVOKE)).toEqual({ exitCode: 0, output: "7\n" });
      const serve = "dist/rfaas serve --fabric verbs --listen 127.0.0.1:0";
      const refused = await without(library, serve);
      expect(refused.output).toContain(says);
      expect(refused.exitCode).toBe(1);
    }
  });

  // SoftRoCE waits for every process that has the device open, so nothing else may have it.
  inGuest("loses its device in the middle of calls, and gets it back", async () => {
    const manager = guest.start("dist/rfaas manager --listen 127.0.0.1:7800 --state /tmp/manager");
    await waitFor(manager, "managing at");
    const node = guest.start(
      "dist/rfaas serve --fabric verbs --listen 127.0.0.1:7700 --cores 4 --manager 127.0.0.1:7800 --name n1",
    );
    await waitFor(node, "the manager's ledger is added to over verbs");
    const clients = ["sync", "awaited"].map((mode) =>
      guest.start(`node_modules/.bin/bun test/rdma/endless-client.ts 127.0.0.1:7700 ${mode}`),
    );
    for (const client of clients) await waitFor(client, "calling", 60_000);
    const removed = await guest.run("rdma link delete rxe0");
    expect(removed).toEqual({ exitCode: 0, output: "" });
    try {
      for (const client of clients) {
        expect(await client.exited, client.output).toBe(0);
        const end = endOf(client);
        expect(end.wrongPayloads).toBe(0);
        expect(end.codes.length).toBeGreaterThan(1);
        for (const message of end.messages) expect(message).toMatch(LOST_WITH_DEVICE);
      }
      await waitFor(node, LOST_WITH_DEVICE);
      await waitFor(manager, /was removed; nodes report by message/);
      await waitFor(node, "told by message: this machine has no RDMA device");
      const refused = await guest.run(`${INVOKE} --fabric verbs --node 127.0.0.1:7700`);
      expect(refused.output).toContain("no RDMA device");
      expect(refused.exitCode).not.toBe(0);
    } finally {
      await guest.run("rdma link add rxe0 type rxe netdev eth0 && chmod 666 /dev/infiniband/*");
    }
    const again = await guest.run(`${INVOKE} --fabric verbs --node 127.0.0.1:7700`);
    expect(again).toEqual({ exitCode: 0, output: "7\n" });
    const added = /the manager's ledger is added to over verbs/g;
    await until(() => node.output.match(added)?.length === 2, "it adds again", 30_000);
    for (const process of [node, manager]) {
      process.kill("SIGTERM");
      expect(await process.exited).toBe(0);
    }
    const { output } = await guest.run("rdma resource show");
    expect(output).toMatch(/pd 1 cq 1 qp 1 cm_id 0 mr 0/);
  });
});

function endOf(client: GuestProcess): EndlessEnd {
  return JSON.parse(/^\{.*\}$/m.exec(client.output)?.[0] ?? "") as EndlessEnd;
}
