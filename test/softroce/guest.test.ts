import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { Guest, twoGuests } from "./guest.ts";
import { runSuiteInGuest } from "./suite.ts";

setDefaultTimeout(180_000);

const gone = (pid: number): boolean => !existsSync(`/proc/${pid}`);

/** A test whose failure shows what the guests' consoles have shown. */
function guestTest(name: string, guests: () => Guest[], body: () => Promise<void>): void {
  test(name, async () => {
    try {
      await body();
    } catch (error) {
      for (const guest of guests()) console.error(`console of "${guest.name}":\n${guest.console}`);
      throw error;
    }
  });
}

describe("a guest", () => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await Guest.boot({ name: "alone" });
  });
  afterAll(() => guest?.close());
  const alone = (name: string, body: () => Promise<void>): void =>
    guestTest(name, () => [guest], body);

  alone("has an RDMA device", async () => {
    const { exitCode, output } = await guest.run("ibv_devices");
    expect({ exitCode, output }).toEqual({ exitCode: 0, output: expect.stringContaining("rxe0") });
  });

  alone("measures the latency of a write with perftest", async () => {
    const server = guest.start("ib_write_lat -d rxe0 -x 1 -F");
    const { exitCode, output } = await guest.run(
      "until ss -ltnH | grep -q :18515; do sleep 0.1; done; ib_write_lat -d rxe0 -x 1 -F localhost",
    );
    expect(exitCode, output).toBe(0);
    expect(await server.exited, server.output).toBe(0);
    // bytes, iterations, minimum, maximum, typical
    const typical = Number(/^ *2 +1000 +[\d.]+ +[\d.]+ +([\d.]+)/m.exec(output)?.[1]);
    console.error(`ib_write_lat -s 2 in the guest: typically ${typical} us one way`);
    expect(typical).toBeGreaterThan(1);
    expect(typical).toBeLessThan(1000);
  });

  alone("runs Bun and the executable", async () => {
    const bun = await guest.run("node_modules/.bin/bun --version");
    expect(bun).toEqual({ exitCode: 0, output: `${Bun.version}\n` });
    const rfaas = await guest.run("dist/rfaas --version");
    expect(rfaas).toEqual({ exitCode: 0, output: expect.stringContaining("rfaas") });
  });

  alone("tells how a command has failed", async () => {
    const failed = await guest.run("echo one; echo two >&2; exit 3");
    expect(failed).toEqual({ exitCode: 3, output: "one\ntwo\n" });
    const missing = await guest.run("no-such-command");
    expect(missing).toEqual({ exitCode: 127, output: expect.stringContaining("no-such-command") });
  });

  alone("runs commands side by side and streams what they print", async () => {
    const seen: string[] = [];
    const sleeper = guest.start("echo begun; sleep 1000");
    const counter = guest.run("for i in 1 2 3; do echo $i; sleep 0.1; done", {
      onOutput: (text) => seen.push(text),
    });
    expect((await counter).output).toBe("1\n2\n3\n");
    expect(seen.length).toBeGreaterThan(1);
    expect(sleeper.output).toBe("begun\n");
    sleeper.kill("SIGTERM");
    expect(await sleeper.exited).toBe(143);
  });

  alone("passes on much output, unharmed", async () => {
    const { output } = await guest.run("seq 1 200000");
    expect(output).toBe(Array.from({ length: 200_000 }, (_, i) => `${i + 1}\n`).join(""));
  });

  alone("kills a command that takes too long, or that nobody wants any more", async () => {
    const late = guest.run("echo so far; sleep 1001", { timeoutMs: 1000 });
    await expect(late).rejects.toThrow(/did not end within 1000 ms.*\nso far/);
    const unwanted = guest.run("sleep 1001", { signal: AbortSignal.timeout(500) });
    await expect(unwanted).rejects.toThrow("was aborted");
    const left = await guest.run("while pgrep -f '^sleep 1001'; do sleep 0.1; done");
    expect(left.exitCode).toBe(0);
  });

  alone("lets an ordinary user use the device, within a limit of locked memory", async () => {
    const { exitCode, output } = await guest.run("id -u; ulimit -l; ibv_devinfo -d rxe0", {
      user: { memlockKiB: 128 },
    });
    expect(exitCode, output).toBe(0);
    expect(output).toStartWith("65534\n128\n");
    expect(output).toContain("PORT_ACTIVE");
    expect((await guest.run("ulimit -l")).output).toBe("unlimited\n");
  });

  alone("buries orphans", async () => {
    const { output } = await guest.run("sh -c 'sleep 0.2 & echo $!'; sleep 0.5");
    const left = await guest.run(`test ! -e /proc/${output.trim()}`);
    expect(left.exitCode).toBe(0);
  });

  alone("protects the repository", async () => {
    const { exitCode } = await guest.run("touch package.json");
    expect(exitCode).not.toBe(0);
  });

  alone("runs a suite of this repository", async () => {
    const { output, ...counts } = await runSuiteInGuest(guest, ["./test/unit/capacity.test.ts"]);
    expect(counts.pass, output).toBeGreaterThan(0);
    expect(counts).toEqual({ pass: counts.pass, fail: 0, skip: 0 });
    await expect(runSuiteInGuest(guest, ["./test/no-such"])).rejects.toThrow("broke off");
  });

  alone("ends when it is closed", async () => {
    await guest.close();
    await guest.ended;
    expect(gone(guest.pid)).toBe(true);
    await expect(guest.run("true")).rejects.toThrow('guest "alone" has ended');
  });
});

