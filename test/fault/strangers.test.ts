/** Other users, from whatever address and port, are not taken for the node's own. Needs root, which can be another user. */
import { afterAll, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { type TcpEnd, peerUid, peerUidAt } from "../../ffi/system.ts";
import { isOwnUser, isOwnUserAt } from "../../src/control/local-peer.ts";
import { ServedNode } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { Stranger, type StrangerOptions, hello } from "../support/stranger.ts";
import { until } from "../support/until.ts";

const NOBODY = 65_534;
const FORBIDDEN = "refused RFAAS_FORBIDDEN";
const scratch = new Scratch();
const stranger = new Stranger(scratch);
afterAll(() => scratch[Symbol.dispose]());

const asRoot = process.getuid?.() === 0;
if (!asRoot) console.warn("skipped, needs root: other users at a node's port");
const rootOnly = test.skipIf(!asRoot);
const canMakeNetworks =
  asRoot &&
  Bun.which("ip") !== null &&
  Bun.spawnSync(["unshare", "--net", "ip", "link", "set", "lo", "up"]).success;
if (!canMakeNetworks) console.warn("skipped, needs root and ip: other network namespaces");
const withNetworks = test.skipIf(!canMakeNetworks);
const ownUid = process.getuid!();

describe("a node's TCP port", () => {
  test("lets its own user in over loopback, whatever its address there", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const { port } = node;
    for (const from of ["127.0.0.1", "127.0.0.2"])
      expect(stranger.greet({ uid: ownUid, port, from })).toBe("welcome");
    await using both = await ServedNode.start("[::]:0");
    const ways = [
      { address: "::1", from: "::1" },
      { address: "127.0.0.1", from: "127.0.0.3" },
      { address: "::ffff:127.0.0.1", from: "::ffff:127.0.0.1" },
      { address: "127.0.0.9", from: "127.0.0.9" },
    ];
    for (const way of ways)
      expect([way, stranger.greet({ uid: ownUid, port: both.port, ...way })]).toEqual([
        way,
        "welcome",
      ]);
  });

  rootOnly("refuses another user, over IPv4 and IPv6", async () => {
    await using node = await ServedNode.start("[::]:0");
    const { port } = node;
    const ways = [
      { address: "127.0.0.1", from: "127.0.0.1" },
      { address: "::1", from: "::1" },
      { address: "::ffff:127.0.0.1", from: "::ffff:127.0.0.1" },
    ];
    for (const way of ways)
      expect([way, stranger.greet({ uid: NOBODY, port, ...way })]).toEqual([way, FORBIDDEN]);
  });

  rootOnly("refuses another user from a port whose last connection is over", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const { port } = node;
    for (const uid of [NOBODY, ownUid]) {
      // Who closes first leaves a row in the kernel's table, which belongs to user 0.
      const left = stranger.connect({ uid, port, mode: "leave" }, new Uint8Array());
      const fromPort = Number(left.toString());
      for (const from of ["127.0.0.2", "127.0.0.1"])
        expect([from, stranger.greet({ uid: NOBODY, port, from, fromPort })]).toEqual([
          from,
          FORBIDDEN,
        ]);
    }
  });

  rootOnly("refuses another user from a port where its own user is connected", async () => {
    await using node = await ServedNode.start("[::]:0");
    const { port } = node;
    using own = await RawPeer.connect(`127.0.0.1:${port}`);
    own.write(hello());
    await until(() => own.find("welcome") !== undefined, "the node's user is let in");
    const fromPort = own.localPort;
    const ways = [
      { address: "127.0.0.1", from: "127.0.0.2" },
      { address: "127.0.0.2", from: "127.0.0.3" },
      { address: "::1", from: "::1" },
    ];
    for (const way of ways)
      expect([way, stranger.greet({ uid: NOBODY, port, ...way, fromPort })]).toEqual([
        way,
        FORBIDDEN,
      ]);
  });

  rootOnly("refuses another user from a port where root listens", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const listening = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = node;
    expect(stranger.greet({ uid: NOBODY, port, from: "127.0.0.2", fromPort: listening.port })).toBe(
      FORBIDDEN,
    );
    listening.stop(true);
  });

  rootOnly("refuses another user who is root in a user namespace of his own", async () => {
    await using node = await ServedNode.start("127.0.0.1:0");
    const { port } = node;
    const become = ["setpriv", "--reuid", String(NOBODY), "--regid", String(NOBODY)];
    const within = [...become, "--clear-groups", "unshare", "--user", "--map-root-user"];
    expect(stranger.greet({ uid: 0, port, within })).toBe(FORBIDDEN);
  });

  rootOnly("refuses another user where tokens are asked for, too, and asks for one", async () => {
    const path = scratch.file("key.pub", new SigningCluster().publicKey);
    await using node = await ServedNode.start("127.0.0.1:0", ["--token-key", path]);
    const { port } = node;
    expect(stranger.greet({ uid: ownUid, port })).toBe("welcome");
    const left = stranger.connect({ uid: NOBODY, port, mode: "leave" }, new Uint8Array());
    const fromPort = Number(left.toString());
    expect(stranger.greet({ uid: NOBODY, port, from: "127.0.0.2", fromPort })).toBe(FORBIDDEN);
  });

  withNetworks("refuses everybody who does not come over loopback, root too", async () => {
    const name = `rfaas-test-${process.pid}`;
    const other = `${name}-b`;
    try {
      sh(`ip netns add ${name}; ip netns add ${other}
        ip -n ${name} link add va type veth peer name vb netns ${other}
        for ns in ${name} ${other}; do
          ip -n $ns link set lo up
          ip netns exec $ns sh -c 'for f in /proc/sys/net/ipv4/conf/*; do echo 1 > $f/route_localnet; echo 0 > $f/rp_filter; done'
        done
        ip -n ${name} addr add 10.99.7.1/24 dev va; ip -n ${name} link set va up
        ip -n ${other} addr add 10.99.7.2/24 dev vb; ip -n ${other} link set vb up
        for ns in ${name} ${other}; do
          ip -n $ns route del table local local 127.0.0.0/8 dev lo
          ip -n $ns route add table local local 127.0.0.0/16 dev lo
        done
        ip -n ${name} addr add 127.7.0.1/32 dev va; ip -n ${name} route add 127.7.0.2 dev va src 127.7.0.1
        ip -n ${other} addr add 127.7.0.2/32 dev vb; ip -n ${other} route add 127.7.0.1 dev vb src 127.7.0.2`);
      const here = ["ip", "netns", "exec", name];
      const there = ["ip", "netns", "exec", other];
      await using safe = await ServedNode.start("0.0.0.0:0", [], here);
      const wary = { uid: 0, port: safe.port, address: "10.99.7.1" };
      for (const [from, within] of [
        ["10.99.7.1", here],
        ["10.99.7.2", there],
      ] as const)
        expect(stranger.greet({ ...wary, from, within })).toBe("refused RFAAS_TLS_REQUIRED");
      // Who may lease does not follow from what may be in clear.
      await using node = await ServedNode.start("0.0.0.0:0", ["--insecure"], here);
      const { port } = node;
      const root = { uid: 0, port };
      expect(stranger.greet({ ...root, within: here })).toBe("welcome");
      // The machine's own address, but not loopback.
      const own = { address: "10.99.7.1", from: "10.99.7.1" };
      expect(stranger.greet({ ...root, ...own, within: here })).toBe(FORBIDDEN);
      const far = { address: "10.99.7.1", from: "10.99.7.2" };
      expect(stranger.greet({ ...root, ...far, within: there })).toBe(FORBIDDEN);
      // An address of loopback that leads to another network namespace.
      const alike = { address: "127.7.0.1", from: "127.7.0.2" };
      expect(stranger.greet({ ...root, ...alike, within: there })).toBe(FORBIDDEN);
      // From a port whose number has a row that is of user 0.
      const leaving = { ...root, within: here, mode: "leave" as const };
      const fromPort = Number(stranger.connect(leaving, new Uint8Array()).toString());
      expect(stranger.greet({ ...root, ...far, fromPort, within: there })).toBe(FORBIDDEN);
      expect(stranger.greet({ ...root, ...alike, fromPort, within: there })).toBe(FORBIDDEN);
    } finally {
      Bun.spawnSync(["ip", "netns", "del", name]);
      Bun.spawnSync(["ip", "netns", "del", other]);
    }
  });
});

