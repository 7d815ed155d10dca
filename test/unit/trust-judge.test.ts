/** Who is taken for whom: chains as a real library makes them, each with one thing wrong. */
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { beforeAll, describe, expect, spyOn, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import {
  type Credentials,
  certificateAuthority,
  issue,
  selfSigned,
  signingRequest,
  validityOf,
} from "../../src/trust/certificates.ts";
import { type Fingerprint, fingerprintOf } from "../../src/trust/fingerprint.ts";
import { type Expectation, MANAGER_URI, judge, keyOf, nodeUri } from "../../src/trust/judge.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const HOST = "node1.example";
const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** The certificates of a PEM, in DER. */
function ders(pem: string): Uint8Array[] {
  const parts = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return parts.map((part) => new X509Certificate(part).raw);
}

let ca: Credentials;
let otherCa: Credentials;
let caPin: Fingerprint;

beforeAll(async () => {
  // Both have one name, so that nothing but the signature tells them apart.
  ca = await certificateAuthority({ commonName: "rfaas CA", validMs: 100 * DAY_MS });
  otherCa = await certificateAuthority({ commonName: "rfaas CA", validMs: 100 * DAY_MS });
  caPin = fingerprintOf(ders(ca.chain)[0]!);
});

interface Made {
  key: string;
  chain: Uint8Array[];
  pem: string;
}

async function signed(
  uri: string,
  by: Credentials = ca,
  { validMs = DAY_MS, hosts = [] as string[] } = {},
): Promise<Made> {
  const { key, request } = await signingRequest("peer");
  const pem = await issue(by, request, { commonName: "peer", uri, hosts, validMs });
  return { key, chain: ders(pem), pem };
}

const expecting = (more: Partial<Expectation> = {}): Expectation => ({
  role: "node",
  host: HOST,
  pin: { of: "ca", fingerprint: caPin },
  ...more,
});

function reasonOf(chain: readonly Uint8Array[], expected: Expectation, nowMs?: number): string {
  const verdict = judge(chain, expected, nowMs);
  if (verdict.kind !== "wrong") throw new Error(`it was ${verdict.kind}`);
  return verdict.reason;
}

describe("under a pinned CA", () => {
  test("a chain whose certificates have all signed each other costs few looks at signatures", async () => {
    const keys = await crypto.subtle.generateKey(EC, true, ["sign", "verify"]);
    const made = Array.from({ length: 7 }, async (_, n) => {
      const { rawData } = await x509.X509CertificateGenerator.createSelfSigned({
        ...{ serialNumber: `0${n + 1}`, name: "CN=rfaas CA", keys, signingAlgorithm: EC },
        notBefore: new Date(Date.now() - DAY_MS),
        notAfter: new Date(Date.now() + DAY_MS),
        extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
      });
      return new Uint8Array(rawData);
    });
    const chain = [...(await Promise.all(made)), ...ders(ca.chain)];
    using looks = spyOn(X509Certificate.prototype, "verify");
    expect(reasonOf(chain, expecting())).toContain("is not signed by the pinned CA");
    expect(looks.mock.calls.length).toBeGreaterThan(0);
    expect(looks.mock.calls.length).toBeLessThanOrEqual(chain.length ** 2);
  });

  test("a node that the CA has signed is trusted, by its name where that is known", async () => {
    const { chain } = await signed(nodeUri("node1"));
    const key = keyOf(new X509Certificate(chain[0]!));
    expect(judge(chain, expecting())).toEqual({ kind: "trusted", key });
    expect(judge(chain, expecting({ name: "node1" }))).toEqual({ kind: "trusted", key });
    expect(reasonOf(chain, expecting({ name: "node" }))).toContain("not the node node");
    expect(reasonOf(chain, expecting({ name: "node11" }))).toContain("not the node node11");
  });

  test("another CA's node is refused, though both CAs have one name and it shows the right CA beside", async () => {
    const { chain } = await signed(nodeUri("node1"), otherCa);
    expect(reasonOf(chain, expecting())).toContain(`the pinned CA ${caPin}`);
    const mixed = [...chain, ...ders(ca.chain)];
    expect(reasonOf(mixed, expecting())).toContain("is not signed by the pinned CA");
    expect(reasonOf([chain[0]!, ...ders(ca.chain)], expecting())).toContain("not signed");
  });

  test("what is out of date is refused: the peer's certificate, and the CA's", async () => {
    const { chain } = await signed(nodeUri("node1"));
    const { fromMs, untilMs } = validityOf((await signed(nodeUri("node1"))).pem);
    expect(reasonOf(chain, expecting(), untilMs + DAY_MS)).toContain("has expired on");
    expect(reasonOf(chain, expecting(), fromMs - DAY_MS)).toContain("is not valid before");
    const long = await signed(nodeUri("node1"), ca, { validMs: 1000 * DAY_MS });
    const reason = reasonOf(long.chain, expecting(), Date.now() + 200 * DAY_MS);
    expect(reason).toBe(
      `the certificate "CN=rfaas CA" has expired on ${new X509Certificate(ca.chain).validTo}`,
    );
  });

  test("a node's certificate signs no other", async () => {
    const node = await signed(nodeUri("node1"));
    const forged = await signed(MANAGER_URI, { key: node.key, chain: node.pem });
    expect(forged.chain).toHaveLength(3);
    const reason = reasonOf(forged.chain, expecting({ role: "manager" }));
    expect(reason).toContain("is not signed by the pinned CA");
  });

  test("nor does one that says of itself nothing at all", async () => {
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const authority = new x509.X509Certificate(ca.chain);
    const plain = await x509.X509CertificateGenerator.create({
      subject: "CN=plain",
      issuer: authority.subject,
      notAfter: new Date(Date.now() + DAY_MS),
      publicKey: keys.publicKey,
      signingAlgorithm: algorithm,
      signingKey: await crypto.subtle.importKey(
        "pkcs8",
        x509.PemConverter.decodeFirst(ca.key),
        algorithm,
        false,
        ["sign"],
      ),
    });
    const der = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
    const by = {
      key: x509.PemConverter.encode(der, "PRIVATE KEY"),
      chain: `${plain.toString("pem")}\n${ca.chain}`,
    };
    const forged = await signed(MANAGER_URI, by);
    expect(forged.chain).toHaveLength(3);
    expect(reasonOf(forged.chain, expecting({ role: "manager" }))).toContain("no CA");
  });

  test("a node does not pass for the manager, nor the manager for a node", async () => {
    const node = await signed(nodeUri("manager"));
    expect(reasonOf(node.chain, expecting({ role: "manager" }))).toContain("no manager");
    const manager = await signed(MANAGER_URI);
    expect(judge(manager.chain, expecting({ role: "manager" })).kind).toBe("trusted");
    expect(reasonOf(manager.chain, expecting())).toContain("no node");
    expect(reasonOf(manager.chain, expecting({ name: "manager" }))).toContain("not the node");
  });

  test("a certificate without a name of rfaas's is for its host or address", async () => {
    const site = await signed("https://example.org/", ca, { hosts: [HOST, "10.0.0.5", "fd00::5"] });
    for (const host of [HOST, "10.0.0.5", "fd00::5"])
      expect(judge(site.chain, expecting({ host })).kind).toBe("trusted");
    for (const host of ["node2.example", "10.0.0.6", "fd00::6", "example"])
      expect(reasonOf(site.chain, expecting({ host }))).toContain(`is not for ${host}`);
    expect(judge(site.chain, expecting({ role: "manager" })).kind).toBe("trusted");
  });

  test("a name inside of another name is none", async () => {
    const sly = await signed(`https://example.org/, URI:${MANAGER_URI}`);
    expect(reasonOf(sly.chain, expecting({ role: "manager" }))).toContain(`is not for ${HOST}`);
  });

  test("a pinned certificate that is no CA is refused, and says what to pin", async () => {
    const own = await selfSigned({ commonName: "n", uri: nodeUri("n"), validMs: DAY_MS });
    const [der] = ders(own.chain);
    const pin = { of: "ca", fingerprint: fingerprintOf(der!) } as const;
    expect(reasonOf([der!], expecting({ pin }))).toContain("?key=");
  });

  test("a chain that was tampered with is refused", async () => {
    const { chain } = await signed(nodeUri("node1"));
    const broken = Buffer.from(chain[0]!);
    broken[broken.length - 1]! ^= 1;
    expect(reasonOf([broken, chain[1]!], expecting())).toContain("not signed");
    const named = Buffer.from(chain[0]!);
    named[named.indexOf("node1")]! ^= 1;
    expect(reasonOf([named, chain[1]!], expecting())).toContain("not signed");
  });

  test("no certificate, or none that can be read, is refused", () => {
    expect(reasonOf([], expecting())).toContain("no certificate");
    expect(reasonOf([new Uint8Array(10)], expecting())).toContain("no certificate");
  });
});

describe("by its key", () => {
  test("the owner of the pinned one is trusted, out of date or not, and no other is", async () => {
    const own = await selfSigned({ commonName: "n", uri: nodeUri("n"), validMs: DAY_MS });
    const chain = ders(own.chain);
    const key = keyOf(new X509Certificate(own.chain));
    const pin = { of: "key", fingerprint: key } as const;
    for (const role of ["node", "manager"] as const)
      expect(judge(chain, expecting({ pin, role }), Date.now() + 10 * DAY_MS)).toEqual({
        kind: "trusted",
        key,
      });
    const other = await selfSigned({ commonName: "n", uri: nodeUri("n"), validMs: DAY_MS });
    expect(reasonOf(ders(other.chain), expecting({ pin }))).toContain(`${key} is pinned`);
  });

  test("an unknown one is told, where nothing is pinned", async () => {
    const own = await selfSigned({ commonName: "n", uri: nodeUri("n"), validMs: DAY_MS });
    const key = keyOf(new X509Certificate(own.chain));
    expect(judge(ders(own.chain), { role: "node", host: HOST })).toEqual({ kind: "unknown", key });
  });
});

describe("a request", () => {
  test("that another key has signed, or that is damaged, is not answered", async () => {
    const subject = { commonName: "n", uri: nodeUri("n"), validMs: DAY_MS };
    expect(issue(ca, "no request", subject)).rejects.toThrow("no certificate signing request");
    const { request } = await signingRequest("n");
    const der = Buffer.from(request.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
    der[der.length - 1]! ^= 1;
    const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString("base64")}\n-----END CERTIFICATE REQUEST-----`;
    expect(issue(ca, forged, subject)).rejects.toThrow("not signed by the key");
  });

  test("decides nothing but the key: the signer names whom it is for", async () => {
    const { request } = await signingRequest("manager");
    const pem = await issue(ca, request, { commonName: "n", uri: nodeUri("n"), validMs: DAY_MS });
    expect(new X509Certificate(pem).subject).toBe("CN=n");
  });
});

test("openssl accepts what is made here, and prints the same fingerprint", async () => {
  if (!Bun.which("openssl")) return console.log("skipped: openssl is not installed");
  const folder = `${process.env["TMPDIR"] ?? "/tmp"}/rfaas-openssl-${process.pid}`;
  const { pem } = await signed(nodeUri("node1"), ca, { hosts: [HOST] });
  await Bun.write(`${folder}/ca.pem`, ca.chain);
  await Bun.write(`${folder}/chain.pem`, pem);
  const run = (...args: string[]) =>
    Bun.spawnSync(["openssl", ...args], { cwd: folder }).stdout.toString();
  const verified = run(
    "verify",
    "-x509_strict",
    "-purpose",
    "sslserver",
    "-verify_hostname",
    HOST,
    "-CAfile",
    "ca.pem",
    "chain.pem",
  );
  expect(verified).toBe("chain.pem: OK\n");
  const printed = run("x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256");
  expect(printed.trim().split("=")[1]!.replaceAll(":", "").toLowerCase()).toBe(
    caPin.slice("sha256:".length),
  );
  await Bun.$`rm -r ${folder}`;
});
