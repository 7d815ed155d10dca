/**
 * Who shows a token proves that it is his, to one node and for one connection: false nodes, listeners and thieves of tokens get nothing
 * that counts elsewhere.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type Server, connect, createServer } from "node:tls";
import { NodeConnection } from "../../src/client/node/connection.ts";
import { parseAddress } from "../../src/control/address.ts";
import { type Invoker, invoker } from "../../src/index.ts";
import { Credential, NewHolder } from "../../src/protocol/holder/credential.ts";
import { FrameReader } from "../../src/protocol/frame.ts";
import { MANAGER_PROTOCOL_VERSION } from "../../src/protocol/manager-messages.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { ownAddress } from "../support/own-address.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { type Recorded, RecordingRelay } from "../support/recording-relay.ts";
import { Scratch } from "../support/scratch.ts";
import { hello } from "../support/stranger.ts";
import { nodeCredentials } from "../support/tls.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const GOOD = `${FUNCTIONS}/good.ts`;
const HOST = ownAddress();
if (HOST === undefined) console.warn("skipped: this machine has no address but loopback");

const cluster = new SigningCluster();
let scratch: Scratch;
let text: string;
/** What peers see of it. */
let token: string;

beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  scratch = new Scratch();
  scratch.file("token.pub", cluster.publicKey);
  const holder = new NewHolder();
  token = await cluster.token({ user: "carol", holderKey: holder.holderKey });
  text = holder.with(token);
});
afterAll(() => scratch[Symbol.dispose]());

async function serve(
  listen: string,
  args: readonly string[] = [],
  key = scratch.join("token.pub"),
): Promise<ServedNode> {
  const node = await ServedNode.start(listen, [
    ...["--token-key", key, "--state", scratch.join("state"), "--cores", "1", "--prewarm", "0"],
    ...args,
  ]);
  await until(() => node.stderr.includes("serving"), "it serves");
  return node;
}

/** Why nothing can be leased at the node; undefined when it can. */
async function whyNot(node: string, shown = text, insecure = false): Promise<string | undefined> {
  let rf: Invoker | undefined;
  try {
    rf = await invoker({ node, token: shown, insecure });
    await (await rf.allocate(GOOD, { memory: "1MiB" })).release();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await rf?.close();
  }
}

/** The users that the node takes a client with the token for. */
async function userAt(address: string): Promise<string[]> {
  await using rf = await invoker({ node: address, token: text });
  await using _ = await rf.allocate(GOOD, { memory: "1MiB" });
  const connection = await NodeConnection.connect(parseAddress(address), [], text);
  const { shown } = await connection.leases();
  await connection.close();
  return shown.map(({ user }) => user);
}

const saidIn = ({ sent }: Recorded): Record<string, unknown>[] =>
  new FrameReader().push(Buffer.concat(sent)) as Record<string, unknown>[];
const keyOf = (whole: string): string => whole.split(".")[3]!;

describe("a token with a key", () => {
  test(
    "is its user's over loopback, and over a socket by any of its paths",
    async () => {
      await using node = await serve("127.0.0.1:0");
      for (const host of ["127.0.0.1", "localhost"])
        expect(await userAt(`${host}:${node.port}`)).toEqual(["carol"]);
      await using local = await serve(scratch.join("node.sock"));
      expect(await userAt(local.address)).toEqual(["carol"]);
      expect(
        await userAt(`${scratch.path}/../${scratch.path.split("/").at(-1)}/node.sock`),
      ).toEqual(["carol"]);
    },
    LIMIT_MS,
  );

  test(
    "is of no use to a false node that passes all on, nor to who has recorded it",
    async () => {
      await using node = await serve("127.0.0.1:0");
      const { port } = node;
      await using falseNode = await RecordingRelay.start("127.0.0.1", { host: "127.0.0.1", port });
      expect(await whyNot(`127.0.0.1:${falseNode.port}`)).toContain(
        `refused this client: the client has connected to 127.0.0.1:${falseNode.port}, and this end is 127.0.0.1:${port}: something has passed the token on`,
      );
      const [recorded] = falseNode.connections;
      const said = saidIn(recorded!);
      expect(said.map(({ t }) => t)).toEqual(["hello", "prove"]);
      expect(said[0]!["token"]).toBe(token);
      expect(Buffer.concat(recorded!.sent).includes(keyOf(text))).toBe(false);
      // What it has gathered, at the node itself and over a connection of its own.
      using thief = await RawPeer.connect(`127.0.0.1:${port}`);
      thief.send(...said);
      await until(() => thief.find("refused") !== undefined, "it is refused");
      expect(thief.heard.map(({ t }) => t)).toEqual(["challenge", "refused"]);
      expect(thief.find("refused")!["message"]).toContain("answers another question");
      expect(await whyNot(`127.0.0.1:${port}`)).toBeUndefined();
    },
    LIMIT_MS,
  );

  test(
    "counts for nothing without its proof",
    async () => {
      await using node = await serve("127.0.0.1:0");
      const refusalOf = async (shown: string, ...more: object[]): Promise<unknown> => {
        using peer = await RawPeer.connect(`127.0.0.1:${node.port}`);
        peer.write(hello(shown));
        peer.send(...more);
        await until(() => peer.find("refused") !== undefined, "it is refused");
        expect(peer.find("welcome")).toBeUndefined();
        return peer.find("refused")!["message"];
      };
      expect(await refusalOf(token, { t: "get-status", id: 1 })).toContain("must be a hello");
      expect(await refusalOf(token, { t: "prove", proof: "a.b.c" })).toContain("not one of its");
      expect(await refusalOf(text)).toContain("its private key came with it");
      const [header, claims, signature] = token.split(".") as [string, string, string];
      const { cnf: _, ...rest } = JSON.parse(Buffer.from(claims, "base64url").toString());
      const base64 = (value: object): string =>
        Buffer.from(JSON.stringify(value)).toString("base64url");
      const head = JSON.parse(Buffer.from(header, "base64url").toString());
      expect(await refusalOf(`${header}.${base64(rest)}.${signature}`)).toContain("disagree");
      const bearer = base64({ ...head, typ: "rfaas+jwt" });
      expect(await refusalOf(`${bearer}.${base64(rest)}.${signature}`)).toContain("was altered");
      using early = await RawPeer.connect(`127.0.0.1:${node.port}`);
      early.send({ t: "prove", proof: "a.b.c" });
      await until(() => early.find("refused") !== undefined, "it is refused");
      expect(early.find("refused")!["message"]).toBe("no proof was asked for");
    },
    LIMIT_MS,
  );
});

