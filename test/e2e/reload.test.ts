/** SIGHUP: what a node and a manager read again, what they keep where a file is wrong, and that it ends nothing. */
import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, ServedNode } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** How often a text has come. */
const times = (text: string, said: string): number => said.split(text).length - 1;

test(
  "a node reads its key for tokens again, keeps it where the file is wrong, and its leases go on",
  async () => {
    const [before, after] = [new SigningCluster("one"), new SigningCluster("two")];
    const key = scratch.file("key.pub", before.publicKey);
    const args = ["--token-key", key, "--state", scratch.join("node"), "--cores", "2"];
    await using node = await ServedNode.start("127.0.0.1:0", args);
    const address = `127.0.0.1:${node.port}`;
    const admits = async (cluster: SigningCluster): Promise<boolean> => {
      const rf = await invoker({ node: address, token: await cluster.token() }).catch(() => null);
      await rf?.close();
      return rf !== null;
    };
    await using rf = await invoker({ node: address, token: await before.token() });
    await using lease = await rf.allocate(GOOD, { polling: "warm" });
    writeFileSync(key, "no key");
    node.kill("SIGHUP");
    await until(() => node.stderr.includes("stay as they were"), "the wrong file is reported");
    expect(node.stderr).toMatch(/warn.*the key of --token-key stay as they were: .*key\.pub/is);
    expect([await admits(before), await admits(after)]).toEqual([true, false]);
    writeFileSync(key, after.publicKey);
    node.kill("SIGHUP");
    await until(() => node.stderr.includes("read the key of --token-key again"), "it is read");
    expect([await admits(before), await admits(after)]).toEqual([false, true]);
    const view = lease.input(Uint8Array, 8);
    expect(lease.invoke("echo", view, view)).toBe(8);
    expect(node.stderr).not.toContain("waiting for");
  },
  LIMIT_MS,
);

test(
  "a manager reads nodes, prices and keys again, keeps what it had where a file is wrong, and goes on",
  async () => {
    const nodes = scratch.file(
      "nodes.json",
      JSON.stringify({ nodes: [{ address: "10.0.0.7:1" }] }),
    );
    const prices = scratch.file("prices.json", JSON.stringify({ currency: "EUR" }));
    const args = ["--http", "127.0.0.1:0", "--nodes", nodes, "--prices", prices];
    await using manager = await RunningManager.start(scratch.path, args);
    using client = await ManagerSubscription.connect(manager.address);
    const listed = (): string[] => [...client.nodes.values()].map(({ address }) => address);
    const currency = async (): Promise<string> =>
      ((await (await fetch(`${manager.url}/v1/bill`)).json()) as { prices: { currency: string } })
        .prices.currency;
    expect([listed(), await currency()]).toEqual([["10.0.0.7:1"], "EUR"]);

    writeFileSync(nodes, JSON.stringify({ nodes: [{ address: "10.0.0.8:1" }, { cores: "many" }] }));
    writeFileSync(prices, JSON.stringify({ currency: 7 }));
    process.kill(manager.pid, "SIGHUP");
    await until(() => manager.stderr.includes("SIGHUP: read the keys of tokens"), "it has read");
    expect(times("stay as they were", manager.stderr)).toBe(2);
    expect([listed(), await currency()]).toEqual([["10.0.0.7:1"], "EUR"]);

    writeFileSync(nodes, JSON.stringify({ nodes: [{ address: "10.0.0.8:1" }] }));
    writeFileSync(prices, JSON.stringify({ currency: "CHF" }));
    process.kill(manager.pid, "SIGHUP");
    await until(() => listed().length === 2, "the client hears of the other node");
    expect([listed(), await currency()]).toEqual([["10.0.0.7:1", "10.0.0.8:1"], "CHF"]);
    expect(await manager.end("SIGTERM")).toBe(EXIT.ok);
  },
  LIMIT_MS,
);
