/** Nodes and clients that are killed, doubled, flooded or starved. Real processes, real signals. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Socket } from "bun";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { NodeConnection } from "../../src/client/node/connection.ts";
import { LeaseRefused, NodeUnreachable, WorkerLost, invoker } from "../../src/index.ts";
import { encodeFrame } from "../../src/protocol/frame.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { FUNCTIONS, RFAAS, ROOT, ServedNode, rfaas } from "../support/executable.ts";
import { alive, descendants, leftovers } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const GOOD = join(FUNCTIONS, "good.ts");
const BAD = join(FUNCTIONS, "bad.ts");

describe("a served node", () => {
  test("that hangs is not waited for without end by who asks what it has at hand", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"));
    const address = { kind: "unix", path: node.address } as const;
    const patience = { timeoutMs: 10_000, answerTimeoutMs: 300 };
    const connection = await NodeConnection.connect(address, ["shm"], null, patience);
    expect(await connection.status()).toMatchObject({ leases: 0 });
    process.kill(node.pid, "SIGSTOP");
    try {
      for (const ask of [
        () => connection.status(),
        () => connection.leases(),
        () => connection.usage(1),
        () => connection.packages.list(),
        () => connection.packages.remove("0".repeat(64)),
      ])
        await expect(ask()).rejects.toMatchObject({ code: "RFAAS_REQUEST_TIMEOUT" });
    } finally {
      process.kill(node.pid, "SIGCONT");
    }
    expect(await connection.status()).toMatchObject({ leases: 0 });
    await connection.close();
  });

  test("serves several clients, over a socket that only its owner may open", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"), ["--cores", "4"]);
    expect(statSync(node.address).mode & 0o777).toBe(0o600);
    await using one = await invoker({ node: node.address });
    await using two = await invoker({ node: node.address });
    await using a = await one.allocate(GOOD);
    await using b = await two.allocate(GOOD);
    for (const lease of [a, b]) {
      const view = lease.input(Uint8Array, 8);
      expect(lease.invoke("echo", view, view)).toBe(8);
    }
    expect((await one.status()).leases).toBe(2);
  });

  test("serves over TCP on this machine", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const address = /at (127\.0\.0\.1:\d+)/.exec(node.stderr)![1]!;
    const { stdout } = await rfaas(["invoke", `${GOOD}#echo`, "--json", "7", "--node", address]);
    expect(stdout).toBe("7\n");
  });

  // Only root can become another user.
  const asRoot = process.getuid?.() === 0;
  if (!asRoot) console.warn("skipped, needs root: refuses other users over TCP");
  test.skipIf(!asRoot)("refuses other users over TCP, and keeps serving its own", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const address = /at (127\.0\.0\.1:\d+)/.exec(node.stderr)![1]!;
    const asNobody = ["setpriv", "--reuid", "65534", "--clear-groups", RFAAS];
    const child = Bun.spawn(
      [...asNobody, "invoke", `${GOOD}#echo`, "--json", "7", "--node", address],
      {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(stderr).toContain("only programs of the node's user");
    expect([stdout, await child.exited]).toEqual(["", 3]);
    await using rf = await invoker({ node: address });
    expect((await rf.status()).leases).toBe(0);
  });

  test("is refused an address where another node serves; the other goes on", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"));
    const second = await rfaas(["serve", "--listen", node.address]);
    expect(second.exitCode).toBe(1);
    expect(second.stderr).toContain("already serves at");
    await using rf = await invoker({ node: node.address });
    expect((await rf.status()).leases).toBe(0);
  });

  test("is refused a folder in which others could replace its socket", async () => {
    using scratch = new Scratch();
    chmodSync(scratch.path, 0o777);
    const { exitCode, stderr } = await rfaas(["serve", "--listen", scratch.join("node.sock")]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("chmod go-w");
  });

  test("takes over the socket of a node that was killed", async () => {
    using scratch = new Scratch();
    const first = await ServedNode.start(scratch.join("node.sock"));
    await first[Symbol.asyncDispose]();
    expect(existsSync(first.address)).toBe(true);
    await using second = await ServedNode.start(first.address);
    await using rf = await invoker({ node: second.address });
    expect(rf.cores).toBeGreaterThan(0);
  });

  test("never removes a file that is no socket", async () => {
    using scratch = new Scratch();
    const path = scratch.file("precious.sock", "data");
    const { exitCode, stderr } = await rfaas(["serve", "--listen", path]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("is not a socket");
    expect(readFileSync(path, "utf8")).toBe("data");
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`stops on ${signal} when idle, with exit code 0, and leaves nothing behind`, async () => {
      using scratch = new Scratch();
      const before = leftovers();
      const node = await ServedNode.start(scratch.join("node.sock"));
      await until(() => descendants(node.pid).length > 0, "a host is waiting");
      const children = descendants(node.pid);
      node.kill(signal);
      expect(await node.exited).toBe(0);
      expect(children.filter(alive)).toEqual([]);
      expect(existsSync(node.address)).toBe(false);
      expect(leftovers()).toEqual(before);
    });
  }

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`lets leases end when ${signal} comes to all of its processes, as from a terminal`, async () => {
      using scratch = new Scratch();
      await using node = await ServedNode.start(scratch.join("node.sock"), [], ["setsid"]);
      await using rf = await invoker({ node: node.address });
      const lease = await rf.allocate(GOOD, { polling: "warm" });
      const view = lease.input(Uint8Array, 8);
      process.kill(-node.pid, signal);
      await until(() => node.stderr.includes("waiting for 1 lease,"), "the node drains");
      expect(lease.invoke("echo", view, view)).toBe(8);
      await lease.release();
      expect(await node.exited).toBe(0);
      expect(node.stderr).not.toContain("WARN");
    });
  }

  test("lets leases end after the first signal, grants none, and ends them at the second", async () => {
    using scratch = new Scratch();
    const node = await ServedNode.start(scratch.join("node.sock"));
    await using rf = await invoker({ node: node.address });
    const lease = await rf.allocate(GOOD, { polling: "warm" });
    const view = lease.input(Uint8Array, 8);
    node.kill("SIGTERM");
    await until(() => node.stderr.includes("waiting for 1 lease,"), "the node drains");
    expect(lease.invoke("echo", view, view)).toBe(8);
    await expect(rf.allocate(GOOD)).rejects.toThrow("draining");
    const flying = lease.submit("pending", view, view).then(
      () => null,
      (error) => error,
    );
    node.kill("SIGTERM");
    expect(await flying).toBeInstanceOf(WorkerLost);
    expect(await node.exited).toBe(0);
  });

  test("that is killed during a call takes its hosts along, and callers are told", async () => {
    using scratch = new Scratch();
    const node = await ServedNode.start(scratch.join("node.sock"));
    await using rf = await invoker({ node: node.address });
    await using hot = await rf.allocate(GOOD, { polling: "hot" });
    const view = hot.input(Uint32Array, 2);
    const children = descendants(node.pid);
    const awaited = hot.submit("pending", view, view, { deadlineMs: 60_000 }).then(
      () => null,
      (error) => error,
    );
    view[0] = 5000;
    const spinning = hot.submit("busy", view, view);
    node.kill("SIGKILL");
    expect(() => spinning.get()).toThrow(WorkerLost);
    expect(await awaited).toBeInstanceOf(WorkerLost);
    await expect(rf.allocate(GOOD)).rejects.toThrow(NodeUnreachable);
    await until(() => children.every((pid) => !alive(pid)), "the hosts are gone");
  });

  test("takes back what a client held that was killed during a call", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"));
    const client = Bun.spawn(
      [RFAAS, "invoke", `${BAD}#spins`, "--node", node.address, "--polling", "hot"],
      {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      },
    );
    await using rf = await invoker({ node: node.address });
    const { freeCores } = await rf.status();
    await until(async () => (await rf.status()).leases === 1, "the client holds a lease");
    client.kill("SIGKILL");
    await until(async () => (await rf.status()).leases === 0, "the lease is taken back");
    expect((await rf.status()).freeCores).toBeGreaterThanOrEqual(freeCores);
  });

  test("does not keep whoever connects and says nothing, or half a message", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"));
    const silent = [new Uint8Array(0), encodeFrame({ t: "hello" }).subarray(0, 6)].map(
      async (bytes) => {
        const closed = Promise.withResolvers<void>();
        const socket = await Bun.connect({
          unix: node.address,
          socket: { data() {}, close: () => closed.resolve() },
        });
        socket.write(bytes);
        await closed.promise;
      },
    );
    await Promise.all(silent);
    await using rf = await invoker({ node: node.address });
    expect((await rf.status()).leases).toBe(0);
  });

  test("takes a lease back whose client renews for ever and never uses it", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"));
    const address = { kind: "unix", path: node.address } as const;
    const connection = await NodeConnection.connect(address, ["shm"], null);
    const lost = Promise.withResolvers<string>();
    const { granted, descriptors } = await connection.allocate(
      {
        module: "rfaas:echo",
        workers: 1,
        memoryBytes: 4096,
        slots: 1,
        polling: "warm",
        spinNs: null,
        loadTimeoutMs: 10_000,
        ttlMs: 1_000,
        budget: {},
        fabric: "shm",
      },
      "rfaas:echo",
      {
        lost: (message) => lost.resolve(message),
        disconnected() {},
        workerLost() {},
        renewed() {},
        revoking() {},
        goesOn() {},
        logged() {},
        progressed() {},
      },
    );
    const renewals = setInterval(
      () => void connection.renew(granted.lease, null).catch(() => {}),
      100,
    );
    expect(await lost.promise).toContain("never said that it uses it");
    clearInterval(renewals);
    for (const fd of descriptors) closeDescriptor(fd);
    await until(async () => (await connection.status()).leases === 0, "the lease is gone");
    await connection.close();
  });

  test("takes nothing from whoever repeats what another has said, and grants nothing twice", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"), ["--cores", "4"]);
    // Everything that the client says is kept, and reaches the node twice.
    const said: Uint8Array[] = [];
    const path = scratch.join("between.sock");
    using between = Bun.listen<{ node: Promise<Socket> }>({
      unix: path,
      socket: {
        binaryType: "uint8array",
        open(client) {
          const data = (_: Socket, bytes: Uint8Array): void => void client.write(bytes);
          const socket = { binaryType: "uint8array" as const, data };
          client.data = { node: Bun.connect({ unix: node.address, socket }) };
        },
        async data(client, bytes) {
          const frame = bytes.slice();
          said.push(frame);
          (await client.data.node).write(Buffer.concat([frame, frame]));
        },
        async close(client) {
          (await client.data.node).end();
        },
      },
    });
    await using rf = await invoker({ node: path });
    await using lease = await rf.allocate(GOOD, { memory: "1MiB" });
    const input = lease.input(Uint8Array, 8).fill(3);
    const output = lease.output(Uint8Array, 8);
    expect(lease.invoke("echo", input, output)).toBe(8);
    await lease.renew();
    await using passing = await rf.allocate(GOOD, { memory: "1MiB" });
    await passing.release();
    await until(async () => (await rf.status()).leases === 1, "one lease is left");

    const heard: string[] = [];
    const replayer = await Bun.connect({
      unix: node.address,
      socket: { data: (_, bytes) => void heard.push(bytes.toString("latin1")) },
    });
    const release = encodeFrame({ t: "release", id: 1, lease: 1 });
    replayer.write(Buffer.concat([...said, release]));
    await until(() => heard.join("").includes("cannot be reached"), "what is replayed is denied");
    expect(lease.invoke("echo", input, output)).toBe(8);
    replayer.end();
    await until(async () => (await rf.status()).leases === 1, "the replayer holds nothing");
    expect(lease.invoke("echo", input, output)).toBe(8);
    between.stop();
  });

  test("answers nonsense with a refusal and goes on serving", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"));
    const hello = {
      t: "hello",
      protocol: PROTOCOL_VERSION,
      version: "0",
      pid: 1,
      fabrics: ["shm"],
      machine: "elsewhere",
    };
    const cases: [frame: Uint8Array, says: string][] = [
      [new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), "bytes is not allowed"],
      [encodeFrame({ t: "hello" }), "malformed"],
      [encodeFrame({ t: "frobnicate" }), "unknown control message"],
      [encodeFrame({ t: "release", id: 1, lease: 1 }), "first message must be a hello"],
      [encodeFrame({ ...hello, protocol: 99 }), "update the node"],
      [encodeFrame(hello), "on another machine"],
    ];
    for (const [frame, says] of cases) {
      const answer = Promise.withResolvers<string>();
      let text = "";
      const socket = await Bun.connect({
        unix: node.address,
        socket: {
          data: (_, bytes) => void (text += bytes.toString("latin1")),
          close: () => answer.resolve(text),
        },
      });
      socket.write(frame);
      expect(await answer.promise).toContain(says);
    }
    await using rf = await invoker({ node: node.address });
    expect((await rf.status()).leases).toBe(0);
  });

  test("whose peer is no node is found out", async () => {
    using scratch = new Scratch();
    const path = scratch.join("other.sock");
    const other = Bun.listen({
      unix: path,
      socket: { data: (peer) => void peer.write("HTTP/1.1 400 Bad Request\r\n\r\n") },
    });
    await expect(invoker({ node: path })).rejects.toThrow("the peer is no rfaas");
    other.stop(true);
  });
});

describe("two nodes on one machine", () => {
  test("never pin workers to the same CPU", async () => {
    await using one = await invoker({ cores: 2 });
    await using two = await invoker({ cores: 2 });
    await using a = await one.allocate(GOOD);
    await using b = await two.allocate(GOOD);
    const pinned = [...a.cpus, ...b.cpus].filter((cpu) => cpu >= 0);
    expect(new Set(pinned).size).toBe(pinned.length);
    await Promise.all([a.release(), b.release()]);
    // Which one it gets is not said: other nodes of this machine take some, too.
    await until(async () => {
      await using again = await two.allocate(GOOD);
      return again.cpus[0]! >= 0;
    }, "a CPU that was given back is taken again");
  });
});

describe("a private node", () => {
  test("and all its processes end with the client that is killed", async () => {
    const before = leftovers();
    const client = Bun.spawn([RFAAS, "invoke", `${BAD}#spins`], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    });
    // The node, the lease's host, and the next host in waiting.
    await until(() => descendants(client.pid).length >= 3, "node and hosts run");
    const children = descendants(client.pid);
    client.kill("SIGKILL");
    await client.exited;
    await until(() => children.every((pid) => !alive(pid)), "node and hosts are gone");
    expect(leftovers()).toEqual(before);
  });

  test("and all its processes end with Ctrl-C, at once", async () => {
    const before = leftovers();
    const client = Bun.spawn(["setsid", RFAAS, "invoke", `${BAD}#spins`], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    });
    await until(() => descendants(client.pid).length >= 3, "node and hosts run");
    const children = descendants(client.pid);
    // As a terminal does: to the whole foreground group.
    process.kill(-client.pid, "SIGINT");
    await client.exited;
    await until(() => children.every((pid) => !alive(pid)), "node and hosts are gone");
    expect(leftovers()).toEqual(before);
  });

  test("needs no /dev/shm: a full one does not matter", async () => {
    const script = `mount -t tmpfs -o size=64k tmpfs /dev/shm && dd if=/dev/zero of=/dev/shm/full bs=64k count=1 status=none && exec ${RFAAS} invoke ${GOOD}#echo --json 5`;
    const child = Bun.spawn(["unshare", "--mount", "--map-root-user", "sh", "-c", script], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(stderr).not.toContain("ERROR");
    expect(stdout).toBe("5\n");
  });

  test("that may not have the memory says so, and the client exits with 3", async () => {
    await using rf = await invoker({ memory: "32MiB" });
    await expect(rf.allocate(GOOD, { memory: "64MiB" })).rejects.toThrow(LeaseRefused);
    await expect(rf.allocate(GOOD, { memory: "64MiB" })).rejects.toThrow("ask for less memory");
    await using lease = await rf.allocate(GOOD, { memory: "32MiB" });
    expect(lease.freeBytes).toBe(32 << 20);
  });

  test("that cannot be started is reported", async () => {
    using scratch = new Scratch();
    const path = scratch.file(
      "client.ts",
      `import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
try { await invoker(); } catch (error) { console.log(error.code); }
`,
    );
    const child = Bun.spawn([process.execPath, path], {
      env: { ...process.env, RFAAS_EXECUTABLE: "/bin/false" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });
    expect(await child.stdout.text()).toBe("RFAAS_NODE_UNREACHABLE\n");
  });

  test("does not keep a program alive that has nothing more to do", async () => {
    using scratch = new Scratch();
    const path = scratch.join("client.ts");
    writeFileSync(
      path,
      `import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
const rf = await invoker();
const lease = await rf.allocate(${JSON.stringify(GOOD)});
const view = lease.input(Uint8Array, 8);
console.log(await lease.submit("echo", view, view));
`,
    );
    const child = Bun.spawn([process.execPath, path], {
      env: { ...process.env, RFAAS_EXECUTABLE: RFAAS },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    expect(await child.stdout.text()).toBe("8\n");
    expect(await child.exited).toBe(0);
  });
});
