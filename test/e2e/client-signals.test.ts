/** How waiting ends early: by a signal, in every call that waits; by a time limit, where nobody answers. Nothing stays behind. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Invoker,
  LeaseRefused,
  NodeUnreachable,
  type UploadProgress,
  UsageError,
  invoker,
} from "../support/library.ts";
import { runClient } from "../support/client-program.ts";
import { DeafListener } from "../support/deaf-listener.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { alive, descendants, parentOf } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 2 });
});
afterAll(async () => await rf.close());

const rejection = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    () => new Error("it was fulfilled"),
    (error: unknown) => error,
  );

/** A signal that counts who listens to it. */
function countingSignal(): {
  signal: AbortSignal;
  abort(reason: unknown): void;
  listeners(): number;
} {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  };
  return { signal, abort: (reason) => controller.abort(reason), listeners: () => listeners };
}

/** A server that lets clients connect, and says nothing. */
function silentServer(): { address: string; connections(): number; stop(): void } {
  let connections = 0;
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: () => void connections++, data() {}, close: () => void connections-- },
  });
  return {
    address: `127.0.0.1:${server.port}`,
    connections: () => connections,
    stop: () => server.stop(true),
  };
}

describe("a node that does not answer", () => {
  test(
    "whose packets are dropped is given up in time, and the program can end",
    async () => {
      using deaf = await DeafListener.open();
      const { said, exitCode } = await runClient(
        `
      for (const options of [{ node: process.env.DEAF }, { manager: process.env.DEAF }])
        say(failure(await invoker({ ...options, connectTimeoutMs: 200 }).catch((error) => error)));
      const controller = new AbortController();
      const waiting = invoker({ node: process.env.DEAF, signal: controller.signal });
      controller.abort(new Error("changed my mind"));
      say(failure(await waiting.catch((error) => error)));
      `,
        { env: { DEAF: deaf.address }, limitMs: 20_000 },
      );
      expect(said).toEqual([
        expect.objectContaining({
          name: "NodeUnreachable",
          message: `no node answers at ${deaf.address} (no answer within 200 ms); check the address, and whether a firewall drops what is sent to the port`,
        }),
        expect.objectContaining({ name: "NodeUnreachable" }),
        expect.objectContaining({ message: "changed my mind" }),
      ]);
      expect(exitCode).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "keeps no cluster from being closed that still tries to reach it",
    async () => {
      using deaf = await DeafListener.open();
      const { said, exitCode } = await runClient(
        `
        const rf = await invoker({ nodes: [process.env.DEAF], connectTimeoutMs: 600_000 });
        say(failure(await rf.allocate("rfaas:echo", { timeoutMs: 100 }).catch((error) => error)).name);
        await rf.close();
        say("closed");
        `,
        { env: { DEAF: deaf.address }, limitMs: 30_000 },
      );
      expect(said).toEqual(["NodeUnreachable", "closed"]);
      expect(exitCode).toBe(0);
    },
    LIMIT_MS,
  );

  test("and is no rfaas node, or hangs, is given up and disconnected", async () => {
    const server = silentServer();
    try {
      for (const options of [{ node: server.address }, { manager: server.address }]) {
        const error = await rejection(invoker({ ...options, connectTimeoutMs: 100 } as never));
        expect(error).toBeInstanceOf(NodeUnreachable);
        expect((error as Error).message).toContain("within 100 ms");
        await until(() => server.connections() === 0, "nothing is connected");
        const { signal, abort, listeners } = countingSignal();
        const waiting = rejection(invoker({ ...options, signal } as never));
        await until(() => server.connections() === 1, "it is connected");
        abort("enough");
        expect(await waiting).toBe("enough");
        expect(listeners()).toBe(0);
        await until(() => server.connections() === 0, "nothing is connected");
      }
    } finally {
      server.stop();
    }
  });

  test("because it is a private one that is stopped, is killed", async () => {
    using scratch = new Scratch();
    // It holds its end of the connection, and says nothing.
    const hung = scratch.file("hung", "#!/bin/sh\nexec sleep 1000\n");
    await Bun.$`chmod +x ${hung}`;
    const before = descendants(process.pid).length;
    process.env["RFAAS_EXECUTABLE"] = hung;
    try {
      const error = await rejection(invoker({ connectTimeoutMs: 100 }));
      expect(error).toBeInstanceOf(NodeUnreachable);
      const controller = new AbortController();
      const waiting = rejection(invoker({ signal: controller.signal }));
      await until(() => descendants(process.pid).length > before, "it runs");
      controller.abort("enough");
      expect(await waiting).toBe("enough");
    } finally {
      process.env["RFAAS_EXECUTABLE"] = RFAAS;
    }
    await until(() => descendants(process.pid).length <= before, "it is gone");
  });
});

describe("a signal that aborts", () => {
  test("before anything was begun ends every call that waits, with its reason", async () => {
    await using held = await rf.allocate(GOOD, { polling: "warm" });
    const reason = new Error("stop");
    const signal = AbortSignal.abort(reason);
    const echo = held.submit("echo", held.input(Uint8Array, 8), held.output(Uint8Array, 8), {
      signal,
    });
    const calls: PromiseLike<unknown>[] = [
      invoker({ signal }),
      invoker({ nodes: ["/run/nowhere.sock"], signal }),
      rf.status({ signal }),
      rf.allocate(GOOD, { signal }),
      rf.packages.list({ signal }),
      rf.packages.push(GOOD, { signal }),
      rf.packages.remove("0".repeat(64), { signal }),
      held.renew({ signal }),
      held.usage({ signal }),
      echo,
      held.map("echo", [new Uint8Array(8)], { signal }).next(),
    ];
    for (const [i, call] of calls.entries())
      expect([i, await rejection(call)]).toEqual([i, reason]);
    expect(await held.broadcast("echo", new Uint8Array(8), { signal })).toEqual([
      { status: "rejected", worker: 0, reason },
    ]);
  });

  test("while a module loads gives the lease back at once", async () => {
    using scratch = new Scratch();
    const endless = scratch.file(
      "endless.ts",
      "await new Promise(() => {}); export const f = () => 0;",
    );
    const { freeCores } = await rf.status();
    const { signal, abort, listeners } = countingSignal();
    const waiting = rejection(rf.allocate(endless, { loadTimeoutMs: 600_000, signal }));
    await until(async () => (await rf.status()).freeCores < freeCores, "a core is taken");
    abort("enough");
    expect(await waiting).toBe("enough");
    expect(listeners()).toBe(0);
    await until(async () => (await rf.status()).freeCores === freeCores, "the core is free again");
  });

  test(
    "at any moment of an allocation leaves no lease, no process and no listener",
    async () => {
      const { freeCores } = await rf.status();
      const processes = descendants(process.pid).length;
      let aborted = 0;
      for (let delayMs = 0; delayMs < 60; delayMs += 4) {
        const { signal, abort, listeners } = countingSignal();
        const waiting = rf.allocate(GOOD, { polling: "warm", signal });
        const timer = setTimeout(() => abort("enough"), delayMs);
        try {
          await (await waiting).release();
        } catch (error) {
          expect(error).toBe("enough");
          aborted++;
        }
        clearTimeout(timer);
        expect(listeners()).toBe(0);
        await until(async () => (await rf.status()).freeCores === freeCores, "all cores are free");
      }
      expect(aborted).toBeGreaterThan(0);
      await until(() => descendants(process.pid).length <= processes + 1, "all hosts are gone");
      await (await rf.allocate(GOOD)).release();
    },
    LIMIT_MS,
  );

  test("during an upload stops it; the next one brings the package", async () => {
    using scratch = new Scratch();
    const module = scratch.file("big.ts", "export const f = (): number => 0;");
    writeFileSync(scratch.join("big.bin"), crypto.getRandomValues(new Uint8Array(65_536)));
    for (let i = 0; i < 7; i++)
      appendFileSync(scratch.join("big.bin"), readFileSync(scratch.join("big.bin")));
    const options = { include: ["big.bin"] };
    const { signal, abort, listeners } = countingSignal();
    const progress: UploadProgress[] = [];
    const waiting = rejection(
      rf.packages.push(module, {
        ...options,
        signal,
        onProgress(seen) {
          progress.push(seen);
          abort("enough");
        },
      }),
    );
    expect(await waiting).toBe("enough");
    expect(listeners()).toBe(0);
    expect(progress).toHaveLength(1);
    const hash = await rf.packages.push(module, options);
    expect((await rf.packages.list()).map((stored) => stored.hash)).toContain(hash);
    await (await rf.allocate(module, options)).release();
  });

  test("of one of two that wait for an upload does not stop it for the other", async () => {
    using scratch = new Scratch();
    const module = scratch.file("both.ts", "export const f = (): number => 0;");
    writeFileSync(scratch.join("big.bin"), crypto.getRandomValues(new Uint8Array(65_536)));
    for (let i = 0; i < 7; i++)
      appendFileSync(scratch.join("big.bin"), readFileSync(scratch.join("big.bin")));
    const options = { include: ["big.bin"] };
    const controller = new AbortController();
    const onProgress = () => controller.abort("enough");
    const [first, second] = await Promise.allSettled([
      rf.packages.push(module, { ...options, signal: controller.signal, onProgress }),
      rf.packages.push(module, options),
    ]);
    expect(first).toMatchObject({ status: "rejected", reason: "enough" });
    expect(second.status).toBe("fulfilled");
  });

  test("ends a map over values whose next one never comes, and so does return()", async () => {
    await using held = await rf.allocate<typeof import("../functions/typed.ts")>(
      join(FUNCTIONS, "typed.ts"),
      { polling: "warm" },
    );
    const mirror = held.function("mirror");
    let returned = 0;
    const endless = () => ({
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<number>>(() => {}),
        return: async () => {
          returned++;
          return { done: true as const, value: undefined };
        },
      }),
    });
    const { signal, abort, listeners } = countingSignal();
    const waiting = rejection(mirror.map(endless(), { signal }).next());
    await Bun.sleep(0);
    abort("enough");
    expect(await waiting).toBe("enough");
    expect(listeners()).toBe(0);
    const results = mirror.map(endless());
    const next = results.next();
    expect((await results.return(undefined)).done).toBe(true);
    expect((await next).done).toBe(true);
    expect(returned).toBe(2);
    expect(await mirror(5)).toBe(5);
  });

  test("after the lease was taken does nothing to it", async () => {
    const controller = new AbortController();
    await using held = await rf.allocate(GOOD, { polling: "warm", signal: controller.signal });
    controller.abort();
    expect(held.invoke("echo", held.input(Uint8Array, 8), held.output(Uint8Array, 8))).toBe(8);
  });

  test("during a renewal ends the waiting, and the next one is answered", async () => {
    await using held = await rf.allocate(GOOD, { polling: "warm" });
    const { signal, abort, listeners } = countingSignal();
    const waiting = rejection(held.renew({ signal }));
    abort("enough");
    expect(await waiting).toBe("enough");
    expect(listeners()).toBe(0);
    await held.renew({ ttlMs: 600_000 });
    expect(held.expiresAt.getTime() - Date.now()).toBeGreaterThan(500_000);
  });

  test("is listened to once, however many calls it ends, in flight and waiting", async () => {
    await using held = await rf.allocate(GOOD, { polling: "warm", slots: 4 });
    const [input, output] = [held.input(Uint8Array, 8), held.output(Uint8Array, 8)];
    const { signal, abort, listeners } = countingSignal();
    const calls = Array.from({ length: 20_000 }, () =>
      held.submit("pending", input, output, { signal }),
    );
    expect(listeners()).toBe(1);
    abort("enough");
    for (const call of calls) expect(await rejection(call)).toBe("enough");
    expect(listeners()).toBe(0);
  }, 60_000);

  test("without a reason of its own still ends a call as a failure", async () => {
    await using held = await rf.allocate(GOOD, { polling: "warm" });
    let abort = () => {};
    const signal = {
      aborted: false,
      reason: undefined,
      addEventListener: (_: string, listener: () => void) => (abort = listener),
      removeEventListener() {},
    };
    const call = held.submit("pending", held.input(Uint8Array, 8), held.output(Uint8Array, 8), {
      signal: signal as unknown as AbortSignal,
    });
    signal.aborted = true;
    abort();
    expect(await rejection(call)).toMatchObject({ name: "AbortError" });
  });
});

