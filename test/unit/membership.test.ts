/** A node's membership of a cluster: what it keeps, takes up again, and renews, at a manager of this process. */
import { afterEach, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NetworkAddress } from "../../src/control/address.ts";
import { ProtocolError, TokenRefused, UsageError } from "../../src/base/errors.ts";
import { MemberFiles } from "../../src/executor/membership/member-files.ts";
import { Membership } from "../../src/executor/membership/membership.ts";
import { JoinTokens } from "../../src/manager/enrolment/join-tokens.ts";
import { Security } from "../../src/manager/enrolment/security.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { ManagerServer } from "../../src/manager/server.ts";
import { NoTokens } from "../../src/manager/tokens/keys.ts";
import { FileCredentials } from "../../src/trust/credentials.ts";
import { TestClock } from "../support/clock.ts";
import { ownAddress } from "../support/own-address.ts";
import { Scratch } from "../support/scratch.ts";
import { nodeCredentials } from "../support/tls.ts";
import { until } from "../support/until.ts";

const OTHER = ownAddress();
if (OTHER === undefined) console.warn("skipped in part: this machine has no address but loopback");
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const stack: AsyncDisposableStack[] = [];
const configHome = process.env["XDG_CONFIG_HOME"];
afterEach(async () => {
  for (const one of stack.splice(0)) await one.disposeAsync();
  if (configHome === undefined) delete process.env["XDG_CONFIG_HOME"];
  else process.env["XDG_CONFIG_HOME"] = configHome;
});

/** A manager over TLS, and a folder for a node. */
async function cluster(host = "127.0.0.1") {
  const owned = new AsyncDisposableStack();
  stack.push(owned);
  const scratch = owned.use(new Scratch());
  // Keys of managers that are met are this test's.
  process.env["XDG_CONFIG_HOME"] = scratch.join("config");
  const state = scratch.join("manager");
  const listen: NetworkAddress = { kind: "tcp", host, port: 0 };
  const quiet = { log: () => {} };
  const security = await Security.open({ stateDir: state, listen: [listen], ...quiet });
  owned.use(security);
  const { authority, accept } = security;
  const server = new ManagerServer(`${host}:0`, {
    ...{ registry: new Registry(), tokens: new NoTokens(), ledger: { record() {} } },
    ...{ authority, accept, ...quiet },
  });
  owned.defer(() => server.close());
  const port = Number(/:(\d+)$/.exec(server.address)![1]);
  const manager: NetworkAddress = { ...listen, port, secure: { pin: security.pin } };
  const log: string[] = [];
  const folder = scratch.join("node");
  const clock = new TestClock();
  const open = async (joinToken?: string, more: object = {}): Promise<Membership> => {
    const options = { managers: [manager], name: "n1", joinToken, folder, clock };
    const membership = await Membership.open({
      ...options,
      log: (level, message) => log.push(`${level}: ${message}`),
      ...more,
    });
    return owned.use(membership);
  };
  const joinToken = () => new JoinTokens(state).create(HOUR, Date.now());
  return { manager, folder, log, clock, open, joinToken, server };
}

const certificateIn = (folder: string) =>
  new X509Certificate(
    readFileSync(join(folder, "tls.pem"), "utf8").split(/(?=-----BEGIN CERT)/)[1]!,
  );

