/** A manager with a certificate of its site's, one that was told to be insecure, and what comes to a secure one's ports besides. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { ownAddress } from "../support/own-address.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { invoker } from "../../src/index.ts";
import { MANAGER_PROTOCOL_VERSION } from "../../src/protocol/manager-messages.ts";
import {
  type Credentials,
  certificateAuthority,
  issue,
  signingRequest,
} from "../../src/trust/certificates.ts";
import { fingerprintOf } from "../../src/trust/fingerprint.ts";

const LIMIT_MS = 60_000;
const DAY_MS = 86_400_000;
const HOST = ownAddress();
if (HOST === undefined) console.warn("skipped: this machine has no address but loopback");
const secure = describe.skipIf(HOST === undefined);

const SUBSCRIBE = { t: "subscribe", protocol: MANAGER_PROTOCOL_VERSION, version: "1" };

let scratch: Scratch;
const before = process.env["XDG_CONFIG_HOME"];
beforeAll(() => {
  scratch = new Scratch();
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  process.env["XDG_CONFIG_HOME"] = scratch.join("config");
});
afterAll(() => {
  if (before === undefined) delete process.env["XDG_CONFIG_HOME"];
  else process.env["XDG_CONFIG_HOME"] = before;
  scratch[Symbol.dispose]();
});

/** Another certificate of the site's CA, put in the place of the one before, as a tool of the site's does. */
async function renewed(ca: Credentials, path: string, hosts: string[]): Promise<string> {
  const { key, request } = await signingRequest("a server of the site");
  const subject = { commonName: "a server", uri: "https://site.example", hosts, validMs: DAY_MS };
  const chain = await issue(ca, request, subject);
  const text = `${key}\n${chain}`;
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
  return new X509Certificate(chain).serialNumber;
}

/** The serial number of what a port shows. */
async function shownAt(place: string): Promise<string> {
  const { hostname, port } = new URL(`https://${place}`);
  const socket = connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false });
  const shown = Promise.withResolvers<string>();
  socket.on("secureConnect", () => shown.resolve(socket.getPeerCertificate().serialNumber));
  socket.on("error", shown.reject);
  try {
    return await shown.promise;
  } finally {
    socket.destroy();
  }
}

secure("a manager with a certificate of its site's", () => {
  test(
    "is known by the site's CA and its own host, and uses another certificate once it is there",
    async () => {
      const ca = await certificateAuthority({ commonName: "CA of a site", validMs: DAY_MS });
      const file = scratch.join("site.pem");
      const first = await renewed(ca, file, [HOST!]);
      const own = ["--tls-cert", file, "--tls-key", file, "--http", `${HOST}:0`];
      await using manager = await RunningManager.start(scratch.join("m1"), own, HOST);
      await until(() => manager.stderr.includes("add a node"), "it tells its CA");
      const pin = fingerprintOf(new X509Certificate(ca.chain).raw);
      expect(manager.ca).toBe(pin);
      expect(await shownAt(manager.address)).toBe(first);

      const join = await rfaas(["node", "join-token", "--json", "--state", manager.state]);
      const { manager: address, joinToken } = JSON.parse(join.stdout);
      expect(address).toBe(manager.secureAddress);
      const args = ["--manager", address, "--join", joinToken, "--name", "n1", "--cores", "1"];
      const state = ["--state", scratch.join("n1"), "--prewarm", "0", "--allow-remote"];
      await using node = await ServedNode.start(`${HOST}:0`, [...args, ...state]);
      await until(() => node.stderr.includes("knows this node"), "it is accepted");
      // Clients learn from the manager of whom the nodes' certificates are.
      await using rf = await invoker({ manager: address });
      await using lease = await rf.allocate("rfaas:echo");
      expect(lease.workers).toBe(1);

      const second = await renewed(ca, file, [HOST!]);
      const isNew = async () => (await shownAt(manager.address)) === second;
      await until(isNew, "the port shows the new one");
      await until(async () => (await shownAt(new URL(manager.url).host)) === second, "HTTP, too");
      writeFileSync(file, "nonsense", { mode: 0o600 });
      const complains = async () =>
        (await isNew()) && manager.stderr.includes("the replaced certificate is not used");
      await until(complains, "it keeps the one before, and says so");

      await renewed(ca, file, ["other.example"]);
      await until(async () => !(await isNew()), "the port shows another");
      const env = { RFAAS_CA: pin };
      const other = await rfaas(["ps", "--manager", manager.address], { env });
      expect(other.stderr).toContain(`the certificate "CN=a server" is not for ${HOST}`);
    },
    2 * LIMIT_MS,
  );

  test("has both files, and they belong together", async () => {
    const ca = await certificateAuthority({ commonName: "CA of a site", validMs: DAY_MS });
    await renewed(ca, scratch.join("a.pem"), [HOST!]);
    await renewed(ca, scratch.join("b.pem"), [HOST!]);
    const started = async (...own: string[]) => {
      const state = ["--state", scratch.join("m2")];
      return await rfaas(["manager", "--listen", `${HOST}:0`, ...state, ...own]);
    };
    const alone = await started("--tls-cert", scratch.join("a.pem"));
    expect(alone.stderr).toContain("--tls-cert and --tls-key belong together");
    const files = ["--tls-cert", scratch.join("a.pem"), "--tls-key", scratch.join("b.pem")];
    const mixed = await started(...files);
    expect(mixed.stderr).toContain("is not that of the certificate in");
    expect([alone.exitCode, mixed.exitCode]).toEqual([2, 2]);
  });
});

