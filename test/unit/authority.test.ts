/** The certificate authority of a cluster: made once, it issues to nodes that may join, and to no others. */
import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { chmodSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TokenRefused } from "../../src/base/errors.ts";
import { Authority } from "../../src/manager/enrolment/authority.ts";
import { JoinTokens } from "../../src/manager/enrolment/join-tokens.ts";
import { OwnCertificate } from "../../src/manager/enrolment/own-certificate.ts";
import { selfSigned, signingRequest, validityOf } from "../../src/trust/certificates.ts";
import { type Pin, fingerprintOf } from "../../src/trust/fingerprint.ts";
import { judge, nodeUri } from "../../src/trust/judge.ts";
import { TestClock } from "../support/clock.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

async function refusal(attempt: Promise<unknown>): Promise<TokenRefused> {
  const error = await attempt.then(
    () => new Error("was not refused"),
    (error: unknown) => error,
  );
  if (error instanceof TokenRefused) return error;
  throw error;
}

const wanted = (name: string, request: string, more: object = {}) => ({
  ...{ protocol: 1, version: "1", name, request, joinToken: null, certificate: null },
  ...more,
});

const der = (...pems: string[]) => pems.map((pem) => new X509Certificate(pem).raw);
const pinOf = (ca: string): Pin => ({ of: "ca", fingerprint: fingerprintOf(der(ca)[0]!) });

/** An authority, and a node that has joined. */
async function joined(folder: string, name = "n1") {
  const authority = await Authority.open(folder, { nodeToken: async (node) => `token of ${node}` });
  const { key, request } = await signingRequest(name);
  const joinToken = new JoinTokens(folder).create(HOUR, Date.now());
  const enrolled = await authority.enrol(wanted(name, request, { joinToken }));
  return { authority, key, request, joinToken, ...enrolled };
}

describe("the authority of a state directory", () => {
  test("is made on first use, its key for its owner alone, and kept", async () => {
    using scratch = new Scratch();
    const { fingerprint } = await Authority.open(scratch.path);
    expect((await Authority.open(scratch.path)).fingerprint).toBe(fingerprint);
    expect(pinOf(readFileSync(scratch.join("ca.pem"), "utf8")).fingerprint).toBe(fingerprint);
    expect(statSync(scratch.join("ca-key.pem")).mode & 0o777).toBe(0o600);
    expect(readFileSync(scratch.join("ca.pem"), "utf8")).not.toContain("PRIVATE");
    rmSync(scratch.join("ca.pem"));
    await Authority.open(scratch.path);
    expect(readdirSync(scratch.path)).toContain("ca.pem");
  });

  test("is the same for all processes that make it at once", async () => {
    using scratch = new Scratch();
    const path = join(import.meta.dir, "../../src/manager/enrolment/authority.ts");
    const code = `const { Authority } = await import(${JSON.stringify(path)});
      process.stdout.write((await Authority.open(${JSON.stringify(scratch.path)})).fingerprint);`;
    const children = Array.from({ length: 4 }, () =>
      Bun.spawn([process.argv0, "-e", code], { stdout: "pipe", stderr: "inherit" }),
    );
    const printed = await Promise.all(children.map((child) => child.stdout.text()));
    expect(new Set(printed)).toEqual(new Set([(await Authority.open(scratch.path)).fingerprint]));
  });

  test("is refused when others may read its key, or when it is none, without a word of it", async () => {
    using scratch = new Scratch();
    await Authority.open(scratch.path);
    const path = scratch.join("ca-key.pem");
    chmodSync(path, 0o640);
    await Authority.open(scratch.path).catch((error) =>
      expect(error.message).toMatch(/others may read .* chmod 600 /),
    );
    chmodSync(path, 0o600);
    const other = await selfSigned({ commonName: "x", uri: nodeUri("x"), validMs: DAY });
    const whole = readFileSync(path, "utf8");
    const [, certificate = ""] = whole.split(/(?=-----BEGIN CERT)/);
    const damaged = ["", "secret nonsense", certificate, whole.split("-----BEGIN CERT")[0]!];
    for (const text of [...damaged, other.key + certificate, other.key + other.chain]) {
      writeFileSync(path, text);
      const error = await Authority.open(scratch.path).then(
        () => new Error("was taken"),
        (error: Error) => error,
      );
      expect(error.message).toStartWith(`${path} does not hold a CA's key and its certificate; `);
      expect(error.message).not.toContain("nonsense");
    }
  });
});

