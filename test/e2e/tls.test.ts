/** Control connections that leave the machine, by an address of this machine that is not loopback: met, pinned, refused. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { KeyChanged, type Lease, LeaseRefused, PeerNotTrusted, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { RecordingRelay } from "../support/recording-relay.ts";
import { Scratch } from "../support/scratch.ts";
import { hello } from "../support/stranger.ts";
import { nodeCredentials } from "../support/tls.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;
const KEY = /\?key=(sha256:[0-9a-f]{64})/;

/** What other machines call this one. */
const HOST = Object.values(networkInterfaces())
  .flatMap((all) => all ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
if (HOST === undefined) console.warn("skipped, needs a network: control connections by TLS");
const onNetwork = describe.skipIf(HOST === undefined);

const before = { ...process.env };
let scratch: Scratch;
beforeAll(() => {
  scratch = new Scratch();
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  process.env["XDG_STATE_HOME"] = scratch.join("state");
  process.env["XDG_CONFIG_HOME"] = scratch.join("config");
});
afterEach(() => void delete process.env["RFAAS_CA"]);
afterAll(() => {
  for (const name of ["RFAAS_EXECUTABLE", "XDG_STATE_HOME", "XDG_CONFIG_HOME"])
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  scratch[Symbol.dispose]();
});

interface Served extends AsyncDisposable {
  node: ServedNode;
  /** `HOST:PORT`. */
  place: string;
  /** With the pin that the node prints. */
  pinned: string;
  key: string;
}

async function serve(...args: string[]): Promise<Served> {
  return await serveAt(0, ...args);
}

async function serveAt(port: number, ...args: string[]): Promise<Served> {
  const common = ["--cores", "8", "--memory", "256MiB", "--prewarm", "0"];
  const node = await ServedNode.start(`0.0.0.0:${port}`, [...common, "--allow-remote", ...args]);
  await until(() => node.stderr.includes("reach it with"), "it tells how it is reached");
  const place = `${HOST}:${node.port}`;
  const key = KEY.exec(node.stderr)?.[1] ?? "";
  return {
    ...{ node, place, key, pinned: `rfaas://${place}?key=${key}` },
    [Symbol.asyncDispose]: () => node[Symbol.asyncDispose](),
  };
}

const ps = (node: string, env: Record<string, string> = {}, ...args: string[]) =>
  rfaas(["ps", "--node", node, ...args], { env });

async function twice(lease: Lease<Good>): Promise<void> {
  const input = lease.input(Uint8Array, 100).fill(7);
  const output = lease.output(Uint8Array, 100);
  expect(await lease.submit("echo", input, output)).toBe(100);
  expect(output).toEqual(input);
}

onNetwork("a client that is told HOST:PORT", () => {
  test(
    "remembers the key that it meets, is silent then, and refuses another one until it is told to forget",
    async () => {
      const first = await serve();
      const { place, key, node } = first;
      const env = { XDG_CONFIG_HOME: scratch.join("met") };
      const met = await ps(place, env);
      expect(met.exitCode).toBe(0);
      const file = scratch.join("met/rfaas/known_nodes");
      expect(met.stderr).toContain(
        `${place} is new to you: its key ${key} is remembered in ${file}`,
      );
      expect(readFileSync(file, "utf8")).toBe(`${place} ${key}\n`);
      const again = await ps(place, env);
      expect([again.exitCode, again.stderr]).toEqual([0, ""]);
      const { port } = node;
      await first[Symbol.asyncDispose]();

      await using other = await serveAt(port, "--state", scratch.join("other-state"));
      expect(other.key).not.toBe(key);
      const refused = await ps(place, env);
      expect(refused.exitCode).toBe(3);
      for (const part of [key, other.key, file, `rfaas node forget ${place}`])
        expect(refused.stderr).toContain(part);
      expect((await rfaas(["node", "forget", place], { env })).exitCode).toBe(0);
      const anew = await ps(place, env);
      expect(anew.exitCode).toBe(0);
      expect(anew.stderr).toContain(`its key ${other.key} is remembered`);
    },
    LIMIT_MS,
  );

  test(
    "takes leases and makes calls over TCP by it, as a program",
    async () => {
      await using served = await serve("--fabric", "tcp");
      await using rf = await invoker({ node: served.place });
      await using lease = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
      expect(lease.fabric).toBe("tcp");
      await twice(lease);
    },
    LIMIT_MS,
  );

  test(
    "gives a program an error that it can tell from others",
    async () => {
      await using served = await serve();
      const other = await nodeCredentials();
      writeFileSync(
        join(scratch.path, "config/rfaas/known_nodes"),
        `${served.place} ${other.fingerprint}\n`,
        { flag: "a" },
      );
      const error = await invoker({ node: served.place }).catch((error: unknown) => error);
      expect(error).toBeInstanceOf(KeyChanged);
      expect(error).toMatchObject({ seen: served.key, remembered: other.fingerprint });
    },
    LIMIT_MS,
  );
});

onNetwork("a client that has pinned a key", () => {
  test(
    "reaches its node and no other, and remembers nothing",
    async () => {
      await using served = await serve();
      const env = { XDG_CONFIG_HOME: scratch.join("pinned") };
      const right = await ps(served.pinned, env);
      expect([right.exitCode, right.stderr]).toEqual([0, ""]);
      const other = await nodeCredentials();
      const wrong = await ps(`rfaas://${served.place}?key=${other.fingerprint}`, env);
      expect(wrong.exitCode).toBe(3);
      expect(wrong.stderr).toContain(
        `its key is ${served.key}, and ${other.fingerprint} is pinned`,
      );
      expect(() => readFileSync(scratch.join("pinned/rfaas/known_nodes"))).toThrow("ENOENT");
      const error = await invoker({ node: `rfaas://${served.place}?ca=${served.key}` }).catch(
        (error: unknown) => error,
      );
      expect(error).toBeInstanceOf(PeerNotTrusted);
    },
    LIMIT_MS,
  );

  test(
    "reaches it at this machine's own loopback by TLS, too",
    async () => {
      await using served = await serve();
      await using rf = await invoker({
        node: `rfaas://127.0.0.1:${served.node.port}?key=${served.key}`,
      });
      await using lease = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
      await twice(lease);
    },
    LIMIT_MS,
  );
});

onNetwork("a token", () => {
  const cluster = new SigningCluster();

  test(
    "goes to a pinned key, and not to one that was only met",
    async () => {
      const tokenKey = scratch.file("token.pub", cluster.publicKey);
      await using served = await serve("--token-key", tokenKey);
      const env = { RFAAS_TOKEN: await cluster.token() };
      const withheld = await ps(served.place, env);
      expect(withheld.exitCode).toBe(3);
      expect(withheld.stderr).toContain("no token was sent");
      expect(withheld.stderr).toContain(`rfaas://${served.place}?key=${served.key}`);
      const again = await ps(served.place, env);
      expect(again.exitCode).toBe(3);
      expect((await ps(served.pinned, env)).exitCode).toBe(0);
      const none = await ps(served.pinned);
      expect(none.stderr).toContain("this node wants a token");
    },
    LIMIT_MS,
  );

  test(
    "that comes in clear is refused, also where clear is allowed",
    async () => {
      const tokenKey = scratch.file("clear.pub", cluster.publicKey);
      await using served = await serve("--token-key", tokenKey, "--insecure");
      using peer = await RawPeer.connect(served.place);
      peer.write(hello(await cluster.token()));
      await until(() => peer.find("refused") !== undefined, "it is refused");
      expect(peer.find("refused")).toMatchObject({ code: "RFAAS_FORBIDDEN" });
      expect(peer.find("refused")!["message"]).toContain("the token came in clear");
      const env = { RFAAS_TOKEN: await cluster.token() };
      const withheld = await ps(served.place, env, "--insecure");
      expect(withheld.stderr).toContain("no token was sent, as the connection is in clear");
    },
    LIMIT_MS,
  );

  test(
    "and the secret of a lease are seen on no control connection that leaves the machine",
    async () => {
      const tokenKey = scratch.file("seen.pub", cluster.publicKey);
      await using served = await serve("--token-key", tokenKey, "--fabric", "tcp");
      const token = await cluster.token();
      const { port } = served.node;

      /** What passes while a lease is taken, and which of the two secrets is in the control connection. */
      const seen = async (host: string, address: (port: number) => string) => {
        await using relay = await RecordingRelay.start(host, { host, port });
        await using rf = await invoker({ node: address(relay.port), token });
        await using lease = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
        expect(lease.fabric).toBe("tcp");
        await twice(lease);
        const all = relay.connections.map(({ sent, received }) => ({
          sent: Buffer.concat(sent),
          received: Buffer.concat(received),
        }));
        const greeting = all
          .map(({ sent }) => sent)
          .find((sent) => sent.subarray(0, 4).equals(Buffer.from("CTfr")));
        // As the greeting of data shows it, which goes on a connection of its own.
        const secret = greeting!.subarray(8, 24);
        const [control] = all;
        return {
          begins: control!.sent[0],
          token: control!.sent.includes(token),
          secret: control!.received.includes(secret) || control!.received.includes(secret.toHex()),
        };
      };

      const tls = await seen(HOST!, (at) => `rfaas://${HOST}:${at}?key=${served.key}`);
      expect(tls).toEqual({ begins: 0x16, token: false, secret: false });
      // The relay would have seen them: on this machine both are in clear.
      const clear = await seen("127.0.0.1", (at) => `127.0.0.1:${at}`);
      expect(clear).toMatchObject({ token: true, secret: true });
    },
    LIMIT_MS,
  );
});

onNetwork("a connection in clear", () => {
  test(
    "is refused in words that say what to do, on both sides",
    async () => {
      await using served = await serve();
      using peer = await RawPeer.connect(served.place);
      peer.write(hello());
      await until(() => peer.closed, "the connection ends");
      expect(peer.find("refused")).toMatchObject({ code: "RFAAS_TLS_REQUIRED" });
      const error = await invoker({ node: served.place, insecure: true }).catch(
        (error: unknown) => error,
      );
      expect(error).toBeInstanceOf(LeaseRefused);
      expect(error).toMatchObject({ code: "RFAAS_TLS_REQUIRED" });
      const told = await ps(served.place, { RFAAS_INSECURE: "1" });
      expect(told.stderr).toContain("by TLS alone; connect without --insecure");
      // From this machine it is not.
      expect((await ps(`127.0.0.1:${served.node.port}`)).exitCode).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "is loud on both sides where it is allowed, and who asks for TLS is told",
    async () => {
      await using served = await serve("--insecure", "--fabric", "tcp");
      expect(served.node.stderr).toMatch(/warn.*--insecure/i);
      expect(served.key).toBe("");
      const clear = await ps(served.place, {}, "--insecure");
      expect(clear.exitCode).toBe(0);
      expect(clear.stderr).toMatch(/warn.*in clear/i);
      const wrong = await ps(served.place);
      expect(wrong.exitCode).toBe(3);
      expect(wrong.stderr).toContain("does not speak TLS 1.3");
      expect(wrong.stderr).toContain("--insecure");
      await using rf = await invoker({ node: served.place, insecure: true });
      await using lease = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
      await twice(lease);
    },
    LIMIT_MS,
  );
});

/** The bytes that a client of TLS says first. */
async function clientHello(): Promise<Buffer> {
  const first = Promise.withResolvers<Buffer>();
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (_, bytes) => first.resolve(Buffer.from(bytes)) },
  });
  const client = tlsConnect({ host: "127.0.0.1", port: server.port, minVersion: "TLSv1.3" });
  client.on("error", () => {});
  const bytes = await first.promise;
  client.destroy();
  server.stop(true);
  return bytes;
}