describe("a manager without a key", () => {
  const change = (): Uint8Array => {
    const body = '{"address":"10.0.0.1:1"}';
    const head = `POST /v1/nodes/n1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}`;
    return new TextEncoder().encode(`${head}\r\n\r\n${body}`);
  };

  rootOnly("takes changes over HTTP from its own user alone", async () => {
    await using manager = await RunningManager.start(scratch.join("m"), ["--http", "127.0.0.1:0"]);
    const port = Number(new URL(manager.url).port);
    const status = (options: Partial<StrangerOptions>): string =>
      stranger
        .connect({ uid: NOBODY, port, ...options }, change())
        .toString()
        .split(" ")[1]!;
    const own = await fetch(`${manager.url}/v1/nodes/n2`, {
      ...{ method: "POST", body: '{"address":"10.0.0.1:1"}' },
    });
    expect(own.status).toBe(201);
    expect(status({})).toBe("403");
    const left = stranger.connect({ uid: NOBODY, port, mode: "leave" }, new Uint8Array());
    expect(status({ from: "127.0.0.2", fromPort: Number(left.toString()) })).toBe("403");
    expect(status({ uid: ownUid })).toBe("201");
    expect(status({ uid: ownUid, from: "127.0.0.2" })).toBe("200");
  });
});