describe("options of a lease that are wrong", () => {
  test("are refused, and the lease, its connection and its node go on", async () => {
    await using held = await rf.allocate(GOOD, { polling: "warm" });
    const [input, output] = [held.input(Uint8Array, 8), held.output(Uint8Array, 8)];
    for (const ttlMs of [-1, 0, 1.5, NaN, Infinity, 1e12, 2 ** 31, "5s", 5n, null])
      expect(await rejection(held.renew({ ttlMs } as never))).toBeInstanceOf(UsageError);
    for (const options of [
      { budget: { calls: Infinity } },
      { budget: { calls: -1 } },
      { workers: 1e400 },
      { onLog: 5 },
      null,
      { worker: 2 },
    ])
      expect(await rejection(rf.allocate(GOOD, options as never))).toBeInstanceOf(UsageError);
    for (const options of [
      { deadlineMs: "5" },
      { deadlineMs: 5n },
      { worker: 7 },
      { deadline: 5 },
      null,
    ])
      for (const call of [
        () => held.invoke("echo", input, output, options as never),
        () => held.submit("echo", input, output, options as never),
        () => held.trySubmit("echo", input, output, options as never),
      ])
        expect(call).toThrow(UsageError);
    expect(held.invoke("echo", input, output)).toBe(8);
    await held.renew();
    expect((await rf.status()).leases).toBe(1);
  });

  test("that throw when they are read leave nothing in flight", async () => {
    await using held = await rf.allocate(GOOD, { polling: "warm" });
    const [input, output] = [held.input(Uint8Array, 8), held.output(Uint8Array, 8)];
    let reads = 0;
    for (let at = 1; at < 20; at++) {
      reads = 0;
      const options = {
        get signal(): AbortSignal | undefined {
          if (++reads === at) throw new RangeError("mine");
          return undefined;
        },
      };
      try {
        expect(await held.submit("echo", input, output, options as never)).toBe(8);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }
    expect(reads).toBeGreaterThan(0);
    expect(held.invoke("echo", input, output)).toBe(8);
  });
});

describe("a connection that is closed", () => {
  test("ends what waits on it, and says so afterwards", async () => {
    using scratch = new Scratch();
    const endless = scratch.file(
      "endless.ts",
      "await new Promise(() => {}); export const f = () => 0;",
    );
    const own = await invoker({ cores: 1 });
    const waiting = rejection(own.allocate(endless, { loadTimeoutMs: 600_000 }));
    await until(async () => (await own.status()).freeCores === 0, "the core is taken");
    await Promise.all([own.close(), own.close()]);
    for (const error of [
      await waiting,
      await rejection(own.allocate(GOOD)),
      await rejection(own.status()),
      await rejection(own.packages.list()),
    ]) {
      expect(error).toBeInstanceOf(LeaseRefused);
      expect(error).toMatchObject({
        code: "RFAAS_INVOKER_CLOSED",
        message: "the invoker was closed; open another one",
      });
    }
  });
});

describe("a lease that is over", () => {
  test("says why it ended to whoever renews it or calls, and what it has cost if it was lost", async () => {
    const lost = await rf.allocate(GOOD, { polling: "warm" });
    const [input, output] = [lost.input(Uint8Array, 8), lost.output(Uint8Array, 8)];
    const ended = Promise.withResolvers<void>();
    lost.on("lost", () => ended.resolve());
    process.kill(lost.hostPid, "SIGKILL");
    await ended.promise;
    expect(await rejection(lost.renew())).toMatchObject({
      code: "RFAAS_LEASE_LOST",
      message: expect.stringContaining("killed by SIGKILL"),
    });
    const cost = await lost.usage();
    expect(cost).toMatchObject({ state: "final", calls: 0 });
    expect(cost.allocationCoreNs).toBeGreaterThan(0);
    expect(() => lost.invoke("echo", input, output)).toThrow("killed by SIGKILL");
    await lost.release();
    expect(await rejection(lost.renew())).toMatchObject({
      message: expect.stringContaining("killed by SIGKILL"),
    });
    const released = await rf.allocate(GOOD, { polling: "warm" });
    await Promise.all([released.release(), released.release(), released[Symbol.asyncDispose]()]);
    for (const call of [() => released.renew(), () => released.usage()])
      expect(await rejection(call())).toMatchObject({
        code: "RFAAS_LEASE_LOST",
        message: "the lease was released; take a new lease",
      });
    const spent = await rf.allocate(GOOD, { polling: "warm", budget: { calls: 0 } });
    await until(async () => (await spent.usage()).state === "final", "it is spent");
    expect(await rejection(spent.renew())).toMatchObject({
      message: expect.stringContaining("budget is spent"),
    });
    await spent.release();
  });
});

describe("a private node", () => {
  test.each<[string, string, number | null]>([
    ["returns", "", 0],
    ["throws", `throw new Error("no");`, 1],
    ["exits", "process.exit(3);", 3],
    ["is killed", `process.kill(process.pid, "SIGKILL");`, null],
  ])(
    "is gone with its hosts when its client %s",
    async (_, ending, exitCode) => {
      const { said, exitCode: ended } = await runClient(`
        const rf = await invoker({ cores: 1 });
        const lease = await rf.allocate(FUNCTIONS + "/good.ts", { polling: "warm" });
        say(lease.hostPid);
        ${ending}
      `);
      expect(ended).toBe(exitCode);
      const [host] = said as [number];
      await until(() => !alive(host), "the host is gone");
    },
    LIMIT_MS,
  );

  test(
    "that hangs is ended by its client's close()",
    async () => {
      const children = () =>
        descendants(process.pid).filter((pid) => parentOf(pid) === process.pid);
      const before = children();
      const own = await invoker({ cores: 1 });
      await own.status();
      const [node] = children().filter((pid) => !before.includes(pid));
      const hosts = descendants(node!);
      process.kill(node!, "SIGSTOP");
      await own.close();
      expect(alive(node!)).toBe(false);
      await until(() => !hosts.some(alive), "its hosts are gone, too");
    },
    LIMIT_MS,
  );
});