/** Says something, and resolves with the answer when the node has ended the connection. */
async function said(port: number, ...parts: Uint8Array[]): Promise<Buffer> {
  const socket = connect({ host: HOST!, port });
  const heard: Buffer[] = [];
  socket.on("data", (bytes: Buffer) => void heard.push(bytes));
  socket.on("error", () => {});
  socket.setNoDelay(true);
  for (const part of parts)
    await new Promise<void>((resolve) => void socket.write(part, () => resolve()));
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return Buffer.concat(heard);
}

onNetwork("a node's port", () => {
  test(
    "ends what is no handshake, or none of TLS 1.3, says nothing of it in the log, and serves on",
    async () => {
      await using served = await serve();
      const { port } = served.node;
      const logged = served.node.stderr;
      const bytes = await clientHello();
      const garbage = Buffer.from(bytes);
      garbage.fill(0xff, 60);
      const old = tlsConnect({
        host: HOST!,
        port,
        rejectUnauthorized: false,
        maxVersion: "TLSv1.2",
      });
      const error = await new Promise<NodeJS.ErrnoException>((resolve) =>
        old.once("error", resolve),
      );
      expect(error.code).toContain("PROTOCOL_VERSION");
      await said(port, garbage);
      await said(port, bytes, Buffer.from("no record"));
      await said(port, Buffer.from([0x16, 3, 1, 0xff, 0xff]), Buffer.alloc(70_000));
      // One that goes at each of some points of the handshake.
      for (const length of [1, 3, 5, 100, bytes.length]) {
        const socket = connect({ host: HOST!, port });
        await new Promise<void>((resolve) =>
          socket.once("connect", () => socket.write(bytes.subarray(0, length), () => resolve())),
        );
        socket.resetAndDestroy();
      }
      expect((await ps(served.pinned)).exitCode).toBe(0);
      expect(served.node.stderr).toBe(logged);
    },
    LIMIT_MS,
  );

  test(
    "waits for no handshake that does not go on, and takes one that comes byte by byte",
    async () => {
      await using served = await serve();
      const { port } = served.node;
      const bytes = await clientHello();
      // It ends by the node's own limit.
      const [half, none, whole] = await Promise.all([
        said(port, bytes.subarray(0, 50)),
        said(port, bytes.subarray(0, 2)),
        said(port, ...[...bytes].map((byte) => Uint8Array.of(byte))),
      ]);
      expect(half).toHaveLength(0);
      expect(none.toString("latin1")).toContain("no hello within");
      // A server's part of the handshake.
      expect(whole[0]).toBe(0x16);
    },
    LIMIT_MS,
  );
});

