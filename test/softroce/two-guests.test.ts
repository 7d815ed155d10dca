/** Node and client on two machines. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout } from "bun:test";
import type { EndlessEnd } from "../rdma/endless-client.ts";
import type { GuestProcess } from "./commands.ts";
import { guestTest, waitFor } from "./guest-test.ts";
import { type Guest, twoGuests } from "./guest.ts";
import type { Counted, Settled } from "./ledger-client.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(180_000);

const PORT = 7700;
/** About 2 s of repetitions, then the kernel's own; and everything is slow in a guest. */
const LOSS_LIMIT_MS = 6_000;
/** A connection that says nothing any more is given up. */
const RELEASE_LIMIT_MS = 30_000;
const LOST = ["RFAAS_WORKER_LOST", "RFAAS_CONNECTION_LOST"];

function endOf(client: GuestProcess): EndlessEnd {
  return JSON.parse(/^\{.*\}$/m.exec(client.output)?.[0] ?? "") as EndlessEnd;
}

/** Until a client has said how its calls have ended; the milliseconds that it took. */
async function ended(client: GuestProcess, limitMs: number): Promise<number> {
  const startedMs = performance.now();
  await waitFor(client, '{"answered"', limitMs);
  const tookMs = performance.now() - startedMs;
  const end = endOf(client);
  expect(end.wrongPayloads).toBe(0);
  expect(end.answered).toBeGreaterThanOrEqual(50);
  for (const code of end.codes) expect(LOST).toContain(code);
  return tookMs;
}