describe.skipIf(HOST === undefined)("over a network", () => {
  /** One that has a key of its own, and passes on what comes by TLS. */
  async function manInTheMiddle(to: { host: string; port: number }) {
    const own = await nodeCredentials();
    const server: Server = createServer({ key: own.key, cert: own.chain }, (client) => {
      const node = connect({ ...to, rejectUnauthorized: false });
      client.pipe(node).pipe(client);
      for (const [one, other] of [
        [client, node],
        [node, client],
      ] as const)
        one.on("error", () => other.destroy()).on("close", () => other.destroy());
    });
    server.listen(0, to.host);
    await once(server, "listening");
    return { server, port: (server.address() as AddressInfo).port, key: own.fingerprint };
  }

  test(
    "the key of the node's certificate is what the proof is for, whatever way leads there",
    async () => {
      await using node = await serve(`${HOST}:0`);
      await until(() => node.stderr.includes("key=sha256:"), "it says its key");
      const [, key] = /key=(sha256:[0-9a-f]{64})/.exec(node.stderr)!;
      const { port } = node;
      expect(await whyNot(`rfaas://${HOST}:${port}?key=${key}`)).toBeUndefined();
      await using detour = await RecordingRelay.start(HOST!, { host: HOST!, port });
      expect(await whyNot(`rfaas://${HOST}:${detour.port}?key=${key}`)).toBeUndefined();
      const middle = await manInTheMiddle({ host: HOST!, port });
      try {
        expect(await whyNot(`rfaas://${HOST}:${middle.port}?key=${middle.key}`)).toContain(
          `the client has met the key ${middle.key} and this end has the key ${key}: something stands between them`,
        );
      } finally {
        middle.server.close();
      }
    },
    LIMIT_MS,
  );

  test(
    "a site's certificate, which other nodes may have, says nothing without the address",
    async () => {
      const own = await nodeCredentials();
      const files = ["--tls-cert", scratch.file("site.pem", own.chain)];
      const keyFile = scratch.file("site.key", own.key);
      await using node = await serve(`${HOST}:0`, [...files, "--tls-key", keyFile]);
      const { port } = node;
      expect(await whyNot(`rfaas://${HOST}:${port}?key=${own.fingerprint}`)).toBeUndefined();
      await using other = await RecordingRelay.start(HOST!, { host: HOST!, port });
      expect(await whyNot(`rfaas://${HOST}:${other.port}?key=${own.fingerprint}`)).toContain(
        "something has passed the token on",
      );
    },
    LIMIT_MS,
  );

  test(
    "in clear the proof is for the address, and a false node cannot pass it on",
    async () => {
      await using node = await serve(`${HOST}:0`, ["--insecure"]);
      const { port } = node;
      expect(await whyNot(`${HOST}:${port}`, text, true)).toBeUndefined();
      await using falseNode = await RecordingRelay.start(HOST!, { host: HOST!, port });
      expect(await whyNot(`${HOST}:${falseNode.port}`, text, true)).toContain(
        "passed the token on",
      );
    },
    LIMIT_MS,
  );
});