describe("a node that shows a join token", () => {
  test("gets a token, and a certificate for its name that passes for no other node and no manager", async () => {
    using scratch = new Scratch();
    const { authority, certificate, ca, token } = await joined(scratch.path);
    const pin = pinOf(ca);
    expect<string>(pin.fingerprint).toBe(authority.fingerprint);
    expect(token).toBe("token of n1");
    const is = (role: "node" | "manager", name?: string) =>
      judge(der(certificate, ca), { role, name, host: "10.0.0.5", pin }).kind;
    expect(is("node", "n1")).toBe("trusted");
    expect(is("node")).toBe("trusted");
    for (const name of ["n2", "n", "n1.x", "N1"]) expect(is("node", name)).toBe("wrong");
    expect(is("manager")).toBe("wrong");
  });

  test("joins once with it, and may ask again with the same key", async () => {
    using scratch = new Scratch();
    const { authority, request, joinToken } = await joined(scratch.path);
    await authority.enrol(wanted("n1", request, { joinToken }));
    const other = await signingRequest("n2");
    const { reason } = await refusal(authority.enrol(wanted("n2", other.request, { joinToken })));
    expect(reason).toBe("used");
  });

  test("has not used it up by a request that is wrong", async () => {
    using scratch = new Scratch();
    const authority = await Authority.open(scratch.path);
    const joinToken = new JoinTokens(scratch.path).create(HOUR, Date.now());
    const { request } = await signingRequest("n1");
    const lines = request.split("\n");
    const altered = [...lines.slice(0, 2), lines[2]!.replace(/[A-Z]/, "0"), ...lines.slice(3)];
    for (const wrong of ["", "nonsense", altered.join("\n"), "a".repeat(8000)])
      expect((await refusal(authority.enrol(wanted("n1", wrong, { joinToken })))).reason).toBe(
        "malformed",
      );
    for (const name of ["", "a b", "../x", "rfaas:node:n1,URI:rfaas:manager", "x".repeat(129)])
      expect(
        (await refusal(authority.enrol(wanted(name, request, { joinToken })))).message,
      ).toContain("a certificate is for the name of a node");
    await authority.enrol(wanted("n1", request, { joinToken }));
  });
});