secure("a manager that was told to be insecure", () => {
  test(
    "says loudly what that means, makes no authority, and refuses tokens that come in clear",
    async () => {
      await using manager = await RunningManager.start(
        scratch.join("m3"),
        ["--insecure", "--http", `${HOST}:0`],
        HOST,
      );
      await until(() => manager.stderr.includes("there is no key"), "it has said all");
      expect(manager.stderr).toMatch(/warn.*--insecure: what other machines say to this manager/i);
      expect(existsSync(`${manager.state}/ca-key.pem`)).toBe(false);
      const common = ["--insecure", "--state", scratch.join("n3"), "--prewarm", "0"];
      const cluster = ["--manager", manager.address, "--name", "n1", "--cores", "1"];
      await using node = await ServedNode.start(`${HOST}:0`, [
        ...common,
        ...cluster,
        "--allow-remote",
      ]);
      await until(() => node.stderr.includes("knows this node"), "it is accepted");
      await using rf = await invoker({ manager: manager.address, insecure: true });
      await using lease = await rf.allocate("rfaas:echo");
      expect(lease.workers).toBe(1);

      using peer = await RawPeer.connect(manager.address);
      peer.send({ ...SUBSCRIBE, token: "a secret" });
      await until(() => peer.heard.length > 0, "it is answered");
      expect(peer.heard[0]).toMatchObject({ t: "refused", code: "RFAAS_TOKEN" });
      const headers = { authorization: "Bearer a.secret.token" };
      const asked = await fetch(`${manager.url}/v1/nodes`, { headers });
      expect(asked.status).toBe(401);
      expect(await asked.text()).toContain("a token came in clear from another machine");
      expect((await fetch(`${manager.url}/v1/nodes`)).status).toBe(200);
      expect(manager.stderr).not.toContain("secret");
    },
    LIMIT_MS,
  );
});

secure("what comes to the ports of a secure manager and is no TLS", () => {
  test(
    "ends, and keeps it from nothing",
    async () => {
      const args = ["--http", `${HOST}:0`];
      await using manager = await RunningManager.start(scratch.join("m4"), args, HOST);
      await until(() => manager.stderr.includes("add a node"), "it tells its CA");
      const ports = [manager.address, new URL(manager.url).host].map((place) =>
        Number(/:(\d+)$/.exec(place)![1]),
      );
      const record = (type: number, ...bytes: number[]) => Buffer.from([type, 3, 1, ...bytes]);
      const garbage = [
        Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        Buffer.from("SSH-2.0-OpenSSH_9.2\r\n"),
        record(0x16, 0, 5, 1, 2, 3, 4, 5),
        record(0x16, 0x40, 1, ...Array.from({ length: 100_000 }, () => 0xee)),
        record(0x15, 0, 2, 2, 40),
        Buffer.alloc(200_000, 0xff),
      ];
      for (const port of ports)
        for (const bytes of garbage) {
          const socket = connect({ host: HOST!, port });
          await over(socket, () => socket.write(bytes));
        }
      for (const port of ports) {
        const old = connectTls({ host: HOST!, port, maxVersion: "TLSv1.2" });
        await over(old, () => {});
      }
      const { exitCode } = await rfaas(["ps", "--manager", manager.secureAddress]);
      expect(exitCode).toBe(0);
      const ca = readFileSync(`${manager.state}/ca.pem`, "utf8");
      expect((await fetch(`${manager.url}/v1/nodes`, { tls: { ca } })).status).toBe(200);
      expect(manager.stderr).not.toMatch(/at .*\.ts:\d+/);
    },
    LIMIT_MS,
  );
});

/** Resolves when the other side has ended the connection, or reset it. */
async function over(socket: Socket, opened: () => void): Promise<void> {
  const closed = Promise.withResolvers<void>();
  socket.on("connect", opened);
  socket.on("data", () => {});
  socket.on("error", () => {});
  socket.on("close", () => closed.resolve());
  await closed.promise;
}
