/** What a program's own mistakes do at the library's edge: listeners that throw, readers of events that come late or leave. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type LeaseEvent, UsageError, invoker } from "../support/library.ts";
import { runClient } from "../support/client-program.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
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

const lease = () => rf.allocate<typeof import("../functions/good.ts")>(GOOD, { polling: "warm" });

describe("a listener that throws", () => {
  test(
    "is an uncaught exception of the program, and its leases, connection and node go on",
    async () => {
      const { said, exitCode } = await runClient(`
        const uncaught = new Set();
        process.on("uncaughtException", (error) => {
          uncaught.add(error.message);
          say("uncaught " + error.message);
        });
        const rf = await invoker({ cores: 2 });
        const fail = (what) => () => { throw new Error(what); };
        const lease = await rf.allocate(FUNCTIONS + "/typed.ts", { polling: "warm", onLog: fail("onLog") });
        lease.on("renewed", fail("renewed"));
        const renewed = [];
        lease.on("renewed", ({ type }) => renewed.push(type));
        lease.on("lost", () => say("lost"));
        const talk = lease.function("talk");
        // What is reported of a call that has ended meanwhile, nobody hears.
        for (let i = 0; i < 1000 && !uncaught.has("onProgress"); i++)
          await talk(2, { onProgress: fail("onProgress") });
        say(await talk(2));
        await lease.renew();
        say(renewed);
        say(await talk(1));
        const other = await rf.allocate(FUNCTIONS + "/typed.ts", { polling: "warm" });
        const lost = Promise.withResolvers();
        other.on("lost", fail("lost listener"));
        other.on("lost", lost.resolve);
        process.kill(other.hostPid, "SIGKILL");
        await lost.promise;
        other.on("released", fail("released"));
        say(await talk(1));
        await rf.close();
        say("closed");
      `);
      expect(exitCode).toBe(0);
      const uncaught = said.filter((line) => String(line).startsWith("uncaught "));
      for (const what of ["onLog", "renewed", "onProgress", "lost listener"])
        expect(uncaught).toContain(`uncaught ${what}`);
      expect(said.filter((line) => !uncaught.includes(line))).toEqual([
        null,
        ["renewed"],
        null,
        null,
        "closed",
      ]);
    },
    LIMIT_MS,
  );

  test(
    "without a handler for it ends the program as any uncaught exception does",
    async () => {
      const { exitCode, stderr } = await runClient(`
        const rf = await invoker({ cores: 1 });
        const lease = await rf.allocate(FUNCTIONS + "/typed.ts", { polling: "warm" });
        lease.on("renewed", () => { throw new Error("nobody catches me"); });
        await lease.renew();
        await rf.close();
      `);
      expect(exitCode).toBe(1);
      expect(stderr).toContain("nobody catches me");
    },
    LIMIT_MS,
  );

  test(
    "or a signal whose methods throw, does no harm to the call or to the lease",
    async () => {
      const { said, exitCode } = await runClient(`
        process.on("uncaughtException", (error) => say("uncaught " + error.message));
        const rf = await invoker({ cores: 1 });
        const fail = (what) => () => { throw new Error(what); };
        const signal = { aborted: false, addEventListener: fail("add"), removeEventListener: fail("remove") };
        const lease = await rf.allocate(FUNCTIONS + "/good.ts", { polling: "warm", signal });
        const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
        for (let i = 0; i < 3; i++) say(await lease.submit("soon", input, output, { signal }));
        say((await Array.fromAsync(lease.map("echo", [new Uint8Array(8)], { signal }))).length);
        await lease.renew({ signal });
        say((await rf.status({ signal })).leases);
        await rf.close();
      `);
      expect(exitCode).toBe(0);
      expect(said.filter((line) => line === "uncaught add").length).toBeGreaterThanOrEqual(7);
      expect(said.filter((line) => typeof line === "number")).toEqual([8, 8, 8, 1, 1]);
    },
    LIMIT_MS,
  );

  test("cannot change what the next listener hears", async () => {
    await using held = await lease();
    const heard: string[] = [];
    held.on("released", (event) => void Reflect.set(event, "type", "lost"));
    held.on("released", ({ type }) => heard.push(type));
    await held.release();
    expect(heard).toEqual(["released"]);
  });
});

describe("what is no event or no listener", () => {
  test.each<[unknown, unknown, string]>([
    ["renwed", () => {}, 'there is no event "renwed"; did you mean "renewed"?'],
    ["shutdown", () => {}, 'there is no event "shutdown"; listen to "renewed", "revoking"'],
    [undefined, () => {}, "there is no event undefined"],
    ["lost", undefined, 'the listener of "lost" must be a function; it is undefined'],
    ["lost", "log it", "must be a function"],
  ])("%p, %p is refused", async (type, listener, message) => {
    await using held = await lease();
    const on = () => held.on(type as "lost", listener as () => void);
    expect(on).toThrow(UsageError);
    expect(on).toThrow(message);
  });
});

describe("events()", () => {
  test("has what happens between its creation and the first next()", async () => {
    await using held = await lease();
    const events = held.events();
    await held.renew();
    await held.renew();
    const types = [await events.next(), await events.next()].map(({ value }) => value?.type);
    expect(types).toEqual(["renewed", "renewed"]);
  });

  test("ends at once when it is returned, also for readers that wait", async () => {
    await using held = await lease();
    const events = held.events();
    const waiting = [events.next(), events.next()];
    expect(await events.return()).toEqual({ done: true, value: undefined });
    expect(await Promise.all(waiting)).toEqual(new Array(2).fill({ done: true, value: undefined }));
    await held.renew();
    expect((await events.next()).done).toBe(true);
  });

  test("serves several readers in the order in which they ask", async () => {
    await using held = await lease();
    const events = held.events();
    const both = [events.next(), events.next()];
    await held.renew();
    await held.release();
    expect((await Promise.all(both)).map(({ value }) => value?.type)).toEqual([
      "renewed",
      "released",
    ]);
    expect((await events.next()).done).toBe(true);
  });

  test("of a lease that is over tells how it ended, and ends", async () => {
    const held = await lease();
    await held.release();
    const seen: LeaseEvent[] = [];
    for await (const event of held.events()) seen.push(event);
    expect(seen).toEqual([{ type: "released" }]);
  });

  test("rejects with what is thrown into it", async () => {
    await using held = await lease();
    const events = held.events();
    const waiting = events.next();
    const error = new Error("enough");
    const thrown = await events.throw(error).catch((caught: unknown) => caught);
    expect(thrown).toBe(error);
    expect((await waiting).done).toBe(true);
  });
});

describe("a client that does not read for a while", () => {
  /** Logs so many lines, each as long as one can be, no faster than they may come; says in memory when it has. */
  const CHATTY = `
    const data = "y".repeat(16_000);
    export async function chat(input, output, { log }) {
      const wanted = new DataView(input.buffer, input.byteOffset).getUint32(0, true);
      for (let lines = 1; lines <= wanted; lines++) {
        log.info("x".repeat(8000), data);
        if (lines > 190) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      new DataView(output.buffer, output.byteOffset).setUint32(0, wanted, true);
      return output.length;
    }`;

  test(
    "keeps its lease, and hears of every line: of those that were dropped, how many",
    async () => {
      using scratch = new Scratch();
      const module = scratch.file("chatty.ts", CHATTY);
      let heard = 0;
      let written = 0;
      const lost: string[] = [];
      await using held = await rf.allocate(module, {
        polling: "warm",
        workers: 2,
        // One line says only how many are missing.
        onLog: ({ message, dropped }) => (heard += dropped + (message.startsWith("x") ? 1 : 0)),
      });
      held.on("lost", ({ message }) => lost.push(message));
      // So long a result is written in place: it can be seen before the call has ended here.
      const buffers = [0, 1].map(() => [
        held.input(Uint32Array, 1),
        held.output(Uint32Array, 65_536),
      ]);
      const chat = (lines: number) =>
        buffers.map(([input, output], worker) => {
          input![0] = lines;
          output![0] = 0;
          written += lines;
          return held.submit("chat", input!, output!, { worker });
        });
      // Some 25 MB come, while the event loop stands still: more than a connection may keep waiting.
      const calls = chat(550);
      const limitMs = performance.now() + LIMIT_MS / 2;
      while (
        buffers.some(([, output]) => Atomics.load(output!, 0) === 0) &&
        performance.now() < limitMs
      )
        Bun.sleepSync(20);
      await Promise.all(calls);
      // What a function's own limit has kept back is told by its next line.
      await until(async () => {
        await Promise.all(chat(1));
        await held.renew();
        return heard === written;
      }, "all lines are accounted for");
      expect(lost).toEqual([]);
    },
    LIMIT_MS,
  );
});