describe("a node that has a certificate", () => {
  test("gets none once another key has joined by its name", async () => {
    using scratch = new Scratch();
    const { authority, request, certificate } = await joined(scratch.path);
    await authority.enrol(wanted("n1", request, { certificate }));
    const anew = await signingRequest("n1");
    const joinToken = new JoinTokens(scratch.path).create(HOUR, Date.now(), "n1");
    await authority.enrol(wanted("n1", anew.request, { joinToken }));
    const { message } = await refusal(authority.enrol(wanted("n1", request, { certificate })));
    expect(message).toStartWith("a node n1 has joined before, with another key");
  });

  test("gets another one for its key and name without a join token", async () => {
    using scratch = new Scratch();
    const { authority, key, certificate, ca } = await joined(scratch.path);
    const { request } = await signingRequest("n1", key);
    const renewed = await authority.enrol(wanted("n1", request, { certificate }));
    expect(renewed.certificate).not.toBe(certificate);
    const expected = { role: "node", name: "n1", host: "h", pin: pinOf(ca) } as const;
    expect(judge(der(renewed.certificate, ca), expected).kind).toBe("trusted");
    expect(renewed.token).toBe("token of n1");
  });

  test("is refused with another name, another key, another cluster's certificate, or one that has expired", async () => {
    using scratch = new Scratch();
    using elsewhere = new Scratch();
    const { authority, key, certificate } = await joined(scratch.path);
    const { request } = await signingRequest("n1", key);
    const why = async (name: string, more: object, nowMs?: number): Promise<string> =>
      (await refusal(authority.enrol(wanted(name, request, more), nowMs))).message;
    expect(await why("n2", { certificate })).toContain(
      "its certificate is for another name; let it join",
    );
    const stranger = await signingRequest("n1");
    const stolen = authority.enrol(wanted("n1", stranger.request, { certificate }));
    expect((await refusal(stolen)).message).toContain("its certificate is for another key");
    const foreign = await joined(elsewhere.path);
    expect(await why("n1", { certificate: foreign.certificate })).toContain("of another cluster");
    const own = await selfSigned({ commonName: "n1", uri: nodeUri("n1"), validMs: DAY });
    expect(await why("n1", { certificate: own.chain })).toContain("of another cluster");
    expect(await why("n1", { certificate: "nonsense" })).toContain("cannot be read");
    expect(await why("n1", { certificate }, Date.now() + 91 * DAY)).toContain("has expired on");
    expect(await why("n1", {})).toBe(
      "the node n1 has not joined this cluster; let it join with a token that rfaas node join-token prints on the manager's machine, by --join",
    );
  });
});

describe("the manager's own certificate", () => {
  test("passes for the manager's and for no node's, and has the names of this machine", async () => {
    using scratch = new Scratch();
    const authority = await Authority.open(scratch.path);
    const { chain } = await authority.managerCredentials(["localhost", "10.0.0.1", "::1"]);
    const ca = readFileSync(scratch.join("ca.pem"), "utf8");
    const is = (role: "node" | "manager") =>
      judge(der(chain, ca), { role, host: "10.0.0.1", pin: pinOf(ca) }).kind;
    expect([is("manager"), is("node")]).toEqual(["trusted", "wrong"]);
    const certificate = new X509Certificate(chain);
    expect(certificate.checkHost("localhost")).toBe("localhost");
    expect(certificate.checkIP("10.0.0.1")).toBe("10.0.0.1");
    expect(certificate.checkIP("10.0.0.2")).toBeUndefined();
  });

  test("is for the same key in each, also when the manager is started anew", async () => {
    using scratch = new Scratch();
    const keys = await Promise.all(
      [0, 0, 0].map(async () => {
        const authority = await Authority.open(scratch.path);
        return new X509Certificate((await authority.managerCredentials([])).chain).publicKey;
      }),
    );
    for (const key of keys) expect(key.equals(keys[0]!)).toBe(true);
    expect(statSync(scratch.join("manager-key.pem")).mode & 0o777).toBe(0o600);
  });

  test("is replaced when two thirds of its life are over", async () => {
    using scratch = new Scratch();
    const clock = new TestClock();
    const authority = await Authority.open(scratch.path, { certificateTtlMs: 30 * DAY });
    const log: string[] = [];
    const listen = ["127.0.0.1"];
    using own = await OwnCertificate.issuedBy(authority, {
      ...{ listen, clock },
      log: (_, message) => log.push(message),
    });
    const first = own.context;
    clock.pass(19 * DAY);
    expect(own.context).toBe(first);
    clock.pass(2 * DAY);
    await until(() => own.context !== first, "there is another certificate");
    expect(log).toEqual(["the manager has another certificate"]);
  });

  test("lives as long as is asked for", async () => {
    using scratch = new Scratch();
    const authority = await Authority.open(scratch.path, { certificateTtlMs: HOUR });
    const nowMs = 1_800_000_000_000;
    const { chain } = await authority.managerCredentials([], nowMs);
    expect(validityOf(chain).untilMs).toBe(nowMs + HOUR);
  });
});