describe("a manager", () => {
  let manager: RunningManager;
  const create = async (...args: string[]): Promise<string> =>
    (await rfaas(["token", "create", "--state", scratch.join("m/state"), ...args])).stdout.trim();
  const announce = (name: string, address: string, shown: string): object => ({
    ...{ t: "announce", protocol: MANAGER_PROTOCOL_VERSION, version: "0", name, instance: "false" },
    ...{ address, cores: 64, memoryBytes: 2 ** 36, fabrics: ["shm"], machine: "m" },
    ...{ token: shown, settling: false },
  });

  beforeAll(async () => {
    await create("--user", "root");
    manager = await RunningManager.start(scratch.join("m"), ["--http", "127.0.0.1:0"]);
    await until(() => manager.stderr.includes("http://"), "it serves HTTP");
  });
  afterAll(async () => await manager[Symbol.asyncDispose]());

  test(
    "that names a false node gives it nobody's token, with a key or without",
    async () => {
      await using node = await serve("127.0.0.1:0", [], scratch.join("m/state/token-key.pub"));
      const to = { host: "127.0.0.1", port: node.port };
      await using falseNode = await RecordingRelay.start("127.0.0.1", to);
      // As a tenant that has stolen the token of n1.
      const stolen = await create(
        ...["--user", "rack", "--scope", "node", "--node", "n1", "--bearer"],
      );
      using thief = await RawPeer.connect(manager.address);
      thief.send(announce("n1", `127.0.0.1:${falseNode.port}`, stolen));
      thief.send({
        ...{ t: "capacity", freeCores: 64, freeMemoryBytes: 2 ** 36, leases: 0, draining: false },
      });
      await until(() => thief.find("accepted") !== undefined, "the manager believes it");

      const held = await create("--user", "bob");
      const bearer = await create("--user", "eve", "--bearer");
      for (const shown of [held, bearer]) {
        const before = falseNode.connections.length;
        await using rf = await invoker({ manager: manager.address, token: shown });
        const asked = rf.allocate(GOOD, { memory: "1MiB", timeoutMs: 3_000 }).then(
          async (lease) => {
            await lease.release();
            return "granted";
          },
          (error: Error) => error.message,
        );
        const outcome = await asked;
        const said = falseNode.connections.slice(before).flatMap(saidIn);
        expect(said.length).toBeGreaterThan(0);
        const seen = said.map(({ token: one }) => one).filter((one) => typeof one === "string");
        if (shown === held) {
          expect(outcome).toContain("something has passed the token on");
          expect(new Set(seen)).toEqual(new Set([Credential.read(held).token]));
        } else expect(seen).toEqual([]);
      }
    },
    LIMIT_MS,
  );

  test(
    "takes a node's token for the node that it names, and for nothing else",
    async () => {
      const stolen = await create(
        ...["--user", "rack", "--scope", "node", "--node", "n7", "--bearer"],
      );
      const heard = async (message: object): Promise<unknown> => {
        using peer = await RawPeer.connect(manager.address);
        peer.send(message);
        await until(() => peer.heard.length > 0, "it is answered");
        return peer.heard[0]!["message"] ?? peer.heard[0]!["t"];
      };
      expect(await heard(announce("n8", "127.0.0.1:1", stolen))).toContain(
        "is that of the node n7, and not of the node n8",
      );
      expect(await heard(announce("n7", "127.0.0.1:1", stolen))).toBe("accepted");
      const version = { protocol: MANAGER_PROTOCOL_VERSION, version: "0" };
      expect(await heard({ t: "subscribe", ...version, token: stolen })).toContain(
        "not for client",
      );
      const document = await (await fetch(`${manager.url}/openapi.json`)).json();
      const { paths } = document as { paths: Record<string, Record<string, unknown>> };
      for (const [path, methods] of Object.entries(paths))
        for (const method of Object.keys(methods)) {
          const url = `${manager.url}${path.replace("{name}", "n7")}`;
          const headers = { authorization: `Bearer ${stolen}`, "content-type": "application/json" };
          const { status } = await fetch(url, { method: method.toUpperCase(), headers });
          expect([path, method, status]).toEqual([path, method, path === "/healthz" ? 200 : 403]);
        }
    },
    LIMIT_MS,
  );

  test(
    "knows the holder of a token over HTTP, and what was recorded on the way counts not again",
    async () => {
      const admin = await create("--user", "root", "--scope", "admin");
      const { port } = new URL(manager.url);
      const to = { host: "127.0.0.1", port: Number(port) };
      const list = (http: string) =>
        rfaas(["node", "ls", "--http", http, "--token", admin], { limitMs: LIMIT_MS });
      expect((await list(`http://localhost:${port}`)).exitCode).toBe(0);
      await using relay = await RecordingRelay.start("127.0.0.1", to);
      const passed = await list(`http://127.0.0.1:${relay.port}`);
      expect(passed.stderr).toContain("something has passed the token on");
      const all = relay.connections.map(({ sent }) => Buffer.concat(sent).toString()).join("");
      const header = (name: string): string =>
        new RegExp(`^${name}: (.*)\r$`, "im").exec(all)?.[1] ?? "";
      const headers = {
        authorization: header("authorization"),
        "rfaas-nonce": header("rfaas-nonce"),
        "rfaas-proof": header("rfaas-proof"),
      };
      expect(headers["rfaas-proof"]).not.toBe("");
      expect(all).not.toContain(keyOf(admin));
      const again = await fetch(`${manager.url}/v1/nodes`, { headers });
      expect([again.status, again.headers.get("www-authenticate")]).toEqual([
        401,
        expect.stringMatching(/^Rfaas nonce="[\w-]+"$/),
      ]);
    },
    LIMIT_MS,
  );
});