test(
  "hosts that do not start at first are kept ready once they do",
  async () => {
    using scratch = new Scratch();
    const count = scratch.join("count");
    const failing = scratch.file(
      "failing",
      `#!/bin/sh
if [ "$1" = __host ]; then
  n=$(cat ${count} 2>/dev/null || echo 0)
  if [ "$n" -lt 4 ]; then echo $((n + 1)) > ${count}; exit 1; fi
fi
exec ${RFAAS} "$@"
`,
    );
    chmodSync(failing, 0o755);
    process.env["RFAAS_EXECUTABLE"] = failing;
    try {
      // What it is started by writes a file, and starts a program.
      await using own = await invoker({ cores: 1, prewarm: 1, sandbox: "none" });
      await until(
        async () => (await own.status()).prewarmedHosts === 1,
        "a host waits, after four that failed",
        LIMIT_MS / 2,
      );
      expect(readFileSync(count, "utf8").trim()).toBe("4");
      await using held = await own.allocate(GOOD, { polling: "warm" });
      expect(held.phases.prewarmed).toBe(true);
    } finally {
      process.env["RFAAS_EXECUTABLE"] = RFAAS;
    }
  },
  LIMIT_MS,
);

test(
  "a server that is no node of rfaas is told from a node that was lost",
  async () => {
    using silent = Bun.listen({
      ...{ hostname: "127.0.0.1", port: 0 },
      socket: { open: (socket) => void socket.end(), data() {} },
    });
    await using web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
    for (const { port } of [silent, web])
      await expect(invoker({ node: `127.0.0.1:${port}` })).rejects.toThrow(
        /^what answers at 127\.0\.0\.1:\d+ ended the connection before it greeted.*; name an rfaas node, or see its log$/,
      );
  },
  LIMIT_MS,
);