describe("two guests", () => {
  let one: Guest;
  let two: Guest;
  let node: GuestProcess;
  beforeAll(async () => {
    [one, two] = await twoGuests();
    await one.run("echo 10.77.0.2 two >>/etc/hosts");
    await two.run("echo 10.77.0.1 one >>/etc/hosts");
    // Bun listens on the IPv6 wildcard for IPv4, too.
    node = one.start(
      `dist/rfaas serve --fabric verbs --listen [::]:${PORT} --allow-remote --cores 4`,
    );
    await waitFor(node, "serving");
  });
  afterAll(() => Promise.all([one?.close(), two?.close()]));
  const both = (name: string, body: () => Promise<void>): void =>
    guestTest(name, () => [one, two], body);

  const invoke = (address: string) =>
    two.run(
      `head -c 300000 /dev/urandom >/tmp/input; dist/rfaas invoke test/functions/good.ts#echo --input /tmp/input --output /tmp/output -n 4 --node ${address} && cmp /tmp/input /tmp/output && echo same`,
    );
  const endless = (address: string, mode: string): GuestProcess =>
    two.start(`node_modules/.bin/bun test/rdma/endless-client.ts ${address} ${mode}`);
  const statusOf = async (): Promise<{ freeCores: number; leases: number }> => {
    const script = `import { invoker } from "./src/index.ts"; await using rf = await invoker({ node: "127.0.0.1:${PORT}", fabric: "verbs" }); console.log("status", JSON.stringify(await rf.status()));`;
    const { output } = await one.run(`node_modules/.bin/bun --eval '${script}'`);
    return JSON.parse(/^status (.*)$/m.exec(output)?.[1] ?? output) as {
      freeCores: number;
      leases: number;
    };
  };

  both("call each other's functions over IPv4, over IPv6 and by name", async () => {
    for (const address of [`${one.address}:${PORT}`, `[${one.address6}]:${PORT}`, `one:${PORT}`]) {
      const { exitCode, output } = await invoke(address);
      expect(output).toContain("same\n");
      expect(exitCode, output).toBe(0);
    }
  });

  both("need --allow-remote", async () => {
    const closed = one.start(`dist/rfaas serve --fabric verbs --listen ${one.address}:${PORT + 1}`);
    await waitFor(closed, "serving");
    const { exitCode, output } = await invoke(`${one.address}:${PORT + 1}`);
    expect(output).toContain("--allow-remote");
    expect(exitCode).toBe(3);
    closed.kill("SIGTERM");
    expect(await closed.exited).toBe(0);
  });

  both(
    "share a ledger that rises by remote atomics, and is exact though the manager is killed",
    async () => {
      const CALLS = 200;
      const BYTES = 128;
      const startManager = async (): Promise<GuestProcess> => {
        const manager = one.start(
          `dist/rfaas manager --listen ${one.address}:7800 --http ${one.address}:7801 --state /tmp/manager`,
        );
        await waitFor(manager, `add to the ledger over verbs, at ${one.address}`);
        return manager;
      };
      let manager = await startManager();
      const { output: made } = await one.run(
        "dist/rfaas node join-token --json --quiet --state /tmp/manager",
      );
      const join = JSON.parse(/^\{.*\}$/m.exec(made)![0]) as { manager: string; joinToken: string };
      const { output: ca } = await one.run("cat /tmp/manager/ca.pem");
      await two.run(`cat >/tmp/ca.pem <<'END'\n${ca}\nEND`);
      const member = two.start(
        `dist/rfaas serve --listen /tmp/member.sock --cores 1 --name n1 --state /tmp/member --manager '${join.manager}' --join ${join.joinToken}`,
      );
      await waitFor(member, "serving");
      const client = two.start(
        `env NODE_EXTRA_CA_CERTS=/tmp/ca.pem node_modules/.bin/bun test/softroce/ledger-client.ts /tmp/member.sock https://${one.address}:7801 ${CALLS}`,
      );
      const said = <T>(what: string): T =>
        JSON.parse(new RegExp(`^${what} (.*)$`, "m").exec(client.output)![1]!) as T;
      const expectCounted = (what: string, calls: number): void => {
        const { called, usage, ledger, before, after } = said<Counted>(what);
        expect(called).toBe(calls);
        expect(usage).toMatchObject({ calls, bytes: calls * BYTES });
        expect(ledger).toMatchObject({ calls, bytes: calls * BYTES });
        expect(ledger.allocationCoreNs).toBeLessThanOrEqual(usage.allocationCoreNs);
        // By adds, and by no message.
        expect(after.ledger).toBe("verbs");
        expect(after.ledgerAdds).toBeGreaterThan(before.ledgerAdds);
        expect(after.usageMessages).toBe(before.usageMessages);
      };

      await waitFor(client, /^counted \{.*\n/m, 60_000);
      expectCounted("counted", 2 * CALLS);
      manager.kill("SIGKILL");
      await waitFor(client, "called without a manager");
      manager = await startManager();
      await waitFor(client, /^counted again \{.*\n/m, 60_000);
      expectCounted("counted again", 4 * CALLS);
      expect(await client.exited, client.output).toBe(0);
      const { called, heldNs, rows } = said<Settled>("settled");
      expect(called).toBe(4 * CALLS);
      expect(rows).toHaveLength(1);
      expect(rows[0]).toMatchObject({ leases: 1, live: 0, calls: called, bytes: called * BYTES });
      const { usage } = said<Counted>("counted again");
      expect(rows[0]!.allocationCoreNs).toBeGreaterThanOrEqual(usage.allocationCoreNs);
      expect(rows[0]!.allocationCoreNs).toBeLessThan(heldNs);

      // What the manager had set aside for a node goes with it.
      const registered = async (): Promise<string> =>
        (await one.run("rdma resource show mr")).output;
      expect(await registered()).toContain("rfaas");
      member.kill("SIGKILL");
      await until(
        async () => !(await registered()).includes("rfaas"),
        "the memory is free",
        20_000,
      );
      expect(manager.output).toContain("node n1 is lost");
      manager.kill("SIGTERM");
      expect(await manager.exited).toBe(0);
    },
  );

  both(
    "lose each other in the middle of calls when the cable is pulled, and find each other again",
    async () => {
      const clients = ["sync", "awaited"].map((mode) => endless(`${one.address}:${PORT}`, mode));
      for (const client of clients) await waitFor(client, "calling");
      await one.setLink(false);
      const took = await Promise.all(clients.map((client) => ended(client, LOSS_LIMIT_MS)));
      console.error(
        `calls ended ${took.map((ms) => ms.toFixed(0)).join(" and ")} ms after the cable`,
      );
      // The node finds out too if it had an answer under way, else from its clients when the cable is back.
      await one.setLink(true);
      const startedMs = performance.now();
      await until(async () => (await statusOf()).leases === 0, "the leases have ended", 90_000);
      console.error(
        `leases ended ${(performance.now() - startedMs).toFixed(0)} ms after the cable was back`,
      );
      for (const client of clients) {
        expect(await client.exited, client.output).toBe(0);
        console.error(endOf(client).messages[0]);
      }
      expect((await invoke(`${one.address}:${PORT}`)).output).toContain("same\n");
    },
  );

  both(
    "answer every call over tcp once, where the cable loses one packet of a hundred and takes 10 ms",
    async () => {
      const CALLS = 5_000;
      const over = one.start(
        `dist/rfaas serve --fabric tcp --listen ${one.address}:${PORT + 2} --allow-remote --cores 2`,
      );
      await waitFor(over, "serving");
      const netem = (guest: Guest, what: string) =>
        guest.run(`tc qdisc ${what} dev eth0 root netem delay 10ms loss 1%`);
      for (const guest of [one, two]) expect((await netem(guest, "add")).exitCode).toBe(0);
      try {
        const { output } = await two.run(
          `node_modules/.bin/bun test/fault/counted-client.ts ${one.address}:${PORT + 2} ${CALLS} 2 8`,
        );
        expect(output).toContain(
          JSON.stringify({ fabric: "tcp", right: CALLS, came: CALLS, doubled: 0 }),
        );
        for (const guest of [one, two])
          expect((await guest.run("tc -s qdisc show dev eth0")).output).toMatch(/dropped [1-9]/);
      } finally {
        for (const guest of [one, two]) await netem(guest, "del");
      }
      over.kill("SIGTERM");
      expect(await over.exited).toBe(0);
    },
  );

  both("lose the client's machine: the node gets its core back, of an idle lease too", async () => {
    const idle = `import { invoker } from "./src/index.ts"; const rf = await invoker({ node: "${one.address}:${PORT}" }); const lease = await rf.allocate("./test/functions/good.ts", { memory: "1MiB", ttlMs: 3000 }); const view = lease.input(Uint8Array, 8); console.log("called", lease.invoke("echo", view, view)); setInterval(() => {}, 1000);`;
    const waiting = two.start(`node_modules/.bin/bun --eval '${idle}'`);
    const calling = endless(`${one.address}:${PORT}`, "awaited");
    await waitFor(waiting, "called 8");
    await waitFor(calling, "calling");
    expect((await statusOf()).freeCores).toBe(2);
    const startedMs = performance.now();
    const since = (): string => ((performance.now() - startedMs) / 1000).toFixed(1);
    await two.kill();
    await until(async () => (await statusOf()).freeCores >= 3, "one core is back", 30_000);
    console.error(`the core of a calling lease is back after ${since()} s`);
    // Nobody renews it any more; the connection alone would be missed much later.
    await until(async () => (await statusOf()).freeCores === 4, "both cores are back", 30_000);
    console.error(`the core of an idle lease is back after ${since()} s`);
  });
});

describe("two guests, of which the node's is killed", () => {
  let guests: [Guest, Guest];
  beforeAll(async () => {
    guests = await twoGuests();
  });
  afterAll(() => Promise.all(guests?.map((guest) => guest.close()) ?? []));

  guestTest(
    "every call in flight ends",
    () => guests,
    async () => {
      const [one, two] = guests;
      const node = one.start(
        `dist/rfaas serve --fabric verbs --listen ${one.address}:${PORT} --allow-remote --cores 4`,
      );
      await waitFor(node, "serving");
      const clients = ["sync", "awaited"].map((mode) =>
        two.start(
          `node_modules/.bin/bun test/rdma/endless-client.ts ${one.address}:${PORT} ${mode}`,
        ),
      );
      for (const client of clients) await waitFor(client, "calling");
      await one.kill();
      const took = await Promise.all(clients.map((client) => ended(client, LOSS_LIMIT_MS)));
      console.error(
        `calls ended ${took.map((ms) => ms.toFixed(0)).join(" and ")} ms after the node`,
      );
      // Nor are they held up when they release what is lost.
      for (const client of clients) {
        let exited = false;
        void client.exited.then(() => (exited = true)).catch(() => {});
        await until(() => exited, "the client has released its lease", RELEASE_LIMIT_MS);
      }
    },
  );
});
