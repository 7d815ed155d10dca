/** Hosts that wait for leases, and what becomes of the pool when they do not start or do not live. */
import { expect, test } from "bun:test";
import { TestClock } from "../support/clock.ts";
import { HostPool, type PooledHost } from "../../src/executor/agent/host-pool.ts";
import type { RoomTerms } from "../../src/executor/sandbox/driver.ts";

class PlayedHost implements PooledHost {
  readonly #ready = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<void>();
  readonly ready = this.#ready.promise;
  readonly exited = this.#exited.promise;
  constructor() {
    this.ready.catch(() => {});
  }
  start(): void {
    this.#ready.resolve();
  }
  kill(why = "killed"): void {
    this.#ready.reject(new Error(why));
    this.#exited.resolve();
  }
}

/** A pool with a clock of its own. */
function playedPool(size: number) {
  const hosts: PlayedHost[] = [];
  const lines: string[] = [];
  const started: (RoomTerms | undefined)[] = [];
  const clock = new TestClock();
  let broken: Error | undefined;
  const pool = new HostPool<PlayedHost>({
    size,
    spawn(_, terms) {
      if (broken) throw broken;
      started.push(terms);
      const host = new PlayedHost();
      hosts.push(host);
      return host;
    },
    log: (level, message) => lines.push(`${level}: ${message}`),
    clock,
  });
  return {
    pool,
    hosts,
    lines,
    started,
    breaks: (error: Error | undefined) => (broken = error),
    /** Lets time pass, and promises settle. */
    async pass(ms: number): Promise<void> {
      await Bun.sleep(0);
      clock.pass(ms);
      await Bun.sleep(0);
    },
  };
}

test("keeps as many hosts as it should, and replaces those that are taken", async () => {
  const { pool, hosts, pass } = playedPool(2);
  expect(hosts).toHaveLength(2);
  for (const host of hosts) host.start();
  await pass(0);
  expect(pool.readyCount).toBe(2);
  expect((await pool.take(1)).prewarmed).toBe(true);
  expect(pool.readyCount).toBe(1);
  await pass(25);
  expect(hosts).toHaveLength(3);
});

test("a lease with terms of its own gets a host that is started with them, and the waiting one stays", async () => {
  const { pool, hosts, started, pass } = playedPool(1);
  hosts[0]!.start();
  await pass(0);
  const terms = { network: true, processes: false, readPaths: [], env: {} };
  const taking = pool.take(1, terms);
  hosts[1]!.start();
  expect(await taking).toMatchObject({ host: hosts[1], prewarmed: false });
  expect(started).toEqual([undefined, terms]);
  expect(pool.readyCount).toBe(1);
});

test("goes on after any number of hosts that did not start, ever more rarely, and says so", async () => {
  const { pool, hosts, lines, pass } = playedPool(2);
  for (const host of [...hosts]) host.kill("no memory");
  await pass(0);
  expect(lines).toEqual([
    "warn: a host that was to wait for a lease did not (no memory); the next one is started in 0.1 s, and leases wait for hosts of their own",
  ]);
  for (let i = 0; i < 20; i++) {
    await pass(30_000);
    expect(hosts).toHaveLength(3 + i);
    hosts.at(-1)!.kill("no memory");
    await pass(0);
  }
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toContain("in 30 s");
  await pass(29_000);
  expect(hosts).toHaveLength(22);
  await pass(1000);
  hosts.at(-1)!.start();
  await pass(0);
  expect(pool.readyCount).toBe(1);
  expect(lines.at(-1)).toBe("info: hosts start again, and wait for leases");
  await pass(10_000);
  expect(hosts).toHaveLength(24);
});

test("waits before it tries again when a host cannot even be spawned", async () => {
  const { hosts, lines, breaks, pass } = playedPool(1);
  breaks(new Error("EMFILE"));
  hosts[0]!.kill();
  await pass(0);
  await pass(100);
  expect(lines.at(-1)).toMatch(/\(EMFILE\).*; the next one is started in 0.2 s/);
  breaks(undefined);
  await pass(200);
  expect(hosts).toHaveLength(2);
});

test("does not start hosts in a loop that die as soon as they wait", async () => {
  const { hosts, pass } = playedPool(1);
  for (let i = 0; i < 6; i++) {
    const host = hosts.at(-1)!;
    host.start();
    await pass(0);
    host.kill();
    await pass(0);
    await pass(100 * 2 ** i - 1);
    expect(hosts).toHaveLength(1 + i);
    await pass(1);
    expect(hosts).toHaveLength(2 + i);
  }
});

test("replaces one soon that died after it had waited for long", async () => {
  const { hosts, pass } = playedPool(1);
  for (let i = 0; i < 3; i++) {
    hosts.at(-1)!.start();
    await pass(60_000);
    hosts.at(-1)!.kill();
    await pass(0);
    await pass(100);
    expect(hosts).toHaveLength(2 + i);
  }
});

test("gives a lease a host of its own when the one that was starting for it fails", async () => {
  const { pool, hosts, pass } = playedPool(1);
  const taking = pool.take(1);
  hosts[0]!.kill();
  await pass(0);
  expect(hosts).toHaveLength(2);
  hosts[1]!.start();
  expect(await taking).toEqual({ host: hosts[1]!, prewarmed: false });
});

test("tells a lease why its own host does not start", async () => {
  const { pool, hosts, pass, breaks } = playedPool(0);
  const taking = pool.take(1).catch((error: Error) => error.message);
  await pass(0);
  hosts[0]!.kill("no memory");
  expect(await taking).toBe("no memory");
  breaks(new Error("EMFILE"));
  expect(await pool.take(1).catch((error: Error) => error.message)).toBe("EMFILE");
});

test("starts nothing once it is closed", async () => {
  const { pool, hosts, lines, pass } = playedPool(2);
  await pool.close();
  await pass(60_000);
  expect(hosts).toHaveLength(2);
  expect(lines).toEqual([]);
});