describe("the user at the other end of a connection", () => {
  test("is nobody's once it has closed or reset it, even if somebody else connects from there", async () => {
    const seen: (number | undefined)[] = [];
    using listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data() {},
        open: (peer) => void seen.push(peerUid((peer as unknown as { fd: number }).fd)),
      },
    });
    const { port } = listener;
    // Nothing is accepted before these have come and gone: the event loop stands still meanwhile.
    const fromPort = await freePort();
    stranger.connect({ uid: ownUid, port, fromPort, mode: "reset" }, hello());
    stranger.connect({ uid: ownUid, port, mode: "leave" }, hello());
    const next = Bun.connect({
      ...{ hostname: "127.0.0.1", port, localAddress: "127.0.0.1", localPort: fromPort },
      socket: { data() {} },
    });
    await until(() => seen.length === 3, "all three have come");
    expect(seen.slice(0, 2)).toEqual([undefined, undefined]);
    (await next).end();
  });

  test("is known on a Unix socket", async () => {
    const found = Promise.withResolvers<boolean>();
    using listener = Bun.listen({
      unix: scratch.join("peer.sock"),
      socket: {
        data() {},
        open: (peer) => found.resolve(isOwnUser((peer as unknown as { fd: number }).fd)),
      },
    });
    void listener;
    const peer = await Bun.connect({ unix: scratch.join("peer.sock"), socket: { data() {} } });
    expect(await found.promise).toBe(true);
    peer.end();
  });

  test("is unknown where there is no connection", () => {
    expect(peerUid(-1)).toBeUndefined();
    expect(peerUid(0)).toBeUndefined();
    const end = { address: "127.0.0.1", port: 9 };
    expect(peerUidAt(end, { ...end, port: 10 })).toBeUndefined();
    expect(peerUidAt({ address: "localhost", port: 9 }, end)).toBeUndefined();
    expect(peerUidAt({ address: "::1", port: 9 }, end)).toBeUndefined();
  });

  test("is not told of whoever listens there", () => {
    using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const end = { address: "127.0.0.1", port: listener.port };
    expect(peerUidAt(end, { ...end, port: 9 })).toBeUndefined();
    expect(peerUidAt({ ...end, port: 9 }, end)).toBeUndefined();
  });

  test("is known by the two ends, too, in any of their forms", async () => {
    using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    const peer = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
    const own = { address: "127.0.0.1", port };
    const there = { address: "127.0.0.1", port: peer.localPort };
    await until(() => isOwnUserAt(there, own), "it is taken");
    const mapped = (end: TcpEnd): TcpEnd => ({ ...end, address: `::ffff:${end.address}` });
    expect(isOwnUserAt(mapped(there), mapped(own))).toBe(true);
    expect(isOwnUserAt({ ...there, address: "127.0.0.2" }, own)).toBe(false);
    peer.end();
  });
});

function sh(script: string): void {
  const done = Bun.spawnSync(["sh", "-ec", script], { stdout: "pipe", stderr: "pipe" });
  if (!done.success) throw new Error(done.stderr.toString());
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