test("a guest ends with the process that has started it, even while it boots", async () => {
  using scratch = new Scratch();
  const starter = Bun.spawn(
    [
      process.execPath,
      "--eval",
      `import { Guest } from ${JSON.stringify(join(import.meta.dir, "guest.ts"))};
       await Guest.boot({ name: "orphan" });`,
    ],
    { stdin: "ignore", env: { ...process.env, TMPDIR: scratch.path } },
  );
  const children = `/proc/${starter.pid}/task/${starter.pid}/children`;
  let pid = 0;
  await until(() => {
    pid = Number(readFileSync(children, "utf8"));
    return pid > 0 && readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("qemu");
  }, "QEMU runs");
  starter.kill("SIGKILL");
  await until(() => gone(pid), "QEMU has ended");
});

describe("two guests", () => {
  let one: Guest;
  let two: Guest;
  beforeAll(async () => {
    [one, two] = await twoGuests();
  });
  afterAll(() => Promise.all([one?.close(), two?.close()]));
  const both = (name: string, body: () => Promise<void>): void =>
    guestTest(name, () => [one, two], body);

  const ping = async (address: string): Promise<boolean> =>
    (await one.run(`ping -c 1 -W 1 ${address}`)).exitCode === 0;

  both("reach each other", async () => {
    expect(await ping(two.address)).toBe(true);
    expect(await ping(two.address6)).toBe(true);
  });

  both("move data with RDMA, over either family of addresses", async () => {
    for (const address of [one.address, one.address6]) {
      const server = one.start(`rping -s -v -C 10 -a ${address}`);
      await two.run(
        `for i in $(seq 50); do rping -c -v -C 10 -a ${address} && break; sleep 0.2; done`,
      );
      expect(await server.exited, server.output).toBe(0);
      expect(server.output.match(/server ping data: rdma-ping-/g)).toHaveLength(10);
    }
  });

  both("lose each other while a cable is pulled", async () => {
    await one.setLink(false);
    expect(await ping(two.address)).toBe(false);
    await one.setLink(true);
    await until(() => ping(two.address), "they reach each other again", 30_000);
  });

  both("notice that one is killed", async () => {
    const waiting = two.start("sleep 1000");
    await two.kill();
    expect(gone(two.pid)).toBe(true);
    await expect(waiting.exited).rejects.toThrow('guest "two" has ended');
    expect(await ping(two.address)).toBe(false);
    expect((await one.run("rdma link")).output).toContain("rxe0");
  });
});