describe("a membership", () => {
  test("is kept for its owner alone, and taken up without a token", async () => {
    const { open, joinToken, folder, log } = await cluster();
    const first = await open(joinToken());
    expect(log).toEqual([
      expect.stringMatching(/^info: this node has joined the cluster .* as n1$/),
    ]);
    for (const file of ["tls.pem", "membership.json"])
      expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    const again = await open();
    expect(again.managers).toEqual(first.managers);
    expect(log.length).toBe(1);
    // What the listener reads is whole.
    const served = new FileCredentials(again.tls, { warn: () => {} });
    expect(served.fingerprint).toStartWith("sha256:");
  });

  test("needs no token that is used, nor one that says whom to trust again", async () => {
    const { open, joinToken, manager } = await cluster();
    const token = joinToken();
    await open(token);
    const bare = { ...manager, secure: {} };
    const again = await open(token, { managers: [bare] });
    expect(again.managers).toEqual([manager]);
  });

  test("is asked for in words where there is none", async () => {
    const { open } = await cluster();
    const error = await open().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toMatch(
      /^this node has not joined the cluster of the manager at 127\.0\.0\.1:\d+ \(it has no certificate\); type on the manager's machine: rfaas node join-token/,
    );
  });

  test("is none of another manager's cluster, nor one of another authority, nor one that has expired", async () => {
    const { open, joinToken, manager } = await cluster();
    await open(joinToken());
    const why = async (more: object): Promise<string> =>
      ((await open(undefined, more).catch((thrown: unknown) => thrown)) as Error).message;
    expect(await why({ managers: [{ ...manager, port: 1 }] })).toContain(
      "(it has one of the cluster of",
    );
    const pin = { of: "ca", fingerprint: `sha256:${"0".repeat(64)}` };
    expect(await why({ managers: [{ ...manager, secure: { pin } }] })).toContain(
      "(it has joined when",
    );
    const later = Object.assign(new TestClock(), { wallMs: () => Date.now() + 91 * DAY });
    expect(await why({ clock: later })).toContain("(its certificate has expired at ");
  });

  test("keeps the node's key when it joins anew", async () => {
    const { open, joinToken, folder } = await cluster();
    await open(joinToken());
    const key = certificateIn(folder).publicKey;
    writeFileSync(join(folder, "membership.json"), "nonsense", { mode: 0o600 });
    await open(joinToken());
    expect(certificateIn(folder).publicKey.equals(key)).toBe(true);
  });

  test("is begun anew where its key or certificate is damaged, which is said in words", async () => {
    const { open, joinToken, folder } = await cluster();
    await open(joinToken());
    const path = join(folder, "tls.pem");
    const whole = readFileSync(path, "utf8");
    const noKey = whole.replace(/(?<=-----BEGIN PRIVATE KEY-----)[^-]*/s, "\nAAAA\n");
    for (const damaged of [
      "",
      "nonsense",
      whole.replace(/(?<=CERTIFICATE-----)[^-]*/s, ""),
      noKey,
    ]) {
      writeFileSync(path, damaged);
      const error = (await open().catch((thrown: unknown) => thrown)) as Error;
      expect(error).toBeInstanceOf(UsageError);
      expect(error.message).toContain("(its key or its certificate is damaged); type on");
    }
    // Its name is the lost key's.
    expect(await open(joinToken()).catch((thrown: unknown) => thrown)).toBeInstanceOf(TokenRefused);
    writeFileSync(path, whole);
    await open();
  });

  test("is left as it is where what was issued is of no use", async () => {
    const { open, joinToken, folder, manager } = await cluster();
    await open(joinToken());
    const path = join(folder, "tls.pem");
    const whole = readFileSync(path, "utf8");
    const files = new MemberFiles(folder);
    const { chain } = await nodeCredentials();
    const more = { t: "enrolled", key: files.key()!, ca: chain, token: null } as const;
    for (const certificate of ["nonsense", chain])
      expect(() => files.keep(manager, { ...more, certificate }, 0)).toThrow(ProtocolError);
    expect(readFileSync(path, "utf8")).toBe(whole);
  });

  test("is taken up without a token also where the manager was not pinned, on the same machine", async () => {
    const { open, joinToken, manager } = await cluster();
    const bare = { ...manager, secure: {} };
    await open(joinToken(), { managers: [bare] });
    expect((await open(undefined, { managers: [bare] })).managers).toEqual([bare]);
    expect((await open()).managers).toEqual([manager]);
  });

  test("is not begun with a token that the manager refuses", async () => {
    const { open, joinToken, folder } = await cluster();
    await open(joinToken());
    const token = joinToken();
    await open(token, { name: "n2", folder: `${folder}-2` });
    const refused = await open(token, { name: "n3", folder: `${folder}-3` }).catch(
      (thrown: unknown) => thrown,
    );
    expect(refused).toBeInstanceOf(TokenRefused);
    expect((refused as Error).message).toContain("was used by the node n2");
  });

  test("does not use a key that others may read", async () => {
    const { open, joinToken, folder } = await cluster();
    mkdirSync(folder);
    await open(joinToken());
    chmodSync(join(folder, "tls.pem"), 0o644);
    const error = (await open().catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toMatch(/others may read or write the key .*chmod 600/);
  });

  test.skipIf(OTHER === undefined)("tells a token to no manager that is not pinned", async () => {
    const { open, joinToken, manager } = await cluster(OTHER);
    const token = joinToken();
    const error = await open(token, { managers: [{ ...manager, secure: {} }] }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toContain("so the join token was not sent");
    // It was not used.
    await open(token);
  });
});

describe("a certificate", () => {
  test("is renewed when two thirds of its life are over, and not before", async () => {
    const { open, joinToken, folder, log } = await cluster();
    let offsetMs = 0;
    const clock = Object.assign(new TestClock(), { wallMs: () => Date.now() + offsetMs });
    await open(joinToken(), { clock });
    const first = certificateIn(folder).serialNumber;
    offsetMs = 59 * DAY;
    clock.pass(60_000);
    expect(certificateIn(folder).serialNumber).toBe(first);
    offsetMs = 61 * DAY;
    clock.pass(60_000);
    await until(() => certificateIn(folder).serialNumber !== first, "there is another one");
    await until(() => log.length === 2, "it is told");
    expect(log[1]).toContain("this node has another certificate, good until");
  });

  test("that cannot be renewed is told once, and tried again", async () => {
    const { open, joinToken, log, server } = await cluster();
    let offsetMs = 0;
    const clock = Object.assign(new TestClock(), { wallMs: () => Date.now() + offsetMs });
    await open(joinToken(), { clock });
    server.close();
    offsetMs = 61 * DAY;
    for (let look = 0; look < 3; look++) {
      clock.pass(60_000);
      await until(() => log.length === 2, "it is told");
    }
    expect(log[1]).toMatch(
      /^warn: the node's certificate, .* could not be renewed: no manager answers at/,
    );
    expect(log.length).toBe(2);
  });
});