onNetwork("a node's own certificate", () => {
  test(
    "is replaced without a restart, while a lease runs; what is broken is not taken",
    async () => {
      const [one, two] = await Promise.all([nodeCredentials("one"), nodeCredentials("two")]);
      const cert = scratch.file("own-cert.pem", one.chain);
      const key = scratch.file("own-key.pem", one.key);
      const files = ["--tls-cert", cert, "--tls-key", key];
      await using served = await serve("--fabric", "tcp", ...files);
      expect(served.key).toBe(one.fingerprint);
      const pinnedTo = (key: string) => `rfaas://${served.place}?key=${key}`;
      await using rf = await invoker({ node: pinnedTo(one.fingerprint) });
      await using lease = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
      await twice(lease);
      const replace = (path: string, text: string) => {
        writeFileSync(`${path}.new`, text);
        renameSync(`${path}.new`, path);
      };
      replace(cert, two.chain);
      await until(async () => {
        expect((await ps(pinnedTo(one.fingerprint))).exitCode).toBe(0);
        return served.node.stderr.includes("the one before still is");
      }, "it says that the certificate and the key do not belong together");
      replace(key, two.key);
      await until(
        async () => (await ps(pinnedTo(two.fingerprint))).exitCode === 0,
        "new connections get the new one",
      );
      expect((await ps(pinnedTo(one.fingerprint))).exitCode).toBe(3);
      await twice(lease);
      await using more = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
      await twice(more);
    },
    LIMIT_MS,
  );

  test(
    "of a site's CA is trusted under that CA, for the host that it names",
    async () => {
      if (!Bun.which("openssl")) return console.warn("skipped, needs openssl");
      const openssl = (command: string) => {
        const done = Bun.spawnSync(["openssl", ...command.split(" ")], { cwd: scratch.path });
        if (!done.success) throw new Error(done.stderr.toString());
        return done.stdout.toString();
      };
      const curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
      openssl(`req -x509 ${curve} -keyout ca.key -out ca.pem -days 2 -subj /CN=site`);
      for (const [name, host] of [
        ["here", HOST],
        ["there", "203.0.113.9"],
      ]) {
        scratch.file(`${name}.ext`, `subjectAltName=IP:${host}\n`);
        openssl(`req ${curve} -keyout ${name}.key -out ${name}.csr -subj /CN=${name}`);
        openssl(
          `x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out ${name}.crt -days 1 -extfile ${name}.ext`,
        );
        const chain = ["ca.pem"].map((file) => readFileSync(scratch.join(file), "utf8"));
        scratch.file(
          `${name}.pem`,
          readFileSync(scratch.join(`${name}.crt`), "utf8") + chain.join(""),
        );
      }
      const filesOf = (name: string) => [
        ...["--tls-cert", scratch.join(`${name}.pem`)],
        ...["--tls-key", scratch.join(`${name}.key`)],
      ];
      const printed = openssl("x509 -in ca.pem -noout -fingerprint -sha256").trim().split("=")[1]!;
      await using right = await serve(...filesOf("here"));
      for (const ca of [scratch.join("ca.pem"), `sha256:${printed}`])
        expect((await ps(right.place, { RFAAS_CA: ca })).exitCode).toBe(0);
      expect((await ps(`rfaas://${right.place}?ca=sha256:${printed}`)).exitCode).toBe(0);
      const other = `sha256:${"ab".repeat(32)}`;
      expect((await ps(right.place, { RFAAS_CA: other })).stderr).toContain(
        `the pinned CA ${other}`,
      );
      await using wrong = await serve(...filesOf("there"));
      const refused = await ps(wrong.place, { RFAAS_CA: scratch.join("ca.pem") });
      expect(refused.exitCode).toBe(3);
      expect(refused.stderr).toContain(`"CN=there" is not for ${HOST}`);
    },
    LIMIT_MS,
  );

  test(
    "is refused at the start with what is wrong with it",
    async () => {
      const [one, two] = await Promise.all([nodeCredentials("one"), nodeCredentials("two")]);
      const cert = scratch.file("wrong-cert.pem", one.chain);
      const key = scratch.file("wrong-key.pem", two.key);
      const empty = scratch.file("empty.pem", "");
      const serving = (...args: string[]) => rfaas(["serve", "--listen", `${HOST}:0`, ...args]);
      for (const [args, exitCode, reason] of [
        [["--tls-cert", cert], 2, "belong together"],
        [["--tls-key", key], 2, "belong together"],
        [["--tls-cert", cert, "--tls-key", key], 2, "is not that of the certificate"],
        [["--tls-cert", empty, "--tls-key", key], 2, "there is no certificate in"],
        [["--tls-cert", cert, "--tls-key", empty], 2, "there is no key in"],
        [["--tls-cert", cert, "--tls-key", scratch.join("gone")], 1, "cannot be read"],
        [["--state", "/proc/nowhere"], 1, "cannot be kept in /proc/nowhere"],
      ] as const) {
        const done = await serving(...args);
        expect([args, done.stderr.includes(reason), done.exitCode]).toEqual([args, true, exitCode]);
      }
      const socket = await rfaas([
        ...["serve", "--listen", scratch.join("n.sock"), "--tls-cert", cert, "--tls-key", key],
      ]);
      expect(socket.stderr).toContain("a socket is open to its owner alone");
    },
    LIMIT_MS,
  );

  test(
    "is one for nodes that start at once, and the same after a restart",
    async () => {
      const state = ["--state", scratch.join("shared-state")];
      await using stack = new AsyncDisposableStack();
      const all = await Promise.all(Array.from({ length: 4 }, () => serve(...state)));
      for (const one of all) stack.use(one);
      expect(new Set(all.map(({ key }) => key)).size).toBe(1);
      await using again = await serve(...state);
      expect(again.key).toBe(all[0]!.key);
      const { exitCode } = Bun.spawnSync(["find", scratch.join("shared-state"), "-perm", "/077"]);
      expect(exitCode).toBe(0);
    },
    LIMIT_MS,
  );
});
